"""Measures of learning by teaching: is what teaches best also right?

In a teach phase, an episode that fans out over samples holds several explanations of its item by a teacher,
each with the answer that it leads to (graded), and below each the exam that students sat after studying it
(Ning et al. 2024, section 3, M1). A sample's score is the students' mean accuracy in its exam. A unit is one
episode, so one item of one lesson. How answers are voted on is the business of `votes`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

from docendo.events import Event, GradeEvent, MessageEvent
from docendo.runtime.measures.measure import (
    EpisodeTrace,
    LessonTrace,
    Observed,
    Place,
    Row,
    measure,
    measure_family,
)
from docendo.runtime.measures.statistics import seed_of
from docendo.runtime.measures.votes import Rule, Vote, expected_correctness, outcome

__all__ = ["Taught", "exam_score", "one_sample", "score_auc", "taught_samples"]

AXIS = "samples="


@dataclass(frozen=True, slots=True)
class Taught:
    """One sample of what a teacher would teach, and how students did after it."""

    branch: str
    said: MessageEvent | None
    """The explanation; `None` where only its grade was recorded."""
    vote: Vote


def taught_samples(events: Sequence[Event]) -> list[Taught]:
    """The samples of an episode in their order, from its events.

    A sample's answer is the one that its first explanation leads to; a teacher may answer again later, once
    it has read the exams. Where nothing is explained, it is the teacher's first answer.
    """
    said: dict[str, MessageEvent] = {}
    graded: dict[str, list[GradeEvent]] = {}
    exams: dict[str, dict[tuple[str, str, str], GradeEvent]] = {}
    for event in events:
        sample, _, below = event.branch.partition("/")
        if not sample.startswith(AXIS):
            continue
        if isinstance(event, MessageEvent) and not below and event.message.kind == "explanation":
            said.setdefault(sample, event)
        elif isinstance(event, GradeEvent) and event.role == "teacher" and not below:
            graded.setdefault(sample, []).append(event)
        elif isinstance(event, GradeEvent) and event.role == "student":
            exams.setdefault(sample, {})[below, event.student, event.item] = event
    found = []
    for sample in sorted({**said, **graded}, key=lambda name: (len(name), name)):
        message, exam = said.get(sample), exams.get(sample, {}).values()
        own = (g for g in graded.get(sample, ()) if message is None or g.turn == message.turn)
        found.append(Taught(sample, message, _vote(next(own, None), exam)))
    return found


def _vote(grade: GradeEvent | None, exam: Iterable[GradeEvent]) -> Vote:
    """What could not be read was not graded, and is wrong."""
    if grade is None or grade.answer is None:
        return Vote(None, False, _score(exam))
    return Vote(grade.answer, grade.correct, _score(exam))


def _score(exam: Iterable[GradeEvent]) -> Fraction | None:
    """Mean over students of their accuracy, over what could be judged."""
    right: dict[str, list[bool]] = {}
    for grade in exam:
        if grade.correct is not None:
            right.setdefault(grade.student, []).append(grade.correct)
    shares = [Fraction(sum(rows), len(rows)) for rows in right.values()]
    return sum(shares, Fraction(0)) / len(shares) if shares else None


def _each(trace: LessonTrace, value: Callable[[EpisodeTrace, list[Vote]], Row | None]) -> Iterator[Observed]:
    """One row per episode with samples; of one that failed, a missing one."""
    found = [(e, [t.vote for t in taught_samples(e.events)]) for e in trace.of_kind("teach")]
    phases = {episode.phase for episode, votes in found if votes}
    for episode, votes in found:
        place = Place(episode.phase, episode.round, episode.item, episode.student)
        if episode.phase not in phases:
            continue
        if episode.errored:
            yield place, None, episode.why
        elif votes and (row := value(episode, votes)) is not None:
            yield (place, *row)


# --- votes ----------------------------------------------------------------------------------------------


def _without_exam(votes: Sequence[Vote], rule: Rule) -> bool:
    return rule != "count" and any(v.score is None for v in votes if v.answer is not None)


def _voted(trace: LessonTrace, rule: Rule) -> Iterator[Observed]:
    def row(_: EpisodeTrace, votes: list[Vote]) -> Row:
        if _without_exam(votes, rule):
            return None, "the exam of a sample was not sat, or could not be judged"
        right = outcome(votes, rule)
        return (None, "the chosen answer could not be judged") if right is None else (float(right), "")

    return _each(trace, row)


def _voted_by(trace: LessonTrace, n: int, rule: Rule) -> Iterator[Observed]:
    def row(episode: EpisodeTrace, votes: list[Vote]) -> Row:
        if n > len(votes):
            return None, f"only {len(votes)} samples were taken"
        if _without_exam(votes, rule):
            return None, "the exam of a sample was not sat, or could not be judged"
        expected = expected_correctness(votes, rule, n, seed_of("votes", episode.item))
        return (None, "a chosen answer could not be judged") if expected is None else (expected, "")

    return _each(trace, row)


_VOTES: tuple[tuple[str, Rule, str], ...] = (
    ("vote_max", "max", "the answer of the sample with the best exam score"),
    ("vote_sum", "sum", "the answer whose samples have the largest sum of exam scores"),
    ("vote_avg", "avg", "the answer whose samples have the best mean exam score"),
    ("self_consistency", "count", "the answer that most samples give"),
)
for _name, _rule, _which in _VOTES:
    _source = "Wang et al. 2023" if _rule == "count" else "Ning et al. 2024, section 3"
    measure(
        _name, scale="probability", better="high", binary=True,
        description=f"Share of items on which {_which} is right ({_source}).",
    )(partial(_voted, rule=_rule))  # fmt: skip
    measure_family(
        _name, "n", scale="probability", better="high",
        description=f"Expected share of items on which {_which}, among n of the samples, is right: over all "
        "subsets, or 200 drawn by the item.",
    )(partial(_voted_by, rule=_rule))  # fmt: skip


@measure(
    "vote_gain", scale="difference", better="high",
    description="What the exams add to counting: `vote_sum` minus `self_consistency` (SUM-SC of Ning et al. "
    "2024).",
)  # fmt: skip
def vote_gain(trace: LessonTrace) -> Iterable[Observed]:
    """1, 0 or -1 per item."""

    def row(_: EpisodeTrace, votes: list[Vote]) -> Row:
        if _without_exam(votes, "sum"):
            return None, "the exam of a sample was not sat, or could not be judged"
        by_exam, by_count = outcome(votes, "sum"), outcome(votes, "count")
        if by_exam is None or by_count is None:
            return None, "the chosen answer could not be judged"
        return float(by_exam) - float(by_count), ""

    return _each(trace, row)


# --- samples and scores ---------------------------------------------------------------------------------


@measure(
    "one_sample", scale="probability", better="high",
    description="Share of right answers among an item's samples: what taking any one of them is worth.",
)  # fmt: skip
def one_sample(trace: LessonTrace) -> Iterable[Observed]:
    """One share per item; a sample without a readable answer is wrong."""

    def row(_: EpisodeTrace, votes: list[Vote]) -> Row:
        judged = [v.correct for v in votes if v.correct is not None]
        return (sum(judged) / len(judged), "") if judged else (None, "no sample could be judged")

    return _each(trace, row)


@measure(
    "exam_score", scale="probability", better="high",
    description="Mean accuracy of the students in the exams of an item's samples.",
)  # fmt: skip
def exam_score(trace: LessonTrace) -> Iterable[Observed]:
    """One mean per item, over the samples whose exam could be judged."""

    def row(_: EpisodeTrace, votes: list[Vote]) -> Row:
        scores = [float(v.score) for v in votes if v.score is not None]
        return (math.fsum(scores) / len(scores), "") if scores else (None, "no exam could be judged")

    return _each(trace, row)


@measure(
    "score_auc", scale="probability", better="high",
    description="Probability that a right sample has a higher exam score than a wrong one of the same item, "
    "ties counted half: 0.5 is chance. Items whose samples are all right or all wrong do not count.",
)  # fmt: skip
def score_auc(trace: LessonTrace) -> Iterable[Observed]:
    """One area under the curve (Mann & Whitney 1947) per item."""

    def row(_: EpisodeTrace, votes: list[Vote]) -> Row | None:
        right, wrong = (
            [v.score for v in votes if v.correct is correct and v.score is not None]
            for correct in (True, False)
        )
        if not right or not wrong:
            return None
        above = sum((r > w) + 0.5 * (r == w) for r in right for w in wrong)
        return above / (len(right) * len(wrong)), ""

    return _each(trace, row)
