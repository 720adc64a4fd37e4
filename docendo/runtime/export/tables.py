"""The four flat tables of an export, streamed from the store in batches, as CSV or Parquet."""

from __future__ import annotations

import csv
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import orjson

from docendo.errors import UsageError
from docendo.events import BeliefEvent, CallEvent
from docendo.runtime.store.reads import StoreReader
from docendo.runtime.store.records import CallRecord, EpisodeRecord

__all__ = ["TABLES", "Table", "csv_table", "parquet_table", "require_pyarrow"]

BATCH = 5000
"""Rows held at a time."""

Kind = Literal["string", "int64", "float64", "bool"]
Row = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """A table: its name, its columns with their types, and its rows."""

    name: str
    columns: dict[str, Kind]
    rows: Callable[[StoreReader, str], Iterator[Row]]


def csv_table(table: Table, store: StoreReader, run_id: str, folder: Path) -> int:
    """Write `table` as CSV; missing values are empty. Returns the number of rows."""
    count = 0
    with (folder / f"{table.name}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(table.columns))
        writer.writeheader()
        for row in table.rows(store, run_id):
            writer.writerow(row)
            count += 1
    return count


def parquet_table(table: Table, store: StoreReader, run_id: str, folder: Path) -> int:
    """Write `table` as Parquet; missing values are null. Returns the number of rows."""
    arrow, parquet = require_pyarrow()
    schema = arrow.schema([(name, getattr(arrow, _ARROW[kind])()) for name, kind in table.columns.items()])
    rows, count = table.rows(store, run_id), 0
    with parquet.ParquetWriter(folder / f"{table.name}.parquet", schema) as writer:
        while batch := list(islice(rows, BATCH)):
            writer.write_table(arrow.Table.from_pylist(batch, schema=schema))
            count += len(batch)
    return count


_ARROW = {"string": "string", "int64": "int64", "float64": "float64", "bool": "bool_"}


def require_pyarrow() -> tuple[Any, Any]:
    """`pyarrow` and `pyarrow.parquet`, which only this export needs.

    Raises:
        UsageError: They are not installed.
    """
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise UsageError(
            "Parquet needs the package pyarrow, which is not installed",
            suggestion="pip install 'docendo[parquet]', or export to csv.",
        ) from error


# --- rows -----------------------------------------------------------------------------------------------

_PLACE: dict[str, Kind] = {
    "run": "string",
    "condition": "string",
    "replicate": "int64",
    "phase": "string",
    "round": "int64",
    "item": "string",
    "student": "string",
}


def _observations(store: StoreReader, run_id: str) -> Iterator[Row]:
    for row in store.observations(run_id):
        yield {
            "run": row.lesson.run,
            "condition": row.lesson.condition,
            "replicate": row.lesson.replicate,
            "phase": row.phase,
            "round": row.round,
            "item": row.item,
            "student": row.student,
            "measure": row.measure,
            "value": row.value,
            "reason": row.reason,
        }


def _place(episode: EpisodeRecord) -> Row:
    return {
        "run": episode.lesson.run,
        "condition": episode.lesson.condition,
        "replicate": episode.lesson.replicate,
        "phase": episode.phase,
        "round": episode.round,
        "item": episode.item,
        "student": episode.student,
        "episode": episode.key,
    }


def _episodes(store: StoreReader, run_id: str) -> Iterator[Row]:
    for episode in store.episodes(run_id):
        yield {
            **_place(episode),
            "phase_kind": episode.phase_kind,
            "outcome": episode.outcome,
            "failure": episode.failure,
            "digest": episode.digest,
            "wall_s": episode.wall_s,
        }


def _beliefs(store: StoreReader, run_id: str) -> Iterator[Row]:
    for episode in store.episodes(run_id):
        for event in store.events(episode.id):
            if isinstance(event, BeliefEvent):
                about = {"item": event.item or episode.item, "student": event.student or episode.student}
                yield {
                    **_place(episode),
                    **about,
                    "turn": event.turn,
                    "agent": event.agent,
                    "act": event.act,
                    "given_help": event.given_help,
                    "attempt": event.attempt,
                    "p_correct": event.p_correct,
                    "predicted_answer": event.predicted_answer,
                    "skills": _json(event.skills),
                    "misconceptions": _json(event.misconceptions),
                    "truth": _json(event.truth),
                }


def _calls(store: StoreReader, run_id: str) -> Iterator[Row]:
    for episode in store.episodes(run_id):
        events = [e for e in store.events(episode.id) if isinstance(e, CallEvent)]
        known = {call.key: call for call in store.episode_calls(episode.id)} if events else {}
        for event in events:
            yield {
                **_place(episode),
                "turn": event.turn,
                "agent": event.agent,
                "act": event.act,
                "key": event.key,
                "model": event.model,
                "operation": event.operation,
                "purpose": event.purpose,
                **_outcome(known.get(event.key)),
            }


def _outcome(call: CallRecord | None) -> Row:
    """What the journal knows of a call."""
    if call is None:
        return {"error": "not in the journal"}
    result = call.result
    completions = (result.reply or {}).get("completions") or [{}]
    return {
        "error": (result.error or {}).get("message", ""),
        "text": completions[0].get("text"),
        "prompt_tokens": result.usage.prompt_tokens,
        "completion_tokens": result.usage.completion_tokens,
        "cached_tokens": result.usage.cached_tokens,
        "latency_s": result.latency_s,
    }


def _json(value: dict[str, Any]) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode() if value else ""


TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            "observations",
            {**_PLACE, "measure": "string", "value": "float64", "reason": "string"},
            _observations,
        ),
        Table(
            "episodes",
            {
                **_PLACE,
                "episode": "string",
                "phase_kind": "string",
                "outcome": "string",
                "failure": "string",
                "digest": "string",
                "wall_s": "float64",
            },
            _episodes,
        ),
        Table(
            "beliefs",
            {
                **_PLACE,
                "episode": "string",
                "turn": "int64",
                "agent": "string",
                "act": "string",
                "given_help": "bool",
                "attempt": "int64",
                "p_correct": "float64",
                "predicted_answer": "string",
                "skills": "string",
                "misconceptions": "string",
                "truth": "string",
            },
            _beliefs,
        ),
        Table(
            "calls",
            {
                **_PLACE,
                "episode": "string",
                "turn": "int64",
                "agent": "string",
                "act": "string",
                "key": "string",
                "model": "string",
                "operation": "string",
                "purpose": "string",
                "error": "string",
                "text": "string",
                "prompt_tokens": "int64",
                "completion_tokens": "int64",
                "cached_tokens": "int64",
                "latency_s": "float64",
            },
            _calls,
        ),
    )
}
"""Table name -> table."""
