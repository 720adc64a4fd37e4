"""From command-line arguments to a loaded scenario."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from docendo.scenarios.check import Known
from docendo.scenarios.loader import LoadedScenario, load_raw, load_scenario
from docendo.scenarios.overrides import apply_overrides

if TYPE_CHECKING:
    from docendo.runtime.cli.output import Output
    from docendo.runtime.study import Study

__all__ = ["limited", "load", "read_weights"]

_LONG = 10**9
"""Bytes that take seconds to read."""


def load(
    file: str,
    settings: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    *,
    limit: int | None = None,
    replicates: int | None = None,
    seed: int | None = None,
    known: Known | None = None,
) -> LoadedScenario:
    """The scenario with every override applied; `--set`, then the short options.

    Raises:
        ScenarioError: Everything that is wrong with it.
    """
    overrides = list(settings or ())
    if replicates is not None:
        overrides.append(f"replicates={replicates}")
    if seed is not None:
        overrides.append(f"seed={seed}")
    loaded = load_scenario(file, overrides=overrides, roles=list(roles or ()), known=known)
    if limit is None:
        return loaded
    counts = _counts(loaded, limit)
    return load_scenario(file, overrides=[*overrides, *counts], roles=list(roles or ()))


def limited(loaded: LoadedScenario, limit: int) -> LoadedScenario:
    """The same scenario with few items per teach or test phase and one replicate."""
    counts = _counts(loaded, limit)
    raw, _, _ = apply_overrides(loaded.raw, loaded.positions, [*counts, "replicates=1"], [])
    return load_raw(raw, base=loaded.base, file=loaded.file)


def read_weights(study: Study, output: Output) -> None:
    """Find out which models these are, and say so where that takes a while.

    Raises:
        UsageError: A file of a model cannot be read.
    """
    backends = [b for models in study.backends.values() for b in models.values()]
    unread: dict[str, int] = {}
    for backend in backends:
        unread |= backend.unread()
    if (size := sum(unread.values())) > _LONG:
        output.note(f"Reading {size / 1e9:.1f} GB of weights, once, to know which models these are.")
    for backend in backends:
        _ = backend.fingerprint


def _counts(loaded: LoadedScenario, limit: int) -> list[str]:
    """Overrides that take few items of each phase; where the matrix varies how many, it goes on doing so."""
    return [
        f"plan.{phase.id}.count={min(limit, phase.count or limit)}"
        for phase in loaded.scenario.plan
        if phase.kind in ("teach", "test") and f"plan.{phase.id}.count" not in loaded.scenario.matrix.axes
    ]
