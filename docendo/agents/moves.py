"""Teaching moves: what is open to a teacher now, and who decides.

In a dialogue the teacher decides first and speaks then. What it may choose from is a *menu*: the labels of
the phase's taxonomy, less those that cost a unit of which nothing is left, and less those that the phase
saves for the last turns. Four sources decide: the teacher's own model (`self`), the item's recorded expert
(`expert`), the lot (`random`) or a list (`fixed`). A prescribed move that is closed gives way to an open one,
and the record says so: what a ledger refuses is never said anyway.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from docendo.agents.payload import Move
from docendo.scenarios.plan import MovesSpec
from docendo.scenarios.taxonomy import LabelSpec, TaxonomySpec

__all__ = ["STOP", "Menu", "decided", "menu_of", "move_of", "move_schema", "read_labels"]

STOP = "stop"
"""What a model chooses to end the dialogue."""

Labels = dict[str, str]


class Menu(BaseModel):
    """The moves that are open, and the one that was made."""

    model_config = ConfigDict(frozen=True)

    slots: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Slot -> open label -> what it means."""
    says: dict[str, str] = Field(default_factory=dict)
    """Open label -> what kind of message it makes, where the taxonomy says so."""
    decided: Move | None = None
    """The move, where somebody other than the teacher's model decides; nobody is asked then."""
    chosen: Move | None = None
    """The latest move of the dialogue: what is to be put into words now."""
    told: str = ""
    """What the chosen labels mean, in words."""


def menu_of(
    taxonomy: TaxonomySpec, spec: MovesSpec, *, balance: Mapping[str, int], latest: Move | None
) -> Menu:
    """What is open with `balance` (unit -> what is left); `latest` is the move made last."""
    turns = balance.get("turns")

    def is_open(label: LabelSpec) -> bool:
        unit = label.spends
        if unit is None:
            return True
        saved = unit in spec.save and turns is not None and turns > spec.save[unit]
        return balance.get(unit, 1) > 0 and not saved

    slots = {
        slot: {name: label.description for name, label in labels.items() if is_open(label)}
        for slot, labels in taxonomy.slots.items()
    }
    says = {
        name: label.says
        for slot, labels in taxonomy.slots.items()
        for name, label in labels.items()
        if name in slots[slot] and label.says is not None
    }
    told = [
        taxonomy.slots[slot][label].description
        for slot, label in (latest.labels if latest else {}).items()
        if label in taxonomy.slots.get(slot, {})
    ]
    return Menu(slots=slots, says=says, chosen=latest, told=" ".join(filter(None, told)))


def move_of(taxonomy: TaxonomySpec, labels: Labels, source: str, reasons: Mapping[str, str] = {}) -> Move:
    """The move `labels` (slot -> label), with what the taxonomy says of it."""
    return Move(
        labels=labels,
        reasons=dict(reasons),
        says=taxonomy.says(labels),
        spends=taxonomy.spends(labels),
        reveals=taxonomy.reveals(labels),
        source=source,
    )


def decided(
    taxonomy: TaxonomySpec,
    spec: MovesSpec,
    menu: Menu,
    *,
    made: int,
    draw: Callable[[str], float],
    recorded: Sequence[Mapping[str, str]],
) -> Move | None:
    """The move of a source other than the teacher's model; `None` where the model decides.

    Args:
        taxonomy: What the labels are.
        spec: Who decides.
        menu: What is open.
        made: How many moves were made before this one.
        draw: Slot -> a uniform number in [0, 1) that belongs to this move.
        recorded: The item's expert moves in turn (slot -> label); a dialogue that is over has no further one.
    """
    if any(not labels for labels in menu.slots.values()):
        return Move(stop=True, source=spec.source, reasons={STOP: "every move is closed"})
    if spec.source == "self":
        return None
    if spec.source == "random":
        drawn = {s: list(ls)[int(draw(s) * len(ls))] for s, ls in menu.slots.items()}
        return move_of(taxonomy, drawn, "random")
    if spec.source == "expert":
        if made >= len(recorded):
            return Move(stop=True, source="expert", reasons={STOP: "the recorded dialogue is over"})
        wanted = dict(recorded[made])
    else:
        step = spec.fixed[min(made, len(spec.fixed) - 1)]
        wanted = dict(step) if isinstance(step, dict) else {_slot_of(taxonomy, step): step}
    labels, reasons = _opened(wanted, menu)
    return move_of(taxonomy, labels, spec.source, reasons)


def _slot_of(taxonomy: TaxonomySpec, label: str) -> str:
    """The slot that has `label`; the last one where several have."""
    return next(slot for slot in reversed(taxonomy.slots) if label in taxonomy.slots[slot])


def _opened(wanted: Labels, menu: Menu) -> tuple[Labels, dict[str, str]]:
    """`wanted` with every closed label replaced by the slot's first open one, and why."""
    labels, reasons = {}, {}
    for slot, label in wanted.items():
        still = menu.slots.get(slot, {})
        if label in still or not still:
            labels[slot] = label
        else:
            labels[slot] = next(iter(still))
            reasons[slot] = f"`{label}` is closed: what it costs is spent, or saved for later"
    return labels, reasons


# --- a model's choice -------------------------------------------------------------------------------------


def move_schema(menu: Menu) -> dict[str, Any]:
    """JSON schema of a model's choice: a label per slot, a reason, or the end of the dialogue."""
    slots: dict[str, Any] = {
        slot: {"type": "string", "enum": [*labels, STOP]} for slot, labels in menu.slots.items()
    }
    return {
        "type": "object",
        "properties": {**slots, "reason": {"type": "string"}},
        "required": list(slots),
        "additionalProperties": False,
    }


def read_labels(text: str, menu: Menu) -> tuple[Labels, str] | str:
    """(labels, reason) of a model's choice, no labels for the end; or what is wrong with it, in words."""
    start, end = text.find("{"), text.rfind("}")
    names = ", ".join(f"`{slot}`" for slot in menu.slots)
    try:
        data = json.loads(text[start : end + 1])
        given = _Choice.model_validate({"labels": data, "reason": data.pop("reason", "") or ""})
    except (json.JSONDecodeError, ValidationError, AttributeError):
        return f"Answer with one JSON object with the fields {names} and `reason`, and nothing else."
    labels = {slot: given.labels.get(slot, "").strip().lower() for slot in menu.slots}
    if STOP in labels.values():
        return {}, given.reason
    for slot, label in labels.items():
        if label not in menu.slots[slot]:
            known = ", ".join(f"`{name}`" for name in menu.slots[slot])
            return f"`{label}` is not open for `{slot}`. Open now: {known}, or `{STOP}` to end the dialogue."
    return labels, given.reason


class _Choice(BaseModel):
    model_config = ConfigDict(extra="forbid")

    labels: dict[str, str]
    reason: str = ""
