"""Commands that read results: ls, show, report, compare, export."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from docendo.errors import UsageError
from docendo.runtime.cli.options import DEFAULT_STORE, JsonFlag, Roles, RunName, Settings, StoreUrl
from docendo.runtime.cli.output import Output

if TYPE_CHECKING:
    from docendo.runtime.store import Store
    from docendo.runtime.store.records import EpisodeRecord

__all__ = ["add_commands"]


def add_commands(app: typer.Typer) -> None:
    """Register the commands of this module."""
    for command in (ls, show, report, compare, export):
        app.command()(command)


def ls(
    name: Annotated[str, typer.Argument(help="A run, to list its conditions.")] = "",
    store: StoreUrl = DEFAULT_STORE,
    failures: Annotated[str, typer.Option(help="List the failed episodes of this run, by cause.")] = "",
    json: JsonFlag = False,
) -> None:
    """List the runs of a store, the conditions of a run, or what failed in one."""
    from docendo.runtime.engines import engine_lines
    from docendo.runtime.store import open_store

    output = Output(json)
    with open_store(store, create=False, readonly=True) as opened:
        if failures:
            return _failures(opened, failures, output)
        if name:
            return _conditions(opened, name, output)
        rows: list[dict[str, Any]] = []
        for record in opened.runs():
            lessons = opened.lessons(record.id)
            rows.append(
                {
                    "id": record.id,
                    "name": record.name,
                    "status": record.status,
                    "created": datetime.fromtimestamp(record.created_at, UTC).strftime("%Y-%m-%d %H:%M"),
                    "lessons": len(lessons),
                    "finished": sum(r.status == "finished" for r in lessons),
                    "episodes": sum(r.n_episodes for r in lessons),
                    "failed": sum(r.n_failed for r in lessons),
                    "engines": engine_lines(opened.engines(record.id)),
                }
            )
    if not json:
        hidden = {"name", "engines"}  # the id begins with the name
        shown = [{k: v for k, v in row.items() if k not in hidden} for row in rows]
        _table(output, shown) if rows else output.say("No runs here. Try `docendo run when-to-step-in`.")
        for row in rows:
            for line in row["engines"]:
                output.say(f"{row['id']}: engine of {line}")
    return output.result(rows)


def _table(output: Output, rows: list[dict[str, object]]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in rows[0]:
        number = isinstance(rows[0][name], int)
        table.add_column(
            name,
            justify="right" if number else "left",
            overflow="fold",
            no_wrap=name not in ("label", "message"),
        )
    for row in rows:
        table.add_row(*(str(v) for v in row.values()))
    output.out.print(table)


def _conditions(store: Store, name: str, output: Output) -> None:
    """Conditions of a run: their ids, and how much of each there is."""
    from docendo.runtime.engines import engine_lines, mixed_engines
    from docendo.runtime.report.model import label_of

    run = store.run(name)
    counts = {c.condition: c for c in store.counts(run.id)}
    rows: list[dict[str, object]] = []
    for record in store.conditions(run.id):
        count = counts[record.id]
        rows.append(
            {
                "condition": record.id,
                "label": label_of(record.coordinates, record.control),
                "lessons": count.lessons_planned,
                "finished": count.lessons_finished,
                "episodes": count.episodes,
                "failed": count.failed,
            }
        )
    engines = store.engines(run.id)
    if not output.json:
        _table(output, rows)
        for line in engine_lines(engines):
            output.say(f"engine of {line}")
        for warning in mixed_engines(engines):
            output.note(f"Note: {warning}", "yellow")
    output.result(rows, mixed_engines(engines))


def _failures(store: Store, name: str, output: Output) -> None:
    """Failed episodes of a run: where, and why."""
    run = store.run(name)
    rows: list[dict[str, object]] = []
    for lesson in store.lessons(run.id):
        if not lesson.n_failed:
            continue
        for episode in store.episodes(run.id, lesson.key.condition, lesson.key.replicate):
            if episode.outcome == "failed":
                error = next((e for e in store.events(episode.id) if e.kind == "error"), None)
                rows.append(
                    {
                        "condition": lesson.key.condition,
                        "replicate": lesson.key.replicate,
                        "episode": episode.key,
                        "failure": episode.failure,
                        "message": error.message if error else "",
                    }
                )
    if rows and not output.json:
        _table(output, rows)
    elif not output.json:
        output.say(f"{run.id}: no episode failed.")
    output.result(rows)


def show(
    name: Annotated[
        str,
        typer.Argument(
            help="A scenario file or gallery name; a lesson, `RUN/CONDITION/REPLICATE`; "
            "or an episode, `RUN/CONDITION/REPLICATE/EPISODE`."
        ),
    ],
    graph: Annotated[bool, typer.Option("--graph", help="Print the graphs as Mermaid.")] = False,
    store: StoreUrl = DEFAULT_STORE,
    set_: Settings = None,
    role: Roles = None,
    json: JsonFlag = False,
) -> None:
    """Show a scenario as it is resolved, its graphs, a lesson's episodes, or an episode's transcript."""
    output = Output(json)
    if not graph and _is_recorded(name):
        return _recorded(name, store, output)
    from docendo.graphs.mermaid import to_mermaid
    from docendo.runtime.cli.load import load
    from docendo.runtime.study import graph_of
    from docendo.scenarios.export import export_yaml

    loaded = load(name, set_, role)
    if not graph:
        text = export_yaml(loaded)
        output.say(text)
        return output.result({"name": loaded.scenario.name, "digest": loaded.digest, "yaml": text})
    graphs = {
        p.id: to_mermaid(graph_of(loaded.scenario, p)) for p in loaded.scenario.plan if p.kind != "rest"
    }
    for phase, text in graphs.items():
        output.say(f"%% {phase}\n{text}")
    return output.result(graphs)


def _is_recorded(name: str) -> bool:
    return name.count("/") >= 2 and not Path(name).exists() and not name.endswith((".yaml", ".yml"))


def _recorded(name: str, url: str, output: Output) -> None:
    """A lesson's episodes, or what was said, decided, spent and judged in one of them."""
    from docendo.runtime.engines import engine_lines
    from docendo.runtime.report.compare import condition_called
    from docendo.runtime.store import open_store

    run, condition, replicate, *rest = name.split("/", 3)
    if not replicate.isdigit():
        raise UsageError(
            f"`{replicate}` is not a replicate", suggestion="Write RUN/CONDITION/REPLICATE/EPISODE."
        )
    with open_store(url, create=False, readonly=True) as opened:
        record = opened.run(run)
        condition = condition_called(opened, record, condition).id
        for line in engine_lines(opened.engines(record.id)):
            output.note(f"engine of {line}", "dim")
        episodes = list(opened.episodes(record.id, condition, int(replicate)))
        if not rest:
            return _lesson(episodes, output)
        found = next((e for e in episodes if e.key == rest[0]), None)
        if found is None:
            raise UsageError(
                f"{record.id} has no episode `{rest[0]}` in condition `{condition}`, replicate {replicate}",
                suggestion=f"`docendo show {run}/{condition}/{replicate}` lists them; "
                f"`docendo ls {run}` lists conditions.",
            )
        events = opened.events(found.id)
    from docendo.runtime.cli.transcript import lines_of

    for line in lines_of(events):
        output.say(line)
    output.result([e.model_dump(mode="json") for e in events])


def _lesson(episodes: list[EpisodeRecord], output: Output) -> None:
    rows: list[dict[str, object]] = [
        {"episode": e.key, "outcome": e.outcome, "failure": e.failure, "events": e.events_n} for e in episodes
    ]
    if rows and not output.json:
        _table(output, rows)
    elif not output.json:
        output.say("No episodes here. `docendo ls RUN` lists conditions.")
    output.result(rows)


def report(
    name: RunName = "latest",
    store: StoreUrl = DEFAULT_STORE,
    measure: Annotated[list[str] | None, typer.Option(help="Only these measures. Repeatable.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    json: JsonFlag = False,
) -> None:
    """What a run found: means with intervals, differences to the baseline, what is missing."""
    from docendo.runtime.report.build import build_report
    from docendo.runtime.report.render import render_markdown, render_table
    from docendo.runtime.store import open_store

    output = Output(json)
    with open_store(store, create=False, readonly=True) as opened:
        found = build_report(opened, name, measures=tuple(measure or ()))
    if markdown and not json:
        typer.echo(render_markdown(found))
    elif not json:
        render_table(found, output.out)
    output.result(found.model_dump(mode="json"), found.warnings)


def compare(
    first: Annotated[str, typer.Argument(help="RUN or RUN:CONDITION (a condition's id or label).")],
    second: Annotated[str, typer.Argument(help="RUN or RUN:CONDITION.")],
    measure: Annotated[list[str] | None, typer.Option(help="Only these measures. Repeatable.")] = None,
    store: StoreUrl = DEFAULT_STORE,
    json: JsonFlag = False,
) -> None:
    """Compare two conditions, paired by item, student and replicate."""
    from docendo.runtime.report.compare import compare as compare_conditions
    from docendo.runtime.report.render import render_comparison
    from docendo.runtime.store import open_store

    output = Output(json)
    with open_store(store, create=False, readonly=True) as opened:
        found = compare_conditions(opened, first, second, measures=tuple(measure or ()))
    if not json:
        render_comparison(found, output.out)
    output.result(found.model_dump(mode="json"), found.warnings)


def export(
    out: Annotated[Path, typer.Argument(help="File to write (a folder for csv and parquet).")],
    name: Annotated[str, typer.Option("--run", help="Which run.")] = "latest",
    to: Annotated[
        Literal["jsonl", "csv", "parquet", "sft", "preference", "config"], typer.Option(help="Format.")
    ] = "jsonl",
    margin: Annotated[
        float, typer.Option(min=0, max=1, help="preference: samples that differ by more in worth are a pair.")
    ] = 0.3,
    per_item: Annotated[int, typer.Option(min=1, help="preference: most pairs of samples of an item.")] = 8,
    exam_weight: Annotated[
        float,
        typer.Option(min=0, max=1, help="preference: part of a sample's worth that is its exam score."),
    ] = 0.5,
    force: Annotated[bool, typer.Option("--force", help="Write over what is there.")] = False,
    store: StoreUrl = DEFAULT_STORE,
    json: JsonFlag = False,
) -> None:
    """Write a run's episodes, tables, training data or scenario to a file."""
    from docendo.runtime.export import PairRule
    from docendo.runtime.export import export as export_run
    from docendo.runtime.store import open_store

    output = Output(json)
    pairs = PairRule(margin=margin, per_item=per_item, exam_weight=exam_weight)
    with open_store(store, create=False, readonly=True) as opened:
        written = export_run(opened, name, to, out, force=force, pairs=pairs)
    counts = ", ".join(f"{n:,} {what}" for what, n in written.rows.items())
    output.say(f"Wrote {counts} to {out}.")
    for warning in written.warnings:
        output.note(f"Note: {warning}")
    output.result({"out": str(out), "rows": written.rows}, written.warnings)
