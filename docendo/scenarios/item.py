"""One problem: what is asked, what the answer is, and which skills it exercises."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["AnswerKind", "Item", "PublicItem"]

AnswerKind = Literal["number", "choice", "yes_no", "text"]


class PublicItem(BaseModel):
    """The part of an item that everybody may see."""

    model_config = ConfigDict(frozen=True)

    id: str
    question: str
    kind: AnswerKind
    options: tuple[str, ...] = ()
    """For `choice`: the option texts. Answers are their labels `A`, `B`, ..."""


class Item(PublicItem):
    """One problem with its answer. Only `public` is shown without an explicit right to `gold`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    answer: str
    """The gold answer as the grader of `kind` reads it: a number, a label, `yes`/`no`, or text."""
    skills: tuple[str, ...] = ()
    solution: str = ""
    """The human explanation (e_human in Saha et al. 2023), without the final answer sentence."""
    form: str = ""
    """Parallel test form, e.g. `A` or `B`; empty where forms are not used."""
    taxonomy: dict[str, Any] = Field(default_factory=dict)
    """Whatever else the source knows: distractor explanations, profiles, provenance."""

    @property
    def problem(self) -> str:
        """What tells problems apart: items that record several dialogues about one problem share it."""
        return str(self.taxonomy.get("problem") or self.id)

    @property
    def public(self) -> PublicItem:
        """The item without answer, solution, skills and notes."""
        return PublicItem(id=self.id, question=self.question, kind=self.kind, options=self.options)
