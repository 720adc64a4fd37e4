"""`docendo run --dry-run`: what would run, and from a short probe what it would cost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from docendo.runtime.cli.output import Output

if TYPE_CHECKING:
    from docendo.runtime.estimate import Estimate, Range
    from docendo.runtime.study import Study
    from docendo.scenarios.loader import LoadedScenario

__all__ = ["foretell"]

PROBE = 5
"""Items per teach or test phase."""


def foretell(loaded: Sequence[LoadedScenario], probe: int | None, output: Output) -> int:
    """Print the plan of each scenario and, where its models are to be tried, an estimate per model.

    Raises:
        ModelError: A model cannot be used.
    """
    from docendo.runtime.study import prepare

    plans = []
    for scenario in loaded:
        study = prepare(scenario)
        plan, lines = _planned(study)
        for line in lines:
            output.say(line)
        tried = (0 if study.simulated else PROBE) if probe is None else probe
        if tried:
            plan |= _estimated(scenario, study, tried, output)
        plans.append(plan)
    output.result(plans)
    return 0


def _planned(study: Study) -> tuple[dict[str, Any], list[str]]:
    from docendo.runtime.estimate import items_of
    from docendo.runtime.report.model import label_of

    conditions = [
        f"{s.condition.id}: {label_of(dict(s.condition.coordinates), s.condition.control or '')}"
        for s in study.setups
    ]
    setup = study.setups[0]
    students = sum(a.count for n, a in setup.scenario.agents.items() if (a.role or n) == "student") or 1
    episodes = [
        f"{phase.id}: {items_of(setup, phase)} items x {students} students x {phase.rounds} rounds"
        for phase in setup.scenario.plan
        if phase.kind != "rest"
    ]
    head = f"{study.run_id}: {len(study.setups)} conditions x {study.scenario.replicates} replicates"
    plan = {"run": [study.run_id], "conditions": conditions, "episodes": episodes}
    return plan, [head, *conditions, *episodes]


def _estimated(loaded: LoadedScenario, study: Study, probe: int, output: Output) -> dict[str, Any]:
    """Try a few items of every condition, and scale."""
    from docendo.runtime.cli.load import limited, read_weights
    from docendo.runtime.estimate import estimate
    from docendo.runtime.study import prepare

    small = prepare(limited(loaded, probe))
    read_weights(small, output)
    found, failed = asyncio.run(estimate(study, small))
    calls = sum(e.probed for e in found)
    rests = (
        f"It rests on {calls:,} calls: one replicate of every condition, at most {probe} items per teach or "
        "test phase, on the models themselves; nothing was recorded."
    )
    if not output.json:
        output.out.print(_table(found))
        output.say(rests)
        if failed:
            output.note(f"Note: {failed} of these calls failed.", "yellow")
    return {
        "estimate": {
            "probe": {"items": probe, "calls": calls, "failed": failed},
            "models": {e.model: {k: v for k, v in asdict(e).items() if k != "model"} for e in found},
        }
    }


def _table(found: Sequence[Estimate]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("model", "calls", "prompt tokens", "cached", "completion tokens", "time"):
        table.add_column(name, justify="left" if name == "model" else "right", no_wrap=True)
    for e in found:
        table.add_row(
            e.model,
            _figure(e.calls),
            _figure(e.prompt_tokens),
            "not told" if e.cached is None else f"{e.cached:.0%}",
            _figure(e.completion_tokens),
            _times(e.seconds),
        )
    return table


def _figure(value: Range) -> str:
    mean, low, high = map(_short, (value.mean, value.low, value.high))
    return mean if low == high else f"{mean} ({low}-{high})"


def _short(n: float) -> str:
    """Three figures: 912, 1.25k, 228k, 4.10M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if n >= size * 0.9995:
            return f"{n / size:.3g}{letter}"
    return f"{n:.0f}"


def _times(seconds: Range) -> str:
    low, high = _time(seconds.low), _time(seconds.high)
    return low if low == high else f"{low} to {high}"


def _time(seconds: float) -> str:
    if seconds < 1:
        return "under 1 s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
