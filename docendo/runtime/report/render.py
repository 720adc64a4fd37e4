"""Shows a report to a person: tables for the terminal (rich), the same tables as Markdown.

Two axes of which one is numeric make one pivot per measure, the numeric axis downward so that a curve reads
down its column, with the area under it in the last row. Anything else makes one row per condition. Nothing
is said by colour alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from docendo.runtime.measures.verdict import number
from docendo.runtime.report.design import Arm, Axis, axes_of, curve_axis
from docendo.runtime.report.model import ConditionReport, Counts, Interval, Measured, Report

if TYPE_CHECKING:
    from docendo.runtime.report.compare import Comparison

__all__ = ["render_comparison", "render_markdown", "render_table"]

WIDTH = 100
"""Columns that everything fits into."""


@dataclass(frozen=True)
class Grid:
    """A table before it is drawn."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    dim: bool = False


def render_table(report: Report, console: Console) -> None:
    """Print `report` within 100 columns."""
    run = report.run
    console.print(Text(f"{run.name}  run {run.id}  {run.status}", style="bold"))
    console.print(Text(f"events {report.digest[:16]}  scenario {run.scenario_digest[:16]}", style="dim"))
    for line in run.engines:
        console.print(Text(f"engine of {line}", style="dim"), soft_wrap=True)
    for grid in _grids(report):
        _draw(grid, console)
    if report.findings:
        console.print(Text("\nKey findings", style="bold"))
        for sentence in report.findings:
            _say(sentence, console)
    for sentence in report.warnings:
        _say(f"Note: {sentence}", console)


def render_markdown(report: Report) -> str:
    """The report as Markdown."""
    run = report.run
    parts = [
        f"# {run.name}\n",
        f"Run `{run.id}` ({run.status}). "
        f"Digests: scenario `{run.scenario_digest[:16]}`, events `{report.digest[:16]}`.\n",
        *(f"Engine of {line}.\n" for line in run.engines),
    ]
    parts += [_markdown(grid) for grid in _grids(report)]
    if report.findings:
        parts.append("## Key findings\n\n" + "".join(f"- {s}\n" for s in report.findings))
    if report.warnings:
        parts.append("## Notes\n\n" + "".join(f"- {s}\n" for s in report.warnings))
    parts.append(
        "## Measures\n\n" + "".join(f"- **{k}**: {m.description}\n" for k, m in report.measures.items())
    )
    return "\n".join(parts)


def render_comparison(found: Comparison, console: Console) -> None:
    """Print a comparison of two conditions."""
    rows = [
        (
            name,
            _cell(m.first),
            _cell(m.second),
            _cell(
                Interval(
                    mean=m.difference.mean,
                    low=m.difference.low,
                    high=m.difference.high,
                    n=m.difference.n_pairs,
                )
            ),
            str(m.difference.n_pairs),
            str(m.difference.missing),
        )
        for name, m in found.measures.items()
    ]
    title = (
        f"A: {found.first.label} ({found.first.run_name})\nB: {found.second.label} ({found.second.run_name})"
    )
    _draw(Grid(title, ("measure", "A", "B", "A - B", "pairs", "missing"), tuple(rows)), console)
    for compared in found.measures.values():
        _say(compared.verdict, console)
    for sentence in found.warnings:
        _say(f"Note: {sentence}", console)


# --- grids ----------------------------------------------------------------------------------------------


def _grids(report: Report) -> Iterable[Grid]:
    ordinary = [c for c in report.conditions if not c.control]
    controls = [c for c in report.conditions if c.control]
    axes = axes_of([Arm(id=c.id, coordinates=c.coordinates) for c in ordinary])
    down = curve_axis(axes)
    if len(axes) == 2 and down is not None and _complete(ordinary, axes):
        across = next(axis for axis in axes if axis.path != down.path)
        for name in report.measures:
            yield _pivot(report, name, ordinary, down, across)
        yield _counted(ordinary)
    else:
        yield from _listed(report, ordinary, "Conditions")
    if controls:
        yield from _listed(report, controls, "Controls", dim=True)
    if report.fidelity:
        yield _checked(report)


def _complete(conditions: Sequence[ConditionReport], axes: Sequence[Axis]) -> bool:
    return len(conditions) == len(axes[0].values) * len(axes[1].values)


def _pivot(
    report: Report, name: str, conditions: Sequence[ConditionReport], down: Axis, across: Axis
) -> Grid:
    at = {(c.coordinates[down.path], c.coordinates[across.path]): c.measures[name] for c in conditions}
    areas = {c.held[across.path]: c.auc for c in report.curves if c.measure == name and c.axis == down.path}
    room = (WIDTH - 2 - max(len(down.name), *(len(str(v)) for v in down.values))) // len(across.values) - 2
    wide = max(len(_cell(m)) for m in at.values())
    cell = _cell if wide <= room else _tall
    rows = [(str(x), *(cell(at[x, y]) for y in across.values)) for x in down.values]
    if all(y in areas for y in across.values):
        rows.append(("AUC", *(cell(areas[y]) for y in across.values)))
    facts = report.measures[name]
    goal = {"high": "higher is better", "low": "lower is better", "none": "neither end is better"}[
        facts.better
    ]
    return Grid(
        f"{name} by {across.name} and {down.name}",
        (down.name, *map(str, across.values)),
        tuple(rows),
        note=f"{goal}; 95 % intervals by item and student; AUC over the axis scaled to length 1",
    )


def _checked(report: Report) -> Grid:
    """The students' check, and whether it was passed."""
    rows = []
    for figure in report.fidelity:
        side = "at least" if figure.at_least else "at most"
        limit = "-" if figure.limit is None else f"{side} {figure.limit:g}"
        mean = "missing" if figure.mean is None else number(figure.mean, 2)
        rows.append((figure.measure, mean, str(figure.n), limit, "yes" if figure.holds else "NO"))
    header = ("figure", "mean", "answers", "limit", "holds")
    return Grid("Students before teaching", header, tuple(rows), note="over all replicates")


def _counted(conditions: Sequence[ConditionReport]) -> Grid:
    """How many episodes; one row where all conditions agree."""
    groups: dict[Counts, list[str]] = {}
    for condition in conditions:
        groups.setdefault(condition.n, []).append(condition.label)
    rows = []
    for n, labels in groups.items():
        who = f"each of {len(labels)}" if len(groups) == 1 or len(labels) > 3 else "; ".join(labels)
        rows.append((who, str(n.planned), str(n.ran), str(n.errored), str(n.missing)))
    return Grid("Episodes", ("conditions", "planned", "ran", "errored", "missing"), tuple(rows))


def _listed(
    report: Report, conditions: Sequence[ConditionReport], title: str, *, dim: bool = False
) -> Iterable[Grid]:
    """One row per condition; measures that do not fit side by side go into further tables."""
    label = min(max((len(c.label) for c in conditions), default=0), 30)
    room = WIDTH - 2 - label - 2 - 20
    chunk: list[str] = []
    for name in report.measures:
        widths = [max(len(n), *(len(_cell(c.measures[n])) for c in conditions)) + 2 for n in [*chunk, name]]
        if chunk and sum(widths) > room:
            yield _list(chunk, conditions, title, dim)
            chunk, title = [], f"{title.removesuffix(' (continued)')} (continued)"
        chunk.append(name)
    yield _list(chunk, conditions, title, dim)


def _list(names: Sequence[str], conditions: Sequence[ConditionReport], title: str, dim: bool) -> Grid:
    rows = [
        (
            c.label,
            f"{c.n.planned}/{c.n.ran}/{c.n.errored}/{c.n.missing}",
            *(_cell(c.measures[n]) for n in names),
        )
        for c in conditions
    ]
    return Grid(
        title,
        ("condition", "n", *names),
        tuple(rows),
        note="n: episodes planned/ran/errored/missing",
        dim=dim,
    )


def _cell(found: Interval, digits: int = 2) -> str:
    if found.mean is None:
        return "missing" if isinstance(found, Measured) and found.missing else "-"
    mean = number(found.mean, digits)
    if found.low is None or found.high is None:
        return mean
    return f"{mean} [{number(found.low, digits)}, {number(found.high, digits)}]"


def _tall(found: Interval) -> str:
    """A cell of two lines for narrow columns."""
    return _cell(found).replace(" [", "\n").replace(", ", "..").replace("]", "")


# --- drawing --------------------------------------------------------------------------------------------


def _draw(grid: Grid, console: Console) -> None:
    table = Table(
        title=Text(grid.title),
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        style="dim" if grid.dim else "",
        header_style="underline",
    )
    for index, name in enumerate(grid.header):
        table.add_column(Text(name), overflow="fold", justify="left", max_width=30 if index == 0 else None)
    for row in grid.rows:
        table.add_row(*(Text(cell) for cell in row), style="dim" if grid.dim else "")
    console.print()
    console.print(table, width=min(WIDTH, console.width))
    if grid.note:
        console.print(Text(grid.note, style="dim"), width=min(WIDTH, console.width))


def _say(sentence: str, console: Console) -> None:
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_row(Text("-"), Text(sentence))
    console.print(table, width=min(WIDTH, console.width))


def _markdown(grid: Grid) -> str:
    clean: Callable[[str], str] = lambda cell: cell.replace("\n", " ").replace("|", "\\|")  # noqa: E731
    lines = [grid.header, tuple("---" for _ in grid.header), *grid.rows]
    table = "".join(f"| {' | '.join(map(clean, line))} |\n" for line in lines)
    return f"## {grid.title}\n\n{table}" + (f"\n{grid.note}\n" if grid.note else "")
