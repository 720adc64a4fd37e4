"""Measures of dialogues between a teacher and a student about one item.

A dialogue is an episode of a teach phase in which students reply (`student.reply`); the teacher's utterances
are what students hear of it (`teacher.say`, `teacher.send`), not its drafts. A unit is one dialogue, named by
its item and student. A dialogue that failed is missing.

*Success and telling* (Macina et al. 2023, MathDial; as its evaluation code has them). For each role, the
index of its first utterance that names the answer, counted from 0, infinite where none does:
success@k = [student <= k], telling@k = [teacher <= min(student, k)]. In the original the teacher opens, so
that at equal index it spoke first and told. Where the student opens, the teacher's first utterance comes
after the student's and is counted from 1, as if an opening that says nothing had come before. So k is in both
cases the number of teacher turns after the opening that the student had heard. Whether an utterance names the
answer is noted by the laboratory (`MessageEvent.names_answer`), by the rule of `docendo.scenarios.naming`: an
intermediate number that happens to be equal counts, too, and success counts even if the teacher told first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import inf

from docendo.events import DecisionEvent, Event, FlagEvent, GradeEvent, MessageEvent, SpendEvent
from docendo.runtime.measures.measure import (
    EpisodeTrace,
    LessonTrace,
    Observed,
    Place,
    Row,
    measure,
    measure_family,
)
from docendo.runtime.measures.outcomes import correctness

__all__ = [
    "Dialogue", "dialogues", "hints", "leaks", "leaks_judged", "questions", "solved", "success", "telling",
    "tells", "turns_to_solve", "vetoes",
]  # fmt: skip

SAYING = frozenset({"say", "send"})
REPLYING = "reply"


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One student's dialogue in one episode."""

    episode: EpisodeTrace
    student: str
    events: tuple[Event, ...]
    """In order; where an episode holds several dialogues, those on the way to this one and in it."""

    @property
    def place(self) -> Place:
        """What it is about."""
        return Place(self.episode.phase, self.episode.round, self.episode.item, self.student)

    @property
    def utterances(self) -> list[MessageEvent]:
        """What the teacher and this student said aloud, in order."""
        said = (e for e in self.events if isinstance(e, MessageEvent))
        return [e for e in said if _says(e) or (_replies(e) and e.message.sender == self.student)]

    @property
    def grades(self) -> list[GradeEvent]:
        """The student's answers that were graded, in order."""
        return [e for e in self.events if isinstance(e, GradeEvent) and e.student == self.student]


def _replies(event: Event) -> bool:
    return isinstance(event, MessageEvent) and event.message.act == REPLYING


def _says(event: Event) -> bool:
    return isinstance(event, MessageEvent) and event.message.act in SAYING


def dialogues(trace: LessonTrace) -> Iterator[Dialogue]:
    """Every dialogue of a lesson; of an episode that failed before a word was said, one that is missing."""
    phases = {e.phase for e in trace.of_kind("teach") if any(map(_replies, e.events))}
    for episode in trace.of_kind("teach"):
        if episode.phase in phases:
            yield from _of_episode(episode)


def _of_episode(episode: EpisodeTrace) -> Iterator[Dialogue]:
    branches = dict.fromkeys((e.branch, e.message.sender) for e in episode.events
                             if isinstance(e, MessageEvent) and _replies(e))  # fmt: skip
    for branch, student in branches:
        path = tuple(e for e in episode.events if not e.branch or f"{branch}/".startswith(f"{e.branch}/"))
        yield Dialogue(episode, student, path)
    if not branches:
        yield Dialogue(episode, episode.student, episode.events)


def _each(trace: LessonTrace, value: Callable[[Dialogue], Row | None]) -> Iterator[Observed]:
    """One row per dialogue for which `value` is not `None`; of one that failed, a missing one."""
    for dialogue in dialogues(trace):
        if dialogue.episode.errored:
            yield dialogue.place, None, dialogue.episode.why
        elif (row := value(dialogue)) is not None:
            yield (dialogue.place, *row)


# --- success and telling --------------------------------------------------------------------------------


def _first_naming(dialogue: Dialogue) -> tuple[float, float] | None:
    """Index of the (student's, teacher's) first utterance that names the answer; `None` if not recorded."""
    said = dialogue.utterances
    if any(e.names_answer is None for e in said):
        return None
    students = [bool(e.names_answer) for e in said if _replies(e)]
    teachers = [bool(e.names_answer) for e in said if _says(e)]
    opening = 1 if said and _replies(said[0]) else 0
    return _index(students), _index(teachers) + opening


def _index(named: list[bool]) -> float:
    return named.index(True) if True in named else inf


def _by_naming(trace: LessonTrace, holds: Callable[[float, float], bool]) -> Iterator[Observed]:
    def row(dialogue: Dialogue) -> Row:
        found = _first_naming(dialogue)
        if found is None:
            return None, "it was not recorded whether messages name the answer"
        return float(holds(*found)), ""

    return _each(trace, row)


@measure_family(
    "success", "k", scale="probability", better="high", binary=True,
    description="Share of dialogues in which the student names the answer after at most k teacher turns "
    "beyond the opening, told or not (Macina et al. 2023, evaluation code).",
)  # fmt: skip
def success(trace: LessonTrace, k: int) -> Iterable[Observed]:
    """1 where the student's index is at most k."""
    return _by_naming(trace, lambda student, teacher: student <= k)


@measure_family(
    "telling", "k", scale="probability", better="low", binary=True,
    description="Share of dialogues in which the teacher names the answer within k turns beyond the opening "
    "and before the student does (Macina et al. 2023, evaluation code).",
)  # fmt: skip
def telling(trace: LessonTrace, k: int) -> Iterable[Observed]:
    """1 where the teacher's index is at most k and at most the student's."""
    return _by_naming(trace, lambda student, teacher: teacher <= min(student, k))


# --- solving --------------------------------------------------------------------------------------------


@measure(
    "solved", scale="probability", better="high", binary=True,
    description="Share of dialogues whose last graded answer is right; a dialogue without an answer is not "
    "solved.",
)  # fmt: skip
def solved(trace: LessonTrace) -> Iterable[Observed]:
    """1 where the dialogue ends with a right answer."""
    return _each(trace, lambda d: correctness(d.grades[-1]) if d.grades else (0.0, ""))


@measure(
    "turns_to_solve", scale="count", better="low",
    description="Teacher's utterances before the student's first right answer; missing where there is none. "
    "Compare it only beside `solved`.",
)  # fmt: skip
def turns_to_solve(trace: LessonTrace) -> Iterable[Observed]:
    """One count per dialogue."""

    def turns(dialogue: Dialogue) -> Row:
        right = next((g for g in dialogue.grades if g.correct), None)
        if right is None:
            return None, "not solved"
        return float(sum(_says(e) and e.position < right.position for e in dialogue.utterances)), ""

    return _each(trace, turns)


# --- leaks, vetoes, what was spent ----------------------------------------------------------------------


@measure(
    "leaks", scale="share", better="low", binary=True,
    description="Share of dialogues in which the teacher names the answer before the student has, by the "
    "rule that looks for it; never where the question names it itself.",
)  # fmt: skip
def leaks(trace: LessonTrace) -> Iterable[Observed]:
    """1 where the rule raised a flag."""
    return _each(trace, lambda d: (float(any(f.found for f in _flags(d, "rule"))), ""))


@measure(
    "leaks_judged", scale="share", better="low", binary=True,
    description="Share of dialogues in which a judge finds that a message gives the answer away; missing "
    "where it finds none and one of its judgements could not be understood.",
)  # fmt: skip
def leaks_judged(trace: LessonTrace) -> Iterable[Observed]:
    """1 where the judge raised a flag; nothing in phases without a judge."""
    judged = {d.episode.phase for d in dialogues(trace) if _flags(d, "judge")}

    def row(dialogue: Dialogue) -> Row | None:
        if dialogue.episode.phase not in judged:
            return None
        found = [flag.found for flag in _flags(dialogue, "judge")]
        if any(found):
            return 1.0, ""
        return (None, "the judge could not be understood") if None in found else (0.0, "")

    return _each(trace, row)


def _flags(dialogue: Dialogue, by: str) -> list[FlagEvent]:
    return [e for e in dialogue.events if isinstance(e, FlagEvent) and e.flag == "leak" and e.by == by]


@measure(
    "vetoes", scale="count", better="none",
    description="Drafts per dialogue that the critic refused, whether or not a revision could be paid for.",
)  # fmt: skip
def vetoes(trace: LessonTrace) -> Iterable[Observed]:
    """One count per dialogue."""

    def refused(dialogue: Dialogue) -> Row:
        decided = (e for e in dialogue.events if isinstance(e, DecisionEvent) and e.policy == "critic")
        return float(sum(e.chosen is False for e in decided)), ""

    return _each(trace, refused)


def _spent(trace: LessonTrace, unit: str) -> Iterator[Observed]:
    def amount(dialogue: Dialogue) -> Row:
        paid = (e.amount for e in dialogue.events if isinstance(e, SpendEvent) and e.unit == unit)
        return float(sum(paid)), ""

    return _each(trace, amount)


@measure(
    "tells", scale="count", better="none",
    description="Tells that the ledger paid for, per dialogue.",
)  # fmt: skip
def tells(trace: LessonTrace) -> Iterable[Observed]:
    """One count per dialogue."""
    return _spent(trace, "tells")


@measure(
    "hints", scale="count", better="none",
    description="Hints that the ledger paid for, per dialogue.",
)  # fmt: skip
def hints(trace: LessonTrace) -> Iterable[Observed]:
    """One count per dialogue."""
    return _spent(trace, "hints")


@measure(
    "questions", scale="count", better="none",
    description="Questions that the ledger paid for, per dialogue.",
)  # fmt: skip
def questions(trace: LessonTrace) -> Iterable[Observed]:
    """One count per dialogue."""
    return _spent(trace, "questions")
