"""What an agent saw and what it said, to the letter: every call of an episode, from the journal."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from docendo.events import CallEvent, Event, MessageEvent
from docendo.messages import PromptMessage, Usage
from docendo.runtime.backends.openai_wire import SEEDS, choice_schema, public_url
from docendo.runtime.store.records import CallRecord, EpisodeRecord
from docendo.runtime.viewer.episode_models import Answer, CallPage, CallsPage, PromptText
from docendo.runtime.viewer.episodes import episode_at
from docendo.runtime.viewer.facts import typed
from docendo.runtime.viewer.library import Library

__all__ = ["calls_page"]


def calls_page(library: Library, reference: str, condition: str, replicate: int, ordinal: int) -> CallsPage:
    """All calls of an episode in the order in which it made them; equal prompt messages stand once.

    Raises:
        UnknownNameError: There is no such episode.
    """
    design, record = episode_at(library, reference, condition, replicate, ordinal)
    events = [typed(raw) for raw in library.store.browse.events([record.id])[record.id]]
    made = [(index, event) for index, event in enumerate(events) if isinstance(event, CallEvent)]
    known = library.store.calls(event.key for _, event in made)
    shared = _shared(library, record)
    models = design.condition(condition).scenario.get("models") or {}
    texts: dict[str, PromptText] = {}
    calls = [
        _call(index, event, known.get(event.key), events, shared, models.get(event.model) or {}, texts)
        for index, event in made
    ]
    return CallsPage(calls=calls, texts=texts)


def _shared(library: Library, record: EpisodeRecord) -> Mapping[str, list[str]]:
    """Key -> other conditions whose same episode made this very call."""
    browse = library.store.browse
    others = browse.partners(record)
    calls = browse.events([other.id for other in others], ["call"])
    found: dict[str, list[str]] = {}
    for other in others:
        for key in dict.fromkeys(raw.payload["key"] for raw in calls[other.id]):
            found.setdefault(key, []).append(other.lesson.condition)
    return found


def _call(
    index: int,
    event: CallEvent,
    record: CallRecord | None,
    events: Sequence[Event],
    shared: Mapping[str, list[str]],
    model: Mapping[str, Any],
    texts: dict[str, PromptText],
) -> CallPage:
    said = _said(index, event, events)
    message = events[said] if said is not None else None
    result = record.result if record else None
    reply = (result.reply if result else None) or {}
    prompt = record.prompt if record else ()
    request = dict(record.request) if record else {}
    return CallPage(
        key=event.key,
        event=index,
        said=said,
        turn=event.turn,
        branch=event.branch,
        agent=event.agent,
        act=event.act,
        model=event.model,
        fingerprint=record.fingerprint if record else "",
        operation=event.operation,
        purpose=event.purpose,
        request=request,
        prompt=_addressed(prompt, texts),
        completions=[Answer(**_completion(c)) for c in reply.get("completions") or ()],
        scores=list(reply.get("scores") or ()),
        error=result.error if result else ({"message": event.error} if event.error else None),
        usage=result.usage if result else Usage(),
        latency_s=result.latency_s if result else 0.0,
        created_at=record.created_at if record else None,
        shared=shared.get(event.key, []),
        parsed=message.message.payload if isinstance(message, MessageEvent) else None,
        curl=_curl(model, prompt, request) if event.operation == "generate" and record else None,
        recorded=record is not None,
    )


def _said(index: int, event: CallEvent, events: Sequence[Event]) -> int | None:
    """The message that was made of a call: the next one of the same act."""
    for place in range(index + 1, len(events)):
        other = events[place]
        if (other.turn, other.branch) != (event.turn, event.branch):
            return None
        if isinstance(other, MessageEvent) and (other.agent, other.act) == (event.agent, event.act):
            return place
    return None


def _completion(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in ("text", "finish", "logprobs", "mind") if data.get(name) is not None}


def _addressed(prompt: Iterable[PromptMessage], texts: dict[str, PromptText]) -> list[str]:
    """Addresses of a prompt's messages, which are added to `texts`."""
    addresses = []
    for message in prompt:
        spans = [(span.text, span.provenance, span.source) for span in message.spans]
        body = json.dumps([message.role, spans], ensure_ascii=True, separators=(",", ":"))
        address = hashlib.blake2b(body.encode(), digest_size=8).hexdigest()
        texts.setdefault(address, PromptText(role=message.role, spans=spans))
        addresses.append(address)
    return addresses


def _curl(
    model: Mapping[str, Any], prompt: Sequence[PromptMessage], request: Mapping[str, Any]
) -> str | None:
    """The call as a command for the server that was asked, with the body that it was sent.

    A key is never recorded, so the command takes it from the environment as the run did.
    """
    if model.get("backend") != "openai" or not prompt:
        return None
    body: dict[str, Any] = {
        "model": model.get("model"),
        "messages": [{"role": message.role, "content": message.text} for message in prompt],
    }
    plain = ("temperature", "top_p", "max_tokens", "n", "stop")
    body |= {name: request[name] for name in plain if name in request}
    if model.get("seed", True) and "seed" in request:
        body["seed"] = request["seed"] % SEEDS
    if request.get("logprobs"):
        body |= {"logprobs": True, "top_logprobs": request["logprobs"]}
    choices = tuple(request.get("choices") or ())
    schema = request.get("schema") or (choice_schema(choices) if choices else None)
    if schema and model.get("schema", True):
        form = {"name": "answer", "schema": schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    if prompt[-1].role == "assistant":
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    named = re.fullmatch(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}", str(model.get("api_key") or ""))
    key = named[1] if named else "OPENAI_API_KEY"
    address = shlex.quote(f"{public_url(str(model.get('base_url')))}/chat/completions")
    headers = f"-H 'Content-Type: application/json' -H \"Authorization: Bearer ${{{key}}}\""
    return f"curl -s {address} {headers} -d {shlex.quote(json.dumps(body, ensure_ascii=False))}"
