"""Measures of learning, from tests that are known by the id of their phase.

`pretest`, `posttest`, `near`, `far` and `retention` are tests before and after teaching, of transfer to near
and far items, and after a rest. A unit is one student of one lesson, its value the share of right final
answers in a test, over the answers that could be judged; with none of these the test is missing. Differences
are of two such shares; they are missing where either test is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

from docendo.runtime.measures.measure import LessonTrace, Observed, Place, Row, measure
from docendo.runtime.measures.outcomes import correctness, units_of

__all__ = [
    "far_transfer", "gain", "near_transfer", "normalised_gain", "retained", "retention", "teacher_gain",
]  # fmt: skip


def _shares(trace: LessonTrace, phase: str) -> dict[str, Row]:
    """Student -> share of right answers in the test called `phase`."""
    found: dict[str, list[float]] = {}
    whys: dict[str, str] = {}
    for unit in units_of(trace, "test"):
        if unit.episode.phase != phase:
            continue
        value, why = (None, unit.episode.why) if unit.episode.errored else correctness(unit.final)
        found.setdefault(unit.student, []).extend([] if value is None else [value])
        if why:
            whys.setdefault(unit.student, why)
    if any(found):  # an episode of several students that failed names none of them
        found.pop("", None)
    return {s: (math.fsum(v) / len(v), "") if v else (None, whys[s]) for s, v in found.items()}


def _in_test(trace: LessonTrace, phase: str) -> Iterator[Observed]:
    for student, (value, why) in _shares(trace, phase).items():
        yield Place(student=student), value, f"{phase}: {why}" if why else ""


def _between(
    trace: LessonTrace, before: str, after: str, value: Callable[[float, float], Row]
) -> Iterator[Observed]:
    """`value` of the shares in two tests, per student that sat either."""
    first, second = _shares(trace, before), _shares(trace, after)
    for student in {**first, **second}:
        (pre, why_pre), (post, why_post) = (
            shares.get(student, (None, "not sat")) for shares in (first, second)
        )
        if pre is None or post is None:
            reason = f"{before}: {why_pre}" if pre is None else f"{after}: {why_post}"
            yield Place(student=student), None, reason
        else:
            yield (Place(student=student), *value(pre, post))


@measure(
    "gain", scale="difference", better="high",
    description="Share of right answers in the posttest minus that in the pretest, per student.",
)  # fmt: skip
def gain(trace: LessonTrace) -> Iterable[Observed]:
    """One difference per student."""
    return _between(trace, "pretest", "posttest", lambda pre, post: (post - pre, ""))


@measure(
    "teacher_gain", scale="difference", better="high",
    description="Share of a teacher's right answers in the posttest that it sits minus that in the pretest.",
)  # fmt: skip
def teacher_gain(trace: LessonTrace) -> Iterable[Observed]:
    """1, 0 or -1 per item."""
    before, after = (_by_teacher(trace, phase) for phase in ("pretest", "posttest"))
    for item in sorted(before.keys() | after.keys()):
        pre, post = before.get(item), after.get(item)
        if pre is None or post is None:
            yield Place(item=item), None, f"{'pretest' if pre is None else 'posttest'}: no answer"
        else:
            yield Place(item=item), float(post) - float(pre), ""


def _by_teacher(trace: LessonTrace, phase: str) -> dict[str, bool | None]:
    """Item -> whether the teacher's last answer to it in the test `phase` is right."""
    return {
        grade.item: None if episode.errored else grade.correct
        for episode in trace.of_kind("test")
        if episode.phase == phase
        for grade in episode.teacher_grades
    }


@measure(
    "normalised_gain", scale="ratio", better="high",
    description="Part of the possible gain that was reached, (post - pre) / (1 - pre), per student (Hake "
    "1998); missing where the pretest left nothing to gain. At most 1; without a lower end.",
)  # fmt: skip
def normalised_gain(trace: LessonTrace) -> Iterable[Observed]:
    """One ratio per student."""

    def share(pre: float, post: float) -> Row:
        return (None, "pretest: all right, nothing to gain") if pre == 1 else ((post - pre) / (1 - pre), "")

    return _between(trace, "pretest", "posttest", share)


@measure(
    "near_transfer", scale="probability", better="high",
    description="Share of right answers in the test `near`, per student.",
)  # fmt: skip
def near_transfer(trace: LessonTrace) -> Iterable[Observed]:
    """One share per student."""
    return _in_test(trace, "near")


@measure(
    "far_transfer", scale="probability", better="high",
    description="Share of right answers in the test `far`, per student.",
)  # fmt: skip
def far_transfer(trace: LessonTrace) -> Iterable[Observed]:
    """One share per student."""
    return _in_test(trace, "far")


@measure(
    "retention", scale="probability", better="high",
    description="Share of right answers in the test `retention`, per student.",
)  # fmt: skip
def retention(trace: LessonTrace) -> Iterable[Observed]:
    """One share per student."""
    return _in_test(trace, "retention")


@measure(
    "retained", scale="difference", better="high",
    description="Share of right answers in the test `retention` minus that in the posttest, per student.",
)  # fmt: skip
def retained(trace: LessonTrace) -> Iterable[Observed]:
    """One difference per student."""
    return _between(trace, "posttest", "retention", lambda post, kept: (kept - post, ""))
