"""The line to one server: sends requests, and turns whatever goes wrong into faults that say what to do.

The official client sends; its own retries are off, since `docendo.runtime.client` has the only ones. Answers
are read by small models of our own, so a half-right server is a clear fault and not an `AttributeError`.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Coroutine, Mapping
from typing import Any, Literal, TypeVar

import openai
import orjson
from openai import HttpxBinaryResponseContent as Bytes
from pydantic import BaseModel, ValidationError

from docendo.errors import did_you_mean
from docendo.runtime.backends.base import BackendFault
from docendo.runtime.backends.openai_wire import Counted, public_url, retry_after, said
from docendo.scenarios.schema import OpenAIModel

__all__ = ["Gone", "Link"]

_TOO_LONG = re.compile(
    r"context[ _](length|size|window)|maximum[ _](context|model)|max_model_len|too many tokens"
    r"|prompt is too long",
    re.I,
)
_TEMPLATE = re.compile(r"chat[ _]template|roles must alternate|system role|jinja|TemplateError", re.I)
_OTHER_TEMPLATE = (
    "The server has no chat template, or one that does not take these messages: serve the model with a "
    "fitting one (vLLM: --chat-template FILE; llama.cpp: --jinja --chat-template-file FILE)."
)
_FIRST_LOOK = 10.0
"""Seconds that a server may take to say what it is."""

_Answer = TypeVar("_Answer", bound=BaseModel)
_T = TypeVar("_T")


class Gone(BackendFault):
    """The server has gone, or what stands before it says so: whatever answers next may be another one."""


class Link:
    """One model's server."""

    def __init__(self, spec: OpenAIModel) -> None:
        """Make the link; nothing is sent and no secret is read before the first request.

        Args:
            spec: With references to the environment resolved in `model` and `base_url`.
        """
        self._spec = spec
        self._key_name = spec.api_key.removeprefix("${env:").removesuffix("}")
        self.endpoint = public_url(spec.base_url)
        """The address without secrets."""
        self.root = spec.base_url.rstrip("/").removesuffix("/v1")
        """Where servers keep what is not of the OpenAI protocol."""
        self.served: tuple[str, ...] = ()
        """Names of the models that the server knows, once it was asked."""
        self.told_cache = False
        """An answer has said how much of its prompt was in a cache."""
        self._client: openai.AsyncOpenAI | None = None
        self._under_way: set[asyncio.Task[Bytes]] = set()

    async def post(self, path: str, body: Mapping[str, Any], form: type[_Answer]) -> _Answer:
        """Send a request and read its answer.

        Args:
            path: Behind the base address, or a whole address.
            body: JSON.
            form: What is read of the answer.

        Raises:
            BackendFault: The server refused, broke off, or answered something else.
        """
        try:
            raw = await self._sent(self._connect().post(path, cast_to=Bytes, body=dict(body)))
        except openai.OpenAIError as error:
            raise self._fault_of(error, self._spec.timeout) from None
        try:
            answer = form.model_validate_json(raw.content)
        except ValidationError as error:
            raise self._unreadable(raw.content, error) from None
        self.told_cache |= isinstance(answer, Counted) and answer.tells_cache
        return answer

    async def look(self, path: str) -> Any:
        """What a GET finds, as JSON; `None` where there is no such page, or no JSON on it.

        Raises:
            BackendFault: Nobody answers, or the server refuses whoever asks.
        """
        timeout = min(_FIRST_LOOK, self._spec.timeout)
        try:
            raw = await self._sent(self._connect().get(path, cast_to=Bytes, options={"timeout": timeout}))
        except openai.APIStatusError as error:
            if error.status_code in {401, 429, 502, 503}:
                raise self._fault_of(error, timeout) from None
            return None
        except openai.OpenAIError as error:
            raise self._fault_of(error, timeout) from None
        try:
            return orjson.loads(raw.content)
        except orjson.JSONDecodeError:
            return None

    async def close(self) -> None:
        """Take back what is under way, and close the connections."""
        for task in (tasks := list(self._under_way)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.close()
            self._client = None

    def fault(
        self,
        message: str,
        *,
        retry: bool = False,
        after: float | None = None,
        fatal: bool = False,
        busy: bool = False,
        gone: bool = False,
        kind: Literal["model", "timeout", "context"] = "model",
        suggestion: str = "",
    ) -> BackendFault:
        """A fault that names the endpoint and never shows the key, which servers like to repeat."""
        key = os.environ.get(self._key_name)
        text = f"`{self._spec.model}` at {self.endpoint} {message}"
        text = text.replace(key, "***") if key else text
        return (Gone if gone else BackendFault)(
            text, retry=retry, after=after, fatal=fatal, busy=busy, kind=kind, suggestion=suggestion
        )

    async def _sent(self, sending: Coroutine[Any, Any, Bytes]) -> Bytes:
        """What comes of a request.

        Raises:
            BackendFault: The line was closed meanwhile.
            openai.OpenAIError: It failed.
        """
        task = asyncio.create_task(sending)
        self._under_way.add(task)
        try:
            return await self.outcome(task)
        finally:
            self._under_way.discard(task)

    async def outcome(self, work: Awaitable[_T]) -> _T:
        """What comes of work on this line that `close` cancels.

        Raises:
            BackendFault: The line was closed meanwhile.
        """
        try:
            return await work
        except asyncio.CancelledError:
            own = asyncio.current_task()
            if own is not None and own.cancelling():  # whoever asks has been cancelled, not the work alone
                raise
            raise self.fault("was left before it had answered", fatal=True) from None

    def _connect(self) -> openai.AsyncOpenAI:
        if self._client is None:
            self._client = openai.AsyncOpenAI(
                api_key=os.environ.get(self._key_name) or "EMPTY",
                base_url=self._spec.base_url,
                timeout=self._spec.timeout,
                max_retries=0,
            )
        return self._client

    # --- faults -----------------------------------------------------------------------------------------

    def _fault_of(self, error: openai.OpenAIError, timeout: float) -> BackendFault:
        if isinstance(error, openai.APIStatusError):
            return self._refusal(error)
        if isinstance(error, openai.APITimeoutError):
            return self.fault(
                f"did not answer within {timeout:g} s",
                retry=True,
                kind="timeout",
                suggestion="Raise the model's `timeout`, or lower `max_concurrent` or `max_tokens`.",
            )
        return self._broken(error)

    def _broken(self, error: openai.OpenAIError) -> BackendFault:
        """The connection failed: at once (nobody listens), or half way."""
        cause = error.__cause__ or error
        detail = str(cause) or type(cause).__name__
        if type(cause).__name__ in {"ConnectError", "UnsupportedProtocol", "ProxyError"}:
            return self.fault(
                f"cannot be reached: {detail}",
                retry=True,
                fatal=True,
                gone=True,
                suggestion=f"Is the server running, and is `{self.endpoint}` its address?",
            )
        return self.fault(f"broke off: {detail}", retry=True, gone=True)

    def _refusal(self, error: openai.APIStatusError) -> BackendFault:
        """A status of 400 and above, sorted by what helps."""
        status = error.status_code
        message = said(status, error.body)
        if status in {401, 403}:
            state = "is set" if os.environ.get(self._key_name) else "is not set"
            hint = f"The environment variable {self._key_name}, which holds the key, {state}."
            return self.fault(message, fatal=True, suggestion=hint)
        if status == 404:
            return self.fault(message, fatal=True, suggestion=self.known_names())
        if error.code == "insufficient_quota":
            return self.fault(message, fatal=True, suggestion="The account's quota is spent.")
        if error.code == "context_length_exceeded" or (
            status in {400, 413, 422} and _TOO_LONG.search(message)
        ):
            hint = "Show less (view, memory `size`), lower `max_tokens`, or serve a longer context."
            return self.fault(message, kind="context", suggestion=hint)
        if status in {400, 422} and _TEMPLATE.search(message):
            return self.fault(message, fatal=True, suggestion=_OTHER_TEMPLATE)
        passing = status in {408, 409, 425, 429} or status >= 500
        return self.fault(
            message,
            retry=passing,
            after=retry_after(error.response.headers) if passing else None,
            busy=status in {429, 502, 503},
            gone=status in {502, 503},
            kind="timeout" if status in {408, 504} else "model",
        )

    def known_names(self) -> str:
        """What to write as the model's name."""
        return (
            did_you_mean(self._spec.model, self.served)
            or f"See {self.endpoint}/models for what the server knows as a model's name."
        )

    def _unreadable(self, content: bytes, error: ValidationError) -> BackendFault:
        first = error.errors(include_url=False)[0]
        at = ".".join(str(part) for part in first["loc"]) or "the body"
        start = content[:120].decode("utf-8", "replace")
        return self.fault(
            f"answered something that is no chat completion: {at}: {first['msg']}; it begins {start!r}",
            retry=at != "usage",
            suggestion="The server must report token usage."
            if at == "usage"
            else f"Is `{self.endpoint}` an OpenAI-compatible address? It usually ends in /v1.",
        )
