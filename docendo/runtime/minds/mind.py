"""What a simulated mind is: a table of acts, each a pure function of the view.

An act that comes to an answer returns an `Attempt`: how likely the mind is to give each answer, and how it
would word any of them. The backend draws from it (`generate`) or reads it off (`score`), so what is sampled
and what is scored can never disagree. Other acts return what they `Said`.

The firewall of docendo is about what flows between agents. What lies behind a mind, the *world*, is the
simulator's own: the answer key stands for the truth that a person who has mastered an item's skills would
find. It is never put into a view, and no mind passes it on except as the answer or explanation it gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from docendo.agents.view import View
from docendo.errors import DocendoError
from docendo.scenarios.item import PublicItem

__all__ = ["ActOfMind", "Attempt", "Mind", "MindFault", "Said", "item_of", "wrap_up"]


class MindFault(DocendoError):
    """A mind cannot do what it was asked with what it was shown."""

    code = "mind"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Words, their typed form, and the state of mind after saying them (`None`: unchanged)."""

    text: str
    data: dict[str, Any] = field(default_factory=dict)
    mind: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An answer that is still open."""

    answers: dict[str, float]
    """Answer -> probability at temperature 1. Never empty; sums to 1."""
    say: Callable[[str], Said]
    """How the mind words that answer."""


ActOfMind = Callable[[View, int], Attempt | Said]
"""(view, room) -> what comes of it; `room` is the call's `max_tokens`, counted in words."""


class Mind(Protocol):
    """One kind of simulated agent, for one model of a scenario."""

    name: str

    @property
    def acts(self) -> Mapping[str, ActOfMind]:
        """What it can do, by the act's name."""
        ...


def item_of(view: View, mind: str) -> PublicItem:
    """The item at hand.

    Raises:
        MindFault: The view holds none.
    """
    if view.item is None:
        raise MindFault(
            f"the simulated mind `{mind}` cannot `{view.act}`: the view of `{view.agent}` holds no item",
        )
    return view.item


def wrap_up(explanation: str, answer: str) -> str:
    """An explanation with its final answer sentence, as every act with an answer ends."""
    return f"{explanation.strip()} So the answer is {answer}.".strip()
