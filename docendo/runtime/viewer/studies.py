"""The study page: the report, learning curves, calibration, and two conditions side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from docendo.runtime.report.kept import kept_report
from docendo.runtime.report.model import Report
from docendo.runtime.store.records import LessonKey
from docendo.runtime.viewer.episode_models import ConditionsCompared, ItemPair
from docendo.runtime.viewer.facts import recorded, trace_of
from docendo.runtime.viewer.library import Library
from docendo.runtime.viewer.models import (
    CalibrationBin,
    CalibrationCurve,
    CalibrationPage,
    CurvePoint,
    LearningCurve,
    ReportPage,
)

if TYPE_CHECKING:
    from docendo.runtime.measures.statistics import Sample

__all__ = ["calibration_page", "conditions_compared", "report_page", "wilson"]

BINS = 10
_Z = 1.959963984540054
"""Standard normal quantile of 97.5 %."""


def report_page(library: Library, reference: str) -> ReportPage:
    """The report of a run: the kept one if it still holds, else made now.

    Raises:
        UnknownNameError: There is no such run.
    """
    record = library.run(reference)
    version = f"{record.status} {library.version(record.id)}"
    patient = record.status == "running"
    return library.once(("report", record.id), version, lambda: _report(library, record.id), patient=patient)


def _report(library: Library, run_id: str) -> ReportPage:
    report = kept_report(library.store, run_id)
    if report is None:
        from docendo.runtime.report.build import build_report  # noqa: PLC0415 - scipy, half a second

        report = build_report(library.store, run_id)
    return ReportPage(
        report=report, learning=_learning(library, report), replicates=_replicates(library, report)
    )


def _learning(library: Library, report: Report) -> list[LearningCurve]:
    """Measures over the phases of the plan, where they are taken in more than one."""
    plan = [str(phase.get("id") or phase.get("kind")) for phase in library.design(report.run.id).plan]
    return [
        LearningCurve(
            measure=name,
            condition=condition.id,
            points=[
                CurvePoint(phase=phase, **measured.phases[phase].model_dump())
                for phase in sorted(measured.phases, key=lambda p: plan.index(p) if p in plan else len(plan))
            ],
        )
        for condition in report.conditions
        for name, measured in condition.measures.items()
        if measured.phases
    ]


def _replicates(library: Library, report: Report) -> dict[str, dict[str, list[float | None]]]:
    """Measure -> condition -> mean of each replicate."""
    numbers = sorted({lesson.key.replicate for lesson in library.lessons(report.run.id)})
    means = library.store.browse.means(report.run.id, list(report.measures))

    def mean(measure: str, condition: str, replicate: int) -> float | None:
        found = means.get((measure, condition, replicate))
        return round(found, 6) if found is not None and math.isfinite(found) else None

    return {
        measure: {c.id: [mean(measure, c.id, r) for r in numbers] for c in report.conditions}
        for measure in report.measures
    }


# --- calibration ----------------------------------------------------------------------------------------


def calibration_page(library: Library, reference: str) -> CalibrationPage:
    """How well predictions of students' answers are calibrated, by condition.

    Raises:
        UnknownNameError: There is no such run.
    """
    record = library.run(reference)
    return library.once(
        ("calibration", record.id),
        library.version(record.id),
        lambda: _calibration(library, record.id),
        patient=record.status == "running",
    )


def _calibration(library: Library, run_id: str) -> CalibrationPage:
    found: dict[tuple[str, str, bool], list[tuple[float, float]]] = {}
    beliefs = scored = 0
    for lesson in library.lessons(run_id):
        for agent, helped, p, outcome in _predictions(library, lesson.key):
            beliefs += 1
            if outcome is not None:
                scored += 1
                found.setdefault((lesson.key.condition, agent, helped), []).append((p, float(outcome)))
    curves = [
        CalibrationCurve(
            condition=condition,
            agent=agent,
            help="helped" if helped else "alone",
            n=len(pairs),
            brier=round(math.fsum((p - o) ** 2 for p, o in pairs) / len(pairs), 6),
            ece=round(_ece(pairs), 6),
            bins=_bins(pairs),
        )
        for (condition, agent, helped), pairs in found.items()
    ]
    return CalibrationPage(curves=curves, beliefs=beliefs, scored=scored)


def _predictions(library: Library, key: LessonKey) -> Iterator[tuple[str, bool, float, bool | None]]:
    """Agent, whether after help, probability and outcome of every prediction of a lesson."""
    from docendo.runtime.measures.beliefs import scored_beliefs  # noqa: PLC0415 - only this page needs it
    from docendo.runtime.measures.measure import LessonTrace  # noqa: PLC0415

    records = list(library.store.episodes(key.run, key.condition, key.replicate))
    events = library.store.browse.events([r.id for r in records], ["belief", "grade"])
    traces = tuple(trace_of(r, map(recorded, events[r.id])) for r in records)
    scored = scored_beliefs(LessonTrace(condition=key.condition, replicate=key.replicate, episodes=traces))
    for s in scored:
        if s.belief.p_correct is not None:
            yield s.belief.agent, s.belief.given_help, s.belief.p_correct, s.correct


def _ece(pairs: Iterable[tuple[float, float]]) -> float:
    from docendo.runtime.measures.beliefs import expected_calibration_error  # noqa: PLC0415

    return expected_calibration_error(pairs, BINS)


def _bins(pairs: Iterable[tuple[float, float]]) -> list[CalibrationBin]:
    bins: dict[int, list[tuple[float, float]]] = {}
    for p, outcome in pairs:
        bins.setdefault(min(int(p * BINS), BINS - 1), []).append((p, outcome))
    found = []
    for _, members in sorted(bins.items()):
        n, right = len(members), sum(outcome for _, outcome in members)
        low, high = wilson(right, n)
        p = math.fsum(p for p, _ in members) / n
        found.append(CalibrationBin(p=round(p, 6), observed=round(right / n, 6), low=low, high=high, n=n))
    return found


def wilson(successes: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson 1927); members of one lesson are not independent, so it is a
    lower bound on the uncertainty."""  # noqa: D205, D209
    share, z2 = successes / n, _Z * _Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return round(max(0.0, middle - half), 6), round(min(1.0, middle + half), 6)


# --- two conditions -------------------------------------------------------------------------------------


def conditions_compared(library: Library, reference: str, first: str, second: str) -> ConditionsCompared:
    """Two conditions of a run, paired, with every item that both have.

    Raises:
        UnknownNameError: There is no such run or condition.
        UsageError: Both sides are the same.
    """
    record = library.run(reference)
    key = ("compare", record.id, first, second)
    return library.once(key, library.version(record.id), lambda: _compared(library, record.id, first, second))


def _compared(library: Library, run_id: str, first: str, second: str) -> ConditionsCompared:
    from docendo.runtime.report.build import samples_of  # noqa: PLC0415 - scipy, half a second
    from docendo.runtime.report.compare import compare  # noqa: PLC0415

    found = compare(library.store, f"{run_id}:{first}", f"{run_id}:{second}")
    samples = samples_of(library.store, run_id, list(found.measures))
    items = {
        measure: _pairs(by.get(found.first.condition), by.get(found.second.condition))
        for measure, by in samples.items()
    }
    return ConditionsCompared(comparison=found, items=items)


def _pairs(first: Sample | None, second: Sample | None) -> list[ItemPair]:
    """Means of both sides per phase and item, over the units that both have."""
    if first is None or second is None:
        return []
    sums: dict[tuple[str, str], list[tuple[float, float]]] = {}
    others = second.by_unit
    for unit, value in first.by_unit.items():
        other = others.get(unit)
        if other is not None and unit.item and not (math.isnan(value) or math.isnan(other)):
            sums.setdefault((unit.phase, unit.item), []).append((value, other))
    pairs = [
        ItemPair(
            phase=phase,
            item=item,
            first=round(math.fsum(a for a, _ in values) / len(values), 6),
            second=round(math.fsum(b for _, b in values) / len(values), 6),
            n=len(values),
        )
        for (phase, item), values in sums.items()
    ]
    return sorted(pairs, key=lambda p: (-abs((p.first or 0) - (p.second or 0)), p.phase, p.item))
