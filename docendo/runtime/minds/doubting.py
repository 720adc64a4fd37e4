"""The courses that an expert in doubt may take: how likely each answer is, and the rules behind it.

In every sampled attempt each rule that the item exercises fails on its own, with chance `doubt`, into one of
its bugs, all equally likely. Courses with no, one and two failures are enumerated and their probabilities
renormalised: with a doubt of 0.1 and three rules the rest has 0.1 %. Different failures may come to the same
answer; then the likeliest course words it, so a wrong rationale shows the wrong rule that led there. Of other
items each skill fails likewise, the first to fail leading to a wrong answer of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations, product

from docendo.runtime.minds.draws import derive
from docendo.runtime.minds.procedural import Rules, worked
from docendo.runtime.minds.skill import skills_of
from docendo.runtime.minds.world import World
from docendo.scenarios.arithmetic import BUGS, Problem, exercised
from docendo.scenarios.item import Item

__all__ = ["courses", "doubtful_answers"]

_MOST_FAILURES = 2
_LEAST = 1e-9
"""Stands for no certainty at all, so that with a doubt of 1 the courses with most failures are left."""


@lru_cache(maxsize=4096)
def courses(problem: Problem, rules: Rules, doubt: float) -> dict[str, tuple[float, Rules]]:
    """Answer -> (probability, the likeliest rules that give it); the answer of `rules` comes first."""
    likeliest: dict[str, tuple[float, Rules]] = {}
    total: dict[str, float] = {}
    for p, taken in _taken(problem, rules, doubt):
        answer = str(worked(problem, taken)[0].answer)
        total[answer] = total.get(answer, 0.0) + p
        if p > likeliest.get(answer, (0.0, rules))[0]:
            likeliest[answer] = (p, taken)
    whole = sum(total.values())
    return {answer: (p / whole, likeliest[answer][1]) for answer, p in total.items() if p}


def _taken(problem: Problem, rules: Rules, doubt: float) -> Iterator[tuple[float, Rules]]:
    """(probability, rules) of every course, the one without failures first."""
    held = dict(rules)
    needed = [slot for slot in exercised(problem) if slot in held]
    for count in range(min(_MOST_FAILURES, len(needed)) + 1 if doubt else 1):
        p = doubt**count * max(1 - doubt, _LEAST) ** (len(needed) - count)
        for failing in combinations(needed, count):
            variants = [_other_bugs(slot, held[slot]) for slot in failing]
            ways = list(product(*variants))
            for way in ways:
                yield p / len(ways), tuple(sorted({**held, **dict(zip(failing, way, strict=True))}.items()))


def _other_bugs(slot: str, held: str) -> list[str]:
    """What a rule can fail into; a rule whose only bug is held already stays as it is."""
    return [b.name for b in BUGS.values() if b.slot == slot and b.name != held] or [held]


def doubtful_answers(item: Item, answer: str, world: World, seed: int, doubt: float) -> dict[str, float]:
    """Answer -> probability for an item that is no column problem; `answer`, without failures, comes first.

    Args:
        item: What is asked.
        answer: What the expert says where nothing fails.
        world: Which wrong answers there are.
        seed: The expert's.
        doubt: Chance of failure per skill.
    """
    found, sure = {answer: 1.0}, 1.0
    for skill in skills_of(item) if doubt else ():
        wrong = [w for w in world.wrong_answers(item, derive(seed, "doubt", skill)) if w != answer]
        for other in wrong:
            found[other] = found.get(other, 0.0) + sure * doubt / len(wrong)
        sure *= 1 - doubt if wrong else 1
    return found | {answer: sure}
