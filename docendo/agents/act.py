"""Acts: what an agent can do in a node of a graph.

An `Act` is a registered unit: a role, a name, the artefacts that it reads by default, the kind of message
that it makes, a typed output, and either a prompt template (a model is asked) or a plain function of the
view (nobody is asked). `perform` is the one way to do any of them: build the prompt from the view, ask,
read the typed output, ask once more if it does not fit, give up as a typed failure after that.

Another package adds acts by calling `ACTS.add` in a module that its entry point names.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

from pydantic import ValidationError

from docendo.agents.payload import Payload
from docendo.agents.port import Completion, GenerateReply, GenerateRequest, ModelPort, Origin, Sampling
from docendo.agents.prompt import PromptTemplate
from docendo.agents.view import View
from docendo.errors import EpisodeFailure, Where
from docendo.messages import Kind, PromptMessage, Role, Span, Usage
from docendo.registry import Registry

__all__ = ["ACTS", "Act", "Ask", "Performed", "Unreadable", "acts_of", "perform"]


class Unreadable(ValueError):
    """A completion that the act cannot read; the message tells the model what is wanted."""


@dataclass(frozen=True, kw_only=True)
class Act:
    """One thing that agents of a role can do."""

    role: Role
    name: str
    says: Kind
    reads: frozenset[str]
    """Artefacts that the act reads unless the scenario's `view:` says otherwise."""
    output: type[Payload]
    description: str
    template: str = ""
    """Built-in template file; empty where no model is asked."""
    read: Callable[[str, View], Payload] | None = None
    """Free text -> payload; raises `Unreadable`. `None`: the model must answer in JSON after `output`."""
    unread: Callable[[str, View], Payload] | None = None
    """What text means that `read` cannot read, not even after a repair; `None`: the episode fails."""
    schema: Callable[[View], dict[str, Any]] | None = None
    """For a `read` that wants JSON: its schema, where that depends on the view."""
    do: Callable[[View], Payload | None] | None = None
    """For acts that ask no model; or, with a template, none where this already knows (`None`: ask)."""
    to: Literal["all", "self"] | Role = "all"
    """Who may read the message: everybody, the agent itself, or besides it the agents of one role."""

    @property
    def key(self) -> str:
        """`role.name`, as registered."""
        return f"{self.role}.{self.name}"


ACTS: Registry[Act] = Registry("act")


def acts_of(role: Role) -> dict[str, Act]:
    """The acts that agents of `role` can do, by name."""
    return {ACTS.get(key).name: ACTS.get(key) for key in ACTS.names() if ACTS.get(key).role == role}


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Everything beside the view that asking a model takes."""

    port: ModelPort
    model: str
    sampling: Sampling
    seed: int
    origin: Origin
    template: PromptTemplate | None = None


@dataclass(frozen=True, kw_only=True)
class Performed:
    """What an act came to."""

    text: str
    payload: Payload
    replies: tuple[GenerateReply, ...] = ()
    """One per model call: the second, if any, is the repair."""
    prompt: tuple[PromptMessage, ...] = ()
    mind: dict[str, Any] | None = None
    usage: Usage = field(default_factory=Usage)

    @property
    def completion(self) -> Completion | None:
        """The completion that was read."""
        return self.replies[-1].completions[0] if self.replies else None


async def perform(act: Act, view: View, ask: Ask) -> Performed:
    """Do `act`.

    Raises:
        EpisodeFailure: The model failed, or its output did not fit after one repair (`parse`).
    """
    if act.do is not None and (known := act.do(view)) is not None:
        return Performed(text=_said(known), payload=known)
    if ask.template is None:
        raise EpisodeFailure("crash", f"act `{act.key}` has neither a template nor a function")
    prompt = ask.template.render(view)
    schema = act.schema(view) if act.schema else None if act.read else _schema(act.output)
    request = GenerateRequest(
        model=ask.model,
        prompt=prompt,
        view=view,
        sampling=ask.sampling,
        seed=ask.seed,
        schema=schema,
        origin=ask.origin,
    )
    first = await ask.port.generate(request)
    try:
        return _performed(act, view, prompt, (first,))
    except Unreadable as problem:
        again = replace(request, prompt=prompt + _repair(first.text, str(problem)))
        second = await ask.port.generate(again)
    try:
        return _performed(act, view, prompt, (first, second))
    except Unreadable as problem:
        if act.unread is not None:
            return _performed(replace(act, read=act.unread), view, prompt, (first, second))
        raise EpisodeFailure(
            "parse",
            f"`{ask.model}` gave no usable output for `{act.key}`, nor after one repair: {problem}",
            suggestion="Read the two calls in the trace; a stronger model, a schema-capable backend or a "
            "plainer prompt helps.",
            where=Where(agent=view.agent, act=act.name, turn=ask.origin.turn),
        ) from problem


@lru_cache(maxsize=256)
def _schema(output: type[Payload]) -> dict[str, Any]:
    """The JSON schema of a payload; pydantic makes it anew each time that it is asked."""
    return output.model_json_schema()


def _performed(
    act: Act, view: View, prompt: tuple[PromptMessage, ...], replies: tuple[GenerateReply, ...]
) -> Performed:
    last = replies[-1]
    payload = act.read(last.text, view) if act.read else _from_json(act.output, last.text)
    usage = replies[0].usage if len(replies) == 1 else replies[0].usage + replies[1].usage
    return Performed(
        text=last.text.strip() if act.read and not _speaks(act, payload) else _said(payload),
        payload=payload,
        replies=replies,
        prompt=prompt,
        mind=last.completions[0].mind,
        usage=usage,
    )


def _speaks(act: Act, payload: Payload) -> bool:
    """Whether the payload holds the words to say, so that the completion is not said as it stands."""
    return act.schema is not None or hasattr(payload, "text")


def _from_json(output: type[Payload], text: str) -> Payload:
    """The payload in `text`, which may stand in a code fence or between words."""
    start, end = text.find("{"), text.rfind("}")
    try:
        return output.model_validate(json.loads(text[start : end + 1]))
    except (json.JSONDecodeError, ValidationError) as error:
        fields = ", ".join(f"`{name}`" for name in output.model_fields)
        raise Unreadable(f"Answer with one JSON object with the fields {fields} and nothing else.") from error


def _said(payload: Payload) -> str:
    """The words of a payload: its text or explanation if it has one, else its JSON."""
    words = getattr(payload, "text", None)
    if isinstance(words, str):
        return words
    explanation = getattr(payload, "explanation", "")
    return (
        explanation
        if isinstance(explanation, str) and explanation
        else payload.model_dump_json(exclude_none=True)
    )


def _repair(text: str, problem: str) -> tuple[PromptMessage, ...]:
    return (
        PromptMessage("assistant", (Span(text or "(no text)", "own", "repair"),)),
        PromptMessage("user", (Span(problem),)),
    )
