"""Models that vLLM runs here: in a process of its own for batches, or inside this one for tests.

All calls of all episodes, lessons and agents go into the engine at once; it batches them from step to step.
Prompts are sent as tokens, so that what is scored and what is counted is exactly what the model read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

from docendo.agents.port import ContinuationScore, GenerateReply, GenerateRequest, ScoreReply, ScoreRequest
from docendo.messages import Usage
from docendo.runtime.backends.alignment import Alignment, align
from docendo.runtime.backends.base import Backend, BackendFault, Capabilities, Room
from docendo.runtime.backends.engine_driver import (
    EngineCall,
    EngineDied,
    EngineDriver,
    EngineFacts,
    EngineRefusal,
    EngineStats,
)
from docendo.runtime.backends.local_prompt import LocalPrompt, require_room
from docendo.runtime.backends.vllm_calls import (
    generate_parameters,
    listed_parameters,
    prompt_parameters,
    read_completions,
)
from docendo.runtime.backends.vllm_engines import Engine, Want, announce, engines_here, withdraw
from docendo.runtime.backends.vllm_faults import call_fault, dead_fault
from docendo.runtime.backends.vllm_scoring import ask_lists, lists_are_cheaper, read_lists, read_prompt
from docendo.runtime.backends.vllm_start import import_vllm
from docendo.runtime.backends.weights import resolve
from docendo.scenarios.local_model_spec import VllmModel

__all__ = ["VllmBackend"]


class VllmBackend(Backend):
    """One model: weights, perhaps an adapter, and a template, in an engine that it may share."""

    # A greedy answer does not depend on the seed; how far rounding may change it is measured, not assumed.
    capabilities = Capabilities(scoring=True, seed=True, logprobs=True, schema=True, deterministic=True)

    def __init__(self, spec: VllmModel, base: Path) -> None:
        """Find the weights. Nothing is loaded, and vLLM is not imported.

        Args:
            spec: The model's part of the scenario.
            base: Folder of the scenario file.

        Raises:
            UsageError: The weights, the adapter or the template are not here.
        """
        self._weights = resolve(spec, base)
        self._want = Want(spec, self._weights)
        announce(self._want)
        self._engine: Engine | None = None
        self._prompts: LocalPrompt | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Contents of weights, adapter and template, number format and options."""
        spec = self._want.spec
        settings: dict[str, Any] = {"dtype": spec.dtype, "quantization": spec.quantization}
        if spec.options:
            settings["options"] = spec.options
        return self._weights.identity("vllm", **settings)

    def unread(self) -> Mapping[str, int]:
        """Weight files whose contents are not remembered."""
        return self._weights.unread()

    # --- the engine -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the tokenizer and start the engine, or join the one that has started.

        Raises:
            BackendFault: Either cannot be used; always fatal.
        """
        await asyncio.to_thread(import_vllm)
        self._prompts = await asyncio.to_thread(LocalPrompt, self._weights)
        self._engine = await engines_here().acquire(self._want)

    @property
    def driver(self) -> EngineDriver:
        """The engine, once started: for measurements."""
        return self._started.driver

    @property
    def facts(self) -> EngineFacts:
        """What the engine turned out to be, once started."""
        facts = self._started.facts
        assert facts is not None
        return facts

    @property
    def _started(self) -> Engine:
        if self._engine is None:
            raise BackendFault(f"`{self._weights.name}` was not started", retry=False, fatal=True)
        return self._engine

    def stats(self) -> EngineStats:
        """What the engine did so far, for all models that share it."""
        return self._started.driver.stats()

    def about(self) -> dict[str, Any]:
        """Engine, versions, device, arguments, room."""
        if self._engine is None:
            return {}
        import torch
        import transformers

        facts = self.facts
        return {
            "engine": "vllm",
            "vllm": facts.version,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "cuda": torch.version.cuda,
            "device": facts.device,
            "dtype": facts.dtype,
            "kv_tokens": facts.kv_tokens,
            "context": facts.context,
            "sequences": facts.sequences,
            "driver": self._want.spec.engine,
            "turns": self._engine.turns is not None,
            "arguments": self._engine.arguments,
        }

    def room(self) -> Room | None:
        """Sequences, KV tokens and context of the engine, for all models that share it."""
        if self._engine is None:
            return None
        facts = self.facts
        return Room(sequences=facts.sequences, tokens=facts.kv_tokens, context=facts.context)

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Hold the engine awake."""
        return nullcontext() if self._engine is None else self._engine.turn()

    async def close(self) -> None:
        """Leave the engine; the last backend to leave ends it."""
        withdraw(self._want)
        self._engine = None
        await engines_here().release(self._want)

    # --- calls ------------------------------------------------------------------------------------------

    async def generate(self, request: GenerateRequest) -> GenerateReply:
        """Continue a prompt.

        Raises:
            BackendFault: It does not fit, the engine refuses it, or the engine has stopped.
        """
        prompts = self._ready
        prompt = prompts.tokens(request.prompt)
        require_room(len(prompt), request.sampling.max_tokens, self.facts.context)
        parameters = generate_parameters(request, self._weights.name)
        if request.logprobs and not self.facts.mixes_logprobs:
            async with self._started.kinds.only("likeliest"):
                output = await self._run(prompt, parameters)
        else:
            output = await self._run(prompt, parameters)
        return read_completions(request, output, prompts, self._weights.name)

    async def score(self, request: ScoreRequest) -> ScoreReply:
        """Score continuations, exactly, in the cheaper of the two ways that `vllm_scoring` describes.

        Raises:
            BackendFault: As for `generate`.
        """
        aligned = align(self._ready, request.prompt, request.continuations)
        require_room(len(aligned.context), aligned.longest, self.facts.context)
        questions = ask_lists(aligned.branches)
        if self._may_echo(aligned) and not lists_are_cheaper(aligned, questions, self.facts.block):
            logprobs, cached = await self._score_prompts(aligned)
        else:
            calls = [
                (aligned.context + question.tokens, listed_parameters(question.listed, self._weights.name))
                for question in questions
            ]
            if self.facts.mixes_logprobs:
                outputs = await self._run_all(calls)
            else:
                async with self._started.kinds.only("listed"):
                    outputs = await self._run_all(calls)
            logprobs = read_lists(aligned.branches, questions, outputs)
            cached = min(outputs[0].num_cached_tokens or 0, len(aligned.context))
        usage = Usage(
            prompt_tokens=len(aligned.context) + sum(len(branch.tokens) for branch in aligned.branches),
            cached_tokens=cached,
        )
        return ScoreReply(scores=tuple(ContinuationScore(logprobs=x) for x in logprobs), usage=usage)

    def _may_echo(self, aligned: Alignment) -> bool:
        """Whether prompt log-probabilities can be had.

        They take one token more, which the engine insists on generating. And an engine that has room for
        adapters dies of them, on a CPU at least: it applies the adapters to one row per call, where there is
        one per token of the prompt.
        """
        fits = len(aligned.context) + aligned.longest < self.facts.context
        return fits and not self._started.adapters

    async def _score_prompts(self, aligned: Alignment) -> tuple[list[tuple[float, ...]], int]:
        parameters = [prompt_parameters(self._weights.name) for _ in aligned.branches]
        outputs = await self._run_all(
            [(aligned.context + b.tokens, p) for b, p in zip(aligned.branches, parameters, strict=True)]
        )
        return [read_prompt(b, output) for b, output in zip(aligned.branches, outputs, strict=True)], 0

    async def _run_all(self, calls: Sequence[tuple[tuple[int, ...], Any]]) -> list[Any]:
        """Several calls at once; if one fails, the others are taken back."""
        if len(calls) == 1:
            return [await self._run(*calls[0])]
        tasks = [asyncio.create_task(self._run(prompt, parameters)) for prompt, parameters in calls]
        try:
            return await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    async def _run(self, prompt: Sequence[int], parameters: Any) -> Any:
        engine = self._started
        adapter = self._weights.adapter
        request = None
        if adapter is not None:
            request = engine.adapters.get(str(adapter.folder))
            if request is None:
                raise call_fault(self._weights.name, f"it was started without the adapter {adapter.folder}")
        try:
            return await engine.driver.run(EngineCall(prompt, parameters, request))
        except EngineDied as error:
            raise dead_fault(self._weights.name, str(error)) from error
        except EngineRefusal as error:
            raise call_fault(self._weights.name, str(error)) from error

    @property
    def _ready(self) -> LocalPrompt:
        if self._prompts is None:
            raise BackendFault(f"`{self._weights.name}` was not started", retry=False, fatal=True)
        return self._prompts
