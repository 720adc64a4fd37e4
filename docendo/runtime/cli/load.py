"""From command-line arguments to a loaded scenario."""

from __future__ import annotations

from collections.abc import Sequence

from docendo.scenarios.check import Known
from docendo.scenarios.loader import LoadedScenario, load_raw, load_scenario
from docendo.scenarios.overrides import apply_overrides

__all__ = ["limited", "load"]


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


def _counts(loaded: LoadedScenario, limit: int) -> list[str]:
    """Overrides that take few items of each phase; where the matrix varies how many, it goes on doing so."""
    return [
        f"plan.{phase.id}.count={min(limit, phase.count or limit)}"
        for phase in loaded.scenario.plan
        if phase.kind in ("teach", "test") and f"plan.{phase.id}.count" not in loaded.scenario.matrix.axes
    ]
