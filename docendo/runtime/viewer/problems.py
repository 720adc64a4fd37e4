"""What failed and what is missing: by cause, with the first of each, where it happened and how to go on."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from docendo.errors import DocendoError
from docendo.runtime.store.browse import RawEvent
from docendo.runtime.store.records import EpisodeRecord, RunRecord
from docendo.runtime.viewer.finding_models import FailedCell, Failures, MissingValues, ProblemsPage
from docendo.runtime.viewer.library import Design, Library

__all__ = ["problems_page"]

CELLS = 100
"""Failed episodes listed per cause."""


def problems_page(library: Library, reference: str) -> ProblemsPage:
    """Failed episodes and missing observations of a run, by cause.

    Raises:
        UnknownNameError: There is no such run.
    """
    record = library.run(reference)
    design = library.design(record.id)
    failures = _failures(library, design)
    unfinished = sum(lesson.status != "finished" for lesson in library.lessons(record.id))
    command = library.once(("command", record.id), "", lambda: _command(library, record))
    return ProblemsPage(
        failures=failures,
        missing=_missing(library, record.id),
        unfinished=unfinished,
        retry=f"{command} --retry errors" if failures else "",
        resume=command if unfinished and record.status != "running" else "",
        warnings=_warnings(record, unfinished),
    )


def _failures(library: Library, design: Design) -> list[Failures]:
    groups: dict[tuple[str, str], list[tuple[EpisodeRecord, RawEvent | None]]] = {}
    for record, event in library.store.browse.failures(design.record.id):
        message = event.payload["message"] if event else ""
        cause = (record.failure, re.sub(r"[\d.,]+", "#", message))
        groups.setdefault(cause, []).append((record, event))
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    return [_group(library, design, found) for _, found in ordered]


def _group(library: Library, design: Design, found: list[tuple[EpisodeRecord, RawEvent | None]]) -> Failures:
    first, event = found[0]
    calls = library.store.browse.events([first.id], ["call"])[first.id]
    failing = next((c.payload["key"] for c in calls if c.payload.get("error")), None)
    return Failures(
        failure=first.failure,
        message=event.payload["message"] if event else "",
        n=len(found),
        detail=event.payload["detail"] if event else "",
        call=failing,
        cells=[_cell(design, record, raw) for record, raw in found[:CELLS]],
    )


def _cell(design: Design, record: EpisodeRecord, event: RawEvent | None) -> FailedCell:
    return FailedCell(
        condition=record.lesson.condition,
        replicate=record.lesson.replicate,
        ordinal=record.ordinal,
        label=design.label(record.lesson.condition),
        key=record.key,
        phase=record.phase,
        item=record.item,
        agent=event.agent if event else "",
        act=event.act if event else "",
        turn=event.turn if event else 0,
    )


def _missing(library: Library, run_id: str) -> list[MissingValues]:
    groups: dict[tuple[str, str], dict[str, int]] = {}
    for row in library.store.browse.missing(run_id):
        at = groups.setdefault((row.measure, row.reason), {})
        at[row.condition] = at.get(row.condition, 0) + row.n
    found = [
        MissingValues(measure=measure, reason=reason, n=sum(at.values()), conditions=at)
        for (measure, reason), at in groups.items()
    ]
    return sorted(found, key=lambda m: (-m.n, m.measure, m.reason))


def _command(library: Library, record: RunRecord) -> str:
    """The command that issues a run again.

    Its file, where that still is the scenario of the run; else (it was changed, or settings were given on the
    command line) the scenario as it was stored, written out first.
    """
    name = library.store.name
    url = name if "://" in name else f"sqlite:///{name}"
    store = f"--store {shlex.quote(url)}"
    file = str(record.manifest.get("file") or "")
    if file and _unchanged(file, record):
        gallery = Path(file).parent.name == "gallery" and Path(file).stem == record.name
        return f"docendo run {shlex.quote(record.name if gallery else file)} {store}"
    written = shlex.quote(f"{record.name}.again.yaml")
    return (
        f"docendo export {written} --run {shlex.quote(record.id)} --to config {store} && "
        f"docendo run {written} {store}"
    )


def _unchanged(file: str, record: RunRecord) -> bool:
    from docendo.scenarios.loader import load_scenario  # noqa: PLC0415 - only where something is to be retried

    try:
        return load_scenario(file).digest == record.digest
    except (DocendoError, OSError):
        return False


def _warnings(record: RunRecord, unfinished: int) -> list[str]:
    if record.status == "interrupted" and unfinished:
        return [f"Nobody works on this run, and {unfinished} lessons are not finished. What ran is kept."]
    return []
