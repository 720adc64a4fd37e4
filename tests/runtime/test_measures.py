from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docendo.errors import UnknownNameError
from docendo.events import MessageEvent
from docendo.messages import Message
from docendo.runtime.measures import MEASURES, observe_lesson
from docendo.runtime.measures.beliefs import expected_calibration_error, same_answer
from tests.runtime.recorded_run import belief, episode, grade, helped_episode, lesson, spoken, values

outcomes = st.lists(st.tuples(st.booleans(), st.one_of(st.none(), st.booleans())), min_size=1, max_size=20)


def mean(found: list[float | None]) -> float:
    there = [v for v in found if v is not None]
    return sum(there) / len(there)


def test_judge_failure_is_missing_and_never_a_score() -> None:
    trace = lesson(
        episode("a", grade("a", True)),
        episode("b", grade("b", None, reason="two numbers in the answer")),
        episode("c", grade("c", False)),
    )
    found = observe_lesson(trace, ["accuracy"])
    assert [o.value for o in found] == [1.0, None, 0.0]
    assert found[1].reason == "two numbers in the answer"
    assert values(trace, "rectified") == [0.0, None, 0.0]


def test_failed_episode_is_missing_whatever_it_had_graded_before() -> None:
    trace = lesson(
        episode("a", grade("a", True), outcome="failed", failure="timeout"),
        episode("b", outcome="failed", failure="model"),
        episode("c", grade("c", True)),
    )
    found = observe_lesson(trace, ["accuracy"])
    assert [(o.item, o.value) for o in found] == [("a", None), ("b", None), ("c", 1.0)]
    assert "timeout" in found[0].reason


@pytest.mark.parametrize("outcome", ["budget", "limit"])
def test_episode_cut_short_before_any_answer_is_missing(outcome: str) -> None:
    assert values(lesson(episode("a", outcome=outcome)), "accuracy") == [None]


def test_lecture_without_a_question_says_nothing_about_accuracy() -> None:
    assert values(lesson(episode("a", spoken("a", "words", 0))), "accuracy") == []


def test_test_without_an_answer_is_missing() -> None:
    assert values(lesson(episode("a", kind="test")), "test_accuracy") == [None]


def test_observing_is_not_measured_and_tests_are_apart_from_teaching() -> None:
    trace = lesson(
        episode("a", grade("a", True), kind="observe"),
        episode("b", grade("b", False)),
        episode("c", grade("c", True), kind="test", phase="posttest"),
    )
    assert values(trace, "accuracy") == [0.0, 1.0]
    assert [(o.phase, o.value) for o in observe_lesson(trace, ["test_accuracy"])] == [("posttest", 1.0)]


def test_final_answer_is_the_last_grade_of_each_student_and_item() -> None:
    exam = episode(
        "", grade("x", True), grade("y", False, n=1), grade("y", True, 1, helped=False), kind="test"
    )
    assert {(o.item, o.value) for o in observe_lesson(lesson(exam), ["accuracy"])} == {("x", 1.0), ("y", 1.0)}


@given(outcomes)
def test_gain_in_accuracy_is_rectified_minus_broken(rows: list[tuple[bool, bool | None]]) -> None:
    trace = lesson(*(helped_episode(f"i{i}", before, after) for i, (before, after) in enumerate(rows)))
    gained = mean(values(trace, "accuracy")) - mean(values(trace, "pre_accuracy"))
    assert gained == pytest.approx(
        mean(values(trace, "rectified")) - mean(values(trace, "broken")), abs=1e-12
    )
    assert values(trace, "interventions") == [sum(after is not None for _, after in rows)]
    assert sum(v or 0 for v in values(trace, "intervened")) == sum(after is not None for _, after in rows)


def test_student_who_answers_only_after_help_has_no_first_answer() -> None:
    trace = lesson(episode("a", grade("a", True, 0, helped=True)))
    assert values(trace, "pre_accuracy") == values(trace, "rectified") == []
    assert values(trace, "accuracy") == values(trace, "intervened") == [1.0]


def test_explanation_tokens_are_missing_where_the_engine_counted_none() -> None:
    silent = Message(sender="teacher", kind="explanation", text="words")
    trace = lesson(
        helped_episode("a", False, True),
        helped_episode("b", True, None),
        episode("c", MessageEvent(turn=1, agent="teacher", message=silent), grade("c", True)),
    )
    assert values(trace, "explanation_tokens") == [7.0, 0.0, None]


# --- beliefs --------------------------------------------------------------------------------------------


def predicted(p: list[float], correct: list[bool]) -> list[float | None]:
    rows = enumerate(zip(p, correct, strict=True))
    trace = lesson(*(episode(f"i{i}", belief(f"i{i}", q), grade(f"i{i}", ok)) for i, (q, ok) in rows))
    return values(trace, "calibration")


def test_constant_prior_scores_exactly_the_base_rate_brier_and_the_oracle_scores_0() -> None:
    for right, n in ((4, 16), (3, 8), (16, 32)):
        correct = [i < right for i in range(n)]
        rate = right / n
        assert mean(predicted([rate] * n, correct)) == rate * (1 - rate)
        assert set(predicted([float(ok) for ok in correct], correct)) == {0.0}


@settings(max_examples=50)
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.floats(0, 1))
def test_no_constant_belief_beats_the_base_rate(correct: list[bool], p: float) -> None:
    rate = sum(correct) / len(correct)
    best = mean(predicted([rate] * len(correct), correct))
    assert best == pytest.approx(rate * (1 - rate), abs=1e-12)
    assert mean(predicted([p] * len(correct), correct)) >= best - 1e-12


def test_beliefs_with_and_without_help_are_held_against_their_own_answers() -> None:
    trace = lesson(
        episode("a", belief("a", 0.0), belief("a", 1.0, helped=True), grade("a", False), grade("a", True, 1)),
        episode("b", belief("b", 0.0), belief("b", 1.0, helped=True), grade("b", False)),
    )
    assert values(trace, "calibration") == [0.0, 0.0, 0.0]


def test_belief_about_a_later_exam_finds_its_answer_there() -> None:
    trace = lesson(
        episode("", belief("x", 0.25, turn=3), kind="teach"),
        episode("x", grade("x", True), kind="test"),
    )
    found = observe_lesson(trace, ["calibration"])
    assert [(o.phase, o.value) for o in found] == [("test", 0.5625)]


def test_belief_is_missing_where_prediction_or_answer_cannot_be_read() -> None:
    trace = lesson(
        episode("a", belief("a", None), grade("a", True)),
        episode("b", belief("b", 0.5), grade("b", None)),
        episode("c", belief("c", 0.5), outcome="failed", failure="model"),
    )
    assert values(trace, "calibration") == values(trace, "log_loss") == [None, None, None]
    assert values(trace, "ece") == [None]


def test_log_loss_is_finite_for_a_certain_mistake() -> None:
    trace = lesson(episode("a", belief("a", 1.0), grade("a", False)))
    assert values(trace, "log_loss") == [pytest.approx(13.8155, abs=1e-3)]


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 1.0])), min_size=1, max_size=30))
def test_ece_stays_in_bounds_and_is_0_for_an_oracle(pairs: list[tuple[float, float]]) -> None:
    assert 0 <= expected_calibration_error(pairs) <= 1
    assert expected_calibration_error([(outcome, outcome) for _, outcome in pairs]) == 0


def test_ece_of_known_bins() -> None:
    pairs = [(0.25, 0.0), (0.25, 1.0), (0.95, 1.0), (0.95, 1.0)]
    assert expected_calibration_error(pairs) == pytest.approx(0.5 * 0.25 + 0.5 * 0.05)


def test_simulation_accuracy_compares_the_answers_themselves() -> None:
    trace = lesson(
        episode("a", belief("a", None, predicted_answer=" 7.0"), grade("a", False, answer="7")),
        episode("b", belief("b", None, predicted_answer="8"), grade("b", False, answer="7")),
        episode("c", belief("c", None, predicted_answer="8"), grade("c", None, answer=None)),
        episode("d", belief("d", 0.4), grade("d", True)),
    )
    assert values(trace, "simulation_accuracy") == [1.0, 0.0, None]
    assert same_answer("Yes ", "yes")
    assert not same_answer("yes", "no")


def utility(*rows: tuple[float, float, float]) -> list[float | None]:
    """Rows of (believed utility, confidence before, confidence after)."""
    return values(
        lesson(
            *(
                episode(
                    f"i{i}",
                    belief(f"i{i}", 0.0),
                    belief(f"i{i}", gain, helped=True),
                    grade(f"i{i}", False, confidence=before),
                    grade(f"i{i}", True, 1, confidence=after),
                )
                for i, (gain, before, after) in enumerate(rows)
            )
        ),
        "utility_correlation",
    )


def test_utility_correlation_is_of_ranks() -> None:
    assert utility((0.1, 0.1, 0.2), (0.2, 0.1, 0.4), (0.9, 0.1, 0.5)) == [pytest.approx(1.0)]
    assert utility((0.9, 0.1, 0.2), (0.2, 0.1, 0.4), (0.1, 0.1, 0.5)) == [pytest.approx(-1.0)]


def test_utility_correlation_is_missing_without_variation_or_items() -> None:
    assert utility((0.5, 0.1, 0.2), (0.5, 0.1, 0.4), (0.5, 0.1, 0.5)) == [None]
    assert utility((0.1, 0.1, 0.2), (0.2, 0.1, 0.4)) == [None]


def test_truth_brier_reads_mastery_and_misconceptions() -> None:
    truth = {"skills": {"borrow": False, "digits": True}, "misconceptions": ["smaller_from_larger"]}
    sure = belief(
        "a",
        None,
        skills={"borrow": 0.0, "digits": 1.0, "unknown": 0.3},
        misconceptions={"smaller_from_larger": 1.0},
        truth=truth,
    )
    vague = belief("b", None, skills={"borrow": 0.5}, misconceptions={"other": 0.5}, truth=truth)
    assert values(lesson(episode("a", sure), episode("b", vague)), "truth_brier") == [0.0, 0.25]


# --- all of them ----------------------------------------------------------------------------------------


@given(outcomes)
def test_every_measure_stays_on_its_scale_and_says_why_it_is_missing(
    rows: list[tuple[bool, bool | None]],
) -> None:
    trace = lesson(*(helped_episode(f"i{i}", before, after) for i, (before, after) in enumerate(rows)))
    for name in MEASURES.names():
        measure = MEASURES.get(name)
        assert measure.description
        for o in measure.observe(trace):
            assert (o.value is None) == bool(o.reason)
            if o.value is not None and measure.bounds:
                assert measure.bounds[0] <= o.value <= measure.bounds[1]
            if o.value is not None and measure.binary:
                assert o.value in {0.0, 1.0}


def test_no_measure_counts_a_unit_twice() -> None:
    trace = lesson(*(helped_episode(f"i{i}", i % 2 == 0, True if i % 3 else None) for i in range(12)))
    for name in ("accuracy", "pre_accuracy", "rectified", "broken", "intervened", "explanation_tokens"):
        assert max(Counter(o.item for o in observe_lesson(trace, [name])).values()) == 1


def test_unknown_measure_is_named() -> None:
    with pytest.raises(UnknownNameError, match="acuracy"):
        observe_lesson(lesson(), ["acuracy"])
