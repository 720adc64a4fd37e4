"""A participant of a lesson, and the one place where views are made.

`build_view` is the information firewall: it takes everything that the laboratory knows about the situation
and returns only what the act's allow-list names. Whatever a model or a simulated mind learns, it learns
from the returned `View`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from docendo.agents.act import Act
from docendo.agents.moves import Menu
from docendo.agents.prompt import PromptTemplate
from docendo.agents.view import Gold, View
from docendo.memory.record import Evidence
from docendo.memory.state import MemoryState
from docendo.memory.student_model import StudentModel
from docendo.messages import Message, Role, Usage
from docendo.scenarios.item import Item
from docendo.scenarios.schema import AgentSpec

__all__ = ["Participant", "Situation", "as_heard", "build_view"]


@dataclass(frozen=True, kw_only=True)
class Participant:
    """One agent at one moment: who it is and what it remembers. Replaced, never changed in place."""

    name: str
    """Unique in the lesson: `teacher`, `student`, or `student-2` where there are several."""
    group: str
    """The agent's name in the scenario."""
    role: Role
    spec: AgentSpec
    memory: MemoryState
    student_models: Mapping[str, StudentModel] = field(default_factory=dict)
    """Student -> what this agent believes about it; empty for an agent without theory of mind."""
    templates: dict[str, PromptTemplate] = field(default_factory=dict)
    """Act -> compiled prompt."""

    def remembering(self, memory: MemoryState) -> Participant:
        """The same agent with another memory."""
        return replace(self, memory=memory)


@dataclass(frozen=True, kw_only=True)
class Situation:
    """All that the laboratory knows when an agent is about to act. Never shown as a whole to anybody."""

    item: Item | None
    messages: tuple[Message, ...] = ()
    budget: dict[str, int] = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()
    belief: dict[str, Any] | None = None
    moves: Menu | None = None
    params: dict[str, Any] = field(default_factory=dict)


def build_view(agent: Participant, act: Act, situation: Situation) -> View:
    """What `agent` may read of `situation` when it does `act`."""
    allowed = frozenset(agent.spec.view.get(act.name, act.reads))
    shown: dict[str, Any] = {
        "agent": agent.name,
        "role": agent.role,
        "act": act.name,
        "params": situation.params,
    }
    item = situation.item
    if "item" in allowed and item is not None:
        shown["item"] = item.public
    if "gold" in allowed and item is not None:
        shown["gold"] = Gold(answer=item.answer, solution=item.solution)
    shown["messages"] = tuple(
        _timeless(m) if m.sender == agent.name else as_heard(m)
        for m in situation.messages
        if ("own" if m.sender == agent.name else "dialogue") in allowed and m.readable_by(agent.name)
    )
    if "memory" in allowed:
        shown["demonstrations"] = tuple(
            d for d in agent.memory.demonstrations if item is None or d.item != item.id
        )
        shown["notes"] = agent.memory.notes
        shown["transcript"] = tuple(_timeless(m) for m in agent.memory.transcript)
    if "evidence" in allowed:
        shown["evidence"] = situation.evidence
    if "belief" in allowed:
        shown["belief"] = situation.belief
    if "moves" in allowed:
        shown["moves"] = situation.moves
    if "budget" in allowed:
        shown["budget"] = situation.budget
    if "profile" in allowed:
        shown["profile"] = _profile(agent, item)
    shown["mind"] = agent.memory.mind  # always one's own, so no allow-list can widen it
    return View.model_construct(**{**_EMPTY, **shown})


def _profile(agent: Participant, item: Item | None) -> str:
    """Who this agent plays; a student of a recorded dialogue plays the one that got the item wrong there."""
    parts = [agent.spec.profile]
    if agent.role == "student" and item is not None:
        parts.append(str(item.taxonomy.get("profile") or ""))
        if wrong := item.taxonomy.get("wrong_solution"):
            parts.append(
                f"You have worked on this question before, and believe that you were right:\n{wrong}"
            )
    return "\n".join(filter(None, parts))


def _timeless(message: Message) -> Message:
    """A message without turn and usage, so that the same words make the same view whenever they were said."""
    return message.model_copy(update={"turn": 0, "usage": Usage()})


def as_heard(message: Message) -> Message:
    """A message as others get it: its words, without thoughts and typed payload."""
    return message.model_copy(update={"thoughts": "", "payload": {}, "turn": 0, "usage": Usage()})


_EMPTY: dict[str, Any] = {
    name: (info.default_factory() if info.default_factory else info.default)  # type: ignore[call-arg]
    for name, info in View.model_fields.items()
    if not info.is_required()
}
