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
from docendo.runtime.store.records import RunRecord

__all__ = ["report_of"]

_CODE = Path(__file__).parent.parent
_PARTS = ("measures", "report")


def report_of(store: Store, run_id: str) -> Report:
    """The report of a run: the kept one, if it still holds.

    Raises:
        UnknownNameError: There is no such run.
        StoreError: The store cannot be read or written.
    """
    record = store.run(run_id)
    name, basis = f"report {record.id}", _basis(store, record)
    kept = store.kept(name) or ""
    if kept.startswith(basis):
        return Report.model_validate_json(kept[len(basis) :])
    from docendo.runtime.report.build import build_report  # noqa: PLC0415 - half a second of imports

    report = build_report(store, run_id)
    if record.status == "finished" and not any("/" in measure for measure in report.measures):
        store.keep(name, basis + report.model_dump_json())
    return report


def _basis(store: Store, record: RunRecord) -> str:
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
