"""Runs that are already in a store: how to make their study again."""

from __future__ import annotations

from pathlib import Path

from docendo.runtime.backends.recorded import recorded_backends
from docendo.runtime.store.records import RunRecord
from docendo.runtime.study import Study, prepare
from docendo.scenarios.loader import load_raw

__all__ = ["reopen"]


def reopen(record: RunRecord, *, past: bool = False) -> Study:
    """The study of a stored run, prepared anew from the scenario that was stored with it.

    Prompt and item files that the scenario names are read where they were; if they have changed, a replay
    finds the place.

    Args:
        record: The run.
        past: Take its models from its manifest: they can be replayed, not asked, and nothing of them need be
            here. Runs of versions that did not record them get their models as they are now.

    Raises:
        UsageError: A file that the scenario needs is gone.
    """
    base = Path(str(record.manifest.get("base", ".")))
    loaded = load_raw(record.scenario, base=base, file=str(record.manifest.get("file", record.name)))
    return prepare(loaded, past=recorded_backends(record.manifest) if past else None)
