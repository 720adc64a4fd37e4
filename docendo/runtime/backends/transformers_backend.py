"""A model that transformers runs in this process: on the CPU, or on one GPU where vLLM does not install.

What this module does is between text and tokens, in the event loop; the model's thread is
`docendo.runtime.backends.transformers_engine`. A request's answer depends on the request alone: every
completion has a generator of its own, and rows of a batch do not see each other. On a CPU in float32 the
same request brings the same tokens whatever it is batched with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from docendo.agents.port import (
    Completion,
    ContinuationScore,
    GenerateReply,
    GenerateRequest,
    ScoreReply,
    ScoreRequest,
    TokenLogprob,
)
from docendo.messages import Usage
from docendo.runtime.backends.alignment import align
from docendo.runtime.backends.base import Backend, BackendFault, Capabilities, Room
from docendo.runtime.backends.local_prompt import IMPORTING, LocalPrompt, require_room
from docendo.runtime.backends.weights import resolve
from docendo.scenarios.local_model_spec import TransformersModel

if TYPE_CHECKING:
    from docendo.runtime.backends.transformers_engine import Engine, EngineFacts
    from docendo.runtime.backends.transformers_grammar import Grammars
    from docendo.runtime.backends.transformers_lane import GenerateJob
    from docendo.runtime.backends.transformers_sampling import Row

__all__ = ["TransformersBackend"]

_JobT = TypeVar("_JobT")


class TransformersBackend(Backend):
    """One model, loaded at the first call that is sent.

    Greedy answers do not depend on the seed, so it is declared deterministic. Rounding may still differ with
    what a request is batched with, where numbers are shorter than float32.
    """

    capabilities = Capabilities(scoring=True, seed=True, logprobs=True, schema=True, deterministic=True)

    def __init__(self, spec: TransformersModel, base: Path = Path()) -> None:
        """Find the weights; nothing is loaded.

        Args:
            spec: The model's part of the scenario.
            base: Folder that relative paths start from.

        Raises:
            UsageError: Weights, adapter or template are not here.
        """
        self._spec = spec
        self._weights = resolve(spec, base)
        self._engine: Engine | None = None
        self._facts: EngineFacts | None = None
        self._prompts: LocalPrompt | None = None
        self._grammars: Grammars | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Weights, adapter and template by content, and the number format."""
        return self._weights.identity("transformers", dtype=self._spec.dtype)

    def unread(self) -> Mapping[str, int]:
        """Weight files whose contents are not remembered."""
        return self._weights.unread()

    async def start(self) -> None:
        """Load tokenizer and weights, or join the model that has loaded them.

        Raises:
            BackendFault: The library is missing, the template is wrong, or the weights cannot be used.
        """
        # In a thread: importing torch takes seconds, in which other models' calls go on.
        engines, prompts = await asyncio.to_thread(self._prepare)
        self._prompts = prompts
        spec = self._spec
        self._engine = engines.acquire(self._weights, dtype=spec.dtype, device=spec.device, slots=spec.batch)
        ready: asyncio.Future[EngineFacts] = asyncio.wrap_future(self._engine.ready)
        facts = await asyncio.shield(ready)
        self._facts = replace(facts, ends=facts.ends | _own_end(prompts, facts.vocabulary))
        await self._run(lambda done: engines.OpenJob(done=done))

    def _prepare(self) -> tuple[ModuleType, LocalPrompt]:
        try:
            with IMPORTING:
                engines = import_module("docendo.runtime.backends.transformers_engine")
        except ImportError as error:
            raise BackendFault(
                f"this backend needs torch and transformers: {error}",
                retry=False,
                fatal=True,
                suggestion="pip install 'docendo[transformers]'",
            ) from None
        return engines, LocalPrompt(self._weights)

    def about(self) -> dict[str, Any]:
        """Versions, device, number format, size and limits."""
        if self._facts is None:
            return {}
        adapter = self._weights.adapter
        return {
            **self._facts.about,
            "model": self._weights.name,
            "context": self._weights.context,
            "batch": self._spec.batch,
            "adapter": str(adapter.folder) if adapter else None,
            "decode_steps": self._engine.steps if self._engine else 0,
        }

    def room(self) -> Room | None:
        """The batch, and the tokens that fit into memory."""
        if self._facts is None:
            return None
        return Room(
            sequences=self._spec.batch,
            tokens=max(self._facts.tokens, self._weights.context),
            context=self._weights.context,
        )

    async def generate(self, request: GenerateRequest) -> GenerateReply:
        """Continue the prompt.

        Raises:
            BackendFault: The prompt does not fit, the schema cannot be obeyed, or memory ran out.
        """
        from docendo.runtime.backends.transformers_lane import GenerateJob

        prompts, _ = self._started()
        how = request.sampling
        prompt = prompts.tokens(request.prompt)
        require_room(len(prompt), how.max_tokens, self._weights.context)
        # Greedy completions of one prompt are all alike: one is computed.
        rows = [self._row(request, prompt, index) for index in range(how.n if how.temperature else 1)]
        job = await self._run(lambda done: GenerateJob(rows=rows, done=done))
        return self._reply(job, request, prompt)

    async def score(self, request: ScoreRequest) -> ScoreReply:
        """Log-probabilities of continuations, exactly as they are written.

        Raises:
            BackendFault: A continuation has no tokens, or prompt and continuation do not fit.
        """
        from docendo.runtime.backends.transformers_lane import ScoreJob

        prompts, _ = self._started()
        found = align(prompts, request.prompt, request.continuations)
        require_room(len(found.context), found.longest, self._weights.context)
        branches = [branch.tokens for branch in found.branches]
        job = await self._run(lambda done: ScoreJob(context=found.context, branches=branches, done=done))
        scores = (
            ContinuationScore(logprobs=branch.fold(logprobs))
            for branch, logprobs in zip(found.branches, job.scores, strict=True)
        )
        usage = Usage(prompt_tokens=len(found.context) + sum(map(len, branches)), cached_tokens=job.cached)
        return ScoreReply(scores=tuple(scores), usage=usage)

    async def close(self) -> None:
        """Leave the engine; the last model that does frees the memory."""
        engine, self._engine, self._facts, self._grammars = self._engine, None, None, None
        if engine is not None:
            await asyncio.to_thread(engine.release)

    # --- a call -----------------------------------------------------------------------------------------

    def _started(self) -> tuple[LocalPrompt, EngineFacts]:
        if self._prompts is None or self._facts is None:
            raise BackendFault("the model is not loaded, or was closed", retry=False)
        return self._prompts, self._facts

    async def _run(self, make: Callable[[Callable[[Any], None]], _JobT]) -> _JobT:
        """Hand a job to the engine and wait. Being cancelled takes it out of the batch."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()

        def settle(outcome: Any) -> None:
            if answer.done():
                return
            if isinstance(outcome, BaseException):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)

        def done(outcome: Any) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, outcome)

        engine = self._engine
        if engine is None:
            raise BackendFault("the model was closed", retry=False)
        job: Any = make(done)
        engine.submit(job, self._weights.adapter)
        try:
            return await answer  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            job.cancelled = True
            engine.wake()
            raise

    def _row(self, request: GenerateRequest, prompt: tuple[int, ...], index: int) -> Row:
        from docendo.runtime.backends.transformers_sampling import Row

        _, facts = self._started()
        how = request.sampling
        constraint = None
        if request.choices:
            constraint = self._grammar().choice(request.choices)
        elif request.schema is not None:
            constraint = self._grammar().schema(request.schema)
        return Row(
            prompt=prompt,
            ends=facts.ends,
            most=how.max_tokens,
            temperature=how.temperature,
            top_p=how.top_p,
            alternatives=request.logprobs,
            seed=f"{request.seed} {index}",
            constraint=constraint,
            stopped=self._watch(how.stop, prompt) if how.stop else None,
        )

    def _grammar(self) -> Grammars:
        from docendo.runtime.backends.transformers_grammar import Grammars

        prompts, facts = self._started()
        if self._grammars is None:
            self._grammars = Grammars(prompts.tokenizer, facts.vocabulary, sorted(facts.ends))
        return self._grammars

    def _watch(self, stops: Sequence[str], prompt: tuple[int, ...]) -> Callable[[Sequence[int]], bool]:
        """Whether a stop text has just been completed. A letter may take four tokens."""
        prompts, _ = self._started()
        reach = 4 * max(len(stop) for stop in stops) + 4

        def stopped(ids: Sequence[int]) -> bool:
            text = prompts.decode(ids[-reach:], after=[*prompt[-8:], *ids[:-reach]])
            return any(stop in text for stop in stops)

        return stopped

    def _reply(self, job: GenerateJob, request: GenerateRequest, prompt: tuple[int, ...]) -> GenerateReply:
        completions = tuple(self._completion(row, request.sampling.stop) for row in job.rows)
        if len(completions) < request.sampling.n:
            completions *= request.sampling.n
        usage = Usage(
            prompt_tokens=len(prompt),
            completion_tokens=sum(row.spent for row in job.rows),
            cached_tokens=job.rows[0].cached,
        )
        return GenerateReply(completions=completions, usage=usage)

    def _completion(self, row: Row, stops: Sequence[str]) -> Completion:
        prompts, _ = self._started()
        out = row.out
        text = prompts.decode(out, after=row.prompt)
        ends = [at for stop in stops if (at := text.find(stop)) >= 0]
        if ends:
            text = text[: min(ends)]
            while out and prompts.decode(out[:-1], after=row.prompt).startswith(text):
                out = out[:-1]
        word = prompts.token_text
        return Completion(
            text=text,
            finish="stop" if ends else row.finish or "stop",
            logprobs=tuple(
                TokenLogprob(word(token), logprob, tuple((word(t), x) for t, x in top))
                for token, (logprob, top) in zip(out, row.logprobs, strict=False)
                if token not in prompts.special
            ),
        )


def _own_end(prompts: LocalPrompt, vocabulary: int) -> frozenset[int]:
    """The tokenizer's end of a sequence, if the model can say it.

    Chat models end their turn with it, though the configuration of some names the base model's end alone.
    """
    end = prompts.tokenizer.eos_token_id
    return frozenset() if end is None or end >= vocabulary else frozenset({int(end)})
