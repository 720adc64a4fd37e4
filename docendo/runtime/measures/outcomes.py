"""Measures of what students answered, and of what the help cost.

All of them look at the graded answers of `test` and `teach` phases, over every item of the phase and not only
the helped ones (Saha et al. 2023, section 3). A unit is one student on one item of one episode: its *first*
answer is the unaided attempt 0, its *final* one the last that was graded. Where an episode fans out over
samples or repeats, which are other courses that the same thing could take, each course is a unit of its own.
An episode that failed has no final answer, and a grade of `None` is no grade: both are missing. Answers of
teachers count in `teacher_accuracy` and nowhere else here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from docendo.events import GradeEvent, MessageEvent, SpendEvent
from docendo.runtime.measures.measure import EpisodeTrace, LessonTrace, Observed, Place, Row, measure

__all__ = [
    "Unit", "accuracy", "accuracy_in_tests", "broken", "correctness", "explanation_tokens", "intervened",
    "interventions", "pre_accuracy", "rectified", "teacher_accuracy", "units", "units_of",
]  # fmt: skip

HELP = frozenset({"explanation", "hint", "correction"})
COURSES = ("samples=", "repeats=")
"""Parts of a branch's name that tell one possible course from another."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One student on one item in one episode."""

    episode: EpisodeTrace
    item: str
    student: str
    grades: tuple[GradeEvent, ...] = ()

    @property
    def first(self) -> GradeEvent | None:
        """The unaided attempt 0; `None` where the student answered only after help, or never."""
        return next((g for g in self.grades if g.attempt == 0 and not g.helped), None)

    @property
    def final(self) -> GradeEvent | None:
        """The last graded answer."""
        return self.grades[-1] if self.grades else None

    @property
    def helped(self) -> bool:
        """Whether an answer followed help."""
        return any(g.helped for g in self.grades)


def units(episode: EpisodeTrace) -> list[Unit]:
    """The units of one episode; without any grade, the one that its item and student name, if it was due.

    An answer is due in a `test`, in an episode that failed, and where a budget or a limit cut it short; not
    where a teacher answers the item itself.
    """
    grades: dict[tuple[str, str], list[GradeEvent]] = {}
    for grade in episode.grades:
        grades.setdefault((grade.item, grade.student or episode.student), []).append(grade)
    found = [
        Unit(episode, item, student, course)
        for (item, student), given in grades.items()
        for course in _courses(given)
    ]
    due = episode.errored or episode.phase_kind == "test" or episode.outcome in {"budget", "limit"}
    taken = any(g.item == episode.item for g in episode.teacher_grades)
    if due and not taken and not any(u.item == episode.item or not episode.item for u in found):
        found.append(Unit(episode, episode.item, episode.student))
    return found


def _courses(grades: Sequence[GradeEvent]) -> list[tuple[GradeEvent, ...]]:
    """Grades apart by sample and repeat; what came before a fan-out belongs to every course after it."""
    courses = list(dict.fromkeys(_course(g) for g in grades))
    if len(courses) == 1:
        return [tuple(grades)]
    longest = [c for c in courses if not any(c != other and c == other[: len(c)] for other in courses)]
    return [tuple(g for g in grades if _course(g) == c[: len(_course(g))]) for c in longest]


def _course(grade: GradeEvent) -> tuple[str, ...]:
    return tuple(part for part in grade.branch.split("/") if part.startswith(COURSES))


def units_of(trace: LessonTrace, *kinds: str) -> Iterator[Unit]:
    """The units of all episodes of phases of these kinds, without tests that only teachers sit."""
    sat = {e.phase for e in trace.of_kind("test") if e.teacher_grades}
    sat -= {e.phase for e in trace.of_kind("test") if e.grades}
    for episode in trace.of_kind(*kinds):
        if episode.phase not in sat:
            yield from units(episode)


def _seen(
    trace: LessonTrace, kinds: tuple[str, ...], value: Callable[[Unit], Row | None]
) -> Iterator[Observed]:
    """One row per unit for which `value` is not `None`; of an episode that failed, always a missing one."""
    for unit in units_of(trace, *kinds):
        place = Place(unit.episode.phase, unit.episode.round, unit.item, unit.student)
        if unit.episode.errored:
            yield place, None, unit.episode.why
        elif (row := value(unit)) is not None:
            yield (place, *row)


def correctness(grade: GradeEvent | None) -> Row:
    """1 or 0; or `None`, and why it is missing."""
    if grade is None:
        return None, "no answer was graded"
    if grade.correct is None:
        return None, grade.reason or "the answer could not be judged"
    return float(grade.correct), ""


def _change(unit: Unit, before: bool) -> Row | None:
    """Whether correctness went from `before` to its opposite between the first and the final answer."""
    if unit.first is None and unit.grades:
        return None
    (first, why), (final, why_not) = correctness(unit.first), correctness(unit.final)
    if first is None or final is None:
        return None, why or why_not
    return float(first == float(before) and final != first), ""


@measure(
    "accuracy", scale="probability", better="high", binary=True,
    description="Share of correct final answers over all items of the teach and test phases, helped or not "
    "(Saha et al. 2023, section 3).",
)  # fmt: skip
def accuracy(trace: LessonTrace) -> Iterable[Observed]:
    """1 where the final answer is correct."""
    return _seen(trace, ("teach", "test"), lambda unit: correctness(unit.final))


@measure(
    "pre_accuracy", scale="probability", better="high", binary=True,
    description="Share of correct unaided first answers (attempt 0) in the teach and test phases.",
)  # fmt: skip
def pre_accuracy(trace: LessonTrace) -> Iterable[Observed]:
    """1 where attempt 0 is correct; nothing where the student answered only after help."""
    return _seen(
        trace, ("teach", "test"),
        lambda unit: None if unit.grades and unit.first is None else correctness(unit.first),
    )  # fmt: skip


@measure(
    "test_accuracy", scale="probability", better="high", binary=True,
    description="Share of correct final answers in the test phases, away from the teacher.",
)  # fmt: skip
def accuracy_in_tests(trace: LessonTrace) -> Iterable[Observed]:
    """1 where the final answer of a test is correct."""
    return _seen(trace, ("test",), lambda unit: correctness(unit.final))


@measure(
    "teacher_accuracy", scale="probability", better="high", binary=True,
    description="Share of correct answers that a teacher gives in the tests that it sits itself.",
)  # fmt: skip
def teacher_accuracy(trace: LessonTrace) -> Iterable[Observed]:
    """1 where the teacher's last answer to an item of a test is correct."""
    sat = {e.phase for e in trace.of_kind("test") if e.teacher_grades}
    for episode in trace.of_kind("test"):
        final = {(g.item, g.student): g for g in episode.teacher_grades}
        if episode.errored and episode.phase in sat:
            yield Place(episode.phase, episode.round, episode.item), None, episode.why
            continue
        for (item, teacher), grade in final.items():
            yield (Place(episode.phase, episode.round, item, teacher), *correctness(grade))


@measure(
    "rectified", scale="share", better="high", binary=True,
    description="Share of items whose first answer is wrong and whose final answer is right. "
    "Where nothing is missing, accuracy - pre_accuracy = rectified - broken.",
)  # fmt: skip
def rectified(trace: LessonTrace) -> Iterable[Observed]:
    """1 for wrong -> right."""
    return _seen(trace, ("teach", "test"), lambda unit: _change(unit, before=False))


@measure(
    "broken", scale="share", better="low", binary=True,
    description="Share of items whose first answer is right and whose final answer is wrong.",
)  # fmt: skip
def broken(trace: LessonTrace) -> Iterable[Observed]:
    """1 for right -> wrong."""
    return _seen(trace, ("teach", "test"), lambda unit: _change(unit, before=True))


@measure(
    "intervened", scale="share", better="none", binary=True,
    description="Share of teach-phase items on which help was given: the ledger paid an intervention, or an "
    "answer followed help.",
)  # fmt: skip
def intervened(trace: LessonTrace) -> Iterable[Observed]:
    """1 where the student was helped."""
    return _seen(trace, ("teach",), lambda unit: (float(unit.helped or bool(_spent(unit.episode))), ""))


@measure(
    "interventions", scale="count", better="none",
    description="Interventions that the ledger paid for in a lesson.",
)  # fmt: skip
def interventions(trace: LessonTrace) -> Iterable[Observed]:
    """One count per lesson; what failed episodes spent counts too."""
    yield Place(), float(sum(_spent(e) for e in trace.episodes)), ""


@measure(
    "explanation_tokens", scale="tokens", better="none",
    description="Completion tokens of explanations, hints and corrections per teach-phase episode, as the "
    "engine counted them; 0 where no help was given.",
)  # fmt: skip
def explanation_tokens(trace: LessonTrace) -> Iterable[Observed]:
    """One sum per episode; missing where help was given and the engine reported no tokens."""
    for episode in trace.of_kind("teach"):
        place = Place(episode.phase, episode.round, episode.item, episode.student)
        messages = [e.message for e in episode.events if isinstance(e, MessageEvent)]
        tokens = [m.usage.completion_tokens for m in messages if m.kind in HELP and m.text]
        if episode.errored:
            yield place, None, episode.why
        elif any(t == 0 for t in tokens):
            yield place, None, "the engine reported no token counts"
        else:
            yield place, float(sum(tokens)), ""


def _spent(episode: EpisodeTrace) -> int:
    return sum(e.amount for e in episode.events if isinstance(e, SpendEvent) and e.unit == "interventions")
