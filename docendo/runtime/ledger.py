"""The ledger: every budget of help, enforced.

A unit (interventions, hints, tells, questions, turns, tokens, ...) has a limit or none. `spend` is atomic
and refuses what the account does not hold, so that overspending is impossible however episodes interleave.
Amounts that are known only afterwards (tokens) are reserved at their maximum first and settled down later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from docendo.graphs.actor import Exhausted

__all__ = ["Ledger"]


@dataclass
class Ledger:
    """The account of one lesson, or of one episode of it."""

    limits: Mapping[str, int]
    """Unit -> most that may be spent. Units that are not listed are not limited."""
    spent: dict[str, int] = field(default_factory=dict)

    def remaining(self, unit: str) -> int | None:
        """What is left of `unit`; `None` where it is not limited."""
        limit = self.limits.get(unit)
        return None if limit is None else limit - self.spent.get(unit, 0)

    def balance(self) -> dict[str, int]:
        """What is left of every limited unit."""
        return {unit: limit - self.spent.get(unit, 0) for unit, limit in self.limits.items()}

    def spend(self, unit: str, amount: int) -> int | None:
        """Take `amount` of `unit` and return what is left.

        Raises:
            ValueError: `amount` is negative.
            Exhausted: The account holds less; nothing is taken.
        """
        if amount < 0:
            raise ValueError(f"cannot spend {amount} {unit}")
        left = self.remaining(unit)
        if left is not None and amount > left:
            raise Exhausted(unit)
        self.spent[unit] = self.spent.get(unit, 0) + amount
        return self.remaining(unit)

    def refund(self, unit: str, amount: int) -> None:
        """Give back what was reserved and not used.

        Raises:
            ValueError: More than was spent.
        """
        if not 0 <= amount <= self.spent.get(unit, 0):
            raise ValueError(f"cannot refund {amount} {unit} of {self.spent.get(unit, 0)} spent")
        self.spent[unit] = self.spent.get(unit, 0) - amount
