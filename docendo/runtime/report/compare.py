"""Compares any two conditions, of one run or of two, matched on (phase, round, item, student, replicate)."""

from __future__ import annotations

from collections.abc import Sequence

from docendo.errors import UnknownNameError, UsageError, did_you_mean
from docendo.runtime.measures.statistics import Sample, estimate, seed_of
from docendo.runtime.report.analysis import EMPTY, compare_arms
from docendo.runtime.report.build import measure_called, measures_of, samples_of
from docendo.runtime.report.design import Arm, arms_of
from docendo.runtime.report.model import Compared, Comparison, Interval, Side
from docendo.runtime.store.reads import StoreReader
from docendo.runtime.store.records import RunRecord

__all__ = ["Compared", "Comparison", "Side", "compare", "condition_called"]


def compare(store: StoreReader, a: str, b: str, *, measures: Sequence[str] = ()) -> Comparison:
    """Paired differences between two conditions, `a` minus `b`.

    Args:
        store: Where both are.
        a: `RUN`, or `RUN:CONDITION`. A run is an id, the beginning of one, a name, or `latest`. A condition
            is an id, the beginning of one, a label (`random, 20%`) or a control's name, and may be left out
            where the run has only one.
        b: The same; `:CONDITION` is one of the run of `a`.
        measures: Names; by default those that both scenarios have.

    Raises:
        UnknownNameError: No such run, condition or measure.
        UsageError: A condition must be named, or both sides are the same.
    """
    (run_a, _, condition_a), (run_b, _, condition_b) = a.partition(":"), b.partition(":")
    first, second = store.run(run_a), store.run(run_b or run_a)
    left = condition_called(store, first, condition_a.strip())
    right = condition_called(store, second, condition_b.strip())
    if (first.id, left.id) == (second.id, right.id):
        raise UsageError(
            f"both sides are condition `{left.label}` of run `{first.id}`",
            suggestion="Name two conditions (RUN:CONDITION), or two runs.",
        )
    names = measures_of(store, first, measures)
    if not measures:
        names = [name for name in names if name in measures_of(store, second, ())]
    if left.label == right.label:
        left_arm, right_arm = (
            Arm(id=f"{run.id}/{arm.id}", coordinates={"run": run.id, **arm.coordinates}, control=arm.control)
            for run, arm in ((first, left), (second, right))
        )
    else:
        left_arm = Arm(id=f"{first.id}/{left.id}", coordinates=left.coordinates, control=left.control)
        right_arm = Arm(id=f"{second.id}/{right.id}", coordinates=right.coordinates, control=right.control)
    digest = f"{store.run_digest(first.id)} {store.run_digest(second.id)}"
    lefts, rights = samples_of(store, first.id, names), samples_of(store, second.id, names)
    compared = {
        name: _measure(
            name,
            left_arm,
            right_arm,
            lefts[name].get(left.id, EMPTY),
            rights[name].get(right.id, EMPTY),
            digest,
        )
        for name in names
    }
    return Comparison(
        first=Side(run=first.id, run_name=first.name, condition=left.id, label=left_arm.label),
        second=Side(run=second.id, run_name=second.name, condition=right.id, label=right_arm.label),
        measures=compared,
        warnings=_warnings(first, second, compared),
    )


def condition_called(store: StoreReader, run: RunRecord, name: str) -> Arm:
    """The condition with this id, label, control or beginning of an id.

    Raises:
        UnknownNameError: None or several fit.
        UsageError: No name was given and the run has several.
    """
    arms = arms_of(store.conditions(run.id))
    labels = ", ".join(f"`{arm.label}`" for arm in arms[:12])
    if not name:
        if len(arms) == 1:
            return arms[0]
        raise UsageError(
            f"run `{run.id}` has {len(arms)} conditions; name one: `{run.id}:CONDITION`",
            suggestion=f"Conditions: {labels}.",
        )
    wanted = name.replace(" ", "")
    for fits in (
        [arm for arm in arms if name == arm.id or wanted == arm.label.replace(" ", "")],
        [arm for arm in arms if name == arm.control],
        [arm for arm in arms if arm.id.startswith(name)],
    ):
        if len(fits) == 1:
            return fits[0]
    hint = did_you_mean(name, [arm.label for arm in arms])
    raise UnknownNameError(
        f"no single condition of run `{run.id}` fits `{name}`", suggestion=hint or f"Conditions: {labels}."
    )


def _measure(name: str, left: Arm, right: Arm, a: Sample, b: Sample, digest: str) -> Compared:
    measure = measure_called(name)
    paired, said = compare_arms(measure, left, right, {left.id: a, right.id: b}, digest)

    def interval(arm: Arm, sample: Sample) -> Interval:
        found = estimate(sample, seed_of(digest, name, arm.id), bounds=measure.bounds)
        return Interval(mean=found.mean, low=found.low, high=found.high, n=found.n)

    return Compared(
        first=interval(left, a), second=interval(right, b), difference=paired, verdict=said.sentence
    )


def _warnings(first: RunRecord, second: RunRecord, compared: dict[str, Compared]) -> list[str]:
    found = [
        f"Run `{run.id}` is {run.status}: what it has not measured is not compared."
        for run in {first.id: first, second.id: second}.values()
        if run.status != "finished"
    ]
    if first.items_digest != second.items_digest:
        found.append("The two runs were made with different items; only items with the same id are paired.")
    if len(compared) > 1:
        found.append(f"{len(compared)} measures are compared, each on its own: p is not corrected over them.")
    return found
