"""Typed outputs of acts. What kind of payload an act returns decides what the laboratory does with it:
an `Answer` is graded, a `Belief` is scored against what happens next, a `Decision` routes the graph, a
`Remembered` changes the agent's memory, a `Reply` is graded where it gives an answer, an `Utterance` that
reaches students is searched for leaks, a `Judgement` flags one.
"""  # noqa: D205

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from docendo.memory.record import Demonstration
from docendo.messages import Kind

__all__ = [
    "Answer", "Belief", "Decision", "Diagnosis", "Exemplars", "Explanation", "Judgement", "Move", "Payload",
    "Remembered", "Reply", "Utterance", "Verdict",
]  # fmt: skip


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
    p_correct: float | None = Field(
        None, ge=0, le=1, description="Probability that the student's next answer is correct."
    )


class Verdict(Payload):
    """A critic's judgement of a message that is about to be sent."""

    accept: bool
    reason: str = ""
    words: str = Field("", description="The words that are at fault, as they stand.")


class Judgement(Payload):
    """A judge's view of a message that was sent: does it give the answer away?"""

    leaks: bool | None = Field(description="Null where the judge could not be understood: missing.")
    words: str = Field("", description="The words that give it away, as they stand.")
    reason: str = ""


class Decision(Payload):
    """A choice: to intervene or not, or which move to make."""

    intervene: bool = False
    move: str = ""
    policy: str = ""
    score: float | None = None
    rank: int | None = None
    reasons: dict[str, Any] = Field(default_factory=dict)


class Move(Payload):
    """A teacher's next move in a dialogue."""

    labels: dict[str, str] = Field(default_factory=dict, description="Slot of the taxonomy -> label.")
    reasons: dict[str, str] = Field(default_factory=dict, description="Slot -> why.")
    says: Kind = "feedback"
    spends: str = Field("", description="Unit of the budget that the move costs one of.")
    reveals: bool = Field(False, description="Whether the move gives the answer itself.")
    stop: bool = Field(False, description="The teacher ends the dialogue.")
    source: str = ""


class Utterance(Payload):
    """What a teacher says in a dialogue."""

    text: str
    says: Kind = "feedback"
    thoughts: str = Field("", description="For nobody else to read.")


class Reply(Payload):
    """What a student says in a dialogue; the answer is graded where there is one."""

    text: str
    answer: str | None = None


class Exemplars(Payload):
    """A revised set of worked examples."""

    examples: tuple[Demonstration, ...]


class Remembered(Payload):
    """Something that the agent adds to its memory."""

    demonstration: Demonstration | None = None
    note: str | None = None
