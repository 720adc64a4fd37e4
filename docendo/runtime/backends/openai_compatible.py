"""Any server that speaks the OpenAI chat-completions protocol: vLLM, SGLang, llama.cpp, Ollama, ...

The official client sends; its own retries are off, since `docendo.runtime.client` has the only ones. Answers
are read by small models of our own, so a half-right server is a clear fault and not an `AttributeError`.

Choices are asked as a JSON schema `{"choice": <one of them>}`, the one form that all of these servers know.
Continuations are scored in one of two ways. With `scoring: true`, `/completions` echoes each continuation
after the prompt, with log-probabilities: exact for any length, but the prompt is then plain text, without the
model's chat template, as in few-shot prompts for base models. Otherwise the first token's `top_logprobs` are
read behind the chat template, for continuations of one token; what is not among them is censored.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable
from typing import Any, Literal, TypeVar

import openai
import orjson
from pydantic import ValidationError

from docendo.agents.port import (
    Completion,
    GenerateReply,
    GenerateRequest,
    ScoreReply,
    ScoreRequest,
    TokenLogprob,
)
from docendo.errors import UsageError
from docendo.messages import PromptMessage
from docendo.runtime.backends.base import BackendFault, Capabilities
from docendo.runtime.backends.openai_wire import (
    SEEDS,
    Chat,
    ChatChoice,
    Echo,
    choice_schema,
    chosen,
    flat_text,
    public_url,
    retry_after,
    said,
)
from docendo.runtime.backends.token_scores import single_token_score, tail_score
from docendo.scenarios.environment import resolve_env
from docendo.scenarios.schema import OpenAIModel

__all__ = ["TOP_LOGPROBS", "OpenAIBackend"]

TOP_LOGPROBS = 20
"""Alternatives asked for when the answer's first token is scored: the most that the protocol allows."""

_TOO_LONG = re.compile(
    r"context[ _](length|size|window)|maximum[ _](context|model)|too many tokens|prompt is too long", re.I
)


_Answer = TypeVar("_Answer", Chat, Echo)


class OpenAIBackend:
    """One model behind one server."""

    def __init__(self, spec: OpenAIModel) -> None:
        """Make the backend; nothing is sent and no secret is read before the first call.

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
        self._key_name = spec.api_key.removeprefix("${env:").removesuffix("}")
        self._endpoint = public_url(spec.base_url)
        self._client: openai.AsyncOpenAI | None = None
        self.capabilities = Capabilities(
            scoring=spec.scoring or spec.logprobs,
            seed=spec.seed,
            logprobs=spec.logprobs,
            schema=spec.schema_,
        )
        flags = {
            "seed": spec.seed,
            "logprobs": spec.logprobs,
            "schema": spec.schema_,
            "scoring": spec.scoring,
        }
        identity = {"backend": "openai", "base_url": self._endpoint, "model": spec.model, **flags}
        self._fingerprint = orjson.dumps(identity, option=orjson.OPT_SORT_KEYS).decode()

    @property
    def fingerprint(self) -> str:
        """Endpoint (without credentials), model name and declared abilities."""
        return self._fingerprint

    async def generate(self, request: GenerateRequest) -> GenerateReply:
        """Ask `/chat/completions` once.

        Raises:
            BackendFault: The server refused, broke off, or answered something else.
        """
        create = self._connect().chat.completions.with_raw_response.create
        chat = await self._read(Chat, create(**self._chat_body(request)))
        choices = sorted(chat.choices, key=lambda choice: choice.index)
        completions = tuple(self._completion(choice, request.choices) for choice in choices)
        if len(completions) < request.sampling.n:
            raise self._fault(
                f"answered with {len(completions)} of {request.sampling.n} completions",
                retry=not completions,
                suggestion="Not every server obeys `n`: ask for one sample, or use vLLM or SGLang.",
            )
        return GenerateReply(completions=completions[: request.sampling.n], usage=chat.usage.tokens)

    async def score(self, request: ScoreRequest) -> ScoreReply:
        """Score continuations by echo or by the alternatives of the first token, as the module says.

        Raises:
            BackendFault: As for `generate`; also where a continuation cannot be scored in the way at hand.
        """
        return await (self._score_echo(request) if self._spec.scoring else self._score_first_token(request))

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    # --- requests ---------------------------------------------------------------------------------------

    def _connect(self) -> openai.AsyncOpenAI:
        if self._client is None:
            self._client = openai.AsyncOpenAI(
                api_key=os.environ.get(self._key_name) or "EMPTY",
                base_url=self._spec.base_url,
                timeout=self._spec.timeout,
                max_retries=0,
            )
        return self._client

    def _chat_body(self, request: GenerateRequest) -> dict[str, Any]:
        how = request.sampling
        body = self._messages(request.prompt) | {
            "temperature": how.temperature,
            "top_p": how.top_p,
            "max_tokens": how.max_tokens,
            "n": how.n,
        }
        if how.stop:
            body["stop"] = list(how.stop)
        if self.capabilities.seed:
            body["seed"] = request.seed % SEEDS
        if request.logprobs:
            body |= {"logprobs": True, "top_logprobs": request.logprobs}
        schema = request.schema or (choice_schema(request.choices) if request.choices else None)
        if schema and self.capabilities.schema:
            form = {"name": "answer", "schema": schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        return body

    def _messages(self, prompt: tuple[PromptMessage, ...]) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._spec.model,
            "messages": [{"role": m.role, "content": m.text} for m in prompt],
        }
        if prompt[-1].role == "assistant":
            # The model goes on from this text and opens no new turn (vLLM, SGLang; llama.cpp always does).
            body["extra_body"] = {"continue_final_message": True, "add_generation_prompt": False}
        return body

    async def _score_first_token(self, request: ScoreRequest) -> ScoreReply:
        # Greedy, so that the list holds no sampled token from below the best ones: the floor would be wrong.
        body = self._messages(request.prompt) | {
            "temperature": 0.0,
            "max_tokens": 1,
            "logprobs": True,
            "top_logprobs": TOP_LOGPROBS,
        }
        for continuation in request.continuations:
            if len(continuation.split()) != 1:
                raise self._fault(
                    f"cannot score {continuation!r}: `top_logprobs` reach one token only",
                    retry=False,
                    suggestion="Serve with vLLM and declare `scoring: true`, or score one-word answers.",
                )
        create = self._connect().chat.completions.with_raw_response.create
        chat = await self._read(Chat, create(**body))
        tokens = chat.choices[0].logprobs if chat.choices else None
        if tokens is None or not tokens.content or not tokens.content[0].top_logprobs:
            raise self._fault(
                "answered without `top_logprobs`",
                retry=False,
                suggestion="Declare `logprobs: false`, or serve the model with a server that has them.",
            )
        top = {a.token: a.logprob for a in tokens.content[0].top_logprobs}
        scores = (single_token_score(c, top, request.continuations) for c in request.continuations)
        return ScoreReply(scores=tuple(scores), usage=chat.usage.tokens)

    async def _score_echo(self, request: ScoreRequest) -> ScoreReply:
        prompt = flat_text(request.prompt)
        create = self._connect().completions.with_raw_response.create
        texts = [prompt + continuation for continuation in request.continuations]
        echo = await self._read(
            Echo,
            create(
                model=self._spec.model, prompt=texts, echo=True, logprobs=1, max_tokens=0, temperature=0.0
            ),
        )
        choices = sorted(echo.choices, key=lambda choice: choice.index)
        if len(choices) != len(texts):
            raise self._fault(f"echoed {len(choices)} of {len(texts)} prompts", retry=False)
        scores = []
        for continuation, choice in zip(request.continuations, choices, strict=True):
            echoed = choice.logprobs
            score = tail_score(continuation, echoed.tokens, echoed.token_logprobs) if echoed else None
            if score is None:
                raise self._fault(
                    f"its echo does not show the tokens of {continuation!r}",
                    retry=False,
                    suggestion="Declare `scoring: false`; this server does not echo log-probabilities.",
                )
            scores.append(score)
        return ScoreReply(scores=tuple(scores), usage=echo.usage.tokens)

    # --- answers ----------------------------------------------------------------------------------------

    def _completion(self, choice: ChatChoice, choices: tuple[str, ...]) -> Completion:
        text = choice.message.content
        if choice.finish_reason == "content_filter":
            raise self._fault("withheld the answer (content filter)", retry=False)
        if text is None:
            raise self._fault(
                f"answered without text (finish_reason: {choice.finish_reason})",
                retry=True,
                suggestion="A reasoning model that ran out of tokens does this: raise `max_tokens`.",
            )
        tokens = choice.logprobs.content if choice.logprobs else None
        return Completion(
            text=chosen(text, choices),
            finish="length" if choice.finish_reason == "length" else "stop",
            logprobs=tuple(
                TokenLogprob(t.token, t.logprob, tuple((a.token, a.logprob) for a in t.top_logprobs))
                for t in tokens or ()
            ),
        )

    async def _read(self, form: type[_Answer], call: Awaitable[Any]) -> _Answer:
        try:
            raw = await call
        except openai.APIStatusError as error:
            raise self._refusal(error) from None
        except openai.APITimeoutError:
            raise self._fault(
                f"did not answer within {self._spec.timeout:g} s",
                retry=True,
                kind="timeout",
                suggestion="Raise the model's `timeout`, or lower `max_concurrent` or `max_tokens`.",
            ) from None
        except openai.APIConnectionError as error:
            raise self._broken(error) from None
        try:
            return form.model_validate_json(raw.content)
        except ValidationError as error:
            raise self._unreadable(raw.content, error) from None

    def _unreadable(self, content: bytes, error: ValidationError) -> BackendFault:
        first = error.errors(include_url=False)[0]
        at = ".".join(str(part) for part in first["loc"]) or "the body"
        start = content[:120].decode("utf-8", "replace")
        return self._fault(
            f"answered something that is no chat completion: {at}: {first['msg']}; it begins {start!r}",
            retry=at != "usage",
            suggestion="The server must report token usage."
            if at == "usage"
            else f"Is `{self._endpoint}` an OpenAI-compatible address? It usually ends in /v1.",
        )

    def _broken(self, error: openai.APIConnectionError) -> BackendFault:
        """The connection failed: at once (nobody listens), or half way."""
        cause = error.__cause__
        detail = str(cause) or type(cause).__name__
        if type(cause).__name__ in {"ConnectError", "UnsupportedProtocol", "ProxyError"}:
            return self._fault(
                f"cannot be reached: {detail}",
                retry=True,
                fatal=True,
                suggestion=f"Is the server running, and is `{self._endpoint}` its address?",
            )
        return self._fault(f"broke off: {detail}", retry=True)

    def _refusal(self, error: openai.APIStatusError) -> BackendFault:
        """A status of 400 and above, sorted by what helps."""
        status = error.status_code
        message = said(status, error.body)
        if status in {401, 403}:
            state = "is set" if os.environ.get(self._key_name) else "is not set"
            hint = f"The environment variable {self._key_name}, which holds the key, {state}."
            return self._fault(message, retry=False, fatal=True, suggestion=hint)
        if status == 404:
            hint = f"See {self._endpoint}/models for what the server knows as a model's name."
            return self._fault(message, retry=False, fatal=True, suggestion=hint)
        if error.code == "insufficient_quota":
            return self._fault(message, retry=False, fatal=True, suggestion="The account's quota is spent.")
        if error.code == "context_length_exceeded" or (
            status in {400, 413, 422} and _TOO_LONG.search(message)
        ):
            hint = "Show less (view, memory `size`), lower `max_tokens`, or serve a longer context."
            return self._fault(message, retry=False, kind="context", suggestion=hint)
        passing = status in {408, 409, 425, 429} or status >= 500
        after = retry_after(error.response.headers) if passing else None
        return self._fault(message, retry=passing, after=after)

    def _fault(
        self,
        message: str,
        *,
        retry: bool,
        after: float | None = None,
        fatal: bool = False,
        kind: Literal["model", "timeout", "context"] = "model",
        suggestion: str = "",
    ) -> BackendFault:
        """A fault that names the endpoint and never shows the key, which servers like to repeat."""
        key = os.environ.get(self._key_name)
        text = f"`{self._spec.model}` at {self._endpoint} {message}"
        text = text.replace(key, "***") if key else text
        return BackendFault(text, retry=retry, after=after, fatal=fatal, kind=kind, suggestion=suggestion)
