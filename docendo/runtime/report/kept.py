"""Keeps the report of a run in its store, so that issuing a finished run again need not compute it again.

A report is a function of what was recorded and of the code that counts, so it is kept with a digest of both:
of the run's events, of the source of measures and reports, and of the versions of the libraries behind the
arithmetic. If anything differs, the report is made anew and takes the place of the old one. One with a
plug-in's measure is never kept, because this digest does not cover the plug-in's code.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

from docendo.runtime.report.model import Report
from docendo.runtime.store import Store
from docendo.runtime.store.reads import StoreReader
from docendo.runtime.store.records import RunRecord

__all__ = ["kept_report", "report_of"]

_CODE = Path(__file__).parent.parent
_PARTS = ("measures", "report")


def report_of(store: Store, run_id: str) -> Report:
    """The report of a run: the kept one, if it still holds.

    Raises:
        UnknownNameError: There is no such run.
        StoreError: The store cannot be read or written.
    """
    kept = kept_report(store, run_id)
    if kept is not None:
        return kept
    record = store.run(run_id)
    from docendo.runtime.report.build import build_report  # noqa: PLC0415 - half a second of imports

    report = build_report(store, run_id)
    if record.status == "finished" and not any("/" in measure for measure in report.measures):
        store.keep(_name(record), _basis(store, record) + report.model_dump_json())
    return report


def kept_report(store: StoreReader, run_id: str) -> Report | None:
    """The report that was kept; `None` where there is none, or it does not hold any more.

    Raises:
        UnknownNameError: There is no such run.
    """
    record = store.run(run_id)
    basis, kept = _basis(store, record), store.kept(_name(record)) or ""
    return Report.model_validate_json(kept[len(basis) :]) if kept.startswith(basis) else None


def _name(record: RunRecord) -> str:
    return f"report {record.id}"


def _basis(store: StoreReader, record: RunRecord) -> str:
    """Digest of all that makes this run's report."""
    digest = hashlib.sha256(f"{record.status} {store.run_digest(record.id)}".encode())
    for engine in store.engines(record.id):
        digest.update(repr((engine.model, engine.about, engine.self_test)).encode())
    for library in ("numpy", "scipy"):
        digest.update(version(library).encode())
    for part in _PARTS:
        for file in sorted((_CODE / part).glob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()
