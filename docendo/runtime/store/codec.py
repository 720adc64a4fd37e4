"""JSON text for columns: fast on the usual path, and never a reason to lose a run.

A model can emit half of a surrogate pair, which no UTF-8 text can hold. Such a character is stored as
U+FFFD instead of failing the transaction that carries it. NaN and infinity become `null`, as in all JSON.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson
from pydantic_core import PydanticSerializationError

from docendo.events import Event, EventBase, event_adapter
from docendo.messages import PromptMessage, Span

__all__ = ["decode", "decode_event", "decode_message", "encode", "encode_event", "encode_message"]

_EVENT_COLUMNS = {"kind", "agent", "act", "turn", "branch", "n"}


def encode(value: Any) -> str:
    """`value` as JSON text, keys in their order.

    Raises:
        TypeError: It holds something that JSON cannot.
    """
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return orjson.dumps(_clean(value), option=orjson.OPT_NON_STR_KEYS).decode()


def decode(text: str) -> Any:
    """The value that `encode` wrote."""
    return orjson.loads(text)


def encode_event(event: EventBase) -> str:
    """The part of an event that has no column of its own."""
    try:
        return event.model_dump_json(exclude=_EVENT_COLUMNS)
    except PydanticSerializationError:
        return encode(event.model_dump(exclude=_EVENT_COLUMNS))


def decode_event(columns: Mapping[str, Any], payload: str) -> Event:
    """The event again."""
    return event_adapter.validate_python({**columns, **orjson.loads(payload)})


@lru_cache(maxsize=1024)  # prompts begin alike, and are asked about twice: for an answer, and for its score
def encode_message(message: PromptMessage) -> tuple[str, str]:
    """A prompt message as (address, body). Equal messages have equal addresses."""
    body = encode([message.role, [list(span) for span in message.spans]])
    return hashlib.blake2b(body.encode(), digest_size=16).hexdigest(), body


def decode_message(body: str) -> PromptMessage:
    """The prompt message again, with the provenance of every span."""
    role, spans = orjson.loads(body)
    return PromptMessage(role=role, spans=tuple(Span(*span) for span in spans))


def _clean(value: Any) -> Any:
    """`value` with every string made writable as UTF-8."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {_clean(k): _clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(v) for v in value]
    return value
