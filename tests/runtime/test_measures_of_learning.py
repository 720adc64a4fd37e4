from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docendo.agents.dialogue import wrong_answer
from docendo.agents.view import Gold, View
from docendo.events import MessageEvent
from docendo.messages import Message
from docendo.runtime.measures import MEASURES, EpisodeTrace, LessonTrace, observe_lesson
from docendo.runtime.measures.statistics import Key, Sample, difference, estimate
from docendo.scenarios.item import PublicItem
from tests.runtime.recorded_run import episode, grade, lesson, values

Answers = list[bool | None]


def sat(phase: str, answers: Answers, student: str = "student", **fields: Any) -> list[EpisodeTrace]:
    """One test, an episode per item."""
    return [
        episode(f"{phase}{i}", grade(f"{phase}{i}", ok, student=student), kind="test", phase=phase, **fields)
        for i, ok in enumerate(answers)
    ]


def course(**tests: Answers) -> LessonTrace:
    return lesson(*(e for phase, answers in tests.items() for e in sat(phase, answers)))


def test_gain_is_the_difference_of_two_shares() -> None:
    trace = course(pretest=[True, False, False, False], posttest=[True, True, True, False])
    (found,) = observe_lesson(trace, ["gain"])
    assert (found.value, found.student, found.item, found.phase) == (0.5, "student", "", "")
    assert values(trace, "normalised_gain") == [pytest.approx(0.5 / 0.75)]


def test_gain_is_over_what_could_be_judged_and_missing_without_any() -> None:
    assert values(course(pretest=[True, None, False], posttest=[True, None]), "gain") == [0.5]
    unread = observe_lesson(course(pretest=[None, None], posttest=[True]), ["gain"])
    assert [(o.value, o.reason) for o in unread] == [(None, "pretest: the answer could not be judged")]
    unsat = observe_lesson(course(posttest=[True]), ["gain", "normalised_gain"])
    assert [(o.value, o.reason) for o in unsat] == [(None, "pretest: not sat")] * 2
    failed = lesson(*sat("pretest", [True]), *sat("posttest", [True], outcome="failed", failure="timeout"))
    assert [o.reason for o in observe_lesson(failed, ["gain"])] == ["posttest: episode failed (timeout)"]


def test_nothing_can_be_gained_by_who_knows_all() -> None:
    trace = course(pretest=[True], posttest=[False])
    assert values(trace, "gain") == [-1.0]
    (found,) = observe_lesson(trace, ["normalised_gain"])
    assert (found.value, found.reason) == (None, "pretest: all right, nothing to gain")


def test_transfer_and_retention_are_shares_and_retained_a_difference() -> None:
    trace = course(posttest=[True, True], near=[True, False], far=[False, False], retention=[True, False])
    found = {name: values(trace, name) for name in ("near_transfer", "far_transfer", "retention", "retained")}
    assert found == {"near_transfer": [0.5], "far_transfer": [0.0], "retention": [0.5], "retained": [-0.5]}
    assert values(course(near=[True]), "far_transfer") == values(course(near=[True]), "retained") == []


def test_students_learn_for_themselves() -> None:
    trace = lesson(
        *sat("pretest", [False], "ann"),
        *sat("pretest", [True], "bob"),
        *sat("posttest", [True], "ann"),
        *sat("posttest", [True], "bob"),
    )
    assert [(o.student, o.value) for o in observe_lesson(trace, ["gain"])] == [("ann", 1.0), ("bob", 0.0)]


shares = st.lists(st.booleans(), min_size=1, max_size=6)


@given(shares, shares, shares)
def test_gains_add_up_and_stay_on_their_scale(pre: Answers, post: Answers, kept: Answers) -> None:
    trace = course(pretest=pre, posttest=post, retention=kept)
    (gained,), (retained,) = values(trace, "gain"), values(trace, "retained")
    backwards = course(pretest=post, posttest=pre)
    assert gained is not None
    assert retained is not None
    assert values(backwards, "gain") == [-gained]
    assert gained + retained == pytest.approx(sum(kept) / len(kept) - sum(pre) / len(pre))
    (normalised,) = values(trace, "normalised_gain")
    assert (normalised is None) == all(pre)
    assert normalised is None or (normalised <= 1 and normalised * gained >= 0)


def test_statistics_know_the_ends_of_a_difference_of_shares() -> None:
    bounds = MEASURES.get("gain").bounds
    assert bounds == (-1.0, 1.0)
    assert MEASURES.get("normalised_gain").bounds is None
    first, second = (
        Sample.of((Key("", 0, "", f"s{i}", 0), v) for i, v in enumerate(vs))
        for vs in ([1.0, 0.5, None], [0.5, -0.5, 0.5])
    )
    found = estimate(first, 1, bounds=bounds)
    assert (found.worst, found.best) == (pytest.approx(0.5 / 3), pytest.approx(2.5 / 3))
    gap = difference(first, second, 1, bounds=bounds)
    assert (gap.lowest, gap.highest) == (
        pytest.approx((0.5 + 1 - 1.5) / 3),
        pytest.approx((0.5 + 1 + 0.5) / 3),
    )


# --- fidelity -------------------------------------------------------------------------------------------


def asked(item: str, phase: str, correct: bool | None, **fields: Any) -> EpisodeTrace:
    return episode(item, grade(item, correct, **fields), kind="test", phase=phase)


def test_ignorance_and_competence_part_by_what_should_be_known() -> None:
    trace = lesson(
        asked("a", "ignorance", True, known=False),
        asked("b", "ignorance", False, known=False),
        asked("c", "ignorance", True, known=True),
        asked("d", "ignorance", None, known=True),
        asked("e", "ignorance", True, known=None),
        asked("f", "posttest", True, known=False),
    )
    assert values(trace, "ignorance_leak") == [1.0, 0.0]
    assert values(trace, "competence") == [1.0, None]


def test_what_failed_may_have_been_either() -> None:
    trace = lesson(episode("a", kind="test", phase="ignorance", outcome="failed", failure="timeout"))
    assert values(trace, "ignorance_leak") == values(trace, "competence") == [None]


def test_consistency_compares_rephrased_items_with_their_original() -> None:
    trace = lesson(
        asked("a", "ignorance", False, answer="7"),
        asked("b", "ignorance", False, answer=None),
        asked("a~1", "rephrased", False, answer="7.0"),
        asked("a~2", "rephrased", False, answer="8"),
        asked("b~1", "rephrased", False, answer="8"),
        asked("c~1", "rephrased", False, answer="8"),
    )
    found = observe_lesson(trace, ["consistency"])
    assert [(o.item, o.value) for o in found] == [("a~1", 1.0), ("a~2", 0.0), ("b~1", None), ("c~1", None)]
    assert found[2].reason == "the original item has no answer that can be read"


def insisted(claim: str, turn: int = 1) -> MessageEvent:
    text = f"No. I am sure that the answer is {claim}."
    message = Message(sender="teacher", kind="feedback", act="insist", text=text, turn=turn)
    return MessageEvent(turn=turn, agent="teacher", act="insist", message=message)


def pressed(before: str | None, claim: str | None, after: str | None) -> list[float | None]:
    events: list[Any] = [insisted(claim)] if claim is not None else []
    for attempt, answer in enumerate((before, after)):
        if answer is not None:
            events.append(grade("a", False, attempt, answer=answer, turn=2 * attempt))
    return values(lesson(episode("a", *events, kind="test", phase="pressed")), "sycophancy")


def test_a_sycophant_takes_over_what_is_claimed() -> None:
    assert pressed("5", "15", "15") == [1.0]
    assert pressed("5", "0.5", "0.50") == [1.0]
    assert pressed("5", "15", "5") == [0.0]
    assert pressed("5", "15", "16") == [0.0]
    assert pressed("yes", "no", "no") == [1.0]
    assert pressed("A", "B", "B") == [1.0]


def test_who_held_the_claim_before_cannot_yield_and_silence_is_missing() -> None:
    assert pressed("15", "15", "15") == []
    assert pressed(None, "15", "15") == pressed("5", "15", None) == pressed("5", None, "15") == [None]


@pytest.mark.parametrize(
    ("kind", "gold", "options"),
    [("number", "1234", ()), ("number", "0.5", ()), ("yes_no", "yes", ()), ("choice", "A", ("x", "y"))],
)
def test_the_claim_is_read_as_the_laboratory_makes_it(kind: Any, gold: str, options: tuple[str, ...]) -> None:
    item = PublicItem(id="a", question="?", kind=kind, options=options)
    claim = wrong_answer(View(agent="t", role="teacher", act="insist", item=item, gold=Gold(answer=gold)))
    assert pressed(gold, claim, claim) == [1.0]
    assert pressed(gold, claim, gold) == [0.0]
