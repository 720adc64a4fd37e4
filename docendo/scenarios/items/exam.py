"""Which items students sit after they were taught one: an exam of similar items.

Four ways (Ning et al. 2024, section 3.1): the items that are `given`; those of the `same_skill`, by the share
of skills in common (Jaccard); the `nearest`, by the cosine of their words' weights (tf-idf over the pool and
the item; all numbers count as one word); functional `variants`, the same problem with other numbers. Variants
are the pool's items whose `taxonomy["variant_of"]` names the item or, without a pool and for column
arithmetic, generated problems that exercise exactly the same rules. Ties go by the order of the pool.

The taught item never sits in its own exam, nor does any item that asks the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from docendo.errors import ItemError
from docendo.scenarios.item import Item
from docendo.scenarios.items.column_arithmetic import column_item, variants
from docendo.scenarios.items.rephrase import column_problem, original_id
from docendo.scenarios.schema import ExamSpec, ItemsSpec

__all__ = ["GENERATED", "choose_exam"]

GENERATED = 3
"""How many variants are generated where the exam names no `count`."""

_NUMBER = "#"
_WORD = re.compile(r"[^\W\d_]+|(\d[\d.,/]*)")

Floats = NDArray[np.float64]


def choose_exam(item: Item, pool: Sequence[Item], spec: ExamSpec, *, source: ItemsSpec) -> tuple[Item, ...]:
    """The exam of `item`, never with `item` itself in it.

    Args:
        item: What was taught.
        pool: Items of the exam's pool; empty where it has none.
        spec: How the exam is chosen, and how long it is.
        source: The scenario's `items:` block, for messages.

    Raises:
        ItemError: The exam comes out empty, or shorter than `spec.count`.
    """
    if spec.pool is None:
        found = _generated(item, spec.count or GENERATED)
    else:
        others = [other for other in pool if not _same(other, item)]
        found = _RULES[spec.choose](item, others)
    chosen = tuple(found[: spec.count])
    if not chosen or len(chosen) < (spec.count or 0):
        raise _too_short(item, len(chosen), spec, source)
    return chosen


def _same(one: Item, other: Item) -> bool:
    asks = [" ".join(i.question.split()).casefold() for i in (one, other)]
    return original_id(one.id) == original_id(other.id) or (
        asks[0] == asks[1] and one.options == other.options
    )


def _too_short(item: Item, found: int, spec: ExamSpec, source: ItemsSpec) -> ItemError:
    wanted = f"{spec.count} items" if spec.count else "items"
    of = f"of pool `{spec.pool}`" if spec.pool else f"made by `{source.source}`"
    hints = {
        "same_skill": "Give the items skills, or use `choose: given`.",
        "variants": "Name in `variant_of` which item an item varies; column arithmetic needs no pool.",
    }
    return ItemError(
        f"the exam of item `{item.id}` wants {wanted} {of} by `{spec.choose}`, but there are {found}",
        suggestion=hints.get(spec.choose, "Make the pool larger, or the exam's `count` smaller."),
    )


# --- the four ways --------------------------------------------------------------------------------------


def _given(item: Item, others: Sequence[Item]) -> list[Item]:
    del item
    return list(others)


def _same_skill(item: Item, others: Sequence[Item]) -> list[Item]:
    """Most skills in common first; without any in common an item has no place in the exam."""
    mine = set(item.skills)

    def shared(other: Item) -> float:
        either = mine | set(other.skills)
        return len(mine & set(other.skills)) / len(either) if either else 0.0

    return sorted((other for other in others if shared(other)), key=shared, reverse=True)


def _nearest(item: Item, others: Sequence[Item]) -> list[Item]:
    if not others:
        return []
    counts, places = _counted(tuple(other.question for other in others))
    own = _words(item.question)
    mine = np.zeros(counts.shape[1])
    for word in own.keys() & places.keys():
        mine[places[word]] = own[word]
    users = np.count_nonzero(counts, axis=0) + (mine > 0)
    weight = np.log((len(others) + 2) / (users + 1)) + 1  # smoothed, so that no word counts for nothing
    alone = sum(n * n for word, n in own.items() if word not in places)  # words of the item only
    rare = np.log((len(others) + 2) / 2) + 1
    norm = np.sqrt(float(((mine * weight) ** 2).sum()) + alone * rare**2)
    norms = np.sqrt(np.square(counts) @ np.square(weight))
    closeness = (counts @ (mine * weight**2)) / np.maximum(norms * norm, 1e-12)
    order = sorted(range(len(others)), key=lambda i: (-round(float(closeness[i]), 12), i))
    return [others[i] for i in order]


def _variants(item: Item, others: Sequence[Item]) -> list[Item]:
    name = original_id(item.id)
    return [other for other in others if str(other.taxonomy.get("variant_of", "")) == name]


def _generated(item: Item, count: int) -> list[Item]:
    problem = column_problem(item)
    return [] if problem is None else [column_item(other) for other in variants(problem, count)]


_RULES: dict[str, Callable[[Item, Sequence[Item]], list[Item]]] = {
    "given": _given,
    "same_skill": _same_skill,
    "nearest": _nearest,
    "variants": _variants,
}


# --- words ----------------------------------------------------------------------------------------------


def _words(text: str) -> Counter[str]:
    return Counter(_NUMBER if match[1] else match[0].casefold() for match in _WORD.finditer(text))


@lru_cache(maxsize=16)
def _counted(questions: tuple[str, ...]) -> tuple[Floats, dict[str, int]]:
    """How often each word stands in each question, and the column of each word."""
    bags = [_words(question) for question in questions]
    places = {word: i for i, word in enumerate(sorted({word for bag in bags for word in bag}))}
    counts = np.zeros((len(questions), len(places)))
    for row, bag in enumerate(bags):
        for word, n in bag.items():
            counts[row, places[word]] = n
    return counts, places
