"""Problems of column arithmetic: two whole numbers under each other, and how a question asks for one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from docendo.errors import UsageError

__all__ = ["Operation", "Problem", "parse_problem"]

Operation = Literal["+", "-"]


@dataclass(frozen=True, slots=True)
class Problem:
    """`top operation bottom` over non-negative whole numbers; a difference is never negative."""

    operation: Operation
    top: int
    bottom: int

    def __post_init__(self) -> None:
        if self.operation not in get_args(Operation) or self.top < 0 or self.bottom < 0:
            raise UsageError(f"not a column problem: {self.top} {self.operation} {self.bottom}")
        if self.operation == "-" and self.top < self.bottom:
            raise UsageError(
                f"{self.top} - {self.bottom} is negative", suggestion="Put the larger number on top."
            )

    def __str__(self) -> str:
        return f"{self.top} {self.operation} {self.bottom}"

    @property
    def answer(self) -> int:
        """The right answer."""
        return self.top + self.bottom if self.operation == "+" else self.top - self.bottom


_OPERATORS: dict[str, Operation] = {
    "-": "-", "\N{MINUS SIGN}": "-", "\N{EN DASH}": "-", "minus": "-", "+": "+", "plus": "+",
}  # fmt: skip
_LONGER = ("-", "+", "*", "/", "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}", "\N{DIVISION SIGN}")
_SIGN = "|".join(map(re.escape, _OPERATORS))
_PROBLEM = re.compile(
    rf"(?<![\d.,/])(\d[\d,]{{0,24}})\s*({_SIGN})\s*(\d[\d,]{{0,24}})(?!\d|\.\d|\s*(?:{_SIGN}|[*/\u00d7\u00f7])\s*\d)",
    re.IGNORECASE | re.ASCII,
)


_FIGURE = r"(\d[\d,]{0,24})"
_CLOSING = r"[.!?:,\s]*(?:what (?:is left|do you get)\W*)?"
_IN_WORDS: tuple[tuple[str, Operation, bool], ...] = (
    (rf"(?:take|subtract) {_FIGURE}(?: away)? from {_FIGURE}", "-", True),
    (rf"take away {_FIGURE} from {_FIGURE}", "-", True),
    (rf"(?:what is |find )?the difference (?:between|of) {_FIGURE} and {_FIGURE}", "-", False),
    (rf"(?:how much|what) is {_FIGURE} take away {_FIGURE}", "-", False),
    (rf"add {_FIGURE} to {_FIGURE}", "+", True),
    (rf"(?:what is |find )?the sum of {_FIGURE} and {_FIGURE}", "+", False),
    (rf"(?:how much|what) (?:is|are) {_FIGURE} and {_FIGURE} together", "+", False),
)
"""Whole questions that put a problem into words: (pattern, operation, whether the top number comes last)."""


def _in_words(question: str) -> Problem | None:
    for words, operation, turned in _IN_WORDS:
        if match := re.fullmatch(rf"\W*{words}{_CLOSING}", question, re.IGNORECASE | re.ASCII):
            numbers = [int(figure.replace(",", "")) for figure in match.groups()]
            top, bottom = reversed(numbers) if turned else numbers
            return Problem(operation, top, bottom) if operation == "+" or top >= bottom else None
    return None


def parse_problem(question: str) -> Problem | None:
    """The first column problem in a text, e.g. `702 - 348`; `None` when there is none.

    A question may also put it into words, if it asks nothing else: `Take 348 away from 702.` Longer
    expressions, fractions, decimals and negative differences are not column problems.
    """
    if in_words := _in_words(question):
        return in_words
    for match in _PROBLEM.finditer(question):
        top, bottom = (int(match[i].replace(",", "")) for i in (1, 3))
        operation = _OPERATORS[match[2].lower()]
        part_of_longer = question[: match.start()].rstrip()[-1:] in _LONGER
        if not part_of_longer and (operation == "+" or top >= bottom):
            return Problem(operation, top, bottom)
    return None
