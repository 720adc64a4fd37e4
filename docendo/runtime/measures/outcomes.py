"""Measures of what students answered, and of what the help cost.

All of them look at the graded answers of `test` and `teach` phases, over every item of the phase and not only
the helped ones (Saha et al. 2023, section 3). A unit is one student on one item of one episode: its *first*
answer is the unaided attempt 0, its *final* one the last that was graded. An episode that failed has no final
answer, and a grade of `None` is no grade: both are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from docendo.events import GradeEvent, MessageEvent, SpendEvent
from docendo.runtime.measures.measure import EpisodeTrace, LessonTrace, Observed, Place, measure

__all__ = [
    "Unit", "accuracy", "accuracy_in_tests", "broken", "explanation_tokens", "intervened", "interventions",
    "pre_accuracy", "rectified", "units",
]  # fmt: skip

HELP = frozenset({"explanation", "hint", "correction"})


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

    An answer is due in a `test`, in an episode that failed, and where a budget or a limit cut it short.
    """
    grades: dict[tuple[str, str], list[GradeEvent]] = {}
    for grade in episode.grades:
        grades.setdefault((grade.item, grade.student or episode.student), []).append(grade)
    found = [Unit(episode, item, student, tuple(g)) for (item, student), g in grades.items()]
    due = episode.errored or episode.phase_kind == "test" or episode.outcome in {"budget", "limit"}
    if due and not any(u.item == episode.item or not episode.item for u in found):
        found.append(Unit(episode, episode.item, episode.student))
    return found


def _seen(
    trace: LessonTrace, kinds: tuple[str, ...], value: Callable[[Unit], tuple[float | None, str] | None]
) -> Iterator[Observed]:
    """One row per unit for which `value` is not `None`; of an episode that failed, always a missing one."""
    for unit in (unit for episode in trace.of_kind(*kinds) for unit in units(episode)):
        place = Place(unit.episode.phase, unit.episode.round, unit.item, unit.student)
        if unit.episode.errored:
            yield place, None, unit.episode.why
        elif (row := value(unit)) is not None:
            yield (place, *row)


def _correct(grade: GradeEvent | None) -> tuple[float | None, str]:
    if grade is None:
        return None, "no answer was graded"
    if grade.correct is None:
        return None, grade.reason or "the answer could not be judged"
    return float(grade.correct), ""


def _change(unit: Unit, before: bool) -> tuple[float | None, str] | None:
    """Whether correctness went from `before` to its opposite between the first and the final answer."""
    if unit.first is None and unit.grades:
        return None
    (first, why), (final, why_not) = _correct(unit.first), _correct(unit.final)
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
    return _seen(trace, ("teach", "test"), lambda unit: _correct(unit.final))


@measure(
    "pre_accuracy", scale="probability", better="high", binary=True,
    description="Share of correct unaided first answers (attempt 0) in the teach and test phases.",
)  # fmt: skip
def pre_accuracy(trace: LessonTrace) -> Iterable[Observed]:
    """1 where attempt 0 is correct; nothing where the student answered only after help."""
    return _seen(
        trace, ("teach", "test"),
        lambda unit: None if unit.grades and unit.first is None else _correct(unit.first),
    )  # fmt: skip


@measure(
    "test_accuracy", scale="probability", better="high", binary=True,
    description="Share of correct final answers in the test phases, away from the teacher.",
)  # fmt: skip
def accuracy_in_tests(trace: LessonTrace) -> Iterable[Observed]:
    """1 where the final answer of a test is correct."""
    return _seen(trace, ("test",), lambda unit: _correct(unit.final))


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
