"""Ranking: nested sets, the published order of ties, and agreement where there is nothing to choose."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docendo.agents.policy import POLICIES, rank

_scores = st.lists(st.none() | st.sampled_from([0.0, 0.25, 0.5, 1.0, -1.0]), max_size=12)


def chosen(scores: list[float | None], budget: int, order: str = "best") -> set[int]:
    return {i for i, c in enumerate(rank(scores, budget, order)) if c.chosen}  # type: ignore[arg-type]


@given(_scores, st.sampled_from(["best", "worst"]))
def test_sets_are_nested_over_budgets(scores: list[float | None], order: str) -> None:
    eligible = {i for i, s in enumerate(scores) if s is not None}
    sets = [chosen(scores, b, order) for b in range(len(scores) + 2)]
    assert sets[0] == set()
    assert sets[-1] == eligible
    for budget, (smaller, larger) in enumerate(pairwise(sets)):
        assert smaller <= larger
        assert len(smaller) == min(budget, len(eligible))


@given(_scores, st.integers(0, 12), st.sampled_from(["best", "worst"]))
def test_nobody_left_out_is_better(scores: list[float | None], budget: int, order: str) -> None:
    taken = chosen(scores, budget, order)
    left = [s for i, s in enumerate(scores) if i not in taken and s is not None]
    for i in taken:
        score = scores[i]
        assert score is not None
        assert all(score >= s if order == "best" else score <= s for s in left)


@given(_scores)
def test_ranks_are_places_and_ties_keep_their_order(scores: list[float | None]) -> None:
    choices = rank(scores, len(scores))
    ranks = [c.rank for c in choices if c.rank is not None]
    assert sorted(ranks) == list(range(len(ranks)))
    assert [c.rank is None for c in choices] == [s is None for s in scores]
    for i, first in enumerate(choices):
        for second in choices[i + 1 :]:
            if first.score is not None and first.score == second.score:
                assert first.rank < second.rank  # type: ignore[operator]


def test_the_worst_come_first_for_a_teacher_that_means_harm() -> None:
    assert chosen([0.1, 0.9, 0.5], 1) == {1}
    assert chosen([0.1, 0.9, 0.5], 1, "worst") == {0}
    assert chosen([None, None], 2, "worst") == set()


@pytest.mark.parametrize("name", POLICIES.names())
def test_every_policy_says_what_it_is_and_what_it_needs(name: str) -> None:
    policy = POLICIES.get(name)
    assert policy.name == name
    assert policy.description.endswith(".")
    assert policy.needs <= {"prediction", "confidence", "options", "teacher_confidence", "attempt"}
