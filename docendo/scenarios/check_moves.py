"""Checks of the moves of a dialogue against their taxonomy: labels, slots, and the units that are saved.

A phase whose moves are decided by others may carry `fixed` moves all the same, for an axis of the matrix
that sets `source` to `fixed`. Such moves may belong to any taxonomy; which one is known once they are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from docendo.errors import Problem, did_you_mean
from docendo.scenarios.look import Look
from docendo.scenarios.plan import MovesSpec
from docendo.scenarios.positions import Path
from docendo.scenarios.schema import Scenario
from docendo.scenarios.taxonomy import TaxonomySpec, load_taxonomy, taxonomy_names

__all__ = ["check_moves"]

Slots = Mapping[str, set[str]]
"""Slot -> its labels."""


def check_moves(look: Look) -> Iterator[Problem]:
    """Taxonomies exist, and have the moves and units that phases name."""
    known = _taxonomies(look.scenario)
    for i, phase in enumerate(look.scenario.plan):
        moves, at = phase.moves, ("plan", i, "moves")
        if moves is None:
            continue
        if moves.taxonomy not in known:
            yield Problem(
                message=f"unknown taxonomy `{moves.taxonomy[:60]}`",
                suggestion=did_you_mean(moves.taxonomy, known),
                where=look.place((*at, "taxonomy"), False),
            )
            continue
        yield from _fixed_problems(look, moves, known, i)
        yield from _saved_problems(look, moves, known[moves.taxonomy], at)


def _taxonomies(scenario: Scenario) -> dict[str, TaxonomySpec]:
    """All taxonomies that the scenario may name; its own go first."""
    return {**{name: load_taxonomy(name) for name in taxonomy_names()}, **scenario.taxonomies}


def _fixed_problems(
    look: Look, moves: MovesSpec, known: Mapping[str, TaxonomySpec], i: int
) -> Iterator[Problem]:
    named = known[moves.taxonomy]
    slots = _slots([named] if moves.source == "fixed" else list(known.values()))
    at: Path = ("plan", i, "moves", "fixed")
    many = isinstance(look.raw["plan"][i]["moves"], dict) and isinstance(
        look.raw["plan"][i]["moves"].get("fixed"), list | tuple
    )
    for j, move in enumerate(moves.fixed):
        here = (*at, j) if many else at
        if isinstance(move, dict):
            for slot, label in move.items():
                yield from _label_problems(look, moves.taxonomy, named, slots, slot, label, here)
        elif not any(move in labels for labels in slots.values()):
            yield Problem(
                message=f"`{move[:60]}` is a move that is not in the taxonomy `{moves.taxonomy}`",
                suggestion=did_you_mean(move, set().union(*_slots([named]).values())),
                where=look.place(here, False),
            )


def _label_problems(
    look: Look, name: str, named: TaxonomySpec, slots: Slots, slot: str, label: str, at: Path
) -> Iterator[Problem]:
    """What is wrong with one slot and label of a fixed move."""
    if slot not in slots:
        yield Problem(
            message=f"the taxonomy `{name}` has no slot `{slot[:60]}`",
            suggestion=did_you_mean(slot, named.slots),
            where=look.place((*at, slot), True),
        )
    elif label not in slots[slot]:
        yield Problem(
            message=f"slot `{slot}` of the taxonomy `{name}` has no move `{label[:60]}`",
            suggestion=did_you_mean(label, named.slots.get(slot, ())),
            where=look.place((*at, slot), False),
        )


def _slots(taxonomies: list[TaxonomySpec]) -> Slots:
    """The slots of all `taxonomies` together."""
    slots: dict[str, set[str]] = {}
    for taxonomy in taxonomies:
        for slot, labels in taxonomy.slots.items():
            slots.setdefault(slot, set()).update(labels)
    return slots


def _saved_problems(look: Look, moves: MovesSpec, taxonomy: TaxonomySpec, at: Path) -> Iterator[Problem]:
    """A unit that no move costs keeps no move closed."""
    spent = {spec.spends for labels in taxonomy.slots.values() for spec in labels.values() if spec.spends}
    for unit in moves.save:
        if unit not in spent:
            yield Problem(
                message=f"no move of the taxonomy `{moves.taxonomy}` spends `{unit[:60]}`, so none is saved",
                suggestion=did_you_mean(unit, spent) or "Its moves are free: take `save` out.",
                where=look.place((*at, "save", unit), True),
            )
