"""A scenario together with where everything in it was written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from docendo.errors import Problem
from docendo.scenarios.digest import scenario_digest
from docendo.scenarios.mistakes import Place, place_in
from docendo.scenarios.paths import phase_names
from docendo.scenarios.positions import Path as Spot
from docendo.scenarios.positions import Positions
from docendo.scenarios.schema import Scenario

__all__ = ["LoadedScenario"]


@dataclass(frozen=True)
class LoadedScenario:
    """A sound scenario, its plain data, and its places."""

    scenario: Scenario
    raw: dict[str, Any]
    """Plain data in normal form, after `extends`, `--role` and `--set`."""
    base: Path
    """Folder that relative paths start from."""
    file: str
    """The file as messages call it."""
    positions: Positions = field(default_factory=Positions)
    source_text: str = ""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the resolved scenario."""
        return scenario_digest(self.scenario)

    @property
    def place(self) -> Place:
        """Where each path is written."""
        return place_in(self.raw, self.positions)

    def locate(self, problem: Problem) -> Problem:
        """The problem with file, line and column of its dotted path (`plan.teach.policy`), where known."""
        if problem.where.path is None or problem.where.file is not None:
            return problem
        mark = self.positions.find(self._spot(problem.where.path))
        if mark is None:
            return problem
        where = replace(problem.where, file=mark.file, line=mark.line, column=mark.column)
        return replace(problem, where=where)

    def _spot(self, dotted: str) -> Spot:
        """The place in `raw` that a dotted path names, as far as it exists."""
        data: Any = self.raw
        spot: Spot = ()
        phases = {name: at[-1] for at, name in phase_names(self.raw).items()}
        for part in re.findall(r"[^.\[\]]+", dotted):
            key: str | int = phases.get(part, part) if spot == ("plan",) else part
            if isinstance(data, list):
                key = int(key) if str(key).isdecimal() else -1
                if not 0 <= key < len(data):
                    break
            elif not isinstance(data, dict) or key not in data:
                break
            data = data[key]
            spot = (*spot, key)
        return spot
