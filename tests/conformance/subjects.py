"""The backends that the suite is run on, each with the model that stands behind it."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from docendo.agents.port import GenerateReply, GenerateRequest, Sampling, ScoreReply, ScoreRequest
from docendo.messages import PromptMessage, Span
from docendo.runtime.backends.base import Backend
from docendo.runtime.backends.openai_compatible import OpenAIBackend
from docendo.runtime.backends.scripted import ScriptedBackend
from docendo.scenarios.model_spec import (
    OpenAIModel,
    ScriptedModel,
    SkillModel,
    TransformersModel,
    VllmModel,
)
from tests.conformance.endpoint import endpoint
from tests.runtime.http_server import serve
from tests.runtime.minds_lab import Lab, view, yes_no

NEEDS = {"simulated": (), "scripted": (), "server": ("torch",), "transformers": ("torch",), "vllm": ("vllm",)}
"""Subject -> the libraries that it is nothing without."""

DECLARED = {
    "simulated": {"scoring", "seed", "schema", "deterministic", "reads_view"},
    "scripted": {"deterministic", "reads_view"},
    "server": {"scoring", "seed", "logprobs", "schema"},
    "transformers": {"scoring", "seed", "logprobs", "schema", "deterministic"},
    "vllm": {"scoring", "seed", "logprobs", "schema", "deterministic"},
}
"""What each declares. A backend cannot leave a test by forgetting what it can do."""

CONTEXT = 2048
FACT = yes_no(7)
VIEW = view(FACT)
QUESTION = "Is water wet? Think first."

_T = TypeVar("_T")


def prompt(*texts: str, last: str = "user") -> tuple[PromptMessage, ...]:
    """Messages of a user and an assistant in turn, the last one of role `last`; a system message first."""
    roles = ["user", "assistant"] if last == "assistant" else ["user"]
    told = (("system", "You are kind."), *zip(roles, texts, strict=True))
    return tuple(PromptMessage(role, (Span(text),)) for role, text in told)  # type: ignore[arg-type]


def ask(text: str = QUESTION, *, opened: str | None = None, **fields: Any) -> GenerateRequest:
    """A request; sampling's fields and the request's own in one."""
    how = {k: fields.pop(k) for k in tuple(fields) if k in Sampling.__dataclass_fields__}
    sampling = Sampling(**{"max_tokens": 16, **how})
    said = prompt(text) if opened is None else prompt(text, opened, last="assistant")
    return GenerateRequest(model="m", prompt=said, view=VIEW, sampling=sampling, **fields)


def weigh(*continuations: str, text: str = QUESTION, opened: str | None = "So the answer is") -> ScoreRequest:
    """A request for scores behind the opened answer."""
    said = prompt(text) if opened is None else prompt(text, opened, last="assistant")
    return ScoreRequest(model="m", prompt=said, continuations=continuations, view=VIEW)


@dataclass
class Subject:
    """A started backend and the loop that it lives in."""

    name: str
    backend: Backend
    runner: asyncio.Runner

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self.runner.run(asyncio.wait_for(work, 300))

    def generate(self, request: GenerateRequest) -> GenerateReply:
        return self.run(self.backend.generate(request))

    def score(self, request: ScoreRequest) -> ScoreReply:
        return self.run(self.backend.score(request))

    def together(self, requests: list[Any]) -> list[Any]:
        """All at once, answers in order; with failures in place of answers."""

        async def main() -> list[Any]:
            calls = [
                self.backend.score(r) if isinstance(r, ScoreRequest) else self.backend.generate(r)
                for r in requests
            ]
            return await asyncio.gather(*calls)

        return self.run(main())

    @property
    def speaks(self) -> bool:
        """It writes by tokens, one after the other, from the prompt."""
        return self.name not in {"simulated", "scripted"}


def missing(name: str) -> str:
    """The library that is not installed; empty if all are."""
    return next((need for need in NEEDS[name] if importlib.util.find_spec(need) is None), "")


@asynccontextmanager
async def started(name: str, folder: Path | None) -> AsyncIterator[Backend]:
    """The backend called `name`, over the model in `folder`."""
    if name == "simulated":
        backend: Backend = Lab([FACT]).backend(SkillModel(mastery=0.5))
    elif name == "scripted":
        backend = ScriptedBackend(ScriptedModel(replies=("I guess. So the answer is yes.",)))
    elif name == "server":
        async with _served(str(folder)) as backend:
            yield backend
        return
    elif name == "transformers":
        from docendo.runtime.backends.transformers_backend import TransformersBackend

        backend = TransformersBackend(TransformersModel(model=str(folder)), Path())
    else:
        from docendo.runtime.backends.vllm_backend import VllmBackend

        spec = VllmModel(model=str(folder), engine="thread", eager=True, kv_cache=0.25, max_sequences=32)
        backend = VllmBackend(spec, Path())
    try:
        await backend.start()
        yield backend
    finally:
        await backend.close()


@asynccontextmanager
async def _served(folder: str) -> AsyncIterator[Backend]:
    from docendo.runtime.backends.local_prompt import LocalPrompt
    from docendo.runtime.backends.transformers_backend import TransformersBackend
    from docendo.runtime.backends.weights import resolve

    # Servers echo plain text, so the model behind this one reads plain text in both ways.
    spec = TransformersModel(model=folder, chat_template="plain")
    model = TransformersBackend(spec, Path())
    await model.start()
    try:
        async with serve(endpoint(model, LocalPrompt(resolve(spec, Path())))) as server:
            backend = OpenAIBackend(OpenAIModel(model="tiny", base_url=server.url, scoring=True))
            try:
                await backend.start()
                yield backend
            finally:
                await backend.close()
    finally:
        await model.close()
