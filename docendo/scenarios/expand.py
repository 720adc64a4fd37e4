"""From a scenario to its conditions: the points of the matrix, the controls, the check of the students.

A control is the scenario as its body stands (the matrix not applied), changed, and crossed only with the
axes that it names in `over`. Points that come to the same scenario are one condition.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from docendo.errors import Problem, ScenarioError
from docendo.scenarios.check import find_problems
from docendo.scenarios.control import CONTROLS
from docendo.scenarios.digest import condition_id
from docendo.scenarios.fidelity import FIDELITY, fidelity_plan
from docendo.scenarios.loaded import LoadedScenario
from docendo.scenarios.matrix import Point, axes_of, points_of
from docendo.scenarios.mistakes import place_in
from docendo.scenarios.paths import set_path
from docendo.scenarios.schema import ControlSpec, Scenario

__all__ = ["Condition", "expand", "merge_notes"]


@dataclass(frozen=True)
class Condition:
    """One point of the grid, or a control."""

    id: str
    """Hash of its content: the same in every study that holds it."""
    coordinates: Point
    """Matrix path -> value as written in the file."""
    control: str | None
    scenario: Scenario
    """Resolved: matrix and controls are empty."""
    raw: dict[str, Any]
    """The same as plain data, for export."""
    merged: tuple[Point, ...] = ()
    """Coordinates of further points that come to the same scenario."""


def expand(loaded: LoadedScenario) -> list[Condition]:
    """All conditions: the matrix in file order (the last axis runs fastest), then the controls.

    Raises:
        ScenarioError: A combination of values is wrong though each value by itself is not.
    """
    body = {key: value for key, value in loaded.raw.items() if key not in {"matrix", "controls", "baseline"}}
    matrix = loaded.raw.get("matrix") or {}
    found: dict[str, Condition] = {}
    for condition in _all(loaded, body, matrix):
        first = found.setdefault(condition.id, condition)
        if first is not condition:
            found[condition.id] = replace(first, merged=(*first.merged, condition.coordinates))
    return list(found.values())


def merge_notes(conditions: Sequence[Condition]) -> list[str]:
    """A sentence for each condition that several points of the grid come to."""
    return [
        f"the same condition is planned once: {_show(c.coordinates)}"
        f"{f' (control {c.control})' if c.control else ''} = {' = '.join(map(_show, c.merged))}"
        for c in conditions
        if c.merged
    ]


def _all(loaded: LoadedScenario, body: dict[str, Any], matrix: dict[str, Any]) -> Iterator[Condition]:
    for point in points_of(matrix):
        yield _condition(loaded, body, point, None)
    for spec in loaded.scenario.controls:
        yield from _controlled(loaded, body, matrix, spec)
    if (check := fidelity_plan(body)) is not None:
        yield _condition(loaded, check, {}, FIDELITY)


def _controlled(
    loaded: LoadedScenario, body: dict[str, Any], matrix: dict[str, Any], spec: ControlSpec
) -> Iterator[Condition]:
    control = CONTROLS.get(spec.kind)
    axes = {path: values for path, values in axes_of(matrix).items() if path in spec.over}
    for point in points_of(axes):
        crossed = _at(body, point)
        yield _condition(loaded, control.change(crossed), {}, spec.kind, shown=point)


def _at(body: dict[str, Any], point: Point) -> dict[str, Any]:
    for path, value in point.items():
        body = set_path(body, path, value)
    return body


def _condition(
    loaded: LoadedScenario,
    body: dict[str, Any],
    point: Point,
    control: str | None,
    shown: Point | None = None,
) -> Condition:
    raw = _at(body, point)
    coordinates = point if shown is None else shown
    scenario, problems = find_problems(raw, place_in(raw, loaded.positions))
    if scenario is None or problems:
        prefix = f"in the condition {_show(coordinates)}{f', control {control}' if control else ''}: "
        raise ScenarioError(
            Problem(message=prefix + p.message, suggestion=p.suggestion, where=p.where) for p in problems
        )
    return Condition(condition_id(scenario, control), coordinates, control, scenario, raw)


def _show(point: Point) -> str:
    return ", ".join(f"{path}={value}" for path, value in point.items()) or "as written"
