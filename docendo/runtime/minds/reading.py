"""What a reader of column arithmetic takes from a text: at most one rule per slot.

Learners read help with these functions, and the expert reads its own explanations with them when it
foresees their effect. All are pure functions of the text, and cached.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from docendo.scenarios.arithmetic import Problem, parse_problem
from docendo.scenarios.worked_steps import ReadStep, read_steps

__all__ = ["is_about", "problem_of", "shown_rules", "shown_to"]

_FACT = re.compile(r"(?<![\d.,])(\d{1,2})\s*(?:-|\+|\N{MINUS SIGN}|\N{EN DASH}|minus|plus)\s*(\d{1,2})(?!\d)")


@lru_cache(maxsize=65536)
def problem_of(question: str) -> Problem | None:
    """The column problem of a question."""
    return parse_problem(question)


@lru_cache(maxsize=65536)
def shown_rules(text: str, problem: Problem | None) -> tuple[ReadStep, ...]:
    """The rules that `text` shows at work, one per slot, in order of first appearance.

    Of repeated steps the plainest counts (fewest variants left open). Where a text shows two variants of one
    slot, the more frequent one counts; a tie teaches nothing.
    """
    by_slot: dict[str, list[ReadStep]] = {}
    for step in read_steps(text, problem):
        by_slot.setdefault(step.slot, []).append(step)
    rules = []
    for steps in by_slot.values():
        counts = Counter(s.variant for s in steps).most_common(2)
        if len(counts) == 1 or counts[0][1] > counts[1][1]:
            rules.append(min((s for s in steps if s.variant == counts[0][0]), key=lambda s: len(s.allows)))
    return tuple(rules)


@lru_cache(maxsize=65536)
def shown_to(text: str, problem: Problem) -> tuple[ReadStep, ...]:
    """What a reader at work on `problem` takes from a message: nothing where it is about another problem."""
    return shown_rules(text, problem) if is_about(text, problem) else ()


def is_about(text: str, problem: Problem) -> bool:
    """Whether the number facts of `text` are those of this problem's columns, from the right to the left.

    True if the problem itself is written out, if two thirds of the facts fit a column each, in order (either
    way up; top digits may have lent a one), or if there are no facts at all, so that only words can be read.
    A digit that is made smaller on the side (`5 - 1 = 4`) is not counted. Of the worked steps of other
    problems with as many digits 1 to 3 % pass; of the problem itself, worked with any one bug or none, all.
    """
    if re.search(rf"(?<!\d){problem.top}\D{{1,9}}{problem.bottom}(?!\d)", text):
        return True
    columns = _columns(problem)
    facts = [(int(a), int(b)) for a, b in _FACT.findall(text)]
    facts = [f for f in facts if not _lends(f, columns)]
    return 3 * _fitting(facts, columns) >= 2 * len(facts)


@dataclass(frozen=True, slots=True)
class _Column:
    """One column as written: the digits, 0 for a blank."""

    top: int
    bottom: int
    adds: bool

    def fits(self, fact: tuple[int, int]) -> bool:
        """Whether `fact` can be the working of this column."""
        a, b = fact[0] % 10, fact[1]
        upright = b == self.bottom and a in (self.top, (self.top - 1) % 10)
        carried = self.adds and self.bottom == 0 and a == self.top
        return upright or carried or fact == (self.bottom, self.top)


def _columns(problem: Problem) -> list[_Column]:
    """The columns from the right to the left."""
    longer, shorter = sorted((str(problem.top), str(problem.bottom)), key=len, reverse=True)
    pairs = zip(longer[::-1], shorter[::-1].ljust(len(longer), "0"), strict=True)
    return [_Column(int(top), int(bottom), problem.operation == "+") for top, bottom in pairs]


def _lends(fact: tuple[int, int], columns: list[_Column]) -> bool:
    """Whether a digit is made smaller on the side, and no column is worked."""
    return fact[1] == 1 and any(fact[0] == c.top for c in columns) and not any(c.fits(fact) for c in columns)


def _fitting(facts: list[tuple[int, int]], columns: list[_Column]) -> int:
    """How many facts can be given a column of their own, in order."""
    best = {-1: 0}
    for fact in facts:  # last column given away -> most facts that have one
        best |= {
            place: max(best.get(place, 0), 1 + max(n for last, n in best.items() if last < place))
            for place, column in enumerate(columns)
            if column.fits(fact)
        }
    return max(best.values())
