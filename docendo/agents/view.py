"""What an agent may read when it acts.

A `View` holds exactly the artefacts on the allow-list of the agent for that act, and nothing else: what
is not allowed is not in the object. Prompts are rendered from a `View`; simulated minds read the `View`
itself. So both get the same information by construction.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from docendo.agents.moves import Menu
from docendo.memory.record import Demonstration, Evidence
from docendo.messages import Message, Provenance, Role
from docendo.scenarios.item import PublicItem

__all__ = ["ARTEFACTS", "HELP", "PROVENANCE", "Artefact", "Demonstration", "Evidence", "Gold", "View"]

Artefact = Literal[
    "item", "gold", "dialogue", "own", "memory", "evidence", "belief", "moves", "budget", "profile", "mind"
]
ARTEFACTS: frozenset[str] = frozenset(get_args(Artefact))

HELP: frozenset[str] = frozenset({"explanation", "hint", "correction"})
"""Kinds of messages that help."""

PROVENANCE: dict[str, Provenance] = {
    "item": "public",
    "gold": "gold",
    "dialogue": "public",
    "own": "own",
    "memory": "memory",
    "evidence": "belief",
    "belief": "belief",
    "moves": "instruction",
    "budget": "budget",
    "profile": "private",
    "mind": "mind",
}
"""Which colour each artefact has in a recorded prompt."""


class Gold(BaseModel):
    """The answer key of the item at hand."""

    model_config = ConfigDict(frozen=True)
    answer: str
    solution: str = ""


class View(BaseModel):
    """Everything that one agent can know in one act. Absent artefacts are `None` or empty."""

    model_config = ConfigDict(frozen=True)

    agent: str
    role: Role
    act: str
    item: PublicItem | None = None
    gold: Gold | None = None
    messages: tuple[Message, ...] = ()
    """Messages of this episode in order: what others addressed to this agent or to all, thoughts removed
    (artefact `dialogue`), and its own, thoughts included (artefact `own`)."""
    demonstrations: tuple[Demonstration, ...] = ()
    """From the agent's memory (artefact `memory`)."""
    notes: tuple[str, ...] = ()
    """From the agent's memory (artefact `memory`)."""
    transcript: tuple[Message, ...] = ()
    """Earlier dialogues, from the agent's memory (artefact `memory`)."""
    evidence: tuple[Evidence, ...] = ()
    """What the agent observed of the student, for its student model."""
    belief: dict[str, Any] | None = None
    moves: Menu | None = None
    """The teaching moves that are open, and the one that was made last."""
    budget: dict[str, int] = Field(default_factory=dict)
    """What is left of each limited unit."""
    profile: str = ""
    """A hidden description of who this agent plays."""
    mind: dict[str, Any] | None = None
    """State of a simulated learner's mind: its own, never anyone else's."""
    params: dict[str, Any] = Field(default_factory=dict)
    """The act's parameters from the scenario (`with:` of the node, `params:` of the phase)."""

    @property
    def dialogue(self) -> tuple[Message, ...]:
        """Of `messages`, those of others."""
        return tuple(m for m in self.messages if m.sender != self.agent)

    @property
    def own(self) -> tuple[Message, ...]:
        """Of `messages`, this agent's."""
        return tuple(m for m in self.messages if m.sender == self.agent)

    @property
    def help(self) -> tuple[Message, ...]:
        """Explanations, hints and corrections of this episode that this agent received or gave."""
        return tuple(m for m in self.messages if m.kind in HELP)
