"""The journal: every call to a model and its answer, under a key made of the call's content.

A call's key is a hash of all that can change the answer and of nothing else, so equal questions share one
answer whatever condition asks them, and a replicate, whose seed differs, never does. What was answered
last time is served again: resume, replay and the sharing of calls in a grid are this one lookup. Calls
that failed are recorded too, so that a replayed run fails where the first one did. Replies are plain JSON
on disk, with exact floats (infinities as text, which JSON lacks), and are served the first time as they
will read later (`settle`), so that no run can tell a fresh answer from a recorded one.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

import orjson

from docendo.agents.port import (
    Completion,
    ContinuationScore,
    GenerateReply,
    GenerateRequest,
    ScoreReply,
    ScoreRequest,
    TokenLogprob,
)
from docendo.agents.view import View
from docendo.messages import PromptMessage, Usage
from docendo.runtime.backends.base import Capabilities
from docendo.runtime.store.records import CallRecord, CallResult

__all__ = [
    "KEY_VERSION",
    "CallStore",
    "Entry",
    "Failure",
    "Journal",
    "MemoryJournal",
    "Recorded",
    "StoreJournal",
    "call_key",
    "call_parameters",
    "decode_reply",
    "encode_reply",
    "settle",
]

KEY_VERSION = 1
"""Version of what enters a key. Raising it forgets every recorded answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A call that failed for good: after its retries, or for a reason that no retry mends."""

    kind: Literal["model", "timeout", "context"]
    message: str
    suggestion: str = ""
    attempts: int = 1


Recorded = GenerateReply | ScoreReply | Failure
"""What the journal knows of a call: its answer, or its failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One call as it is written down."""

    key: str
    operation: Literal["generate", "score"]
    model: str
    """The model's name in the scenario."""
    fingerprint: str
    """The backend's identity at the time of the call."""
    prompt: tuple[PromptMessage, ...]
    """As spans, which say where every piece of text came from."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """The rest of the request, see `call_parameters`."""
    recorded: Recorded
    latency: float = 0.0
    """Seconds that the last attempt took."""


class Journal(Protocol):
    """Where recorded calls live. `put` replaces what is there, which is how a failure is retried."""

    def get(self, key: str) -> Recorded | None:
        """What is known of this call; `None` if it was never made."""
        ...

    def put(self, entry: Entry) -> None:
        """Write a call down.

        Raises:
            StoreError: It could not be written; the run must stop.
        """
        ...


class MemoryJournal:
    """A journal for as long as the process lives."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        """Key -> call, in the order of writing."""

    def get(self, key: str) -> Recorded | None:
        """What is known of this call; `None` if it was never made."""
        entry = self.entries.get(key)
        return entry.recorded if entry else None

    def put(self, entry: Entry) -> None:
        """Remember a call."""
        self.entries[entry.key] = entry


class CallStore(Protocol):
    """The part of the store that a journal needs."""

    def get_call(self, key: str) -> CallResult | None:
        """The recorded result of a call, if there is one."""
        ...

    def put_call(self, record: CallRecord) -> None:
        """Write a call, in place of an earlier one with this key."""
        ...


class StoreJournal:
    """The journal in the store."""

    def __init__(self, store: CallStore) -> None:
        self._store = store

    def get(self, key: str) -> Recorded | None:
        """What is known of this call; `None` if it was never made."""
        result = self._store.get_call(key)
        if result is None:
            return None
        if result.error is not None:
            return Failure(**result.error)
        return decode_reply(result.reply or {})

    def put(self, entry: Entry) -> None:
        """Write a call down.

        Raises:
            StoreError: It could not be written; the run must stop.
        """
        recorded = entry.recorded
        if isinstance(recorded, Failure):
            result = CallResult(error=asdict(recorded), latency_s=entry.latency)
        else:
            reply = encode_reply(recorded)
            result = CallResult(reply=reply, usage=recorded.usage, latency_s=entry.latency)
        self._store.put_call(
            CallRecord(
                key=entry.key,
                fingerprint=entry.fingerprint,
                operation=entry.operation,
                prompt=entry.prompt,
                request={"model": entry.model, **entry.parameters},
                result=result,
            )
        )


# --- keys -----------------------------------------------------------------------------------------------


def call_key(request: GenerateRequest | ScoreRequest, fingerprint: str, capabilities: Capabilities) -> str:
    """SHA-256 (hex) of everything about a call that can change its answer.

    That is the backend's identity, roles and texts of the messages, sampling, schema, choices, alternatives
    per token, continuations, and the seed unless the call is greedy on a deterministic backend. The typed
    view enters only where the backend reads it. Who asks (`request.origin`) and where a span came from stay
    out.
    """
    content: list[Any] = [KEY_VERSION, fingerprint, [(m.role, m.text) for m in request.prompt]]
    greedy = True
    if isinstance(request, ScoreRequest):
        content += ["score", request.continuations]
    else:
        how = request.sampling
        greedy = how.temperature == 0
        content += [
            "generate",
            [float(how.temperature), float(how.top_p), how.max_tokens, how.stop, how.n],
            # Unsorted, as text: constrained decoding writes the properties in the schema's own order.
            None if request.schema is None else orjson.dumps(request.schema).decode(),
            request.choices,
            request.logprobs,
        ]
    content.append(None if greedy and capabilities.deterministic else request.seed)
    content.append(_view_content(request.view) if capabilities.reads_view else None)
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _view_content(view: View) -> dict[str, Any]:
    """The view without the tokens that its messages cost, which are no information.

    The reader's name stays in: a simulated agent that keeps no state of mind has the one its name draws.
    """
    content = view.model_dump(mode="json")
    for message in content["messages"]:
        del message["usage"]
    return content


def call_parameters(request: GenerateRequest | ScoreRequest) -> dict[str, Any]:
    """The request as plain data, without its prompt and view: what is recorded for the reader."""
    if isinstance(request, ScoreRequest):
        return {"continuations": list(request.continuations), "seed": request.seed}
    how = request.sampling
    parameters: dict[str, Any] = {
        "temperature": how.temperature,
        "top_p": how.top_p,
        "max_tokens": how.max_tokens,
        "n": how.n,
        "seed": request.seed,
    }
    if how.stop:
        parameters["stop"] = list(how.stop)
    if request.schema is not None:
        parameters["schema"] = request.schema
    if request.choices:
        parameters["choices"] = list(request.choices)
    if request.logprobs:
        parameters["logprobs"] = request.logprobs
    return parameters


# --- replies as JSON ------------------------------------------------------------------------------------


def encode_reply(reply: GenerateReply | ScoreReply) -> dict[str, Any]:
    """The reply as JSON data, without `key` and `cached`, which belong to one serving of it."""
    usage = {**vars(reply.usage)}
    if isinstance(reply, ScoreReply):
        scores = [
            {"logprobs": [_number(x) for x in s.logprobs], "censored": s.censored} for s in reply.scores
        ]
        return {"scores": scores, "usage": usage}
    return {"completions": [_encode_completion(c) for c in reply.completions], "usage": usage}


def decode_reply(data: Mapping[str, Any]) -> GenerateReply | ScoreReply:
    """The inverse of `encode_reply`."""
    usage = Usage(**data["usage"])
    if "scores" in data:
        scores = (
            ContinuationScore(logprobs=tuple(float(x) for x in s["logprobs"]), censored=s["censored"])
            for s in data["scores"]
        )
        return ScoreReply(scores=tuple(scores), usage=usage)
    return GenerateReply(completions=tuple(_decode_completion(c) for c in data["completions"]), usage=usage)


def settle(reply: GenerateReply | ScoreReply) -> GenerateReply | ScoreReply:
    """The reply as the journal will serve it: tuples in a mind are lists, its keys sorted, text is UTF-8."""
    data = encode_reply(reply)
    try:
        text: str | bytes = orjson.dumps(data, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    except TypeError:  # Half a surrogate pair, which a model can emit and no UTF-8 text can hold.
        loose = json.dumps(data, ensure_ascii=False, sort_keys=True)
        text = loose.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return decode_reply(orjson.loads(text))


def _encode_completion(completion: Completion) -> dict[str, Any]:
    data: dict[str, Any] = {"text": completion.text, "finish": completion.finish}
    if completion.logprobs:
        data["logprobs"] = [
            [t.token, _number(t.logprob), [[name, _number(x)] for name, x in t.top]]
            for t in completion.logprobs
        ]
    if completion.mind is not None:
        data["mind"] = completion.mind
    return data


def _decode_completion(data: Mapping[str, Any]) -> Completion:
    logprobs = (
        TokenLogprob(token, float(logprob), tuple((name, float(x)) for name, x in top))
        for token, logprob, top in data.get("logprobs", ())
    )
    return Completion(
        text=data["text"], finish=data["finish"], logprobs=tuple(logprobs), mind=data.get("mind")
    )


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
