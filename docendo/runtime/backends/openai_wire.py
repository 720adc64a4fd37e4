"""The OpenAI protocol, as far as docendo speaks it: what is read of an answer, and small translations.

Only what is used is required, so servers may add and leave out what they like elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import orjson
from pydantic import BaseModel

from docendo.messages import PromptMessage, Usage

__all__ = [
    "SEEDS",
    "Alternative",
    "CachedTokens",
    "Chat",
    "ChatChoice",
    "ChatMessage",
    "Echo",
    "EchoChoice",
    "EchoLogprobs",
    "ServerUsage",
    "Token",
    "TokenLogprobs",
    "choice_schema",
    "chosen",
    "flat_text",
    "public_url",
    "retry_after",
    "said",
]

SEEDS = 2**31
"""Some servers keep 31 bits of a seed and refuse or garble the rest."""


class Alternative(BaseModel):
    """A token and its log-probability."""

    token: str
    logprob: float


class Token(Alternative):
    """A generated token with the best tokens at its place."""

    top_logprobs: tuple[Alternative, ...] = ()


class TokenLogprobs(BaseModel):
    """The tokens of one completion."""

    content: tuple[Token, ...] | None = None


class ChatMessage(BaseModel):
    """What the model said."""

    content: str | None = None


class ChatChoice(BaseModel):
    """One of `n` completions."""

    index: int = 0
    message: ChatMessage
    finish_reason: str | None = None
    logprobs: TokenLogprobs | None = None


class CachedTokens(BaseModel):
    """Part of the prompt that was in the prefix cache."""

    cached_tokens: int | None = None


class ServerUsage(BaseModel):
    """Tokens that the call cost."""

    prompt_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: CachedTokens | None = None

    @property
    def tokens(self) -> Usage:
        """The same in docendo's words."""
        details = self.prompt_tokens_details
        return Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cached_tokens=(details.cached_tokens or 0) if details else 0,
        )


class Chat(BaseModel):
    """The answer of `/chat/completions`."""

    choices: tuple[ChatChoice, ...]
    usage: ServerUsage


class EchoLogprobs(BaseModel):
    """Tokens of prompt and continuation; the first has no log-probability."""

    tokens: tuple[str, ...]
    token_logprobs: tuple[float | None, ...]


class EchoChoice(BaseModel):
    """One echoed prompt."""

    index: int = 0
    logprobs: EchoLogprobs | None = None


class Echo(BaseModel):
    """The answer of `/completions` with `echo`."""

    choices: tuple[EchoChoice, ...]
    usage: ServerUsage


def flat_text(prompt: tuple[PromptMessage, ...]) -> str:
    """The prompt as one text, messages set apart by an empty line; the assistant's last one is left open."""
    text = "\n\n".join(message.text for message in prompt)
    return text if prompt[-1].role == "assistant" else text + "\n\n"


def choice_schema(choices: tuple[str, ...]) -> dict[str, Any]:
    """The JSON schema of an answer that is one of `choices`."""
    return {
        "type": "object",
        "properties": {"choice": {"type": "string", "enum": list(choices)}},
        "required": ["choice"],
        "additionalProperties": False,
    }


def chosen(text: str, choices: tuple[str, ...]) -> str:
    """The choice inside the JSON that was asked for; other text is left to whoever reads the answer."""
    if not choices:
        return text
    try:
        answer = orjson.loads(text)["choice"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return text
    return answer if answer in choices else text


def public_url(url: str) -> str:
    """The address without user, password and query, where secrets hide."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait, from any of the three forms in use; `None` if it does not."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) * unit)
        except (KeyError, ValueError):
            continue
    try:
        return max(0.0, parsedate_to_datetime(headers["retry-after"]).timestamp() - time())
    except (KeyError, TypeError, ValueError):
        return None


def said(status: int, body: object) -> str:
    """What a server's refusal says, without its wrapping and not longer than a terminal's few lines."""
    message = body.get("message") if isinstance(body, Mapping) else body
    return f"answered {status}: {str(message or 'no explanation').strip()[:400]}"
