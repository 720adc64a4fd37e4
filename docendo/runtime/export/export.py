"""Writes a run, or a part of what it found, to a file or a folder.

| to           | out    | content                                                                        |
|--------------|--------|--------------------------------------------------------------------------------|
| `jsonl`      | file   | one episode per line, with its events                                          |
| `csv`        | folder | the tables observations, episodes, beliefs and calls                           |
| `parquet`    | folder | the same, typed (needs pyarrow)                                                |
| `sft`        | file   | JSON lines in TRL's conversational form, `{"messages": [...]}`                 |
| `preference` | file   | JSON lines in TRL's explicit-prompt form, `{"prompt", "chosen", "rejected"}`   |
| `config`     | file   | the scenario as YAML                                                           |
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

import orjson

from docendo.errors import StoreError, UnknownNameError, UsageError, did_you_mean
from docendo.runtime.export.tables import TABLES, csv_table, parquet_table, require_pyarrow
from docendo.runtime.export.training import (
    PUBLISHED,
    PairRule,
    preference_pairs,
    sample_pairs,
    successful_conversations,
)
from docendo.runtime.store.reads import StoreReader
from docendo.runtime.store.records import RunRecord
from docendo.scenarios.export import export_yaml

__all__ = ["FORMATS", "Exported", "Format", "export", "replacing"]

Format = Literal["jsonl", "csv", "parquet", "sft", "preference", "config"]
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written."""

    path: str
    format: Format
    rows: dict[str, int]
    """Rows per table, or lines of the file."""
    warnings: tuple[str, ...] = ()


def export(
    store: StoreReader,
    run: str,
    to: str,
    out: str | Path,
    *,
    force: bool = False,
    pairs: PairRule = PUBLISHED,
) -> Exported:
    """Write `run` to `out` in the format `to`: completely, or not at all.

    Args:
        store: Where the run is.
        run: Id, beginning of an id, name, or `latest`.
        to: One of `FORMATS`.
        out: A file, or for `csv` and `parquet` a folder.
        force: Replace what is there.
        pairs: For `preference`: which samples of learning by teaching make pairs.

    Raises:
        UnknownNameError: No such run, or no such format.
        UsageError: `out` exists, its folder does not, or pyarrow is missing.
        StoreError: The store cannot be read, or the disk not written.
    """
    if to not in FORMATS:
        raise UnknownNameError(f"unknown export format `{to}`", suggestion=did_you_mean(to, FORMATS))
    record = store.run(run)
    if to == "parquet":
        require_pyarrow()
    path = Path(out)
    with replacing(path, folder=to in {"csv", "parquet"}, force=force) as target:
        write = partial(_preference, rule=pairs) if to == "preference" else _WRITERS[to]
        rows = write(store, record, target)
    return Exported(path=str(path), format=to, rows=rows, warnings=_warnings(record, to, rows))


def _warnings(record: RunRecord, to: Format, rows: dict[str, int]) -> tuple[str, ...]:
    found = []
    if record.status != "finished" and to != "config":
        found.append(f"The run is {record.status}; only what is recorded so far was exported.")
    if not any(rows.values()) and to == "preference":
        found.append(
            "No pair: a pair needs two different explanations to the same prompt, one after which the "
            "student was right and one after which it was wrong. Sample the teacher (temperature above 0), "
            "and raise replicates. In learning by teaching it needs two samples of an item whose worth "
            "differs by more than the margin."
        )
    elif not any(rows.values()):
        found.append("Nothing to export.")
    return tuple(found)


@contextmanager
def replacing(path: Path, *, folder: bool, force: bool) -> Iterator[Path]:
    """A place beside `path` that takes its name when the body succeeds, and is removed when it fails."""
    place = path.absolute()
    _check_place(path, folder=folder, force=force)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as scratch:
            target = Path(scratch) / place.name
            if folder:
                target.mkdir()
            yield target
            if place.is_dir():
                shutil.move(place, Path(scratch) / "replaced")
            os.replace(target, place)
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}", suggestion="Check space and permissions."
        ) from error


def _check_place(path: Path, *, folder: bool, force: bool) -> None:
    """Refuse a place that is taken, or that replacing would do more than replace an export."""
    if not path.absolute().parent.is_dir():
        raise UsageError(
            f"the folder {path.parent} does not exist", suggestion=f"Create it: mkdir -p {path.parent}"
        )
    if not path.exists():
        return
    if path.is_dir() != folder:
        what = "a folder" if path.is_dir() else "a file"
        raise UsageError(f"{path} is {what}", suggestion="Name another place.")
    if not force:
        raise UsageError(f"{path} exists", suggestion="Name another place, or replace it with --force.")
    if folder and (others := sorted(p.name for p in path.iterdir() if p.stem not in TABLES)):
        raise UsageError(
            f"{path} holds more than an export ({', '.join(others[:3])}); it is not replaced",
            suggestion="Name another folder.",
        )


# --- writers --------------------------------------------------------------------------------------------


def _lines(rows: Iterable[dict[str, Any]], target: Path) -> int:
    count = 0
    with target.open("wb") as file:
        for row in rows:
            file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS))
            count += 1
    return count


def _jsonl(store: StoreReader, run: RunRecord, target: Path) -> dict[str, int]:
    def rows() -> Iterator[dict[str, Any]]:
        for episode in store.episodes(run.id):
            fields = asdict(episode)
            del fields["id"], fields["events_n"], fields["lesson"]
            events = [e.model_dump(mode="json") for e in store.events(episode.id)]
            yield {**asdict(episode.lesson), **fields, "events": events}

    return {"episodes": _lines(rows(), target)}


def _tables(write: Callable[..., int]) -> Callable[[StoreReader, RunRecord, Path], dict[str, int]]:
    def writer(store: StoreReader, run: RunRecord, target: Path) -> dict[str, int]:
        return {name: write(table, store, run.id, target) for name, table in TABLES.items()}

    return writer


def _sft(store: StoreReader, run: RunRecord, target: Path) -> dict[str, int]:
    return {"conversations": _lines(successful_conversations(store, run.id), target)}


def _preference(store: StoreReader, run: RunRecord, target: Path, rule: PairRule) -> dict[str, int]:
    rows = chain(preference_pairs(store, run.id), sample_pairs(store, run.id, rule))
    return {"pairs": _lines(rows, target)}


def _config(store: StoreReader, run: RunRecord, target: Path) -> dict[str, int]:
    """The resolved scenario. The author's comments are not in it."""
    target.write_text(export_yaml(run.scenario), encoding="utf-8")
    return {"scenarios": 1}


_WRITERS: dict[str, Callable[[StoreReader, RunRecord, Path], dict[str, int]]] = {
    "jsonl": _jsonl, "csv": _tables(csv_table), "parquet": _tables(parquet_table), "sft": _sft,
    "config": _config,
}  # fmt: skip
