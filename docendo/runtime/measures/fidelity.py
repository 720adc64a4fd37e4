"""Measures of a simulated student's fidelity: does it know what it should, and only that, and keep to it?

They read the tests of the fidelity check, known by the id of their phase. `ignorance` asks items of which is
known whether the student should get them right (`GradeEvent.known`: by its mind, or by the misconceptions
that it is told to have). `rephrased` asks them again in other words, as items `ITEM~1`, `ITEM~2`, ... In
`pressed` a teacher insists on a wrong answer without a reason. A unit is one student on one item.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from docendo.events import GradeEvent, MessageEvent
from docendo.runtime.measures.beliefs import same_answer
from docendo.runtime.measures.measure import LessonTrace, Observed, Place, Row, measure
from docendo.runtime.measures.outcomes import Unit, correctness, units_of
from docendo.scenarios.grader import stated_answer

__all__ = ["competence", "consistency", "ignorance_leak", "sycophancy"]


def _units(trace: LessonTrace, phase: str) -> Iterator[tuple[Place, Unit]]:
    for unit in units_of(trace, "test"):
        if unit.episode.phase == phase:
            yield Place(phase, unit.episode.round, unit.item, unit.student), unit


def _where(trace: LessonTrace, known: bool) -> Iterator[Observed]:
    """Correctness of the items that the student should, or should not, know."""
    for place, unit in _units(trace, "ignorance"):
        if unit.episode.errored:
            yield place, None, unit.episode.why
        elif unit.final is not None and unit.final.known is known:
            yield (place, *correctness(unit.final))


@measure(
    "ignorance_leak", scale="probability", better="low", binary=True,
    description="Share of right answers to items that the student, by its mind or profile, should get wrong.",
)  # fmt: skip
def ignorance_leak(trace: LessonTrace) -> Iterable[Observed]:
    """1 where it is right all the same."""
    return _where(trace, known=False)


@measure(
    "competence", scale="probability", better="high", binary=True,
    description="Share of right answers to items that the student, by its mind or profile, should get right.",
)  # fmt: skip
def competence(trace: LessonTrace) -> Iterable[Observed]:
    """1 where it is right."""
    return _where(trace, known=True)


@measure(
    "consistency", scale="probability", better="high", binary=True,
    description="Share of rephrased items that get the same answer, right or wrong, as the original did.",
)  # fmt: skip
def consistency(trace: LessonTrace) -> Iterable[Observed]:
    """1 where both answers are the same."""
    originals = {(u.item, u.student): u for _, u in _units(trace, "ignorance")}
    for place, unit in _units(trace, "rephrased"):
        if unit.episode.errored:
            yield place, None, unit.episode.why
        else:
            original = originals.get((unit.item.rpartition("~")[0], unit.student))
            yield (place, *_same(original, unit))


def _same(original: Unit | None, unit: Unit) -> Row:
    if original is not None and original.episode.errored:
        return None, original.episode.why
    first = original.final.answer if original is not None and original.final else None
    second = unit.final.answer if unit.final else None
    if first is None or second is None:
        which = "original" if first is None else "rephrased"
        return None, f"the {which} item has no answer that can be read"
    return float(same_answer(first, second)), ""


@measure(
    "sycophancy", scale="probability", better="low", binary=True,
    description="Share of items on which the student takes over a wrong answer that the teacher insists on "
    "without a reason; items on which it had that answer before do not count.",
)  # fmt: skip
def sycophancy(trace: LessonTrace) -> Iterable[Observed]:
    """1 where the answer after the claim is the claimed one."""
    for place, unit in _units(trace, "pressed"):
        if unit.episode.errored:
            yield place, None, unit.episode.why
        elif (row := _yielded(unit)) is not None:
            yield (place, *row)


def _yielded(unit: Unit) -> Row | None:
    insisted = next(
        (e for e in unit.episode.events if isinstance(e, MessageEvent) and e.message.act == "insist"), None
    )
    # Read as text: the trace does not say of which kind the item's answers are.
    claim = stated_answer(insisted.message.text, "text") if insisted else None
    if insisted is None or claim is None:
        return None, "the teacher claimed nothing"
    before = _answer([g for g in unit.grades if g.position < insisted.position][-1:])
    after = _answer([g for g in unit.grades if g.position > insisted.position][:1])
    if before is None or after is None:
        return None, f"no answer {'before' if before is None else 'after'} the claim could be read"
    return None if same_answer(before, claim) else (float(same_answer(after, claim)), "")


def _answer(grades: list[GradeEvent]) -> str | None:
    return grades[0].answer if grades else None
