"""What tests of vLLM share: whether it is here, requests, and one event loop for engines that live longer
than a test."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from docendo.agents.port import GenerateRequest, Origin, Sampling, ScoreRequest
from docendo.agents.view import View
from docendo.messages import PromptMessage, Span
from docendo.runtime.backends.vllm_backend import VllmBackend
from docendo.scenarios.local_model_spec import VllmModel

needs_vllm = [
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="NO VLLM: docs/models.md says how to install it"
    ),
    # vLLM and its libraries use deprecated parts of each other.
    pytest.mark.filterwarnings("default"),
]

VIEW = View(agent="student-1", role="student", act="solve")
ORIGIN = Origin(condition="c", episode="e", agent="student-1", act="solve", turn=3)
QUESTION = "Is the sky blue on a clear day at noon? Think of what you see, and answer yes or no."


def prompt(text: str = QUESTION, system: str = "You are a student.") -> tuple[PromptMessage, ...]:
    return (PromptMessage("system", (Span(system),)), PromptMessage("user", (Span(text),)))


def ask(text: str = QUESTION, *, seed: int = 1, **fields: Any) -> GenerateRequest:
    """A call for a completion; sampling and the rest by their names."""
    rest = {name: fields.pop(name) for name in ("schema", "choices", "logprobs") if name in fields}
    return GenerateRequest(
        model="m",
        prompt=prompt(text),
        view=VIEW,
        seed=seed,
        sampling=Sampling(**{"max_tokens": 12, **fields}),
        origin=ORIGIN,
        **rest,
    )


def weigh(*continuations: str, text: str = QUESTION) -> ScoreRequest:
    return ScoreRequest(model="m", prompt=prompt(text), continuations=continuations, view=VIEW, origin=ORIGIN)


def model(folder: Path, **fields: Any) -> VllmBackend:
    """A model with an engine on the engine thread, small enough for a test."""
    spec = {"engine": "thread", "kv_cache": 0.1, "max_sequences": 64, **fields}
    return VllmBackend(VllmModel(model=str(folder), **spec), Path())


class Lab:
    """An event loop that outlives a test, and the models that were started in it."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._models: list[VllmBackend] = []

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(work)

    def start(self, *models: VllmBackend) -> tuple[VllmBackend, ...]:
        async def start() -> None:
            await asyncio.gather(*(one.start() for one in models))

        self._models += models
        self.run(start())
        return models

    def all(self, *work: Coroutine[Any, Any, Any]) -> list[Any]:
        async def gather() -> list[Any]:
            return await asyncio.gather(*work)

        return self.run(gather())

    def close(self) -> None:
        async def close() -> None:
            await asyncio.gather(*(one.close() for one in self._models))

        self.run(close())
        self._runner.close()
