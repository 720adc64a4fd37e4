"""Measures of theory of mind: what a teacher predicted, against what the student then did.

A belief that names an attempt, as in a dialogue, is held against that answer of its episode, provided that it
was graded after the belief. Any other belief without help is held against the student's unaided attempt 0,
one with help against the first helped answer after it. Where the answer never came (the item was not helped,
the dialogue was over) the belief is not scored; where it came and could not be judged, or the prediction
could not be read, it is missing. For beliefs about skills and misconceptions see `diagnoses`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import groupby
from typing import TYPE_CHECKING

from docendo.events import BeliefEvent, GradeEvent
from docendo.runtime.measures.measure import EpisodeTrace, LessonTrace, Observed, Place, measure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "ScoredBelief", "calibration", "ece", "expected_calibration_error", "log_loss", "same_answer",
    "scored_beliefs", "simulation_accuracy", "utility_correlation",
]  # fmt: skip

FLOOR = 1e-6
"""Probabilities are kept this far from 0 and 1 before their logarithm is taken."""
BINS = 10


@dataclass(frozen=True, slots=True)
class ScoredBelief:
    """A belief with the answer that it was about."""

    episode: EpisodeTrace
    belief: BeliefEvent
    item: str
    answer: GradeEvent | None
    """`None` where the answer is missing because the episode failed."""

    @property
    def place(self) -> Place:
        """What an observation of it is of."""
        return Place(self.episode.phase, self.episode.round, self.item, self.belief.student)

    @property
    def correct(self) -> bool | None:
        """Whether the answer was right; `None` where it is missing."""
        return None if self.answer is None or self.episode.errored else self.answer.correct

    @property
    def why(self) -> str:
        """Why `correct` is missing."""
        if self.answer is None or self.episode.errored:
            return self.episode.why
        return self.answer.reason or "the answer could not be judged"


def scored_beliefs(trace: LessonTrace) -> Iterator[ScoredBelief]:
    """Every belief about an item whose answer came, or failed to come because the episode failed."""
    answers = _Answers(trace)
    for index, episode in enumerate(trace.episodes):
        for event in episode.events:
            if not isinstance(event, BeliefEvent) or not (event.item or episode.item):
                continue
            item = event.item or episode.item
            where, answer = answers.to(event, item, index)
            if answer is not None or where.errored:
                yield ScoredBelief(where, event, item, answer)


class _Answers:
    """Finds the answer that a belief was about: in its own episode, else in the first later one."""

    def __init__(self, trace: LessonTrace) -> None:
        self.episodes = trace.episodes
        self.found: dict[tuple[str, str, bool], list[tuple[int, GradeEvent]]] = {}
        for index, episode in enumerate(trace.episodes):
            for grade in episode.grades:
                key = (grade.item, grade.student or episode.student, grade.helped)
                self.found.setdefault(key, []).append((index, grade))

    def to(self, belief: BeliefEvent, item: str, at: int) -> tuple[EpisodeTrace, GradeEvent | None]:
        """The episode and the grade; `None` for the grade where there is none."""
        if belief.attempt is not None:
            return self.episodes[at], _attempted(self.episodes[at], belief, item)
        here: list[GradeEvent] = []
        later: list[tuple[int, GradeEvent]] = []
        for index, grade in self.found.get((item, belief.student, belief.given_help), []):
            if not belief.given_help and grade.attempt != 0:
                continue
            if index == at:
                here.append(grade)
            elif index > at and not later:
                later.append((index, grade))
        if here:
            after = [g for g in here if g.position > belief.position] if belief.given_help else []
            return self.episodes[at], (after or here)[0]
        if later:
            return self.episodes[later[0][0]], later[0][1]
        return self.episodes[at], None


def _attempted(episode: EpisodeTrace, belief: BeliefEvent, item: str) -> GradeEvent | None:
    """The student's answer number `belief.attempt` to the item, graded after the belief and on its path."""
    about = (item, belief.student, belief.attempt)
    return next(
        (
            g
            for g in episode.grades
            if (g.item, g.student or episode.student, g.attempt) == about
            and g.position > belief.position
            and _on_one_path(g.branch, belief.branch)
        ),
        None,
    )


def _on_one_path(one: str, other: str) -> bool:
    """Whether one of two branches leads to the other."""
    short, long = sorted((one, other), key=len)
    return not short or long == short or long.startswith(short + "/")


def _unread(belief: BeliefEvent) -> bool:
    """Whether a belief that should hold a prediction holds none; a diagnosis need not hold one."""
    predicts = belief.p_correct is not None or belief.predicted_answer is not None
    return not (predicts or belief.skills or belief.misconceptions or belief.act == "diagnose")


def _loss(trace: LessonTrace, loss: Callable[[float, float], float]) -> Iterator[Observed]:
    """`loss(p, outcome)` per belief with a probability."""
    for scored in scored_beliefs(trace):
        p = scored.belief.p_correct
        if p is None:
            if _unread(scored.belief):
                yield scored.place, None, "the prediction could not be read"
        elif scored.correct is None:
            yield scored.place, None, scored.why
        else:
            yield scored.place, loss(p, float(scored.correct)), ""


@measure(
    "calibration", scale="probability", better="low",
    description="Brier score (p - outcome)^2 of predicted correctness against the student's actual answer "
    "(Brier 1950). An oracle scores 0, a constant base rate p scores p(1 - p).",
)  # fmt: skip
def calibration(trace: LessonTrace) -> Iterable[Observed]:
    """One Brier score per belief."""
    return _loss(trace, lambda p, outcome: (p - outcome) ** 2)


@measure(
    "log_loss", scale="nats", better="low",
    description="Negative log-probability, in nats, that the belief gave to what happened; probabilities are "
    "kept within [1e-6, 1 - 1e-6].",
)  # fmt: skip
def log_loss(trace: LessonTrace) -> Iterable[Observed]:
    """One loss per belief."""

    def loss(p: float, outcome: float) -> float:
        kept = min(max(p, FLOOR), 1 - FLOOR)
        return -math.log(kept if outcome else 1 - kept)

    return _loss(trace, loss)


def expected_calibration_error(predictions: Iterable[tuple[float, float]], bins: int = BINS) -> float:
    """Expected calibration error of (p, outcome) pairs over `bins` equal-width bins of p.

    ECE = sum over bins of n_b / n * |mean outcome - mean p| (Naeini et al. 2015; Guo et al. 2017).
    """
    pairs = sorted(predictions, key=lambda pair: _bin(pair[0], bins))
    gaps = 0.0
    for _, group in groupby(pairs, key=lambda pair: _bin(pair[0], bins)):
        members = list(group)
        gaps += abs(math.fsum(p for p, _ in members) - math.fsum(outcome for _, outcome in members))
    return gaps / len(pairs)


def _bin(p: float, bins: int) -> int:
    return min(int(p * bins), bins - 1)


@measure(
    "ece", scale="probability", better="low",
    description="Expected calibration error of predicted correctness, 10 equal-width bins (Guo et al. 2017), "
    "one value per lesson and student. It shrinks with the number of beliefs: compare lessons of one size.",
)  # fmt: skip
def ece(trace: LessonTrace) -> Iterable[Observed]:
    """One value per student of the lesson."""
    pairs: dict[str, list[tuple[float, float]]] = {}
    for scored in scored_beliefs(trace):
        rows = pairs.setdefault(scored.belief.student, [])
        if scored.belief.p_correct is not None and scored.correct is not None:
            rows.append((scored.belief.p_correct, float(scored.correct)))
    for student, rows in pairs.items():
        if rows:
            yield Place(student=student), expected_calibration_error(rows), ""
        else:
            yield Place(student=student), None, "no prediction could be scored"


def same_answer(one: str, other: str) -> bool:
    """Whether two answers are the same number, or the same text but for case and outer space."""
    left, right = one.strip().casefold(), other.strip().casefold()
    if left == right:
        return True
    try:
        return Decimal(left.replace(",", "")) == Decimal(right.replace(",", ""))
    except InvalidOperation:
        return False


@measure(
    "simulation_accuracy", scale="probability", better="high", binary=True,
    description="Share of answers, right or wrong, that the teacher's student model predicted literally.",
)  # fmt: skip
def simulation_accuracy(trace: LessonTrace) -> Iterable[Observed]:
    """1 where the predicted answer is the student's."""
    for scored in scored_beliefs(trace):
        predicted, answer = scored.belief.predicted_answer, scored.answer
        if predicted is None:
            if _unread(scored.belief):
                yield scored.place, None, "the prediction could not be read"
        elif answer is None or scored.episode.errored:
            yield scored.place, None, scored.why
        elif answer.answer is None:
            yield scored.place, None, answer.reason or "the student's answer could not be read"
        else:
            yield scored.place, float(same_answer(predicted, answer.answer)), ""


@measure(
    "utility_correlation", scale="correlation", better="high",
    description="Spearman correlation, per lesson and student, between the believed utility of help "
    "(p_post - p_pre) and its true utility on the items that were helped: the difference in the answer's "
    "confidence where measured, else in correctness (Saha et al. 2023, section 4).",
)  # fmt: skip
def utility_correlation(trace: LessonTrace) -> Iterable[Observed]:
    """One correlation per student; missing with fewer than three items, or where one side never varies."""
    sides: dict[Place, dict[bool, ScoredBelief]] = {}
    for scored in (s for s in scored_beliefs(trace) if s.belief.attempt is None):
        sides.setdefault(scored.place, {})[scored.belief.given_help] = scored
    pairs: dict[str, list[tuple[float, float]]] = {}
    for place, side in sides.items():
        if len(side) == 2 and (pair := _utilities(side[False], side[True])) is not None:
            pairs.setdefault(place.student, []).append(pair)
    for student in sorted({place.student for place, side in sides.items() if len(side) == 2}):
        believed, true = zip(*pairs.get(student, []), strict=True) if pairs.get(student) else ((), ())
        if len(believed) < 3:
            yield Place(student=student), None, f"{len(believed)} helped items were predicted; 3 are needed"
        elif len(set(believed)) == 1 or len(set(true)) == 1:
            side_name = "believed" if len(set(believed)) == 1 else "true"
            yield Place(student=student), None, f"the {side_name} utility is the same on all items"
        else:
            yield Place(student=student), _spearman(believed, true), ""


def _spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Rank correlation (Spearman 1904): Pearson's of the ranks, ties at their mean rank; neither constant."""
    import numpy as np  # noqa: PLC0415 - this module is imported where no figure is made

    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """Twice the zero-based mean rank of every value."""
    import numpy as np  # noqa: PLC0415

    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (2 * last - counts - 1).astype(np.float64)[place]


def _utilities(before: ScoredBelief, after: ScoredBelief) -> tuple[float, float] | None:
    """Believed and true utility; `None` where either is unknown."""
    p_pre, p_post = before.belief.p_correct, after.belief.p_correct
    if p_pre is None or p_post is None or before.answer is None or after.answer is None:
        return None
    if before.answer.confidence is not None and after.answer.confidence is not None:
        return p_post - p_pre, after.answer.confidence - before.answer.confidence
    if before.correct is None or after.correct is None:
        return None
    return p_post - p_pre, float(after.correct) - float(before.correct)
