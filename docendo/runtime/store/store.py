"""The one class that reads and writes a store.

Writes are queued and return at once; `flush` (or `aflush` in asyncio code) waits until they are durable and
raises what went wrong. After a failed write every later call that writes raises, so a run stops instead of
going on unrecorded. Use it as a context manager: leaving commits what is queued and gives locks back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TypeVar

from sqlalchemy import Connection

from docendo.errors import StoreError
from docendo.events import Event
from docendo.messages import Usage
from docendo.runtime.store import lock
from docendo.runtime.store.browse import Browser, pulse_key
from docendo.runtime.store.database import Database
from docendo.runtime.store.journal import Journal
from docendo.runtime.store.reads import StoreReader
from docendo.runtime.store.recorder import Recorder
from docendo.runtime.store.records import (
    CallRecord,
    CallResult,
    ConditionRecord,
    EngineRecord,
    EpisodeRecord,
    LessonKey,
    ObservationRow,
    RunRecord,
    RunStatus,
)
from docendo.runtime.store.tables import EVENTS_PER_EPISODE
from docendo.runtime.store.writer import Writer

__all__ = ["Store", "open_store"]

T = TypeVar("T")


def open_store(url: str, *, create: bool = True, readonly: bool = False) -> Store:
    """Open the store at a SQLAlchemy URL.

    Args:
        url: `sqlite:///relative.db`, `sqlite:////absolute.db`, `postgresql://user@host/database`, or
            `sqlite://` for a store that is gone when it is closed.
        create: Make a new store where there is none.
        readonly: Write nothing at all, not even side files where the folder does not allow them.

    Raises:
        StoreError: It cannot be opened; the message says why and the suggestion what to do.
    """
    return Store(Database(url, create=create, readonly=readonly))


class Store(StoreReader):
    """A store: runs, conditions, lessons, episodes with their events, observations, and the journal."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._owner = lock.Owner()
        self._held: set[str] = set()
        self._closed = False
        self._recorder = Recorder(database)
        self._writer = None if database.readonly else Writer(database, self._beat, lock.BEAT_SECONDS)
        self._journal = Journal(database, self._writer)
        self.browse = Browser(database)
        """For somebody who looks around."""

    def begin_run(self, record: RunRecord) -> RunRecord:
        """Start a run or continue it, and hold its lock until `finish_run` or `close`.

        Returns:
            The run as it is stored: a continued one keeps its first date and manifest.

        Raises:
            StoreError: Another process works on this run, or it was made from another scenario.
        """

        def task(connection: Connection) -> None:
            self._recorder.run(connection, record)
            lock.acquire(connection, record.id, self._owner)

        self._do(task)
        self._held.add(record.id)
        return self.run(record.id)

    def finish_run(self, run_id: str, status: RunStatus = "finished") -> None:
        """Leave `status` behind and give the lock back, after everything queued is durable.

        Raises:
            StoreError: A write failed.
        """

        def task(connection: Connection) -> None:
            lock.release(connection, run_id, self._owner, status)
            self._held.discard(run_id)  # here, in the writer's thread: the next beat must not miss the lock

        self._do(task)

    def put_conditions(self, records: Sequence[ConditionRecord]) -> None:
        """Add conditions; those that are there stay as they are."""
        for record in records:
            self._live_writer.put(self._recorder.conditions, record)

    def put_lessons(self, keys: Sequence[LessonKey]) -> None:
        """Plan lessons; those that are there stay as they are."""
        for key in keys:
            self._live_writer.put(self._recorder.plan, key)

    def start_lesson(self, key: LessonKey) -> None:
        """Mark a lesson as running."""
        self._live_writer.put(self._recorder.start, key)

    def finish_lesson(self, key: LessonKey, *, wall_s: float = 0.0, usage: Usage | None = None) -> None:
        """Mark a lesson as finished. Its digest and counts are computed from the episodes written before."""
        self._live_writer.put(self._recorder.finish, (key, wall_s, usage or Usage()))

    def delete_lesson(self, key: LessonKey) -> None:
        """Forget a lesson's episodes, events and observations; it is planned again. The journal stays."""
        self._live_writer.put(self._recorder.clear, key)

    def write_episode(self, record: EpisodeRecord, events: Sequence[Event]) -> None:
        """Record an episode with its events, all or nothing, in the place of an earlier one with its key.

        Raises:
            StoreError: An earlier write failed, or there are more than a million events.
        """
        if len(events) >= EVENTS_PER_EPISODE:
            raise StoreError(f"episode {record.key} has {len(events)} events, a store holds fewer than 2**20")
        self._live_writer.put(self._recorder.episodes, (record, tuple(events)), rows=1 + len(events))

    def write_observations(self, lesson: LessonKey, rows: Sequence[ObservationRow]) -> None:
        """Record the measured values of a lesson in the place of all that it had.

        Raises:
            StoreError: An earlier write failed, or a row belongs to another lesson.
        """
        strangers = [row for row in rows if row.lesson != lesson]
        if strangers:
            raise StoreError(f"observations of {lesson} hold one of {strangers[0].lesson}")
        self._live_writer.put(self._recorder.observations, (lesson, tuple(rows)), rows=1 + len(rows))

    def get_call(self, key: str) -> CallResult | None:
        """What came of a call, or `None`. Sees what was put, committed or not.

        Raises:
            StoreError: The database failed.
        """
        return self._journal.get(key)

    def put_call(self, record: CallRecord) -> None:
        """Record a call. A reply takes the place of a recorded failure; nothing takes the place of a reply.

        Raises:
            StoreError: An earlier write failed.
        """
        self._journal.put(record, self._live_writer)

    def put_engine(self, record: EngineRecord) -> None:
        """Record that a model has started for a run.

        Raises:
            StoreError: An earlier write failed.
        """
        self._live_writer.put(self._recorder.engines, record)

    @property
    def call_conflicts(self) -> tuple[str, ...]:
        """Keys that another process answered differently at the same time; a replay sees its answer."""
        return tuple(self._journal.conflicts)

    def keep(self, name: str, text: str) -> None:
        """Keep a text that can be made again, in the place of the one that had its name.

        Raises:
            StoreError: The database failed.
        """
        self._do(lambda connection: self._recorder.keep(connection, name, text))

    def pulse(self, run_id: str, text: str) -> None:
        """Say how a run is getting on, in the place of what was said before. Waits for nothing."""
        self._live_writer.put(self._recorder.pulse, (pulse_key(run_id), text))

    def flush(self) -> None:
        """Wait until everything written so far is durable.

        Raises:
            StoreError: A write failed.
        """
        self._live_writer.flush().result()

    async def aflush(self) -> None:
        """`flush` without blocking the event loop.

        Raises:
            StoreError: A write failed.
        """
        await asyncio.wrap_future(self._live_writer.flush())

    def close(self) -> None:
        """Commit what is queued, mark runs still held as interrupted, and close the database.

        Closing again does nothing.

        Raises:
            StoreError: A write failed; the store is closed all the same.
        """
        if self._closed:
            return
        self._closed = True
        failure = None
        if self._writer:
            with suppress(StoreError):
                for run_id in sorted(self._held):
                    self.finish_run(run_id, "interrupted")
            self._writer.close()
            failure = self._writer.failure
        self._journal.close()
        self._database.close()
        if failure:
            raise StoreError(failure.message, suggestion=failure.suggestion)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except StoreError:
            if error is None:
                raise

    @property
    def _live_writer(self) -> Writer:
        if self._writer is None:
            raise StoreError(f"the store {self.name} is open for reading only")
        return self._writer

    def _do(self, task: Callable[[Connection], T]) -> T:
        return self._live_writer.submit(task).result()

    def _beat(self, connection: Connection) -> None:
        lock.beat(connection, sorted(self._held), self._owner)
