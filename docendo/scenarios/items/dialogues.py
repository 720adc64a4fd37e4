"""Recorded human dialogues that items carry: who said what, and with which teaching move.

Sources such as MathDial and Bridge put them into `taxonomy["dialogue"]`, as a list of `Said`.
"""

from __future__ import annotations

from itertools import groupby
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from docendo.scenarios.item import Item

__all__ = ["Said", "dialogue_of", "recorded_moves", "turns_of"]


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


def turns_of(item: Item, role: Literal["teacher", "student"]) -> tuple[Said, ...]:
    """What one side of the record says, turn by turn.

    Utterances of one side in a row are one turn, with the last labels among them.
    """
    turns = []
    for side, together in groupby(dialogue_of(item), key=lambda said: said.role):
        said = list(together)
        if side == role:
            labels = next((s.labels for s in reversed(said) if s.labels), {})
            turns.append(Said(role=role, text=" ".join(s.text for s in said), labels=labels))
    return tuple(turns)


def recorded_moves(item: Item, *, replayed: bool = False) -> tuple[dict[str, str], ...]:
    """The moves that people decided on, one per turn of the teacher.

    Args:
        item: What the dialogue was about.
        replayed: The recorded dialogue itself is held again, so that its moves count from its first turn.
            Otherwise the decision that `taxonomy["moves"]` notes, where it notes one, is for what comes next.
    """
    noted = None if replayed else item.taxonomy.get("moves")
    if noted is not None:
        return tuple(dict(labels) for labels in noted)
    return tuple(turn.labels for turn in turns_of(item, "teacher"))
