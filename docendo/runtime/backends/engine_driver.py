"""What an inference engine is to a backend: prompts of tokens in, finished outputs out.

Two drivers implement it over vLLM: `vllm_thread` (engines inside this process, stepped by one thread) and
`vllm_process` (the engine in a process of its own). Backends know this module and neither of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

__all__ = ["EngineCall", "EngineDied", "EngineDriver", "EngineFacts", "EngineRefusal", "EngineStats", "Meter"]


class EngineDied(Exception):
    """The engine has stopped and answers nothing any more. Its message says why, in the engine's words."""


class EngineRefusal(Exception):
    """The engine takes no such call, and is well otherwise."""


@dataclass(frozen=True, slots=True)
class EngineCall:
    """One request to an engine."""

    prompt: Sequence[int]
    """Token ids."""
    params: Any
    """`vllm.SamplingParams`, made for this call alone."""
    adapter: Any = None
    """`vllm.lora.request.LoRARequest`, where an adapter answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """What an engine turned out to be once it was started."""

    version: str
    device: str
    """Name of the GPU, or `cpu`."""
    dtype: str
    kv_tokens: int
    """Tokens that the KV cache holds."""
    context: int
    """Longest prompt with its completion, in tokens."""
    sequences: int
    """Most sequences that are decoded together."""
    block: int
    """Tokens of one block of the KV cache, the unit in which prefixes are shared."""
    mixes_logprobs: bool
    """A batch may hold calls for the likeliest tokens beside calls for listed tokens (see `vllm_scoring`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """What an engine did since it was started. Counts have no noise: tests and benchmarks rest on them."""

    steps: int = 0
    """Forward passes of the model over a batch."""
    prefill_tokens: int = 0
    """Prompt tokens that were computed, those again that a preemption had thrown away included."""
    cached_tokens: int = 0
    """Prompt tokens that were taken from the prefix cache instead."""
    generated_tokens: int = 0
    preemptions: int = 0
    """Sequences that lost their place in the KV cache and had to be computed again."""
    running: int = 0
    """Sequences that the last step left in the batch."""
    waiting: int = 0
    """Requests that waited for room at the last step."""
    kv_usage: float = 0.0
    """Share of the KV cache in use at the last step, from 0 to 1."""

    @property
    def mean_batch(self) -> float:
        """Sequences that got a token, per step."""
        return self.generated_tokens / self.steps if self.steps else 0.0

    @property
    def hit_rate(self) -> float:
        """Share of prompt tokens that came from the prefix cache."""
        asked = self.prefill_tokens + self.cached_tokens
        return self.cached_tokens / asked if asked else 0.0

    def since(self, earlier: EngineStats) -> EngineStats:
        """What happened after `earlier`, an older snapshot of the same engine."""
        counts = ("steps", "prefill_tokens", "cached_tokens", "generated_tokens", "preemptions")
        return replace(self, **{name: getattr(self, name) - getattr(earlier, name) for name in counts})


class Meter:
    """Stands where vLLM keeps its own loggers and adds up what each step reports.

    vLLM's loggers print to the terminal and keep Prometheus series; both cost time in every step.
    """

    def __init__(self) -> None:
        self.stats = EngineStats()

    def record(
        self, scheduler_stats: Any, iteration_stats: Any, mm_cache_stats: Any = None, engine_idx: int = 0
    ) -> None:
        """Take in one step."""
        if scheduler_stats is None:
            return
        old, cache = self.stats, scheduler_stats.prefix_cache_stats
        again = (cache.preempted_queries - cache.preempted_hits) if cache else 0
        prompts = iteration_stats.prompt_token_stats if iteration_stats else None
        self.stats = EngineStats(
            steps=old.steps + 1,
            prefill_tokens=old.prefill_tokens + again + (prompts.computed if prompts else 0),
            cached_tokens=old.cached_tokens + (prompts.cached_tokens if prompts else 0),
            generated_tokens=old.generated_tokens
            + (iteration_stats.num_generation_tokens if iteration_stats else 0),
            preemptions=old.preemptions + (iteration_stats.num_preempted_reqs if iteration_stats else 0),
            running=scheduler_stats.num_running_reqs,
            waiting=scheduler_stats.num_waiting_reqs,
            kv_usage=scheduler_stats.kv_cache_usage,
        )

    def log(self) -> None:
        """Part of what vLLM calls; nothing is printed."""

    def log_engine_initialized(self) -> None:
        """Part of what vLLM calls; nothing is printed."""

    def record_sleep_state(self, sleep: int = 0, level: int = 0) -> None:
        """Part of what vLLM calls."""


class EngineDriver(Protocol):
    """One engine. All its methods belong to one event loop, except that another may `close` it."""

    async def start(self) -> EngineFacts:
        """Load the weights. Cancelling it leaves nothing behind after `close`.

        Raises:
            EngineDied: It does not start.
        """
        ...

    async def run(self, call: EngineCall) -> Any:
        """The finished `vllm.RequestOutput` of one call. Cancelling it takes the call out of the batch.

        Raises:
            EngineDied: The engine has stopped, before or during the call.
            EngineRefusal: The engine does not take this call.
        """
        ...

    async def sleep(self) -> None:
        """Give the GPU's memory back: weights move to main memory, the KV cache is dropped."""
        ...

    async def wake(self) -> None:
        """Take the GPU's memory again."""
        ...

    async def forget_prefixes(self) -> None:
        """Empty the prefix cache, so that a measurement starts from nothing."""
        ...

    def stats(self) -> EngineStats:
        """What it did so far."""
        ...

    async def close(self) -> None:
        """End it: no process, thread or memory stays. Also after a failed or cancelled start."""
        ...
