"""From command-line arguments to a loaded scenario."""

from __future__ import annotations

from collections.abc import Sequence

from docendo.scenarios.check import Known
from docendo.scenarios.loader import LoadedScenario, load_scenario

__all__ = ["load"]


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
    counts = [
        f"plan.{phase.id}.count={min(limit, phase.count or limit)}"
        for phase in loaded.scenario.plan
        if phase.kind in ("teach", "test")
    ]
    return load_scenario(file, overrides=[*overrides, *counts], roles=list(roles or ()))
