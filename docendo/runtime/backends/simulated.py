"""The simulated backend: minds that answer instead of a language model, with no weights and no network.

It reads the request's typed view, and of the prompt nothing: both hold the same. The mind that the spec
names does the act; from what comes of it, this module makes completions (drawn at the sampling temperature
from hashes of the call's seed, so every call is repeatable), JSON where a schema is asked for, and scores.
Tokens are words. It is constructed with the answer key, the world behind the minds
(`docendo.runtime.minds.mind`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import orjson

from docendo.agents.port import (
    Completion,
    ContinuationScore,
    GenerateReply,
    GenerateRequest,
    ScoreReply,
    ScoreRequest,
)  # fmt: skip
from docendo.agents.view import View
from docendo.errors import did_you_mean
from docendo.messages import PromptMessage, Usage
from docendo.runtime.backends.base import Backend, BackendFault, Capabilities
from docendo.runtime.minds.draws import choose, derive
from docendo.runtime.minds.expert import ExpertMind
from docendo.runtime.minds.mind import Attempt, Mind, MindFault, Said
from docendo.runtime.minds.parrot import ParrotMind
from docendo.runtime.minds.population import MindModel, new_mind
from docendo.runtime.minds.procedural import ProceduralMind
from docendo.runtime.minds.recorded import RecordedMind
from docendo.runtime.minds.skill import SkillMind
from docendo.runtime.minds.world import World
from docendo.scenarios.grader import extract_answer
from docendo.scenarios.item import Item
from docendo.scenarios.model_spec import ExpertModel, ProceduralModel, RecordedModel, SkillModel

__all__ = ["MINDS_VERSION", "SimulatedBackend"]

MINDS_VERSION = 2
"""Raised with every change to what minds answer: it makes recorded answers of older minds another model's."""

_FLOOR = 1e-6
"""Least probability of any continuation: a mind's model of an agent is never certain."""


class SimulatedBackend(Backend):
    """One simulated model of a scenario."""

    capabilities = Capabilities(scoring=True, seed=True, schema=True, deterministic=True, reads_view=True)

    def __init__(self, spec: MindModel, answer_key: Mapping[str, Item]) -> None:
        """Make the backend.

        Args:
            spec: The model's part of the scenario.
            answer_key: Item id -> item, for all items that may be met. Kept by reference and never shown.

        Raises:
            UsageError: The spec describes minds that cannot be, such as an unknown bug.
        """
        new_mind(spec, seed=0)
        self._spec = spec
        self._key = answer_key
        self._mind = _mind_of(spec, World(answer_key))

    @cached_property
    def fingerprint(self) -> str:
        """Identity: kind of mind, version of the minds' code, spec, and the answer key where it is used."""
        about = hashlib.sha256(
            self._spec.model_dump_json(exclude={"max_concurrent", "timeout", "retries", "sampling"}).encode()
        )
        if self._mind.name in {"skill", "expert", "recorded"}:
            for name in sorted(self._key):
                about.update(self._key[name].model_dump_json().encode())
        return f"simulated/{self._mind.name}/{MINDS_VERSION}/{about.hexdigest()[:16]}"

    async def generate(self, request: GenerateRequest) -> GenerateReply:
        """Let the mind do the act of the view, once per completion.

        Raises:
            BackendFault: This mind cannot do the act, or not with what it was given.
        """
        outcome = self._act(request.view, request.sampling.max_tokens)
        completions = tuple(self._completion(request, outcome, i) for i in range(request.sampling.n))
        words = sum(_tokens(c.text) for c in completions)
        return GenerateReply(completions=completions, usage=_usage(request.prompt, words))

    async def score(self, request: ScoreRequest) -> ScoreReply:
        """The probability of each continuation as the act's whole answer, as one token.

        Raises:
            BackendFault: This mind cannot do the act, or the act comes to no answer.
        """
        outcome = self._act(request.view, room=512)
        if isinstance(outcome, Said):
            raise BackendFault(
                f"`{request.view.act}` of the simulated mind `{self._mind.name}` comes to no answer, "
                "so there is nothing to score",
                retry=False,
            )
        item = request.view.item
        scores = []
        for text in request.continuations:
            read = extract_answer(text, item.kind, item.options) if item is not None else None
            p = outcome.answers.get(text.strip() if read is None else read, 0.0)
            scores.append(ContinuationScore(logprobs=(math.log(min(1.0, max(p, _FLOOR))),)))
        return ScoreReply(scores=tuple(scores), usage=_usage(request.prompt, 0))

    async def close(self) -> None:
        """Nothing to release."""

    def _act(self, view: View, room: int) -> Attempt | Said:
        act = self._mind.acts.get(view.act)
        if act is None:
            able = ", ".join(f"`{name}`" for name in sorted(self._mind.acts))
            raise BackendFault(
                f"the simulated mind `{self._mind.name}` cannot `{view.act}`; it can: {able}",
                retry=False,
                suggestion=did_you_mean(view.act, self._mind.acts),
            )
        try:
            return act(self._with_mind(view), room)
        except MindFault as fault:
            raise BackendFault(fault.message, retry=False, suggestion=fault.suggestion) from fault

    def _with_mind(self, view: View) -> View:
        """The view with a state of mind: an agent that keeps none has the initial one that its name draws.

        Raises:
            BackendFault: The state belongs to another kind of mind.
        """
        if view.mind is None:
            state = new_mind(self._spec, seed=derive("agent", view.agent))
            return view.model_copy(update={"mind": state})
        if view.mind.get("kind") != self._mind.name:
            raise BackendFault(
                f"`{view.agent}` has the mind of a `{view.mind.get('kind')}`, "
                f"and its model is a `{self._mind.name}`",
                retry=False,
                suggestion="A mind cannot be carried to another kind of model: start the lesson anew.",
            )
        return view

    def _completion(self, request: GenerateRequest, outcome: Attempt | Said, i: int) -> Completion:
        said = outcome
        if isinstance(said, Attempt):
            draw = choose(said.answers, request.sampling.temperature, "draw", request.seed, i)
            said = said.say(draw)
        if request.choices:
            text = _chosen(request, said, i)
        else:
            text = (
                said.text if request.schema is None else _json(said, request.schema, request.view, self._mind)
            )
        room = request.sampling.max_tokens
        if _tokens(text) > room:
            return Completion(text=" ".join(text.split()[:room]), finish="length", mind=said.mind)
        return Completion(text=text, mind=said.mind)


def _mind_of(spec: MindModel, world: World) -> Mind:
    if isinstance(spec, ProceduralModel):
        return ProceduralMind(spec)
    if isinstance(spec, SkillModel):
        return SkillMind(spec, world)
    if isinstance(spec, RecordedModel):
        return RecordedMind(world)
    return ExpertMind(spec, world) if isinstance(spec, ExpertModel) else ParrotMind()


def _json(said: Said, schema: Mapping[str, Any], view: View, mind: Mind) -> str:
    """The typed form of what was said, cut to the schema's properties."""
    data = {k: v for k, v in said.data.items() if k in schema.get("properties", said.data)}
    missing = [name for name in schema.get("required", ()) if name not in data]
    if missing:
        raise BackendFault(
            f"`{view.act}` of the simulated mind `{mind.name}` says nothing about {', '.join(missing)}",
            retry=False,
        )
    return orjson.dumps(data).decode()


def _chosen(request: GenerateRequest, said: Said, i: int) -> str:
    """The choice that is what the mind said; where none is, one of them by lot."""
    value = str(next(iter(said.data.values()), said.text))
    exact = [c for c in request.choices if c.strip().lower() == value.strip().lower()]
    return (
        exact[0]
        if exact
        else choose(
            dict.fromkeys(request.choices, 1 / len(request.choices)),
            request.sampling.temperature,
            request.seed,
            i,
        )
    )


def _tokens(text: str) -> int:
    return len(text.split())


def _usage(prompt: tuple[PromptMessage, ...], words: int) -> Usage:
    return Usage(prompt_tokens=sum(_tokens(m.text) for m in prompt), completion_tokens=words)
