"""The store as the viewer sees it: open runs with their designs, and reports that are made once.

A library is shared by the threads of the server. What it keeps is small and belongs to one version of a run:
the design never changes once a run has begun, and a report is made anew when another lesson is finished (at
most every ten times as long as the last one took, so that watching a run does not slow it down).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import Any, TypeVar

from pydantic import ValidationError

from docendo.errors import UnknownNameError, did_you_mean
from docendo.runtime.report.design import Arm, arms_of, baselines
from docendo.runtime.store import Store
from docendo.runtime.store.records import ConditionRecord, LessonKey, LessonRecord, RunRecord
from docendo.scenarios.schema import Scenario

__all__ = ["Design", "Library", "names_of"]

T = TypeVar("T")

KEPT = 16
"""Results kept."""
PATIENCE = 10.0
"""A result that is out of date is served for this many times as long as it took to make."""


@dataclass(frozen=True)
class Design:
    """What a run was planned to be."""

    record: RunRecord
    conditions: tuple[ConditionRecord, ...]
    _scenarios: dict[str, Scenario | None] = field(default_factory=dict, compare=False)

    @cached_property
    def by_id(self) -> Mapping[str, ConditionRecord]:
        """Conditions by id."""
        return {c.id: c for c in self.conditions}

    @cached_property
    def arms(self) -> tuple[Arm, ...]:
        """Conditions as reports see them."""
        return tuple(arms_of(self.conditions))

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """Condition -> its label, the same as in reports."""
        return {arm.id: arm.label for arm in self.arms}

    @cached_property
    def baselines(self) -> Mapping[str, str]:
        """Condition -> the one that it is compared with."""
        found = baselines(self.arms, self.record.scenario.get("baseline"))
        return {id_: arm.id for id_, arm in found.items()}

    @cached_property
    def plan(self) -> list[dict[str, Any]]:
        """The phases as the first condition has them; policies and the like may differ elsewhere."""
        return self.plan_of(self.conditions[0].id) if self.conditions else []

    def plan_of(self, condition: str) -> list[dict[str, Any]]:
        """The phases of a condition."""
        return list(self.condition(condition).scenario.get("plan") or ())

    def label(self, condition: str) -> str:
        """The label of a condition; its id where it is not registered."""
        return self.labels.get(condition, condition)

    def control(self, condition: str) -> str:
        """The control that a condition is; empty for an ordinary one."""
        found = self.by_id.get(condition)
        return found.control if found else ""

    def condition(self, condition: str) -> ConditionRecord:
        """A condition by its id.

        Raises:
            UnknownNameError: The run has none of this id.
        """
        if condition not in self.by_id:
            raise UnknownNameError(
                f"run `{self.record.id}` has no condition `{condition}`",
                suggestion=did_you_mean(condition, self.by_id),
            )
        return self.by_id[condition]

    def scenario(self, condition: str) -> Scenario | None:
        """The scenario of a condition; `None` where this version cannot read it."""
        if condition not in self._scenarios:
            try:
                self._scenarios[condition] = Scenario.model_validate(self.condition(condition).scenario)
            except ValidationError:
                self._scenarios[condition] = None
        return self._scenarios[condition]

    def roles(self, condition: str) -> dict[str, str]:
        """Agent (as events name it) -> role."""
        agents = self.condition(condition).scenario.get("agents") or {}
        return {
            name: str(spec.get("role") or group)
            for group, spec in agents.items()
            for name in names_of(group, int(spec.get("count") or 1))
        }


def names_of(group: str, count: int) -> list[str]:
    """The agents that a name of the scenario stands for."""
    return [group] if count == 1 else [f"{group}-{n}" for n in range(1, count + 1)]


@dataclass
class _Kept:
    version: str
    value: Any
    made: float
    took: float


@dataclass
class Library:
    """A store, open for reading."""

    store: Store
    _designs: dict[str, Design] = field(default_factory=dict, init=False)
    _kept: dict[tuple[str, ...], _Kept] = field(default_factory=dict, init=False)
    _locks: dict[tuple[str, ...], Lock] = field(default_factory=dict, init=False)
    _lock: Lock = field(default_factory=Lock, init=False)

    def run(self, reference: str) -> RunRecord:
        """A run by its id, the start of it, its name, or `latest`.

        Raises:
            UnknownNameError: There is none.
            UsageError: There are several.
        """
        return self.store.run(reference)

    def design(self, reference: str) -> Design:
        """The design of a run, by what `run` takes. Its record's status is that of the first look.

        Raises:
            UnknownNameError: There is no such run.
        """
        if (found := self._designs.get(reference)) is not None:
            return found
        record = self.run(reference)
        if (found := self._designs.get(record.id)) is not None:
            return found
        found = Design(record, tuple(self.store.conditions(record.id)))
        if found.conditions:
            self._designs[record.id] = found
        return found

    def lessons(self, run_id: str) -> list[LessonRecord]:
        """The lessons of a run by condition and replicate."""
        return self.store.lessons(run_id)

    def lesson(self, run_id: str, condition: str, replicate: int) -> LessonRecord:
        """One lesson.

        Raises:
            UnknownNameError: There is none.
        """
        for record in self.store.lessons(run_id, condition):
            if record.key == LessonKey(run_id, condition, replicate):
                return record
        raise UnknownNameError(
            f"run `{run_id}` has no replicate {replicate} of a condition `{condition}`",
            suggestion="`docendo ls RUN` lists its conditions.",
        )

    def version(self, run_id: str) -> str:
        """Changes whenever a lesson of the run is finished, or begun anew."""
        return self.store.run_digest(run_id)

    def once(self, key: tuple[str, ...], version: str, make: Callable[[], T], *, patient: bool = False) -> T:
        """What `make` gives, kept under `key` until `version` changes; made by one thread at a time.

        Where `patient`, what is out of date is given for a while longer.
        """
        with self._lock:
            lock = self._locks.setdefault(key, Lock())
        with lock:
            kept = self._kept.get(key)
            now = time.monotonic()
            fresh = kept is not None and kept.version == version
            waits = kept is not None and patient and now - kept.made < PATIENCE * kept.took
            if kept and (fresh or waits):
                return kept.value  # type: ignore[no-any-return]
            value = make()
            self._kept[key] = _Kept(version, value, time.monotonic(), time.monotonic() - now)
            with self._lock:
                while len(self._kept) > KEPT:
                    del self._kept[next(iter(self._kept))]
            return value
