from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docendo.errors import UnknownNameError
from docendo.events import GradeEvent, MessageEvent
from docendo.messages import Message
from docendo.runtime.measures import MEASURES, observe_lesson
from tests.runtime.recorded_run import episode, grade, helped_episode, lesson, mean, spoken, values

outcomes = st.lists(st.tuples(st.booleans(), st.one_of(st.none(), st.booleans())), min_size=1, max_size=20)


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


# --- roles ----------------------------------------------------------------------------------------------


def teachers(item: str, correct: bool | None, **fields: Any) -> GradeEvent:
    return grade(item, correct, agent="teacher", student="teacher", role="teacher", **fields)


def test_answers_of_teachers_are_not_answers_of_students() -> None:
    sat = lesson(
        episode("a", teachers("a", True), kind="test"),
        episode("b", teachers("b", None, reason="no gold"), kind="test"),
        episode("c", kind="test", outcome="failed", failure="timeout"),
    )
    assert values(sat, "teacher_accuracy") == [1.0, None, None]
    assert {o.student for o in observe_lesson(sat, ["teacher_accuracy"])} == {"teacher", ""}
    for name in ("accuracy", "pre_accuracy", "test_accuracy", "rectified", "broken"):
        assert values(sat, name) == []
    assert values(lesson(episode("a", grade("a", True), kind="test")), "teacher_accuracy") == []


def test_samples_of_a_teacher_are_no_test_of_it() -> None:
    taught = episode(
        "a", teachers("a", True, branch="samples=1"), grade("x", False, branch="samples=1/items=x")
    )
    assert values(lesson(taught), "teacher_accuracy") == []
    assert [(o.item, o.value) for o in observe_lesson(lesson(taught), ["accuracy"])] == [("x", 0.0)]


def test_samples_and_repeats_are_courses_of_their_own() -> None:
    events = [
        grade("x", i == 0, branch=f"samples={i}/students=student/items=x/repeats={r}", turn=3)
        for i in range(2)
        for r in range(3)
    ]
    trace = lesson(episode("a", *events))
    assert sorted(v or 0.0 for v in values(trace, "accuracy")) == [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    before = grade("x", False, turn=0)
    assert (
        sorted(v or 0.0 for v in values(lesson(episode("a", before, *events)), "rectified"))
        == [0.0] * 3 + [1.0] * 3
    )


# --- all of them ----------------------------------------------------------------------------------------


@given(outcomes)
def test_every_measure_stays_on_its_scale_and_says_why_it_is_missing(
    rows: list[tuple[bool, bool | None]],
) -> None:
    trace = lesson(*(helped_episode(f"i{i}", before, after) for i, (before, after) in enumerate(rows)))
    for name in [*MEASURES.names(), *(f"{family}@2" for family in MEASURES.families)]:
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
