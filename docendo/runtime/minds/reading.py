"""What a reader of column arithmetic takes from a text: at most one rule per slot.

Learners read help with these functions, and the expert reads its own explanations with them when it
foresees their effect. All are pure functions of the text, and cached.
"""

from __future__ import annotations

import re
from collections import Counter
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
    """Whether the number facts of `text` are those of this problem's columns.

    True if the problem itself is written out, if at least half of the facts fit a column (either way up; top
    digits may have lent a one), or if there are no facts at all, so that only words can be read.
    """
    if re.search(rf"(?<!\d){problem.top}\D{{1,9}}{problem.bottom}(?!\d)", text):
        return True
    facts = [(int(a), int(b)) for a, b in _FACT.findall(text)]
    tops, bottoms = (str(n)[::-1] for n in (problem.top, problem.bottom))
    columns = {(int(t), int(b)) for t, b in zip(tops, bottoms.ljust(len(tops), "0"), strict=False)}
    return not facts or 2 * sum(_fits(fact, columns) for fact in facts) >= len(facts)


def _fits(fact: tuple[int, int], columns: set[tuple[int, int]]) -> bool:
    a, b = fact[0] % 10, fact[1]
    return any((b == low and a in (top, (top - 1) % 10)) or (a == low and b == top) for top, low in columns)
