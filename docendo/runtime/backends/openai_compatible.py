"""Any server that speaks the OpenAI chat-completions protocol: vLLM, SGLang, llama.cpp, Ollama, ...

Before the first call the server is asked what it is (`openai_discovery`), and again after it was away
(`openai_watch`). That decides how it is asked (`openai_calls`). Nothing of it is part of the model's
identity: a scenario is checked and replayed without a network.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from docendo.agents.port import GenerateReply, GenerateRequest, ScoreReply, ScoreRequest
from docendo.errors import UsageError
from docendo.runtime.backends.base import Backend, Capabilities
from docendo.runtime.backends.openai_link import Link
from docendo.runtime.backends.openai_watch import Watch
from docendo.scenarios.environment import resolve_env
from docendo.scenarios.schema import OpenAIModel

__all__ = ["OpenAIBackend"]

_COUNT = {"vllm", "sglang"}
"""Servers that count cached tokens, and in some versions leave out that there were none."""


class OpenAIBackend(Backend):
    """One model behind one server."""

    paced = True

    def __init__(self, spec: OpenAIModel) -> None:
        """Make the backend; nothing is sent and no secret is read before `start`.

        Raises:
            UsageError: `base_url` is not an address.
        """
        spec = spec.model_copy(
            update={"model": resolve_env(spec.model), "base_url": resolve_env(spec.base_url)}
        )
        if not re.match(r"https?://[^/]", spec.base_url):
            raise UsageError(
                f"`base_url` of model `{spec.model}` does not start with http:// or https://",
                suggestion="It looks like http://localhost:8000/v1.",
            )
        self._spec = spec
        self._link = Link(spec)
        self._watch = Watch(self._link, spec)
        self.patience = spec.patience
        self.capabilities = Capabilities(
            scoring=bool(spec.scoring) or spec.logprobs,
            seed=spec.seed,
            logprobs=spec.logprobs,
            schema=spec.schema_,
        )
        flags = {
            "seed": spec.seed,
            "logprobs": spec.logprobs,
            "schema": spec.schema_,
            "scoring": spec.scoring,
            **spec.for_template(),
        }
        identity = {"backend": "openai", "base_url": self._link.endpoint, "model": spec.model, **flags}
        self._fingerprint = orjson.dumps(identity, option=orjson.OPT_SORT_KEYS).decode()

    @property
    def fingerprint(self) -> str:
        """Endpoint (without credentials), model name and declared abilities."""
        return self._fingerprint

    @property
    def tells_cache(self) -> bool:
        """Whether any answer has told; servers that leave out a 0 are known by their kind."""
        return self._link.told_cache or self._watch.server.kind in _COUNT

    async def start(self) -> None:
        """Ask the server what it is; wait for one that is still loading.

        Raises:
            BackendFault: Nobody answers, the model is not served there, or the scenario declares what the
                server does not offer.
        """
        await self._watch.begin()

    def about(self) -> dict[str, Any]:
        """The server: kind, version, models, context, how continuations are scored."""
        return {"endpoint": self._link.endpoint, **self._watch.server.about()}

    async def generate(self, request: GenerateRequest) -> GenerateReply:
        """Ask for completions.

        Raises:
            BackendFault: The server refused, broke off, or answered something else; the prompt is too long;
                after an outage also as for `start`.
        """
        async with self._watch.calls() as calls:
            return await calls.generate(request)

    async def score(self, request: ScoreRequest) -> ScoreReply:
        """Score continuations in the best way that the server offers.

        Raises:
            BackendFault: As for `generate`; also where a continuation cannot be scored in the way at hand.
        """
        async with self._watch.calls() as calls:
            return await calls.score(request)

    async def close(self) -> None:
        """Take back what is under way, and close the connections."""
        await self._watch.close()
        await self._link.close()
