"""The OpenAI protocol, as far as docendo speaks it: what is read of an answer, and small translations.

Only what is used is required, so servers may add and leave out what they like elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from itertools import groupby
from time import time
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import orjson
from pydantic import BaseModel

from docendo.messages import PromptMessage, Usage

__all__ = [
    "SEEDS", "Alternative", "CachedTokens", "Chat", "ChatChoice", "ChatMessage", "Completed",
    "CompletedChoice", "CompletedLogprobs", "Counted", "Ids", "Probable", "ServerUsage", "Text", "Timings",
    "Token", "TokenLogprobs",
    "chat_messages", "choice_schema", "chosen", "flat_text", "goes_on", "public_url", "retry_after", "said",
]  # fmt: skip


_BETWEEN = "\n\n"

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


class Counted(BaseModel):
    """An answer that says what it cost."""

    @property
    def tells_cache(self) -> bool:
        """It says how much of the prompt was in the cache, be it nothing."""
        return False


class ChatMessage(BaseModel):
    """What the model said."""

    content: str | None = None


class ChatChoice(BaseModel):
    """One of `n` completions."""

    index: int = 0
    message: ChatMessage
    finish_reason: str | None = None
    logprobs: TokenLogprobs | None = None


class Timings(BaseModel):
    """What llama.cpp says of a call's work."""

    cache_n: int | None = None
    """Tokens of the prompt that were in its cache. Older versions do not say."""
    prompt_n: int = 0
    """The others."""
    predicted_n: int = 0


class CachedTokens(BaseModel):
    """Part of the prompt that was in the prefix cache."""

    cached_tokens: int | None = None


class ServerUsage(BaseModel):
    """Tokens that the call cost."""

    prompt_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: CachedTokens | None = None

    @property
    def tells_cache(self) -> bool:
        """It says how much of the prompt was in the cache."""
        return self.prompt_tokens_details is not None and self.prompt_tokens_details.cached_tokens is not None

    @property
    def tokens(self) -> Usage:
        """The same in docendo's words."""
        details = self.prompt_tokens_details
        return Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cached_tokens=(details.cached_tokens or 0) if details else 0,
        )


class Chat(Counted):
    """The answer of `/chat/completions`."""

    choices: tuple[ChatChoice, ...]
    usage: ServerUsage
    timings: Timings | None = None

    @property
    def tokens(self) -> Usage:
        """What the call cost; older llama.cpp tells of its cache in the timings only."""
        usage = self.usage.tokens
        cached = usage.cached_tokens or (self.timings.cache_n if self.timings else 0) or 0
        return usage.model_copy(update={"cached_tokens": cached})

    @property
    def tells_cache(self) -> bool:
        """In either form."""
        return self.usage.tells_cache or (self.timings is not None and self.timings.cache_n is not None)


class CompletedLogprobs(BaseModel):
    """Tokens of one text. Of an echoed prompt the first has no log-probability."""

    tokens: tuple[str, ...] = ()
    token_logprobs: tuple[float | None, ...] = ()
    top_logprobs: tuple[dict[str, float] | None, ...] | None = None
    """Alternatives at each place, by token."""


class CompletedChoice(BaseModel):
    """What became of one prompt."""

    index: int = 0
    logprobs: CompletedLogprobs | None = None


class Completed(Counted):
    """The answer of `/completions`."""

    choices: tuple[CompletedChoice, ...]
    usage: ServerUsage

    @property
    def tells_cache(self) -> bool:
        """In its usage."""
        return self.usage.tells_cache


class Ids(BaseModel):
    """The answer of `/tokenize` (vLLM, llama.cpp)."""

    tokens: tuple[int, ...]


class Text(BaseModel):
    """The answer of `/detokenize` (vLLM) and of `/apply-template` (llama.cpp)."""

    prompt: str


class _Likely(BaseModel):
    """A token by its number."""

    id: int
    logprob: float


class _Place(BaseModel):
    """The likeliest tokens at one place."""

    top_logprobs: tuple[_Likely, ...]


class Probable(Counted):
    """The answer of llama.cpp's `/completion` with `n_probs`."""

    completion_probabilities: tuple[_Place, ...]
    tokens_evaluated: int = 0
    """Tokens of the prompt, cached ones included."""
    timings: Timings = Timings()

    @property
    def tokens(self) -> Usage:
        """What the call cost."""
        cached = self.timings.cache_n or 0
        return Usage(
            prompt_tokens=self.tokens_evaluated or self.timings.prompt_n + cached, cached_tokens=cached
        )

    @property
    def tells_cache(self) -> bool:
        """In its timings."""
        return self.timings.cache_n is not None


def flat_text(prompt: tuple[PromptMessage, ...]) -> str:
    """The prompt as one text, messages set apart by an empty line; the assistant's last one is left open."""
    text = _BETWEEN.join(message.text for message in prompt)
    return text if prompt[-1].role == "assistant" else text + _BETWEEN


def chat_messages(
    prompt: tuple[PromptMessage, ...], *, system: bool = True, alternate: bool = False
) -> list[dict[str, str]]:
    """The prompt as the protocol's messages.

    Args:
        prompt: The prompt.
        system: The template takes system messages; otherwise their texts open the first user message.
        alternate: It wants roles in turn; neighbours of one role then become one message.
    """
    turns: list[tuple[str, str]] = [(m.role, m.text) for m in prompt]
    if not system:
        told = [("user", text) for role, text in turns if role == "system"]
        first = next((i for i, (role, _) in enumerate(turns) if role == "user"), len(turns))
        said_before = [turn for turn in turns[:first] if turn[0] != "system"]
        rest = [turn for turn in turns[first:] if turn[0] != "system"]
        if told and rest:
            told = [("user", _BETWEEN.join([*(text for _, text in told), rest.pop(0)[1]]))]
        turns = [*said_before, *told, *rest]
    if alternate:
        runs = groupby(turns, key=lambda turn: turn[0])
        turns = [(role, _BETWEEN.join(text for _, text in run)) for role, run in runs]
    return [{"role": role, "content": text} for role, text in turns]


def goes_on(prompt: tuple[PromptMessage, ...]) -> dict[str, Any]:
    """What makes the model go on from the assistant's words at the end (llama.cpp does so without)."""
    if prompt[-1].role != "assistant":
        return {}
    return {"continue_final_message": True, "add_generation_prompt": False}


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
