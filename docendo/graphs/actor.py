"""What a graph asks of whoever performs its acts, and what it answers.

A graph knows order only. The episode's state (messages, memories, ledger, events) lives in an `Actor`,
one per episode; the graph hands it node after node, each with its turn and its branch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from docendo.scenarios.schema import NodeSpec

__all__ = ["AXES", "ROOT", "Actor", "Branch", "Exhausted", "Outcome"]

AXES = frozenset({"items", "repeats", "samples", "students"})
"""What an edge may fan out over."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One path of a fan-out: which member of each axis it works for, the outermost first."""

    axes: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """The `branch` of an event, e.g. `students=student-2/samples=3`; empty outside a fan-out."""
        return "/".join(f"{axis}={_quote(member)}" for axis, member in self.axes) if self.axes else ""

    def get(self, axis: str, default: str = "") -> str:
        """The member of `axis` that this branch works for."""
        return next((member for name, member in self.axes if name == axis), default)


def _quote(member: str) -> str:
    """`member` without the two separators, so that no two branches share a text."""
    return member.replace("%", "%25").replace("/", "%2F").replace("=", "%3D")


ROOT = Branch()
"""The path outside every fan-out."""


class Exhausted(Exception):
    """The ledger cannot pay for an act."""

    def __init__(self, unit: str) -> None:
        super().__init__(f"nothing is left of `{unit}`")
        self.unit = unit


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an episode ended."""

    reason: Literal["end", "budget", "limit"]
    """`end`: the graph came to its end. `budget`: a unit ran out and no edge took care of it. `limit`: the
    graph went on for longer than its budget allows, which means that an act was not charged for."""
    detail: str = ""
    """For `budget`, the unit; for `limit`, what was exceeded."""
    turns: int = 0
    """Acts asked for on the longest path, one that was refused included."""


class Actor(Protocol):
    """Performs the acts of one episode.

    Concurrent branches of one turn are started in order of their members, so an actor that charges
    the ledger before it first awaits gives the last unit to the same branch in every run.
    """

    async def act(self, node: str, spec: NodeSpec, *, turn: int, branch: Branch) -> None:
        """Perform `spec.do` as the act number `turn` (zero-based) of the path `branch`.

        Raises:
            Exhausted: The ledger cannot pay for `spec.spends`, and nothing was done; or, that being paid, it
                cannot pay for the tokens of a call.
            EpisodeFailure: The act failed.
        """
        ...

    def scope(self, branch: Branch) -> Mapping[str, Any]:
        """Values of `docendo.graphs.expression.SCOPE_NAMES`, as `branch` sees them now."""
        ...

    def members(self, axis: str, branch: Branch) -> Sequence[str]:
        """Names of what to fan out over on `axis` (see `AXES`), without repetition, in a fixed order."""
        ...
