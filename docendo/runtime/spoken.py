"""What was said in one episode, found by branch.

A branch hears what was said on the way to it; once a fan-out has been joined, what lies beyond the join hears
all of its branches. An act in a leaf looks at its own way only, so that what it costs does not grow with the
number of branches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from docendo.graphs.actor import ROOT, Branch
from docendo.messages import Message

__all__ = ["Spoken", "way_to"]


@lru_cache(maxsize=65536)
def way_to(branch: Branch) -> tuple[str, ...]:
    """Names of the branches on the way to `branch`, from the root (`""`) to itself."""
    return tuple(str(Branch(branch.axes[:n])) for n in range(len(branch.axes) + 1))


@dataclass
class Spoken:
    """Messages in order of turns."""

    _said: dict[str, list[tuple[int, Message]]] = field(default_factory=dict)
    """Branch -> (turn, message), in order of arrival."""
    _deepest: int = 0
    """Most axes of a branch in which something was said."""
    _count: int = 0

    def add(self, turn: int, branch: Branch, message: Message) -> None:
        """`message` was said in `branch` as part of turn `turn`."""
        self._said.setdefault(way_to(branch)[-1], []).append((turn, message))
        self._deepest = max(self._deepest, len(branch.axes))
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Message]:
        return (message for said in self._said.values() for _, message in said)

    def heard(self, branch: Branch = ROOT) -> tuple[Message, ...]:
        """Messages that were said on the way to `branch`, in order; after a join, those of all branches."""
        way = way_to(branch)
        if self._deepest == 0:
            return tuple(message for _, message in self._said.get("", ()))
        places = (
            way if self._deepest <= len(branch.axes) else tuple(dict.fromkeys((*way, *self._inside(branch))))
        )
        on_path = [(turn, place, message) for place in places for turn, message in self._said.get(place, ())]
        return tuple(message for _, _, message in sorted(on_path, key=lambda s: s[:2]))

    def _inside(self, branch: Branch) -> Iterator[str]:
        own = way_to(branch)[-1]
        return (place for place in self._said if place != own and (not own or place.startswith(own + "/")))
