"""Choosing among sampled answers by vote: from samples and their exam scores to one answer.

Learning by teaching (Ning et al. 2024, section 3, M1) weighs each answer by how well students did in an exam
after they had studied it: `max` by its best sample, `sum` by all of them, `avg` by their mean. `count` weighs
all samples alike, which is self-consistency (Wang et al. 2023). As in the published code, ties go to the
answer that more samples give, and then to the one that was first seen latest. Two answers are the same if
they are the same string once normalised. A sample without a readable answer votes for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from random import Random
from typing import Literal

from docendo.scenarios.grader import normalise_text, read_number

__all__ = ["DRAWS", "Rule", "Vote", "chosen", "expected_correctness", "identity", "outcome"]

Rule = Literal["max", "sum", "avg", "count"]
DRAWS = 200
"""Subsets that stand for all of them, where there are more."""


@dataclass(frozen=True, slots=True)
class Vote:
    """One sample."""

    answer: str | None
    """`None`: no answer could be read."""
    correct: bool | None
    """`None`: the answer could not be judged."""
    score: Fraction | None = None
    """Exact, so that equal sums are equal. `None`: there was no exam; it weighs nothing but for `count`."""


def identity(answer: str) -> str:
    """The answer as votes are counted: a number plainly written, other text without case and outer marks."""
    number = read_number(answer)
    return normalise_text(answer) if number is None else str(number)


def chosen(votes: Sequence[Vote], rule: Rule) -> str | None:
    """The winning answer, as `identity` writes it; `None` where no vote has an answer."""
    scores: dict[str, list[Fraction]] = {}  # in the order in which the answers were first seen
    for vote in votes:
        if vote.answer is not None:
            scores.setdefault(identity(vote.answer), []).append(vote.score or Fraction(0))
    if not scores:
        return None
    places = {answer: place for place, answer in enumerate(scores)}
    return max(scores, key=lambda a: (_weight(scores[a], rule), len(scores[a]), places[a]))


def _weight(scores: Sequence[Fraction], rule: Rule) -> Fraction:
    if rule == "count":
        return Fraction(len(scores))
    if rule == "max":
        return max(scores)
    return sum(scores, Fraction(0)) / (len(scores) if rule == "avg" else 1)


def outcome(votes: Sequence[Vote], rule: Rule) -> bool | None:
    """Whether the winning answer is right: wrong where no vote has one, `None` where it was not judged."""
    answer = chosen(votes, rule)
    if answer is None:
        return False
    given = (v.correct for v in votes if v.answer is not None and identity(v.answer) == answer)
    return next((correct for correct in given if correct is not None), None)


def expected_correctness(votes: Sequence[Vote], rule: Rule, n: int, seed: int | str) -> float | None:
    """Mean outcome of the vote over subsets of `n` of the votes, `None` where an outcome is.

    All subsets where there are at most 200, else 200 that `seed` draws. No subset holds a vote twice.
    """
    outcomes = [outcome(subset, rule) for subset in _subsets(votes, n, seed)]
    known = [o for o in outcomes if o is not None]
    return sum(known) / len(known) if len(known) == len(outcomes) else None


def _subsets(votes: Sequence[Vote], n: int, seed: int | str) -> Iterator[tuple[Vote, ...]]:
    """Subsets in which votes keep their order."""
    if math.comb(len(votes), n) <= DRAWS:
        yield from combinations(votes, n)
        return
    random = Random(seed)
    for _ in range(DRAWS):
        yield tuple(votes[place] for place in sorted(random.sample(range(len(votes)), n)))
