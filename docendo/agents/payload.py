"""Typed outputs of acts. What kind of payload an act returns decides what the laboratory does with it:
an `Answer` is graded, a `Belief` is scored against what happens next, a `Decision` routes the graph, a
`Remembered` changes the agent's memory.
"""  # noqa: D205

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from docendo.memory.record import Demonstration

__all__ = ["Answer", "Belief", "Decision", "Diagnosis", "Explanation", "Payload", "Remembered", "Verdict"]


class Payload(BaseModel):
    """Base of all typed outputs."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Answer(Payload):
    """An attempt at the item."""

    answer: str | None = Field(description="The final answer; null where none could be read.")
    explanation: str = ""


class Explanation(Payload):
    """Help: how to get to the answer."""

    explanation: str
    answer: str | None = Field(
        None, description="The answer that the explanation leads to, where it says so."
    )


class Belief(Payload):
    """A prediction of a student's next answer."""

    predicted_answer: str | None = None
    p_correct: float | None = Field(None, ge=0, le=1)
    given_help: bool = False


class Diagnosis(Payload):
    """What a diagnostician believes about a student."""

    skills: dict[str, float] = Field(default_factory=dict, description="Probability of mastery per skill.")
    misconceptions: dict[str, float] = Field(
        default_factory=dict, description="Probability of each misconception."
    )
    predicted_answer: str | None = Field(None, description="The student's predicted next answer.")


class Verdict(Payload):
    """A critic's judgement of a message that is about to be sent."""

    accept: bool
    reason: str = ""


class Decision(Payload):
    """A choice: to intervene or not, or which move to make."""

    intervene: bool = False
    move: str = ""
    policy: str = ""
    score: float | None = None
    rank: int | None = None
    reasons: dict[str, Any] = Field(default_factory=dict)


class Remembered(Payload):
    """Something that the agent adds to its memory."""

    demonstration: Demonstration | None = None
    note: str | None = None
