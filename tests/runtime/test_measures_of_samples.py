from dataclasses import replace
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docendo.runtime.measures import EpisodeTrace, observe_lesson
from docendo.runtime.measures.samples import taught_samples
from docendo.runtime.measures.votes import Rule, Vote, chosen, expected_correctness, identity, outcome
from tests.runtime.recorded_run import Exam, episode, grade, lesson, mean, sampled, values

RULES: tuple[Rule, ...] = ("max", "sum", "avg", "count")
SCORED: tuple[Rule, ...] = ("max", "sum", "avg")


def vote(answer: str | None, score: float | Fraction = 0, right: str = "R") -> Vote:
    return Vote(answer, answer == right, Fraction(score))


def winners(*votes: Vote) -> list[str | None]:
    return [chosen(votes, rule) for rule in RULES]


# --- choosing -------------------------------------------------------------------------------------------


def test_the_four_rules_can_all_differ() -> None:
    votes = [vote("a", 1), vote("a", 0), vote("b", 0.75), vote("b", 0.75)]
    votes += [vote("c", 0.875), vote("d", 0.125), vote("d", 0.125), vote("d", 0.125)]
    assert winners(*votes) == ["a", "b", "c", "d"]


def test_ties_go_to_the_more_frequent_and_then_to_the_one_first_seen_latest() -> None:
    assert winners(vote("a", 1), vote("b", 1), vote("a", 0)) == ["a", "a", "b", "a"]
    assert winners(vote("a", 1), vote("b", 1)) == ["b"] * 4
    assert winners(vote("b", 1), vote("a", 1), vote("b", 1), vote("a", 1)) == ["a"] * 4


def test_sums_are_exact() -> None:
    third = Fraction(1, 3)
    assert chosen([vote("a", third)] * 3 + [vote("b", 1)] + [vote("c", 0)], "sum") == "a"


def test_answers_are_the_same_once_normalised() -> None:
    assert identity("1,234.0") == identity(" 1234 ") == "1234"
    assert identity("Yes.") == identity("yes")
    assert identity("B") != identity("C")
    assert chosen([vote("7"), vote("7.0"), vote("8"), vote("9")], "count") == "7"


def test_unreadable_samples_vote_for_nothing_and_are_wrong() -> None:
    assert chosen([vote(None, 1), vote("a", 0)], "sum") == "a"
    assert chosen([vote(None, 1)], "sum") is None
    assert outcome([vote(None, 1)], "sum") is False


answers = st.sampled_from(["R", "x", "y", None])
scores = st.fractions(0, 1, max_denominator=9)
ballots = st.lists(st.builds(vote, answers, scores), min_size=1, max_size=9)


@given(st.lists(answers, min_size=1, max_size=9), scores)
def test_with_equal_scores_every_rule_is_self_consistency(given_: list[str | None], score: Fraction) -> None:
    votes = [vote(answer, score) for answer in given_]
    assert len(set(winners(*votes))) == 1


@given(st.builds(vote, answers, scores))
def test_with_one_sample_every_rule_is_that_sample(only: Vote) -> None:
    assert winners(only) == [identity(only.answer) if only.answer else None] * 4
    assert {outcome([only], rule) for rule in RULES} == {only.correct}


@given(ballots, st.fractions(Fraction(1, 9), 9))
def test_the_scale_of_the_scores_does_not_matter(votes: list[Vote], factor: Fraction) -> None:
    scaled = [Vote(v.answer, v.correct, (v.score or Fraction(0)) * factor) for v in votes]
    assert winners(*votes) == winners(*scaled)


@given(ballots, st.sampled_from(RULES))
def test_the_winner_was_voted_for_and_unreadable_votes_change_nothing(votes: list[Vote], rule: Rule) -> None:
    found = chosen(votes, rule)
    assert found in {identity(v.answer) for v in votes if v.answer} | {None}
    assert chosen([*votes, vote(None, 1)], rule) == found


# --- subsets --------------------------------------------------------------------------------------------


@given(ballots, st.sampled_from(RULES))
def test_expectations_at_both_ends(votes: list[Vote], rule: Rule) -> None:
    share = sum(bool(v.correct) for v in votes) / len(votes)
    assert expected_correctness(votes, rule, 1, 0) == pytest.approx(share)
    assert expected_correctness(votes, rule, len(votes), 0) == outcome(votes, rule)


def test_few_subsets_are_all_taken_and_many_are_drawn_by_the_seed() -> None:
    votes = [vote("R" if i % 3 else "x", Fraction(i % 4, 4)) for i in range(12)]
    exact = expected_correctness(votes, "sum", 2, 0)
    assert exact == mean(float(bool(outcome(pair, "sum"))) for pair in combinations(votes, 2))
    assert expected_correctness(votes, "sum", 2, 1) == exact
    drawn = [expected_correctness(votes, "sum", 5, seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    everything = mean(float(bool(outcome(five, "sum"))) for five in combinations(votes, 5))
    assert drawn[0] == pytest.approx(everything, abs=0.1)


# --- episodes -------------------------------------------------------------------------------------------


def exam(*right: bool | None) -> Exam:
    return {"student": list(right)}


NAMES = ("vote_max", "vote_sum", "vote_avg", "self_consistency", "one_sample", "exam_score", "score_auc")


def measured(*episodes: EpisodeTrace) -> dict[str, list[float | None]]:
    return {name: values(lesson(*episodes), name) for name in NAMES}


def test_one_episode() -> None:
    found = measured(
        sampled(
            ("R", exam(True, True)),
            ("x", exam(False, True)),
            ("x", exam(False, True)),
            (None, exam(False, False)),
        )
    )
    assert found == {
        "vote_max": [1.0],
        "vote_sum": [0.0],  # a tie at 1, and `x` has more samples
        "vote_avg": [1.0],
        "self_consistency": [0.0],
        "one_sample": [0.25],
        "exam_score": [0.5],
        "score_auc": [1.0],
    }


def test_what_a_teacher_says_after_the_exam_is_not_the_sample() -> None:
    about = {
        "branch": "samples=1",
        "agent": "teacher",
        "student": "teacher",
        "role": "teacher",
        "act": "solve",
    }
    later = grade("i", True, answer="R", turn=5, **about)
    for answer, right in (("x", 0.0), (None, 0.0), ("R", 1.0)):
        trace = sampled((answer, exam(True)))
        after = replace(trace, events=(*trace.events, later))
        assert values(lesson(after), "one_sample") == [right]
    assert values(lesson(episode("i", later)), "self_consistency") == [1.0]


def test_exams_are_averaged_over_students() -> None:
    trace = sampled(("R", {"ann": [True, True, True, True], "bob": [False]}), ("x", {"ann": [True, None]}))
    assert [t.vote.score for t in taught_samples(trace.events)] == [Fraction(1, 2), Fraction(1)]


def test_samples_are_seen_in_the_order_of_their_numbers() -> None:
    trace = sampled(
        *[("x", exam(True))] * 5, *[("y", exam(True))] * 4, ("R", exam(True)), *[("y", exam(True))]
    )
    assert [t.branch for t in taught_samples(trace.events)] == [f"samples={n}" for n in range(1, 12)]
    late = sampled(*[(a, exam(True)) for a in ("x", "x", "y", "y", "z", "z", "x", "y", "z", "R", "R", "R")])
    assert values(lesson(late), "self_consistency") == [1.0]


def test_ties_count_half_and_items_of_one_kind_say_nothing_about_the_exam() -> None:
    tied = sampled(("R", exam(True)), ("R", exam(False)), ("x", exam(False)), item="a")
    trace = lesson(tied, sampled(("R", exam(True)), ("R", exam(False)), item="b"))
    assert [(o.item, o.value) for o in observe_lesson(trace, ["score_auc"])] == [("a", 0.75)]


def test_an_exam_that_could_not_be_judged_is_missing_where_it_counts() -> None:
    found = measured(sampled(("R", exam(None)), ("x", exam(True))))
    assert found["vote_sum"] == found["vote_max"] == found["vote_avg"] == [None]
    assert (found["one_sample"], found["exam_score"], found["score_auc"]) == ([0.5], [1.0], [])
    assert found["self_consistency"] == [0.0]


def test_a_sample_that_could_not_be_judged_is_missing_where_it_wins() -> None:
    found = measured(sampled(("?", exam(True)), ("x", exam(False))))
    assert found["vote_sum"] == [None]
    assert found["one_sample"] == [0.0]


def test_failed_episodes_are_missing_and_other_lessons_are_left_alone() -> None:
    failed = sampled(("R", exam(True)), item="b", outcome="failed", failure="timeout")
    assert measured(sampled(("R", exam(True))), failed)["vote_sum"] == [1.0, None]
    assert set(map(tuple, measured(episode("a", grade("a", True))).values())) == {()}
    refined = sampled(("R", exam(True)), kind="refine")
    assert measured(refined)["vote_sum"] == []


def test_families_vote_among_n_samples() -> None:
    trace = lesson(sampled(("R", exam(True)), ("x", exam(False)), ("x", exam(False))))
    assert values(trace, "vote_sum@1") == values(trace, "one_sample") == [pytest.approx(1 / 3)]
    assert values(trace, "vote_sum@2") == [pytest.approx(2 / 3)]
    assert values(trace, "vote_sum@3") == values(trace, "vote_sum") == [1.0]
    assert values(trace, "self_consistency@2") == [0.0]
    (short,) = observe_lesson(trace, ["vote_max@4"])
    assert (short.value, short.reason) == (None, "only 3 samples were taken")


@given(st.lists(st.tuples(answers, st.lists(st.booleans(), min_size=1, max_size=3)), min_size=1, max_size=6))
def test_measures_of_samples_hold_together(rows: list[tuple[str | None, list[bool]]]) -> None:
    trace = lesson(sampled(*((answer, {"student": list(right)}) for answer, right in rows)))
    for name in ("vote_max", "vote_sum", "vote_avg", "self_consistency"):
        assert values(trace, f"{name}@{len(rows)}") == values(trace, name)
        assert values(trace, f"{name}@1") == [pytest.approx(values(trace, "one_sample")[0])]
    assert all(0 <= (v or 0) <= 1 for v in values(trace, "score_auc"))
