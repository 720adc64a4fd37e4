"""The grid: axes, `exclude`, `include` (as in GitHub Actions), and the checks that need no registry.

`exclude` first removes the points that match all keys of an entry. An entry of `include` then adds its new
keys to every point whose axes it does not contradict; where there is none, it becomes a point of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import Any

from docendo.errors import Problem, UsageError, did_you_mean
from docendo.scenarios.mistakes import Place
from docendo.scenarios.overrides import same_value
from docendo.scenarios.paths import locate
from docendo.scenarios.positions import Path

__all__ = ["MAX_CONDITIONS", "Point", "axes_of", "check_grid", "grid_values", "points_of"]

Point = dict[str, Any]
"""Coordinates: matrix path -> value as written."""

MAX_CONDITIONS = 10_000

_ABOUT_THE_FILE = frozenset(
    {
        "version",
        "name",
        "description",
        "extends",
        "matrix",
        "controls",
        "replicates",
        "baseline",
        "fail_on_error",
    }
)


def axes_of(matrix: dict[str, Any]) -> dict[str, list[Any]]:
    """Path -> values of a `matrix:` block, in file order."""
    return {path: values for path, values in matrix.items() if path not in {"include", "exclude"}}


def points_of(matrix: dict[str, Any]) -> list[Point]:
    """All points of a grid, in file order; one empty point where there is no grid."""
    axes, include = axes_of(matrix), matrix.get("include") or []
    if not axes and not include:
        return [{}]
    points = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())] if axes else []
    points = [p for p in points if not any(_matches(p, entry) for entry in matrix.get("exclude") or [])]
    alone = []
    for entry in include:
        own = {path: value for path, value in entry.items() if path in axes}
        hosts = [point for point in points if _matches(point, own)]
        for point in hosts:
            point.update({path: value for path, value in entry.items() if path not in axes})
        if not hosts:
            alone.append(dict(entry))
    return points + alone


def _matches(point: Point, entry: dict[str, Any]) -> bool:
    return all(path in point and same_value(point[path], value) for path, value in entry.items())


def grid_values(matrix: dict[str, Any]) -> Iterator[tuple[str, Any, Path]]:
    """Every value that the grid sets: (path, value, its place in the file)."""
    for path, values in axes_of(matrix).items():
        for i, value in enumerate(values):
            yield path, value, ("matrix", path, i)
    for i, entry in enumerate(matrix.get("include") or []):
        for path, value in entry.items():
            yield path, value, ("matrix", "include", i, path)


def check_grid(raw: dict[str, Any], place: Place, broken: set[str]) -> Iterator[Problem]:
    """Mistakes of `matrix`, `controls.over` and `baseline`, but nothing about sections that are `broken`."""
    matrix = raw.get("matrix") or {}
    axes = axes_of(matrix)
    yield from _check_paths(raw, place, broken)
    yield from _check_exclude(place, matrix, axes)
    if "controls" not in broken:
        yield from _check_over(raw, place, axes)
    size = prod(len(values) for values in axes.values())
    if size > MAX_CONDITIONS:
        message = f"the matrix has {size} points; at most {MAX_CONDITIONS} can be run"
        yield Problem(message=message, suggestion="Split the study.", where=place(("matrix",), True))
        return
    points = points_of(matrix)
    if not points:
        yield Problem(
            message="`exclude` leaves no point of the matrix", where=place(("matrix", "exclude"), True)
        )
    baseline = None if "baseline" in broken else raw.get("baseline")
    if points and baseline is not None and not any(_matches(point, baseline) for point in points):
        example = ", ".join(f"`{path}: {value}`" for path, value in points[0].items())
        hint = (
            f"Write coordinates as in `matrix`, for example {example}." if example else "There is no matrix."
        )
        yield Problem(
            message="`baseline` is no point of the matrix", suggestion=hint, where=place(("baseline",), True)
        )


def _check_over(raw: dict[str, Any], place: Place, axes: dict[str, list[Any]]) -> Iterator[Problem]:
    for i, control in enumerate(raw.get("controls") or []):
        for j, path in enumerate(control.get("over") or [] if isinstance(control, dict) else []):
            if path not in axes:
                hint = did_you_mean(path, axes)
                where = place(("controls", i, "over", j), False)
                yield Problem(message=f"no matrix axis `{path[:60]}`", suggestion=hint, where=where)


def _check_paths(raw: dict[str, Any], place: Place, broken: set[str]) -> Iterator[Problem]:
    spots: dict[str, Path] = {}
    for path, _, at in grid_values(raw.get("matrix") or {}):
        spots.setdefault(path, at if "include" in at else at[:2])
    for number, (path, spot) in enumerate(spots.items()):
        for earlier in list(spots)[:number]:
            if earlier.startswith(f"{path}."):
                message = f"axis `{path}` undoes `{earlier}`, which stands before it"
                yield Problem(
                    message=message, suggestion="Put the wider path first.", where=place(spot, True)
                )
        if path.split(".")[0] in _ABOUT_THE_FILE:
            yield Problem(message=f"`{path}` cannot be varied by the matrix", where=place(spot, True))
        elif path.split(".")[0] not in broken:
            try:
                locate(raw, path)
            except UsageError as error:
                yield Problem(message=error.message, suggestion=error.suggestion, where=place(spot, True))


def _check_exclude(place: Place, matrix: dict[str, Any], axes: dict[str, list[Any]]) -> Iterator[Problem]:
    for i, entry in enumerate(matrix.get("exclude") or []):
        if not entry:
            message = "an empty entry of `exclude` would remove everything"
            yield Problem(message=message, where=place(("matrix", "exclude", i), False))
        for path, value in entry.items():
            spot: Path = ("matrix", "exclude", i, path)
            if path not in axes:
                hint = did_you_mean(path, axes)
                yield Problem(
                    message=f"no matrix axis `{path[:60]}`", suggestion=hint, where=place(spot, True)
                )
            elif not any(same_value(value, known) for known in axes[path]):
                written = "It has " + ", ".join(f"`{known}`" for known in axes[path][:8]) + "."
                message = f"axis `{path}` has no value `{str(value)[:60]}` to exclude"
                yield Problem(message=message, suggestion=written, where=place(spot, False))
