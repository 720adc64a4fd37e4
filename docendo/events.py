"""What happened: the append-only record of an episode.

Every event carries its position `(turn, branch, n)`: the turn of the graph, the branch of a fan-out
(`""` outside one) and a counter inside that node. Positions are independent of scheduling, so the
stream sorted by position is the same however the work was interleaved, and its digest is comparable.
Times, cache hits and token usage reported by an engine are kept beside the events, not in them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from docendo.messages import Message, Role

__all__ = [
    "SCHEMA_VERSION",
    "BeliefEvent",
    "CallEvent",
    "DecisionEvent",
    "ErrorEvent",
    "Event",
    "EventBase",
    "FlagEvent",
    "GradeEvent",
    "MemoryEvent",
    "MessageEvent",
    "SpendEvent",
    "StopEvent",
    "StopReason",
    "digest_events",
    "event_adapter",
]

StopReason = Literal["end", "budget", "limit", "failed"]
"""How an episode can end: its graph came to the end, a budget ran out, a bound was hit, or it failed."""

SCHEMA_VERSION = 2
"""Version of the event vocabulary; stored with every run."""


class EventBase(BaseModel):
    """Fields that all events share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    turn: int = 0
    branch: str = ""
    n: int = 0
    agent: str = ""
    """Who acted; empty where the laboratory itself did."""
    act: str = ""

    @property
    def position(self) -> tuple[int, str, int]:
        """Sort key inside an episode."""
        return (self.turn, self.branch, self.n)


class MessageEvent(EventBase):
    """An act said something."""

    kind: Literal["message"] = "message"
    message: Message
    names_answer: bool | None = None
    """In a dialogue, whether the words name the item's answer (see `docendo.scenarios.naming`); `None`
    elsewhere. The laboratory's note: no agent sees it."""


class CallEvent(EventBase):
    """A model was asked. Prompt and answer are in the journal under `key`."""

    kind: Literal["call"] = "call"
    key: str
    model: str
    operation: Literal["generate", "score"]
    purpose: Literal["act", "repair", "probe"] = "act"
    """`repair`: the second try after output that did not fit. `probe`: asked to rank items beforehand."""
    error: str = ""
    """Why it failed for good; empty where it was answered. The journal holds the failure under `key`."""


class DecisionEvent(EventBase):
    """Somebody chose: to intervene or not, a move, a veto."""

    kind: Literal["decision"] = "decision"
    chosen: Any
    policy: str = ""
    score: float | None = None
    rank: int | None = None
    """Zero-based place in the ranking over the phase's items."""
    reasons: dict[str, Any] = Field(default_factory=dict)


class BeliefEvent(EventBase):
    """A typed prediction about a student, made before the fact."""

    kind: Literal["belief"] = "belief"
    student: str
    item: str = ""
    p_correct: float | None = None
    predicted_answer: str | None = None
    given_help: bool = False
    attempt: int | None = None
    """Zero-based: which of the student's answers to the item is predicted. `None`: the first one without
    help, or the next one after it, as `given_help` says."""
    confidence_mode: str = ""
    """How `p_correct` was measured (see `docendo.agents.confidence`); empty where a formula computed it."""
    skills: dict[str, float] = Field(default_factory=dict)
    """Believed probability of mastery per skill."""
    misconceptions: dict[str, float] = Field(default_factory=dict)
    """Believed probability of each misconception."""
    truth: dict[str, Any] = Field(default_factory=dict)
    """Filled by the laboratory where the student's mind is known; no agent ever sees it."""


class SpendEvent(EventBase):
    """The ledger paid."""

    kind: Literal["spend"] = "spend"
    unit: str
    amount: int
    bought: str
    remaining: int | None = None
    """What is left of this unit; `None` when it is not limited."""


class GradeEvent(EventBase):
    """An answer was judged by the item's grader."""

    kind: Literal["grade"] = "grade"
    item: str
    student: str = ""
    """Whose answer it is: a student's, or where `role` says so a teacher's."""
    role: Role = "student"
    answer: str | None = None
    correct: bool | None = None
    """`None`: could not be judged. Missing, never a score."""
    attempt: int = 0
    """Zero-based count of this student's answers to this item in the episode."""
    helped: bool = False
    confidence: float | None = None
    """Probability of the target answer, in the mode that `confidence_mode` names."""
    confidence_mode: str = ""
    known: bool | None = None
    """Whether the student, as its mind or profile is declared, should get this item right; `None`: not
    said."""
    reason: str = ""


class FlagEvent(EventBase):
    """Something was found in what was said: an answer given away."""

    kind: Literal["flag"] = "flag"
    flag: Literal["leak"] = "leak"
    by: Literal["rule", "judge"]
    found: bool | None
    """`None`: the judge could not be understood. Missing, never a verdict."""
    student: str = ""
    words: str = ""
    """The words at fault, as they stand in the message."""
    start: int | None = None
    """Where they start in the message's text, in characters; `None` where they do not stand there."""
    said: int = 0
    """Turn of the message."""
    reason: str = ""


class MemoryEvent(EventBase):
    """An agent's memory changed."""

    kind: Literal["memory"] = "memory"
    slot: str
    change: dict[str, Any]


class StopEvent(EventBase):
    """The episode ended, and why. Running out of budget is one of the typed reasons."""

    kind: Literal["stop"] = "stop"
    reason: StopReason
    detail: str = ""


class ErrorEvent(EventBase):
    """The episode failed; see `docendo.errors.EpisodeFailure`."""

    kind: Literal["error"] = "error"
    failure: str
    message: str
    detail: str = ""


Event = Annotated[
    MessageEvent | CallEvent | DecisionEvent | BeliefEvent | SpendEvent | GradeEvent | FlagEvent | MemoryEvent
    | StopEvent | ErrorEvent,
    Field(discriminator="kind"),
]  # fmt: skip

event_adapter: TypeAdapter[Event] = TypeAdapter(Event)


def digest_events(events: Iterable[EventBase]) -> str:
    """Hash of an episode's stream: equal for equal content, whatever the order of arrival."""
    digest = hashlib.sha256()
    for event in sorted(events, key=lambda e: e.position):
        digest.update(orjson.dumps(event.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS))
        digest.update(b"\n")
    return digest.hexdigest()
