"""Runs that are already in a store: how to make their study again."""

from __future__ import annotations

from pathlib import Path

from docendo.runtime.store.records import RunRecord
from docendo.runtime.study import Study, prepare
from docendo.scenarios.loader import load_raw

__all__ = ["reopen"]


def reopen(record: RunRecord) -> Study:
    """The study of a stored run, prepared anew from the scenario that was stored with it.

    Prompt and item files that the scenario names are read where they were; if they have changed, a replay
    finds the place.

    Raises:
        UsageError: A file that the scenario needs is gone.
    """
    base = Path(str(record.manifest.get("base", ".")))
    return prepare(load_raw(record.scenario, base=base, file=str(record.manifest.get("file", record.name))))
