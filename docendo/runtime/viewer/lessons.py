"""Lists of lessons and episodes, page by page, and a lesson's plan with what came of it.

A cursor is a place: `condition/replicate` in a list of lessons, `condition/replicate/ordinal` in a list of
episodes. A filtered page looks at a bounded number of episodes for a bounded time, so that it answers at
once however rare its matches are; it may be empty and go on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from docendo.errors import UsageError
from docendo.runtime.store.records import EpisodeRecord, LessonKey, LessonRecord
from docendo.runtime.viewer.episode_models import EpisodeList, EpisodeRow, LessonList, LessonPage, LessonRow
from docendo.runtime.viewer.expression import Filter, compile_filter
from docendo.runtime.viewer.facts import record_row, results_of, row_of
from docendo.runtime.viewer.library import Design, Library

__all__ = [
    "MOST", "all_rows", "episode_list", "filtered_list", "lesson_list", "lesson_page", "lesson_rows",
    "place_of", "rows_of",
]  # fmt: skip

MOST = 1000
"""Largest page."""
SCAN_SECONDS = 0.4
"""How long a filtered page looks for matches."""
_BATCH = 100


def lesson_list(
    library: Library, reference: str, *, condition: str = "", after: str = "", limit: int = 500
) -> LessonList:
    """Lessons of a run, or of one condition.

    Raises:
        UnknownNameError: There is no such run or condition.
        UsageError: `after` is no cursor.
    """
    design = library.design(reference)
    if condition:
        design.condition(condition)
    rows = [r for r in lesson_rows(library, design) if not condition or r.condition == condition]
    start = 0
    if after:
        places = [f"{r.condition}/{r.replicate}" for r in rows]
        if after not in places:
            raise UsageError(f"`{after}` is no cursor of this list", suggestion="Begin without `after`.")
        start = places.index(after) + 1
    page = rows[start : start + limit]
    more = start + limit < len(rows)
    return LessonList(
        lessons=page, next=f"{page[-1].condition}/{page[-1].replicate}" if more and page else None
    )


def lesson_rows(library: Library, design: Design) -> list[LessonRow]:
    """All lessons of a run, in the order of the matrix."""
    counts = library.store.browse.lesson_counts(design.record.id)
    return [
        _lesson_row(design, record, found.episodes, found.failed)
        for record in library.lessons(design.record.id)
        if (found := counts.get(record.key)) is not None
    ]


def _lesson_row(design: Design, record: LessonRecord, episodes: int, failed: int) -> LessonRow:
    condition = record.key.condition
    return LessonRow(
        condition=condition,
        label=design.label(condition),
        control=design.control(condition),
        replicate=record.key.replicate,
        status=record.status,
        episodes=episodes,
        failed=failed,
        wall_s=record.wall_s,
    )


def lesson_page(library: Library, reference: str, condition: str, replicate: int) -> LessonPage:
    """A lesson with what came of each phase of its plan.

    Raises:
        UnknownNameError: There is no such lesson.
    """
    design = library.design(reference)
    record = library.lesson(design.record.id, condition, replicate)
    rows = list(all_rows(library, design, record.key))
    phases = [(str(p.get("id") or p.get("kind")), str(p.get("kind"))) for p in design.plan_of(condition)]
    order = [lesson.key for lesson in library.lessons(design.record.id)]
    at = order.index(record.key)
    before, after = order[at - 1] if at else None, order[at + 1] if at + 1 < len(order) else None
    failed = sum(row.outcome == "failed" for row in rows)
    return LessonPage(
        run=design.record.id,
        lesson=_lesson_row(design, record, len(rows), failed),
        coordinates=design.condition(condition).coordinates,
        phases=results_of(rows, phases),
        tokens=sum(row.tokens for row in rows),
        previous=[before.condition, before.replicate] if before else None,
        next=[after.condition, after.replicate] if after else None,
    )


# --- episodes -------------------------------------------------------------------------------------------


def rows_of(library: Library, design: Design, records: Sequence[EpisodeRecord]) -> list[EpisodeRow]:
    """The rows of some episodes."""
    events = library.store.browse.events([record.id for record in records])
    return [
        row_of(
            record,
            events[record.id],
            label=design.label(record.lesson.condition),
            control=design.control(record.lesson.condition),
        )
        for record in records
    ]


def all_rows(library: Library, design: Design, key: LessonKey) -> Iterator[EpisodeRow]:
    """The rows of a whole lesson."""
    after: tuple[int, str] | None = None
    while page := library.store.browse.page(key, after=after, limit=_BATCH):
        after = (page[-1].ordinal, page[-1].key)
        yield from rows_of(library, design, page)


def episode_list(
    library: Library,
    reference: str,
    condition: str,
    replicate: int,
    *,
    phase: str = "",
    after: str = "",
    limit: int = 100,
) -> EpisodeList:
    """Episodes of one lesson in the order of its plan.

    Raises:
        UnknownNameError: There is no such lesson.
        UsageError: `after` is no cursor.
    """
    design = library.design(reference)
    key = library.lesson(design.record.id, condition, replicate).key
    browse = library.store.browse
    start = None
    if after:
        place = place_of(after)
        start = _behind(library, LessonKey(key.run, place[0], place[1]), place[2])
    records = browse.page(key, after=start, limit=limit + 1, phase=phase)
    rows = rows_of(library, design, records[:limit])
    total = browse.lesson_counts(key.run)[key].episodes
    return EpisodeList(
        episodes=rows,
        next=_cursor(records[limit - 1]) if len(records) > limit else None,
        scanned=len(rows),
        total=total,
    )


def filtered_list(
    library: Library,
    reference: str,
    *,
    where: str = "",
    condition: str = "",
    phase: str = "",
    outcome: str = "",
    after: str = "",
    limit: int = 100,
) -> EpisodeList:
    """Episodes of a run that pass a filter, in the order of the matrix.

    Raises:
        UnknownNameError: There is no such run or condition.
        ExpressionError: The filter cannot be read.
        UsageError: `after` is no cursor.
    """
    passes = compile_filter(where) if where.strip() else None
    design = library.design(reference)
    if condition:
        design.condition(condition)
    total = sum(c.episodes for c in library.store.browse.lesson_counts(design.record.id).values())
    scan = _Scan(library, design, condition, phase, outcome, passes, limit)
    scan.run(after)
    return EpisodeList(episodes=scan.found, next=scan.next, scanned=scan.scanned, total=total)


class _Scan:
    """One page of a filtered list in the making."""

    def __init__(
        self,
        library: Library,
        design: Design,
        condition: str,
        phase: str,
        outcome: str,
        passes: Filter | None,
        limit: int,
    ) -> None:
        self.library, self.design, self.passes, self.limit = library, design, passes, limit
        self.condition, self.phase, self.outcome = condition, phase, outcome
        self.found: list[EpisodeRow] = []
        self.scanned = 0
        self.next: str | None = None

    def run(self, after: str) -> None:
        """Look from behind the cursor until the page is full or the time is up."""
        deadline = time.monotonic() + SCAN_SECONDS
        lessons = [
            lesson.key
            for lesson in self.library.lessons(self.design.record.id)
            if not self.condition or lesson.key.condition == self.condition
        ]
        start: tuple[int, str] | None = None
        if after:
            condition, replicate, ordinal = place_of(after)
            key = LessonKey(self.design.record.id, condition, replicate)
            if key not in lessons:
                raise UsageError(f"`{after}` is no cursor of this list", suggestion="Begin without `after`.")
            lessons = lessons[lessons.index(key) :]
            start = _behind(self.library, key, ordinal)
        for key in lessons:
            while records := self.library.store.browse.page(
                key, after=start, limit=_BATCH, phase=self.phase, outcome=self.outcome
            ):
                start = (records[-1].ordinal, records[-1].key)
                if self.take(records) or time.monotonic() > deadline:
                    return
            start = None
        self.next = None

    def take(self, records: Sequence[EpisodeRecord]) -> bool:
        """Keep what passes; whether the page is full."""
        rest = [record for record in records if not self.excluded(record)]
        rows = dict(zip((r.id for r in rest), rows_of(self.library, self.design, rest), strict=True))
        for record in records:
            self.scanned += 1
            self.next = _cursor(record)
            row = rows.get(record.id)
            if row is not None and (self.passes is None or self.passes.holds(row)):
                self.found.append(row)
                if len(self.found) == self.limit:
                    return True
        return False

    def excluded(self, record: EpisodeRecord) -> bool:
        """Whether the filter fails by what the record says."""
        if self.passes is None:
            return False
        label = self.design.label(record.lesson.condition)
        control = self.design.control(record.lesson.condition)
        return self.passes.excludes(record_row(record, label=label, control=control))


def place_of(text: str) -> tuple[str, int, int]:
    """`condition/replicate/ordinal`.

    Raises:
        UsageError: It is not one.
    """
    condition, _, rest = text.partition("/")
    replicate, _, ordinal = rest.partition("/")
    if not (condition and replicate.isdecimal() and ordinal.isdecimal()):
        raise UsageError(f"`{text}` is no place", suggestion="Write CONDITION/REPLICATE/ORDINAL.")
    return condition, int(replicate), int(ordinal)


def _behind(library: Library, key: LessonKey, ordinal: int) -> tuple[int, str]:
    """Where a page goes on behind the episode of this ordinal."""
    record = library.store.browse.at(key, ordinal)
    return record.ordinal, record.key


def _cursor(record: EpisodeRecord) -> str:
    return f"{record.lesson.condition}/{record.lesson.replicate}/{record.ordinal}"
