from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from docendo.runtime.measures.measure import MEASURES
from docendo.runtime.measures.statistics import Difference, Sample, difference
from docendo.runtime.report.build import samples_of
from docendo.runtime.report.design import Arm, arms_of
from docendo.runtime.runner import begin, run_study, todo
from docendo.runtime.store import Store, open_store
from docendo.runtime.study import prepare
from docendo.scenarios.loader import load_scenario


@dataclass
class GalleryRun:
    store: Store
    id: str

    @cached_property
    def arms(self) -> list[Arm]:
        return arms_of(self.store.conditions(self.id))

    def arm(self, control: str = "", **where: Any) -> Arm:
        def at(arm: Arm) -> bool:
            short = {path.rpartition(".")[2]: value for path, value in arm.coordinates.items()}
            return all(name in short and short[name] == value for name, value in where.items())

        (found,) = [arm for arm in self.arms if arm.control == control and at(arm)]
        return found

    def sample(self, measure: str, **where: Any) -> Sample:
        return samples_of(self.store, self.id, [measure])[measure][self.arm(**where).id]

    def mean(self, measure: str, **where: Any) -> float:
        return float(self.sample(measure, **where).values.mean())

    def difference(self, measure: str, of: dict[str, Any], to: dict[str, Any]) -> Difference:
        known = MEASURES.get(measure)
        first, second = self.sample(measure, **of), self.sample(measure, **to)
        return difference(first, second, 1, bounds=known.bounds, binary=known.binary)

    def failed(self) -> int:
        return sum(lesson.n_failed for lesson in self.store.lessons(self.id))


def run_gallery(name: str, folder: Path, *overrides: str) -> GalleryRun:
    """The gallery's scenario `name` with `overrides`, run into a store of its own."""
    study = prepare(load_scenario(name, overrides=list(overrides)))
    store = open_store(f"sqlite:///{folder / name}.db")
    begin(study, store)
    asyncio.run(run_study(study, store, lessons=todo(study, store)))
    store.finish_run(study.run_id)
    return GalleryRun(store, study.run_id)


def clearly(found: Difference, sign: int) -> bool:
    """Whether the difference has that sign, and so has its whole interval."""
    assert found.low is not None
    assert found.high is not None
    return found.low > 0 if sign > 0 else found.high < 0
