"""Recorded human dialogues that items carry: who said what, and with which teaching move.

Sources such as MathDial and Bridge put them into `taxonomy["dialogue"]`, as a list of `Said`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from docendo.scenarios.item import Item

__all__ = ["Said", "dialogue_of", "recorded_moves"]


class Said(BaseModel):
    """One utterance of a recorded dialogue."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["teacher", "student"]
    text: str
    labels: dict[str, str] = Field(default_factory=dict)
    """Slot of the taxonomy -> label, where people annotated the move."""


def dialogue_of(item: Item) -> tuple[Said, ...]:
    """The recorded dialogue about `item`; empty where there is none."""
    return tuple(Said.model_validate(said) for said in item.taxonomy.get("dialogue", ()))


def recorded_moves(item: Item) -> tuple[dict[str, str], ...]:
    """The moves that people made, one per turn of the teacher, or noted in `taxonomy["moves"]`."""
    noted = item.taxonomy.get("moves")
    if noted is not None:
        return tuple(dict(labels) for labels in noted)
    return tuple(said.labels for said in dialogue_of(item) if said.role == "teacher")
