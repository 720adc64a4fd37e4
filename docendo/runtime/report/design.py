"""The design of a run as its report needs it: which arm is compared with which, and along which axis.

An arm's baseline is the arm whose coordinates are its own with those of the scenario's `baseline:` put in;
without one it is the first arm of the matrix. The controls of an arm are those that agree with it on every
coordinate they have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from docendo.runtime.report.model import label_of
from docendo.runtime.store.records import ConditionRecord

__all__ = ["Arm", "Axis", "arms_of", "axes_of", "baselines", "controls_of", "curve_axis", "numeric"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One condition."""

    id: str
    coordinates: Mapping[str, Any]
    control: str = ""

    @property
    def label(self) -> str:
        """The condition in words, numbers last."""
        ordered = sorted(self.coordinates.items(), key=lambda c: numeric(c[1]) is not None)
        return label_of(dict(ordered), self.control)


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of the matrix, with its values in the order of the matrix."""

    path: str
    values: tuple[Any, ...]

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    @property
    def numbers(self) -> tuple[float, ...] | None:
        """The values as numbers; `None` unless all of them are and they differ."""
        found = [numeric(v) for v in self.values]
        numbers = tuple(n for n in found if n is not None)
        return numbers if len(numbers) == len(found) == len(set(numbers)) > 1 else None


def numeric(value: Any) -> float | None:
    """A number, or a percentage as a share; `None` for anything else."""
    if isinstance(value, bool):
        return None
    try:
        if isinstance(value, str) and value.strip().endswith("%"):
            return float(value.strip()[:-1]) / 100
        return float(value)
    except (TypeError, ValueError):
        return None


def arms_of(conditions: Sequence[ConditionRecord]) -> list[Arm]:
    """The arms in the order of the matrix."""
    ordered = sorted(conditions, key=lambda c: (c.ordinal, c.id))
    return [Arm(id=c.id, coordinates=c.coordinates, control=c.control) for c in ordered]


def axes_of(arms: Sequence[Arm]) -> list[Axis]:
    """The axes along which the ordinary arms differ."""
    values: dict[str, list[Any]] = {}
    for arm in arms:
        for path, value in arm.coordinates.items() if not arm.control else ():
            if value not in values.setdefault(path, []):
                values[path].append(value)
    return [Axis(path, tuple(found)) for path, found in values.items() if len(found) > 1]


def curve_axis(axes: Sequence[Axis]) -> Axis | None:
    """The axis that curves run over: a budget, else the only numeric one."""
    numbered = [axis for axis in axes if axis.numbers]
    budgets = [axis for axis in numbered if axis.path.startswith("budget.")]
    if budgets:
        return budgets[0]
    return numbered[0] if len(numbered) == 1 else None


def baselines(arms: Sequence[Arm], baseline: Mapping[str, Any] | None) -> dict[str, Arm]:
    """Arm id -> the arm that it is compared with, without the baselines themselves.

    Coordinates that only go along with another one, with a single value, do not count.
    """
    ordinary = [arm for arm in arms if not arm.control]
    if not ordinary:
        return {}
    first = ordinary[0]
    varied = {axis.path for axis in axes_of(ordinary)}
    found = {}
    for arm in arms:
        own = {**first.coordinates, **arm.coordinates} if arm.control else arm.coordinates
        target = {**own, **baseline} if baseline else first.coordinates
        same = [a for a in ordinary if all(a.coordinates.get(p) == target.get(p) for p in varied)]
        other = same[0] if same else None
        if other is not None and other.id != arm.id:
            found[arm.id] = other
    return found


def controls_of(arm: Arm, arms: Sequence[Arm]) -> list[Arm]:
    """The controls that `arm` must beat to have gained."""
    return [
        other
        for other in arms
        if other.control and all(arm.coordinates.get(k) == v for k, v in other.coordinates.items())
    ]
