"""One measure over all arms of a run: estimates, paired differences, correction, verdicts, curves.

Pure functions of samples. Every bootstrap is seeded by the run's digest, the measure and the arms, so equal
data make equal reports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from docendo.runtime.measures.measure import Measure
from docendo.runtime.measures.statistics import (
    Difference,
    Estimate,
    Key,
    Sample,
    difference,
    estimate,
    holm,
    seed_of,
)
from docendo.runtime.measures.verdict import Gain, Verdict, verdict
from docendo.runtime.report.design import Arm, Axis, controls_of, numeric
from docendo.runtime.report.model import Curve, Interval, Measured, Paired, Point

__all__ = ["Analysed", "analyse", "compare_arms", "curves_of"]

Samples = Mapping[str, Sample]
"""Arm id -> its observations of one measure."""
EMPTY = Sample.of(())


@dataclass(frozen=True)
class Analysed:
    """One measure, by arm id."""

    measured: dict[str, Measured]
    verdicts: dict[str, Verdict]
    """Of arms that have a baseline."""


def analyse(
    measure: Measure, arms: Sequence[Arm], samples: Samples, baseline: Mapping[str, Arm], digest: str
) -> Analysed:
    """Estimates of every arm, and its difference to its baseline corrected over all of these."""
    found = {
        arm.id: _difference(measure, arm, baseline[arm.id], samples, digest)
        for arm in arms
        if arm.id in baseline
    }
    adjusted, family = _adjusted(found)
    measured, verdicts = {}, {}
    for arm in arms:
        paired = None
        if arm.id in found:
            other, gap = baseline[arm.id], found[arm.id]
            said = verdict(
                gap,
                measure=measure.name,
                first=arm.label,
                second=other.label,
                better=measure.better,
                p_adjusted=adjusted[arm.id],
                family=family,
                gain=_gain(measure, arm, arms, samples, digest) if _improved(measure, gap) else "no_controls",
            )
            verdicts[arm.id], paired = said, _paired(gap, other, adjusted[arm.id], said)
        measured[arm.id] = _measured(measure, arm, samples.get(arm.id, EMPTY), paired, digest)
    return Analysed(measured, verdicts)


def _adjusted(found: Mapping[str, Difference]) -> tuple[dict[str, float | None], int]:
    """Holm's adjustment, and over how many comparisons.

    Where all pairs are equal, as at a budget of 0, no sign flip can give another p than 1: such a comparison
    is no part of the family (Tarone 1990).
    """
    open_ = {arm: d for arm, d in found.items() if d.p is not None and not (d.mean == 0 and d.se == 0)}
    adjusted: dict[str, float | None] = {arm: d.p for arm, d in found.items()}
    adjusted.update(zip(open_, holm([d.p for d in open_.values()]), strict=True))
    return adjusted, len(open_)


def compare_arms(
    measure: Measure, first: Arm, second: Arm, samples: Samples, digest: str
) -> tuple[Paired, Verdict]:
    """One comparison on its own, a family of one."""
    found = _difference(measure, first, second, samples, digest)
    said = verdict(
        found,
        measure=measure.name,
        first=first.label,
        second=second.label,
        better=measure.better,
        p_adjusted=found.p,
    )
    return _paired(found, second, found.p, said), said


def _difference(measure: Measure, arm: Arm, other: Arm, samples: Samples, digest: str) -> Difference:
    return difference(
        samples.get(arm.id, EMPTY),
        samples.get(other.id, EMPTY),
        seed_of(digest, measure.name, arm.id, other.id),
        bounds=measure.bounds,
        binary=measure.binary,
    )


def _gain(measure: Measure, arm: Arm, arms: Sequence[Arm], samples: Samples, digest: str) -> Gain:
    """Whether the arm's paired interval lies on the better side of 0 against each of its controls."""
    controls = controls_of(arm, arms)
    if not controls or arm.control:
        return "no_controls"
    sign = -1 if measure.better == "low" else 1
    for control in controls:
        found = _difference(measure, arm, control, samples, digest)
        edge = found.low if sign > 0 else found.high
        if edge is None or sign * edge <= 0:
            return "not_beaten"
    return "beats_controls"


def _improved(measure: Measure, found: Difference) -> bool:
    if found.mean is None or measure.better == "none":
        return False
    return found.mean > 0 if measure.better == "high" else found.mean < 0


def _paired(found: Difference, other: Arm, p_adjusted: float | None, said: Verdict) -> Paired:
    return Paired(
        to=other.id,
        mean=found.mean,
        low=found.low,
        high=found.high,
        p=found.p,
        p_adjusted=p_adjusted,
        mcnemar=found.mcnemar,
        n_pairs=found.n_pairs,
        missing=found.missing,
        unmatched=found.unmatched,
        mde=found.mde,
        lowest=found.lowest,
        highest=found.highest,
        conclusion=said.conclusion,
    )


def _measured(measure: Measure, arm: Arm, sample: Sample, paired: Paired | None, digest: str) -> Measured:
    whole = estimate(sample, seed_of(digest, measure.name, arm.id), bounds=measure.bounds)
    phases = list(dict.fromkeys(key.phase for key in sample.keys))
    return Measured(
        mean=whole.mean,
        low=whole.low,
        high=whole.high,
        n=whole.n,
        missing=whole.missing,
        raw_mean=whole.raw_mean,
        worst=whole.worst,
        best=whole.best,
        difference=paired,
        phases={
            phase: _interval(
                estimate(
                    _of_phase(sample, phase),
                    seed_of(digest, measure.name, arm.id, phase),
                    bounds=measure.bounds,
                )
            )
            for phase in (phases if len(phases) > 1 else ())
        },
    )


def _interval(found: Estimate) -> Interval:
    return Interval(mean=found.mean, low=found.low, high=found.high, n=found.n)


def _of_phase(sample: Sample, phase: str) -> Sample:
    return Sample.of(
        (k, v) for k, v in zip(sample.keys, sample.values.tolist(), strict=True) if k.phase == phase
    )


def curves_of(
    measure: Measure, arms: Sequence[Arm], axis: Axis, samples: Samples, digest: str
) -> list[Curve]:
    """The measure over `axis`, one curve per combination of the other coordinates that has every point.

    The area is that of the trapezoids between neighbouring points over the axis's length, taken unit by unit
    (item, student, replicate), so its interval is clustered like that of a mean.
    """
    groups: dict[str, tuple[dict[str, Any], dict[float, Arm]]] = {}
    for arm in arms:
        x = numeric(arm.coordinates.get(axis.path))
        if x is not None and not arm.control:
            held = {k: v for k, v in arm.coordinates.items() if k != axis.path}
            groups.setdefault(repr(sorted(held.items())), (held, {}))[1][x] = arm
    curves = []
    for held, at in groups.values():
        if set(at) == set(axis.numbers or ()):
            xs = sorted(at)
            area = _area(xs, [samples.get(at[x].id, EMPTY) for x in xs])
            seed = seed_of(digest, measure.name, *(at[x].id for x in xs))
            curves.append(
                Curve(
                    measure=measure.name,
                    axis=axis.path,
                    held=held,
                    points=[Point(x=x, condition=at[x].id) for x in xs],
                    auc=_interval(estimate(area, seed, bounds=measure.bounds)),
                )
            )
    return curves


def _area(xs: Sequence[float], samples: Sequence[Sample]) -> Sample:
    """Normalised trapezoid area of every unit that all points have."""
    values = [sample.by_unit for sample in samples]
    shared: set[Key] = set.intersection(*(set(v) for v in values))
    weights = np.zeros(len(xs))
    for index, (left, right) in enumerate(pairwise(xs)):
        weights[index : index + 2] += (right - left) / 2
    weights /= xs[-1] - xs[0]
    return Sample.of((key, float(weights @ [v[key] for v in values])) for key in sorted(shared))
