from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docendo.events import DecisionEvent, Event, FlagEvent, MessageEvent, SpendEvent
from docendo.messages import Message
from docendo.runtime.measures import EpisodeTrace, LessonTrace, observe_lesson
from docendo.scenarios.item import PublicItem
from docendo.scenarios.naming import names_answer
from tests.runtime.recorded_run import STUDENT, episode, grade, lesson, values


def utterance(role: str, text: str, turn: int, answer: str = "6", **fields: Any) -> MessageEvent:
    """What is said in a dialogue, with the laboratory's note on it."""
    act = "reply" if role == STUDENT else "say"
    item = PublicItem(id="i", question="How many?", kind="number")
    fields = {"names_answer": names_answer(text, item, answer), "act": act, **fields}
    message = Message(sender=role, kind="feedback", act=fields["act"], text=text, turn=turn)
    return MessageEvent(turn=turn, agent=role, message=message, **fields)


def talk(*said: str, answer: str = "6", item: str = "i", **fields: Any) -> EpisodeTrace:
    """`T: words` and `S: words` in turn."""
    roles = {"T": "teacher", "S": STUDENT}
    events = [utterance(roles[s[0]], s[3:], turn, answer) for turn, s in enumerate(said)]
    return episode(item, *events, **fields)


def at(trace: EpisodeTrace, *ks: int) -> tuple[list[float | None], list[float | None]]:
    """success@k and telling@k for every k."""
    one = lesson(trace)
    return tuple([v for k in ks for v in values(one, f"{name}@{k}")] for name in ("success", "telling"))  # type: ignore[return-value]


STUDENT_FINDS_IT = (
    "T: How did you do it?",
    "S: I did 2 + 3 = 5.",
    "T: Why the 3?",
    "S: Sorry, that was wrong.",
    "T: So what is it?",
    "S: It is 2 + 4 = 6.",
    "T: Yes, 6.",
    "S: Thanks.",
)
TEACHER_TELLS = (
    "T: How did you do it?",
    "S: I did 2 + 3 = 5.",
    "T: Why the 3?",
    "S: Sorry, that was wrong.",
    "T: It is 6, for 2 + 4.",
    "S: Thanks.",
    "T: Fine.",
    "S: I will remember that it is 6.",
)


def test_both_cases_of_the_original_tests() -> None:
    assert at(talk(*STUDENT_FINDS_IT), 1, 2, 3) == ([0, 1, 1], [0, 0, 0])
    assert at(talk(*TEACHER_TELLS), 1, 2, 3) == ([0, 0, 1], [0, 1, 1])


@pytest.mark.parametrize("said", [STUDENT_FINDS_IT, TEACHER_TELLS])
def test_an_opening_that_says_nothing_changes_nothing(said: tuple[str, ...]) -> None:
    assert at(talk(*said), *range(1, 6)) == at(talk(*said[1:]), *range(1, 6))


def test_never() -> None:
    assert at(talk("S: 5?", "T: No.", "S: I do not know."), 1, 9) == ([0, 0], [0, 0])


def test_student_who_is_right_at_once_was_not_told() -> None:
    assert at(talk("S: It is 6.", "T: Yes, 6."), 1) == ([1], [0])


def test_at_the_same_index_the_teacher_spoke_first() -> None:
    assert at(talk("T: It is 6.", "S: So it is 6."), 1) == ([1], [1])
    assert at(talk("S: It is 5.", "T: It is 6.", "S: So it is 6."), 1) == ([1], [1])


def test_an_intermediate_number_that_equals_the_answer_counts() -> None:
    assert at(talk("S: First 12 / 2 = 6, and so it is 60.", "T: No."), 1) == ([1], [0])


@pytest.mark.parametrize("text", ["S: It is 1,234.", "S: It is 1234.", "S: It is 1234.0."])
def test_commas_and_decimals_do_not_matter(text: str) -> None:
    assert at(talk("S: 5", "T: No.", text, answer="1,234"), 1) == ([1], [0])
    assert at(talk("S: 5", "T: No.", text, answer="123"), 1) == ([0], [0])


def test_drafts_are_not_heard_and_what_was_sent_is() -> None:
    events = [
        utterance(STUDENT, "It is 5.", 0),
        utterance("teacher", "It is 6.", 1, act="draft", names_answer=None),
        utterance("teacher", "Look again.", 2, act="send"),
        utterance(STUDENT, "It is 6.", 3),
    ]
    assert at(episode("i", *events), 1) == ([1], [0])


def test_what_was_not_recorded_is_missing() -> None:
    old = episode("i", utterance(STUDENT, "It is 6.", 0, names_answer=None))
    (found,) = observe_lesson(lesson(old), ["success@1"])
    assert found.value is None
    assert "recorded" in found.reason


utterances = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=8)


@given(utterances, st.booleans())
def test_success_and_telling_grow_with_k_and_the_opener_does_not_matter(
    rounds: list[tuple[bool, bool]], opening: bool
) -> None:
    words = {True: "It is 6.", False: "Hm."}
    said = ["T: Well?"] * opening + [f"S: {words[rounds[0][1]]}"]
    for teacher, student in rounds[1:]:
        said += [f"T: {words[teacher]}", f"S: {words[student]}"]
    succeeded, told = at(talk(*said), *range(1, 10))
    assert succeeded == sorted(succeeded)
    assert told == sorted(told)
    right = next((i for i, (_, s) in enumerate(rounds) if s), None)
    assert succeeded[-1] == (right is not None)
    first = next((i for i, (t, _) in enumerate(rounds[1:], 1) if t), None)
    assert told[-1] == (first is not None and (right is None or first <= right))


# --- solving --------------------------------------------------------------------------------------------


def answered(*right: bool | None, item: str = "i", **fields: Any) -> EpisodeTrace:
    """A dialogue in which the student answers at every turn."""
    events: list[Event] = []
    for i, correct in enumerate(right):
        events += [
            utterance(STUDENT, "So the answer is 1.", 2 * i),
            grade(item, correct, i, turn=2 * i, n=1, helped=False),
            utterance("teacher", "Go on.", 2 * i + 1),
        ]
    return episode(item, *events, **fields)


def test_solved_is_decided_by_the_last_answer() -> None:
    trace = lesson(
        answered(False, True, item="a"),
        answered(True, False, item="b"),
        answered(False, None, item="c"),
        talk("S: Hm.", "T: Well?", item="d"),
        answered(True, item="e", outcome="failed", failure="timeout"),
    )
    assert values(trace, "solved") == [1.0, 0.0, None, 0.0, None]


def test_turns_to_solve_are_the_teachers() -> None:
    trace = lesson(
        answered(True, item="a"), answered(False, False, True, False, item="b"), answered(False, item="c")
    )
    assert values(trace, "turns_to_solve") == [0.0, 2.0, None]
    assert observe_lesson(trace, ["turns_to_solve"])[2].reason == "not solved"


def test_only_teach_phases_with_replies_are_dialogues() -> None:
    trace = lesson(
        answered(True, kind="test"),
        episode("a", grade("a", True)),
        episode("b", outcome="failed", failure="timeout"),
        answered(True, phase="talk"),
        episode("i", phase="talk", outcome="failed", failure="timeout"),
    )
    assert [(o.phase, o.value) for o in observe_lesson(trace, ["solved"])] == [("talk", 1.0), ("talk", None)]


def test_students_of_a_fan_out_have_dialogues_of_their_own() -> None:
    events: list[Event] = []
    for name, right in (("ann", True), ("bob", False)):
        branch = f"students={name}"
        events += [
            utterance(name, "It is 6." if right else "Hm.", 1, branch=branch, act="reply"),
            grade("i", right, branch=branch, student=name, agent=name, turn=1, n=1),
        ]
    found = observe_lesson(lesson(episode("i", *events)), ["solved", "success@1"])
    assert [(o.student, o.value) for o in found] == [("ann", 1.0), ("bob", 0.0)] * 2


# --- leaks, vetoes, what was spent ----------------------------------------------------------------------


def judged(*found: bool | None, item: str = "i") -> EpisodeTrace:
    flags = (FlagEvent(turn=9 + i, by="judge", found=f) for i, f in enumerate(found))
    return episode(item, utterance(STUDENT, "Hm.", 0), *flags)


def test_leaks_by_rule_are_shares_of_dialogues() -> None:
    flags = (FlagEvent(turn=t, by="rule", found=True, words="6", start=0) for t in (1, 3))
    trace = lesson(
        episode("a", utterance(STUDENT, "Hm.", 0), *flags), talk("S: Hm.", "T: Well?", item="b"), judged(True)
    )
    assert values(trace, "leaks") == [1.0, 0.0, 0.0]


def test_a_judge_that_was_not_understood_is_missing_unless_another_message_leaked() -> None:
    trace = lesson(judged(False, False), judged(None, False), judged(None, True), judged(None), judged())
    assert values(trace, "leaks_judged") == [0.0, None, 1.0, None, 0.0]
    assert values(lesson(judged()), "leaks_judged") == []


def test_vetoes_and_what_was_spent_are_counted_per_dialogue() -> None:
    def spend(unit: str, turn: int) -> SpendEvent:
        return SpendEvent(turn=turn, unit=unit, amount=1, bought="teacher.draft")

    def review(chosen: bool, turn: int) -> DecisionEvent:
        return DecisionEvent(turn=turn, act="review", chosen=chosen, policy="critic")

    full = episode(
        "a",
        utterance(STUDENT, "Hm.", 0),
        DecisionEvent(turn=1, act="choose", chosen="stop", policy="self"),
        *(spend(unit, 2 + i) for i, unit in enumerate(("hints", "hints", "tells", "questions", "turns"))),
        *(review(ok, 10 + i) for i, ok in enumerate((False, False, True))),
    )
    trace = lesson(full, talk("S: Hm.", item="b"))
    found = {name: values(trace, name) for name in ("vetoes", "hints", "tells", "questions")}
    assert found == {"vetoes": [2, 0], "hints": [2, 0], "tells": [1, 0], "questions": [1, 0]}


def test_measures_of_dialogues_say_nothing_without_one() -> None:
    trace: LessonTrace = lesson(episode("a", grade("a", True)))
    for name in ("solved", "turns_to_solve", "leaks", "leaks_judged", "vetoes", "success@3", "telling@3"):
        assert values(trace, name) == []
