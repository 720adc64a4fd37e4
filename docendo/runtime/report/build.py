"""Builds a report from the store, one measure at a time: no event is read, and no two measures are held."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from docendo.errors import UnknownNameError
from docendo.runtime.engines import engine_lines, mixed_engines
from docendo.runtime.gate import fidelity_figures
from docendo.runtime.measures.measure import MEASURES, Measure
from docendo.runtime.measures.statistics import Key, Sample
from docendo.runtime.measures.verdict import Verdict
from docendo.runtime.report.analysis import Analysed, analyse, curves_of
from docendo.runtime.report.design import Arm, arms_of, axes_of, baselines, curve_axis
from docendo.runtime.report.model import (
    ConditionReport,
    Counts,
    Curve,
    FidelityFigure,
    MeasureFacts,
    Report,
    RunFacts,
    label_of,
)
from docendo.runtime.store.reads import StoreReader
from docendo.runtime.store.records import LessonRecord, ObservationRow, RunRecord
from docendo.scenarios.fidelity import FIDELITY
from docendo.scenarios.schema import FidelitySpec

__all__ = ["build_report", "measure_called", "measures_of", "samples_of"]

Unit = tuple[int, str, int, str, str]
"""Replicate, phase, round, item, student."""
FINDINGS = 8
"""Most conclusive verdicts among the key findings."""
OPEN_FINDINGS = 3
"""Most verdicts shown where none is conclusive."""


def build_report(store: StoreReader, run: str, *, measures: Sequence[str] = ()) -> Report:
    """The report of a run.

    Args:
        store: Where the run is.
        run: Id, beginning of an id, name, or `latest`.
        measures: Only these; by default those of the scenario. The first is the primary one: it counts what
            is missing and makes the key findings.

    Raises:
        UnknownNameError: There is no such run, or it holds no observation of a measure asked for.
        StoreError: The store cannot be read.
    """
    record = store.run(run)
    arms = [arm for arm in arms_of(store.conditions(record.id)) if arm.control != FIDELITY]
    names = measures_of(store, record, measures)
    digest = store.run_digest(record.id)
    against = baselines(arms, record.scenario.get("baseline"))
    axis = curve_axis(axes_of(arms))
    analysed: dict[str, Analysed] = {}
    curves: list[Curve] = []
    missing: dict[str, set[Unit]] = {}
    observed = samples_of(store, record.id, names)
    for name in names:
        measure = measure_called(name)
        samples = observed[name]
        analysed[name] = analyse(measure, arms, samples, against, digest)
        curves += curves_of(measure, arms, axis, samples, digest) if axis and measure.better != "none" else []
        if name == names[0]:
            missing = {arm: _missing_units(sample) for arm, sample in samples.items()}
    counts = _counts(store, record.id, arms, missing)
    base = record.scenario.get("baseline")
    engines = store.engines(record.id)
    compared = list(dict.fromkeys(other.id for other in against.values()))
    return Report(
        run=RunFacts(
            id=record.id,
            name=record.name,
            scenario_digest=record.digest,
            items_digest=record.items_digest,
            status=record.status,
            baseline=compared[0] if len(compared) == 1 else label_of(dict(base or {})),
            engines=engine_lines(engines),
        ),
        digest=digest,
        measures={name: _facts(measure_called(name)) for name in names},
        conditions=[_condition(arm, counts[arm.id], analysed) for arm in arms],
        curves=curves,
        findings=_findings(names[0], analysed[names[0]]) if names else [],
        fidelity=_fidelity(store, record),
        warnings=[*_warnings(record, arms, counts, names, against, base), *mixed_engines(engines)],
    )


def measures_of(store: StoreReader, record: RunRecord, asked: Sequence[str]) -> list[str]:
    """The names asked for, else the scenario's.

    Raises:
        UnknownNameError: The run was not measured so.
    """
    known = list(record.scenario.get("measures") or ())
    if not known:
        known = list(next((c.scenario.get("measures", ()) for c in store.conditions(record.id)), ()))
    for name in asked:
        if name not in known and next(iter(store.observations(record.id, [name])), None) is None:
            raise UnknownNameError(
                f"run `{record.id}` holds no observation of the measure `{name}`",
                suggestion=f"It was measured by {', '.join(f'`{k}`' for k in known)}.",
            )
    return list(dict.fromkeys(asked)) or known


def measure_called(name: str) -> Measure:
    """The measure; a stand-in without bounds or direction where its plug-in is not installed."""
    try:
        return MEASURES.get(name)
    except UnknownNameError:
        return Measure(
            name=name,
            scale="count",
            better="none",
            description="Its plug-in is not installed.",
            values=lambda _: (),
        )


def samples_of(store: StoreReader, run_id: str, measures: Sequence[str]) -> dict[str, dict[str, Sample]]:
    """Measure -> condition id -> its observations."""
    rows: dict[str, dict[str, list[tuple[Key, float | None]]]] = {name: {} for name in measures}
    for row in store.observations(run_id, measures):
        rows[row.measure].setdefault(row.lesson.condition, []).append((_key(row), row.value))
    return {
        name: {condition: Sample.of(found) for condition, found in conditions.items()}
        for name, conditions in rows.items()
    }


def _key(row: ObservationRow) -> Key:
    return Key(row.phase, row.round, row.item, row.student, row.lesson.replicate)


def _missing_units(sample: Sample) -> set[Unit]:
    """Units of an episode's size without a value."""
    return {
        (key.replicate, key.phase, key.round, key.item, key.student)
        for key, value in zip(sample.keys, sample.values.tolist(), strict=True)
        if value != value and key.phase
    }


def _counts(
    store: StoreReader, run_id: str, arms: Sequence[Arm], missing: dict[str, set[Unit]]
) -> dict[str, Counts]:
    """Episodes planned, ran, errored and missing.

    A lesson that has not finished is planned to have as many episodes as the longest finished one.
    """
    lessons: dict[str, list[LessonRecord]] = {}
    for lesson in store.lessons(run_id):
        lessons.setdefault(lesson.key.condition, []).append(lesson)
    longest = max(
        (r.n_episodes for found in lessons.values() for r in found if r.status == "finished"), default=0
    )
    tallies = {tally.condition: tally for tally in store.counts(run_id)}
    counts = {}
    for arm in arms:
        tally, records = tallies.get(arm.id), lessons.get(arm.id, [])
        episodes, failed = (tally.episodes, tally.failed) if tally else (0, 0)
        planned = sum(r.n_episodes if r.status == "finished" else longest for r in records)
        planned = max(planned, episodes)
        unmeasured = missing.get(arm.id, set())
        if unmeasured and failed:
            unmeasured = _without_failed(unmeasured, store, run_id, arm.id)
        counts[arm.id] = Counts(
            planned=planned,
            ran=episodes - failed,
            errored=failed,
            missing=planned - episodes + len(unmeasured),
        )
    return counts


def _without_failed(units: set[Unit], store: StoreReader, run_id: str, condition: str) -> set[Unit]:
    failed = {
        (e.lesson.replicate, e.phase, e.round, e.item, e.student)
        for e in store.episodes(run_id, condition)
        if e.outcome == "failed"
    }
    return {unit for unit in units if unit not in failed and (*unit[:4], "") not in failed}


def _fidelity(store: StoreReader, record: RunRecord) -> list[FidelityFigure]:
    """The check of the students, where the scenario asked for one."""
    spec = record.scenario.get("fidelity")
    check = next((c.id for c in store.conditions(record.id) if c.control == FIDELITY), None)
    if spec is None or check is None:
        return []
    figures = fidelity_figures(store, record.id, check, FidelitySpec.model_validate(spec))
    return [
        FidelityFigure(
            measure=f.measure, mean=f.mean, n=f.n, limit=f.limit, at_least=f.at_least, holds=f.holds
        )
        for f in figures
    ]


def _facts(measure: Measure) -> MeasureFacts:
    return MeasureFacts(scale=measure.scale, better=measure.better, description=measure.description)


def _condition(arm: Arm, counts: Counts, analysed: dict[str, Analysed]) -> ConditionReport:
    return ConditionReport(
        id=arm.id,
        label=arm.label,
        coordinates=dict(arm.coordinates),
        control=arm.control,
        n=counts,
        measures={name: found.measured[arm.id] for name, found in analysed.items()},
        verdicts=[found.verdicts[arm.id].sentence for found in analysed.values() if arm.id in found.verdicts],
    )


def _findings(name: str, analysed: Analysed) -> list[str]:
    """How the primary measure's comparisons went, then the conclusive ones, the largest difference first.

    Where none is conclusive, the largest of the open ones stand in for them.
    """
    verdicts = analysed.verdicts
    by: dict[str, list[str]] = {}
    for arm, said in verdicts.items():
        by.setdefault(said.conclusion, []).append(arm)
    decided = by.get("higher", []) + by.get("lower", [])
    shown = decided or [arm for arm in verdicts if _effect(analysed, arm)] or list(verdicts)
    ranked = sorted(shown, key=lambda arm: -abs(_effect(analysed, arm)))
    sentences = [verdicts[arm].sentence for arm in ranked[: FINDINGS if decided else OPEN_FINDINGS]]
    if len(verdicts) > 1:
        sentences.insert(0, _tally(name, by, verdicts.values()))
    return sentences


def _effect(analysed: Analysed, arm: str) -> float:
    paired = analysed.measured[arm].difference
    return 0.0 if paired is None or paired.mean is None else paired.mean


def _tally(name: str, by: dict[str, list[str]], verdicts: Iterable[Verdict]) -> str:
    total = len(list(verdicts))
    if "higher" not in by and "lower" not in by:
        return f"{name}: none of the {total} comparisons with the baseline is conclusive."
    parts = [f"{len(by[kind])} {kind}" for kind in ("higher", "lower", "inconclusive") if kind in by]
    empty = [f"{len(by['none'])} without a pair"] if "none" in by else []
    return f"{name}: of {total} comparisons with the baseline, {', '.join(parts + empty)} (Holm-adjusted)."


def _warnings(
    record: RunRecord, arms: Sequence[Arm], counts: dict[str, Counts], names: Sequence[str],
    against: dict[str, Arm], baseline: Any,
) -> list[str]:  # fmt: skip
    found = []
    planned = sum(n.planned for n in counts.values())
    done = sum(n.ran + n.errored for n in counts.values())
    if record.status != "finished" or done < planned:
        found.append(
            f"The run is incomplete ({record.status}): {done} of {planned} episodes. Issue the same "
            "`docendo run` again to continue it."
        )
    if errored := sum(n.errored for n in counts.values()):
        found.append(
            f"{errored} of {planned} episodes errored. They are missing from the means; raw means count "
            "them as 0."
        )
    if baseline and arms and not against:
        found.append(f"No condition has the coordinates of the baseline {baseline}; nothing is compared.")
    if not any(arm.control for arm in arms):
        found.append("The run has no controls, so no difference is called a gain.")
    for name in names:
        if name not in MEASURES:
            found.append(f"The plug-in of the measure `{name}` is not installed: no bounds, no direction.")
    return found
