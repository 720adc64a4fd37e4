"""What agents remember of items and of students."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["Demonstration", "Evidence"]


class Demonstration(BaseModel):
    """A worked example in an agent's memory or prompt."""

    model_config = ConfigDict(frozen=True)

    item: str
    question: str
    options: tuple[str, ...] = ()
    explanation: str = ""
    answer: str


class Evidence(BaseModel):
    """What a teacher saw of a student on one item: a demonstration for its mental model (D_sim)."""

    model_config = ConfigDict(frozen=True)

    item: str
    question: str
    options: tuple[str, ...] = ()
    skills: tuple[str, ...] = ()
    correct_answer: str
    student: str
    student_answer: str
    student_explanation: str = ""
    help: str = ""
    """The help given before this answer; empty for a pre-intervention observation."""
    correct: bool | None = None
