"""Who may use which items: demonstrations, mental models, personalisation and exams never share one.

An allotment hands the items of each pool out to named purposes. What a purpose holds is its own for good: an
example that a student learnt from is never an observation that its teacher's mental model is built on, nor a
question of its exam (the published code of Saha et al. 2023 keeps none of these apart). Each purpose draws
in an order of its own, from seed and purpose, so that what others took before changes little of what it gets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from docendo.errors import ItemError, UsageError, Where, did_you_mean
from docendo.scenarios.item import Item

__all__ = ["Allotment"]


class Allotment:
    """Hands items out; a pure function of the pools, the seed and the requests so far."""

    def __init__(self, pools: Mapping[str, Sequence[Item]], seed: int) -> None:
        self._pools = {pool: tuple(items) for pool, items in pools.items()}
        self._seed = seed
        self._owner: dict[tuple[str, str], str] = {}
        """(pool, problem) -> purpose: dialogues about one problem are never torn apart."""

    def take(self, pool: str, n: int, purpose: str) -> tuple[Item, ...]:
        """`n` items of a pool for a purpose, drawn at random; asking again gives further ones.

        Raises:
            UsageError: No such pool, or a negative number.
            ItemError: The pool has too few left; says which purposes took how many.
        """
        free = [item for item in self._items(pool) if (pool, item.problem) not in self._owner]
        free.sort(key=lambda item: _rank(self._seed, pool, purpose, item.id))
        if n < 0:
            raise UsageError(f"cannot take {n} items")
        if n > len(free):
            raise self._exhausted(pool, f"`{purpose}` wants {n} items", len(free))
        self._owner |= {(pool, item.problem): purpose for item in free[:n]}
        return tuple(free[:n])

    def all(self, pool: str, purpose: str) -> tuple[Item, ...]:
        """Every item of a pool for one purpose, in the pool's order; asking again gives the same.

        Raises:
            UsageError: No such pool.
            ItemError: Another purpose holds some of them.
        """
        items = self._items(pool)
        owners = [self._owner.get((pool, item.problem), purpose) for item in items]
        if any(owner != purpose for owner in owners):
            raise self._exhausted(pool, f"`{purpose}` wants all items", owners.count(purpose))
        self._owner |= {(pool, item.problem): purpose for item in items}
        return items

    def rest(self, pool: str, purpose: str) -> tuple[Item, ...]:
        """What no purpose holds yet, for `purpose`; possibly nothing."""
        return self.take(pool, self.left(pool), purpose)

    def held(self, purpose: str) -> tuple[Item, ...]:
        """Every item that a purpose holds, pool by pool."""
        return tuple(
            item
            for pool, items in self._pools.items()
            for item in items
            if self._owner.get((pool, item.problem)) == purpose
        )

    def left(self, pool: str) -> int:
        """How many items of a pool nobody holds."""
        return sum((pool, item.problem) not in self._owner for item in self._items(pool))

    def _items(self, pool: str) -> tuple[Item, ...]:
        if pool not in self._pools:
            raise UsageError(f"there is no pool `{pool}`", suggestion=did_you_mean(pool, self._pools))
        return self._pools[pool]

    def _exhausted(self, pool: str, wish: str, left: int) -> ItemError:
        counts: dict[str, int] = {}
        for (of, _), purpose in self._owner.items():
            if of == pool:
                counts[purpose] = counts.get(purpose, 0) + 1
        taken = ", ".join(f"`{purpose}` has {n}" for purpose, n in counts.items()) or "nothing is taken"
        return ItemError(
            f"{wish} of pool `{pool}`, but only {left} of {len(self._pools[pool])} are free: {taken}",
            suggestion=f"Raise `items.{pool}`, or let the purposes take fewer.",
            where=Where(path=f"items.{pool}"),
        )


def _rank(seed: int, *names: str) -> str:
    return hashlib.sha256("\n".join(("allotment", str(seed), *names)).encode()).hexdigest()
