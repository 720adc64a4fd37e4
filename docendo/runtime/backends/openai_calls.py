"""Calls to one server, as it was found: what is sent, and what is read of the answers.

What a server is decides how continuations are scored (`openai_scoring`), how several completions are had
(`openai_draws`) and which prompts are refused before they are sent. Choices are asked of vLLM as such, and of
others as a JSON schema `{"choice": <one of them>}`, the one form that all of these servers know.

Ollama decides on a model's context when it loads it, so it is asked for that with the first answer, once.

Once a server may be another one, new calls are made for it (`openai_watch`), and nothing is left of these.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from docendo.agents.port import (
    Completion,
    GenerateReply,
    GenerateRequest,
    ScoreReply,
    ScoreRequest,
    TokenLogprob,
)
from docendo.messages import PromptMessage
from docendo.runtime.backends.openai_discovery import loaded
from docendo.runtime.backends.openai_draws import Draws
from docendo.runtime.backends.openai_link import Link
from docendo.runtime.backends.openai_scoring import TOP_LOGPROBS, Scorer
from docendo.runtime.backends.openai_server import Server
from docendo.runtime.backends.openai_wire import (
    SEEDS,
    Alternative,
    ChatChoice,
    choice_schema,
    chosen,
)
from docendo.scenarios.schema import OpenAIModel

__all__ = ["Calls"]

_CHOOSING = (0, 12)
"""Version of vLLM that knows `structured_outputs`."""
_SUSPECT = 2
"""Bytes per token below which no prompt of words and numbers is: only longer ones are counted beforehand."""
_LONG_TOKENS = 8
"""Bytes per token above which a server has left out part of the prompt."""


class Calls:
    """How one model is asked on one server."""

    def __init__(self, link: Link, spec: OpenAIModel, server: Server) -> None:
        """Use what the server has.

        Args:
            link: To the server.
            spec: With references to the environment resolved.
            server: What is known of it.
        """
        self._link = link
        self._spec = spec
        self._draws = Draws(link)
        self._scorer = Scorer(link, spec.model, server)
        self.server = server
        """What it was found to be."""
        self._settled = server.kind != "ollama"
        self._settling = asyncio.Lock()

    async def generate(self, request: GenerateRequest) -> GenerateReply:
        """Ask `/chat/completions`, once for all completions or once for each.

        Raises:
            BackendFault: The server refused, broke off, or answered something else; the prompt is too long.
        """
        await self._require_room(request)
        wanted = _draws(request)
        drawn = await self._draws.ask(self._chat_body(request), wanted)
        await self._require_whole(request.prompt, drawn.prompt_tokens)
        completions = tuple(self._completion(choice, request) for choice in drawn.choices)
        return GenerateReply(completions=completions * (request.sampling.n // wanted), usage=drawn.usage)

    async def score(self, request: ScoreRequest) -> ScoreReply:
        """Score continuations in the best way that the server offers.

        Raises:
            BackendFault: As for `generate`; also where a continuation cannot be scored in the way at hand.
        """
        reply = await self._scorer.score(request)
        await self._require_whole(request.prompt, reply.usage.prompt_tokens)
        return reply

    # --- requests ---------------------------------------------------------------------------------------

    def _chat_body(self, request: GenerateRequest) -> dict[str, Any]:
        how, server = request.sampling, self.server
        body: dict[str, Any] = {
            "model": self._spec.model,
            **server.chat(request.prompt),
            "temperature": how.temperature,
            "top_p": how.top_p,
            "max_tokens": how.max_tokens,
            **server.neutral,
        }
        if how.stop:
            body["stop"] = list(how.stop)
        if self._spec.seed:
            body["seed"] = request.seed % SEEDS
        if request.logprobs:
            # vLLM counts the drawn token among them: one more, so that the best are there in any case.
            more = int(server.kind == "vllm" and how.temperature > 0 and request.logprobs < TOP_LOGPROBS)
            body |= {"logprobs": True, "top_logprobs": request.logprobs + more}
        return body | (self._form(request) if self._spec.schema_ else {})

    def _form(self, request: GenerateRequest) -> dict[str, Any]:
        """What makes the engine's grammar hold the answer to a schema or to one of the choices."""
        if request.choices and self.server.kind == "vllm" and _release(self.server.version) >= _CHOOSING:
            return {"structured_outputs": {"choice": list(request.choices)}}
        schema = request.schema or (choice_schema(request.choices) if request.choices else None)
        if schema is None:
            return {}
        form = {"name": "answer", "schema": schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": form}}

    async def _require_room(self, request: GenerateRequest) -> None:
        """Refuse a prompt that is too long, before it is sent.

        A prompt that could be is counted by the server's tokenizer, where it has one for others. Elsewhere
        the server's own refusal tells.

        Raises:
            BackendFault: Prompt and completion are longer than the context.
        """
        context, wanted = self.server.context, request.sampling.max_tokens
        tokens = self._scorer.tokens
        if context is None or tokens is None or _bytes(request.prompt) / _SUSPECT + wanted <= context:
            return
        length = len(await tokens.prompt(request.prompt))
        if length + wanted > context:
            raise self._link.fault(
                f"holds {context} tokens; the prompt is {length} tokens long and the answer may be {wanted}",
                kind="context",
                suggestion="Show less (view, memory `size`), lower `max_tokens`, or serve a longer context.",
            )

    async def _require_whole(self, prompt: tuple[PromptMessage, ...], read: int) -> None:
        """Refuse the answer to a prompt of which the server silently left out a part, as Ollama does.

        Raises:
            BackendFault: It counted fewer tokens than the prompt can have, or does not say its context.
        """
        if self.server.kind != "ollama":
            return
        await self._settle()
        context, size = self.server.context, _bytes(prompt)
        if context is None or read == 0:
            return
        if size > _LONG_TOKENS * read and size > _SUSPECT * context:
            raise self._link.fault(
                f"read {read} tokens of a prompt of {size} bytes: it left out the rest",
                kind="context",
                suggestion=f"Its context is {context} tokens: raise OLLAMA_CONTEXT_LENGTH, or show less.",
            )

    async def _settle(self) -> None:
        """Find out which context answers. What was loaded before the first call may have had another one."""
        async with self._settling:
            if not self._settled:
                self.server = await loaded(self._link, self._spec, self.server)
                self._settled = True

    # --- answers ----------------------------------------------------------------------------------------

    def _completion(self, choice: ChatChoice, request: GenerateRequest) -> Completion:
        text = choice.message.content
        if choice.finish_reason == "content_filter":
            raise self._link.fault("withheld the answer (content filter)")
        if text is None:
            # Out of tokens before the first word: the same would happen again.
            spent = choice.finish_reason == "length"
            raise self._link.fault(
                f"answered without text (finish_reason: {choice.finish_reason})",
                retry=not spent,
                suggestion="It spent all its tokens on thoughts: raise `max_tokens`, or write "
                "`chat_template_kwargs: {enable_thinking: false}` for a model that thinks aloud."
                if spent
                else "If it comes again, see what the server's log says of the request.",
            )
        tokens = choice.logprobs.content if choice.logprobs else None
        if request.logprobs and tokens is None:
            raise self._link.fault(
                "answered without log-probabilities",
                fatal=True,
                suggestion="Write `logprobs: false`, or serve the model with a server that has them.",
            )
        return Completion(
            text=chosen(text, request.choices),
            finish="length" if choice.finish_reason == "length" else "stop",
            logprobs=tuple(
                TokenLogprob(t.token, t.logprob, _best(t.top_logprobs, request.logprobs))
                for t in tokens or ()
            ),
        )


def _draws(request: GenerateRequest) -> int:
    """Completions to ask for. Greedy ones are all the same, and vLLM refuses to write them more than once."""
    return request.sampling.n if request.sampling.temperature > 0 else 1


def _best(alternatives: tuple[Alternative, ...], n: int) -> tuple[tuple[str, float], ...]:
    best = sorted(alternatives, key=lambda a: -a.logprob)[:n]
    return tuple((a.token, a.logprob) for a in best)


def _bytes(prompt: tuple[PromptMessage, ...]) -> int:
    return sum(len(message.text.encode("utf-8", "replace")) for message in prompt)


def _release(version: str) -> tuple[int, ...]:
    """The numbers of a version: (0, 32) of `0.32.0rc1`."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
