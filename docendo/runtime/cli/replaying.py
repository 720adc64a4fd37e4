"""The command that runs on the record: exactly, or to see how far fresh answers are from it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from docendo.errors import UsageError, Where
from docendo.runtime.cli.options import DEFAULT_STORE, JsonFlag, RunName, StoreUrl
from docendo.runtime.cli.output import FAILURES, Output

if TYPE_CHECKING:
    from docendo.runtime.regenerate import Drift, Regenerated
    from docendo.runtime.store import Store
    from docendo.runtime.store.records import RunRecord

__all__ = ["add_commands"]


def add_commands(app: typer.Typer) -> None:
    """Register the command of this module."""
    app.command()(replay)


def replay(
    name: RunName = "latest",
    store: StoreUrl = DEFAULT_STORE,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Compare every event with the record.")
    ] = True,
    regenerate: Annotated[
        bool, typer.Option("--regenerate", help="Ask the models again, and say how far their answers differ.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option("-n", "--limit", min=1, help="regenerate: most calls, evenly spread over the run."),
    ] = None,
    json: JsonFlag = False,
) -> int:
    """Run again on the recorded answers alone, with no model, and compare every event."""
    from docendo.runtime.store import open_store

    output = Output(json)
    if limit is not None and not regenerate:
        raise UsageError("`--limit` belongs to `--regenerate`", suggestion="A replay is of the whole run.")
    with open_store(store, create=False, readonly=True) as opened:
        record = opened.run(name)
        if not any(lesson.status == "finished" for lesson in opened.lessons(record.id)):
            raise UsageError(
                f"{record.id} has no finished lesson to replay",
                suggestion="Finish it: issue its command again.",
            )
        if regenerate:
            return _regenerate(opened, record, limit, output)
        return _replay(opened, record, verify, output)


def _replay(store: Store, record: RunRecord, verify: bool, output: Output) -> int:
    from docendo.runtime.replay import verify as verify_run
    from docendo.runtime.runs import reopen

    found = asyncio.run(verify_run(reopen(record, past=True), store, run_id=record.id))
    counts = f"{found.lessons} lessons, {found.episodes} episodes, {found.events} events, {found.calls} calls"
    if found.exact or not verify:
        same = "; every event is the same" if found.exact else ""
        output.say(f"{record.id}: replayed {counts} without a model{same}.")
    for difference in found.differences if verify else ():
        output.say(f"differs: {difference.where}: {difference.message}")
    output.result(
        {
            "run": record.id,
            "exact": found.exact,
            "lessons": found.lessons,
            "episodes": found.episodes,
            "events": found.events,
            "calls": found.calls,
            "differences": [{"where": _place(d.where), "message": d.message} for d in found.differences],
        }
    )
    return 0 if found.exact or not verify else FAILURES


def _place(where: Where) -> dict[str, object]:
    return where.as_dict()


def _regenerate(store: Store, record: RunRecord, limit: int | None, output: Output) -> int:
    from docendo.runtime.regenerate import regenerate
    from docendo.runtime.runs import reopen

    past, present = reopen(record, past=True), reopen(record)
    found = asyncio.run(regenerate(past, present, store, record, limit=limit))
    warnings = [
        f"Model `{name}` is not the one of the run: its fingerprint differs." for name in found.changed
    ]
    if not output.json:
        _say(record, found, output)
        for warning in warnings:
            output.note(f"Note: {warning}", "yellow")
    rows = [asdict(row) for row in found.rows]
    data = {"run": record.id, "distinct": found.distinct, "calls": found.calls, "acts": rows}
    output.result(data, warnings)
    return 0


def _say(record: RunRecord, found: Regenerated, output: Output) -> None:
    output.say(f"{record.id}: asked {found.calls:,} of {found.distinct:,} distinct calls again.")
    if not found.rows:
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("act", "model", "operation", "calls", "failed", "identical", "differ from", "max delta"):
        table.add_column(heading, overflow="fold")
    for row in found.rows:
        table.add_row(*_cells(row))
    output.out.print(table)
    for row in found.rows:
        for example in row.examples[:1]:
            output.say(f"{row.agent}.{row.act}, call {example.key[:12]}, character {example.at}:")
            output.say(f"  recorded: ...{example.recorded!r}")
            output.say(f"  fresh:    ...{example.fresh!r}")


def _cells(row: Drift) -> list[str]:
    share = f"{row.identical} of {row.answers}" if row.answers else "-"
    first = "-" if row.first_difference is None else f"character {row.first_difference}"
    delta = "-" if row.max_delta is None else f"{row.max_delta:.2g}"
    who = f"{row.agent}.{row.act}"
    return [who, row.model, row.operation, str(row.calls), str(row.failed), share, first, delta]
