"""What answers in a run: a record of every model that starts, and a test of how far it repeats itself.

That a model on an engine gives the same answer twice is not promised: batching changes the last bits of its
numbers, and at a tie the token. So it is told: which engine it was, and, where asked for, how often copies of
one request were answered differently while many were under way.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from docendo.agents.port import GenerateRequest, Sampling
from docendo.agents.view import View
from docendo.errors import EpisodeFailure
from docendo.messages import PromptMessage, Span
from docendo.runtime.backends.base import Backend, BackendFault
from docendo.runtime.store.records import EngineRecord
from docendo.scenarios.model_base import ModelBase

__all__ = ["engine_lines", "mixed_engines", "self_test"]

_QUESTIONS = (
    "What is 503 - 267? Work it out column by column.",
    "Explain in two sentences why the sky is blue.",
    "A train leaves at 9:40 and arrives at 13:05. How long does it travel?",
    "Name five animals that lay eggs, in alphabetical order.",
)
"""Of different lengths, so that copies of one stand in different batches."""

_SAME = ("engine", "version", "vllm", "transformers", "torch", "cuda", "device", "dtype", "quantization")
"""What of a backend's `about` says which engine it is; the rest (room, counters) varies by itself."""


async def self_test(name: str, backend: Backend, spec: ModelBase, copies: int) -> dict[str, Any]:
    """Ask a started model the same things many times at once, past the journal, and count what differs.

    Args:
        name: The model's name in the scenario.
        backend: The model.
        spec: Its limits: calls in flight, seconds per call.
        copies: How often each of the four questions is asked: greedily, and, where the model obeys seeds,
            also at temperature 0.9 with one seed.

    Returns:
        `copies`, and per way (`greedy`, `seeded`) the answers, how many were not the commonest answer to
        their question (`differ`), their share (`rate`), and requests that failed.

    Raises:
        ModelError: Nothing; requests that fail are counted.
    """
    slots = asyncio.Semaphore(spec.max_concurrent)
    ways = {"greedy": 0.0} | ({"seeded": 0.9} if backend.capabilities.seed else {})

    async def ask(way: str, question: int) -> tuple[str, int, str | None]:
        request = _request(name, _QUESTIONS[question], ways[way])
        try:
            async with slots, backend.turn(), asyncio.timeout(spec.timeout):
                return way, question, (await backend.generate(request)).text
        except (BackendFault, EpisodeFailure, TimeoutError):
            return way, question, None

    asked = [ask(way, q) for _ in range(copies) for q in range(len(_QUESTIONS)) for way in ways]
    answers = await asyncio.gather(*asked)
    found: dict[str, Any] = {"copies": copies}
    for way in ways:
        texts = [[t for w, q, t in answers if (w, q) == (way, n)] for n in range(len(_QUESTIONS))]
        found[way] = _counted(texts)
    return found


def _request(model: str, question: str, temperature: float) -> GenerateRequest:
    return GenerateRequest(
        model=model,
        prompt=(PromptMessage("user", (Span(question),)),),
        view=View(agent="self-test", role="student", act="solve"),
        sampling=Sampling(temperature=temperature, max_tokens=48),
        seed=7,
    )


def _counted(texts: Sequence[Sequence[str | None]]) -> dict[str, Any]:
    """Of the answers to each question: how many are not its commonest."""
    given = [[t for t in answers if t is not None] for answers in texts]
    total = sum(map(len, given))
    differ = sum(len(answers) - max(Counter(answers).values(), default=0) for answers in given)
    return {
        "answers": total,
        "differ": differ,
        "rate": differ / total if total else None,
        "failed": sum(map(len, texts)) - total,
    }


# --- in words -------------------------------------------------------------------------------------------


def engine_lines(records: Iterable[EngineRecord]) -> list[str]:
    """One line per model: its engine at the latest start, how often it started, and its latest self-test."""
    starts: dict[str, list[EngineRecord]] = {}
    for record in records:
        starts.setdefault(record.model, []).append(record)
    lines = []
    for model, found in starts.items():
        times = f"; {len(found)} starts" if len(found) > 1 else ""
        tested = next((r.self_test for r in reversed(found) if r.self_test), None)
        lines.append(f"{model}: {_engine(found[-1])}{times}{_tested(tested)}")
    return lines


def mixed_engines(records: Iterable[EngineRecord]) -> list[str]:
    """A warning for every model that engines of different versions, devices or formats answered for."""
    starts: dict[str, list[EngineRecord]] = {}
    for record in records:
        starts.setdefault(record.model, []).append(record)
    warnings = []
    for model, found in starts.items():
        kinds = list(dict.fromkeys(map(_engine, found)))
        if len(kinds) > 1:
            warnings.append(
                f"Model `{model}` was run by different engines: {'; '.join(kinds)}. Answers of one model on "
                "two engines can differ."
            )
    return warnings


def _engine(record: EngineRecord) -> str:
    about = record.about
    name = str(about.get("engine") or about.get("kind") or "engine not told")
    version = about.get(name) or about.get("version")
    rest = [
        f"{key} {about[key]}" if key in ("torch", "cuda", "transformers", "vllm") else str(about[key])
        for key in _SAME
        if about.get(key) is not None and key not in ("engine", "version", name)
    ]
    return ", ".join([f"{name} {version}" if version else name, *rest])


def _tested(found: dict[str, Any] | None) -> str:
    if not found:
        return ""
    parts = [
        f"{way} {found[way]['differ']} of {found[way]['answers']}"
        for way in ("greedy", "seeded")
        if way in found
    ]
    return f"; self-test: copies answered differently: {', '.join(parts)}"
