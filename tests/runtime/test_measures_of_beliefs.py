from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docendo.events import BeliefEvent
from docendo.runtime.measures import LessonTrace, observe_lesson
from docendo.runtime.measures.beliefs import expected_calibration_error, same_answer
from tests.runtime.recorded_run import belief, episode, grade, lesson, mean, values

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


# --- beliefs about any attempt --------------------------------------------------------------------------


def foresight(item: str, p: float | None, attempt: int, turn: int, **fields: Any) -> BeliefEvent:
    return belief(item, p, turn=turn, attempt=attempt, agent="diagnostician", **fields)


def test_belief_about_an_attempt_is_held_against_that_answer_and_no_other() -> None:
    trace = lesson(
        episode(
            "a",
            grade("a", False, 0, turn=0),
            foresight("a", 0.25, attempt=1, turn=1, helped=True),
            grade("a", False, 1, turn=3, helped=False),
            foresight("a", 0.5, attempt=2, turn=4),
            foresight("a", 0.75, attempt=2, turn=6),
            grade("a", True, 2, turn=8),
            foresight("a", 0.9, attempt=3, turn=9),
        ),
        episode("a", grade("a", True, 3), kind="test"),
    )
    assert values(trace, "calibration") == [0.0625, 0.25, 0.0625]


def test_belief_after_the_fact_is_not_scored() -> None:
    trace = lesson(episode("a", grade("a", True, 0, turn=0), foresight("a", 0.5, attempt=0, turn=1)))
    assert values(trace, "calibration") == []


def test_belief_of_one_branch_is_not_held_against_the_answer_of_another() -> None:
    other, own = "samples=1", "samples=2"
    events = [
        foresight("a", 0.5, attempt=0, turn=1, branch=own),
        grade("a", False, 0, turn=2, branch=other),
        grade("a", True, 0, turn=2, branch=own),
    ]
    assert values(lesson(episode("a", *events)), "calibration") == [0.25]
    assert values(lesson(episode("a", *events[:2])), "calibration") == []


def test_belief_about_an_attempt_that_a_failure_prevented_is_missing() -> None:
    trace = lesson(episode("a", foresight("a", 0.5, attempt=1, turn=1), outcome="failed", failure="timeout"))
    assert values(trace, "calibration") == [None]


def test_diagnoses_may_predict_or_not() -> None:
    silent = foresight("a", None, attempt=0, turn=1, act="diagnose", misconceptions={"bug": 0.9})
    empty = foresight("a", None, attempt=0, turn=2, act="diagnose")
    telling = foresight("a", 0.5, attempt=0, turn=3, act="diagnose", misconceptions={"bug": 0.9})
    literal = foresight("a", None, attempt=0, turn=4, act="predict", predicted_answer="1")
    trace = lesson(episode("a", silent, empty, telling, literal, grade("a", False, turn=5)))
    assert values(trace, "calibration") == [0.25]
    assert values(trace, "simulation_accuracy") == [1.0]


def test_utility_is_about_help_and_not_about_turns() -> None:
    events = [foresight("a", 0.1 * i, attempt=i, turn=2 * i - 1, helped=i > 1) for i in range(4)]
    assert values(lesson(episode("a", *events, grade("a", True))), "utility_correlation") == []


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=8))
def test_turn_by_turn_every_answer_is_predicted_once(rows: list[tuple[float, bool]]) -> None:
    events: list[Any] = []
    for i, (p, right) in enumerate(rows):
        events += [foresight("a", p, i, turn=2 * i), grade("a", right, i, turn=2 * i + 1)]
    assert values(lesson(episode("a", *events)), "calibration") == [(p - right) ** 2 for p, right in rows]


# --- diagnoses ------------------------------------------------------------------------------------------


def diagnosis(turn: int, held: list[str], **believed: float) -> BeliefEvent:
    truth = {"skills": {}, "misconceptions": held}
    return foresight("a", None, 1, turn, act="diagnose", misconceptions=believed, truth=truth)


@pytest.mark.parametrize(
    ("held", "believed", "right"),
    [
        (["x"], {"x": 0.6, "y": 0.4}, 1.0),
        (["x"], {"x": 0.6, "y": 0.7}, 0.0),
        (["x", "y"], {"x": 0.6, "y": 0.7}, 1.0),
        (["x"], {"x": 0.49, "y": 0.2}, 0.0),
        ([], {"x": 0.49, "y": 0.2}, 1.0),
        ([], {"x": 0.5}, 0.0),
        ([], {}, 1.0),
        (["x"], {}, 0.0),
        (["x"], {"y": 0.6, "x": 0.6}, 1.0),
    ],
)
def test_diagnosis_names_the_most_probable_misconception_or_none(
    held: list[str], believed: dict[str, float], right: float
) -> None:
    assert values(lesson(episode("a", diagnosis(1, held, **believed))), "diagnosis_accuracy") == [right]


def diagnosed(*right: bool, **fields: Any) -> LessonTrace:
    events = (diagnosis(i, ["x"], **({"x": 0.9} if ok else {"y": 0.9})) for i, ok in enumerate(right))
    return lesson(episode("a", *events, **fields))


def test_turns_to_diagnosis_count_up_to_the_one_that_lasts() -> None:
    assert values(diagnosed(True), "turns_to_diagnosis") == [1.0]
    assert values(diagnosed(False, True, True), "turns_to_diagnosis") == [2.0]
    assert values(diagnosed(True, False, True), "turns_to_diagnosis") == [3.0]
    (never,) = observe_lesson(diagnosed(True, False), ["turns_to_diagnosis"])
    assert (never.value, never.reason) == (None, "the last diagnosis was wrong")
    assert values(diagnosed(True, outcome="failed", failure="timeout"), "turns_to_diagnosis") == [None]


def test_nothing_is_diagnosed_where_the_mind_is_not_known() -> None:
    trace = lesson(episode("a", foresight("a", None, 1, 1, act="diagnose", misconceptions={"x": 0.9})))
    assert values(trace, "diagnosis_accuracy") == values(trace, "turns_to_diagnosis") == []
