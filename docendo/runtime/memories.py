"""What each agent of an episode remembers, branch by branch.

Branches of a fan-out run side by side, so what one of them adds to a memory must not be seen in another, or
the order of arrival would count. An agent in a branch reads the memory of the nearest branch around it and
writes to its own. Once a fan-out has been joined, what its branches added is merged in their order; except
that samples are alternatives: what an agent learnt in one of several samples happened in that sample only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from docendo.graphs.actor import ROOT, Branch
from docendo.memory.state import MemoryState, merge

__all__ = ["Memories"]

ALTERNATIVES = frozenset({"samples", "repeats"})
"""Axes whose branches are other courses that the same thing could take."""


@dataclass
class Memories:
    """The memory of one agent."""

    base: MemoryState
    """Before the episode."""
    _written: dict[Branch, MemoryState] = field(default_factory=dict)
    _deepest: int = 0
    """Most axes of a branch in which something was added: a leaf need not look for branches inside."""

    def at(self, branch: Branch = ROOT) -> MemoryState:
        """What the agent remembers in `branch`; after a join, with what the joined branches added."""
        if not self._written:
            return self.base
        around = (Branch(branch.axes[:n]) for n in range(len(branch.axes), -1, -1))
        own = next((self._written[b] for b in around if b in self._written), self.base)
        return merge(own, self._joined(branch))

    def write(self, branch: Branch, memory: MemoryState) -> None:
        """The agent now remembers `memory` in `branch`, which holds what `at` gave there."""
        if self._deepest > len(branch.axes):
            for absorbed in [b for b in self._written if _within(b, branch)]:
                del self._written[absorbed]
        self._written[branch] = memory
        self._deepest = max(self._deepest, len(branch.axes))

    def _joined(self, branch: Branch) -> Iterator[MemoryState]:
        if self._deepest <= len(branch.axes):
            return
        inside = [b for b in self._written if _within(b, branch)]
        for other in sorted(inside, key=str):
            if not any(axis in ALTERNATIVES for axis, _ in other.axes[len(branch.axes) :]):
                yield self._written[other]


def _within(inner: Branch, outer: Branch) -> bool:
    """Whether `inner` is a branch inside `outer`."""
    n = len(outer.axes)
    return len(inner.axes) > n and inner.axes[:n] == outer.axes
