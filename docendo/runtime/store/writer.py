"""The one thread that writes.

Producers leave their writes in a queue and go on; nothing ever blocks an event loop. The thread commits up
to `ROWS` rows or `SECONDS` seconds of them in one transaction, which is what makes SQLite fast. Writes are
applied in the order in which they came, except that calls of the journal go first: they depend on nothing,
and drawing them together keeps batches of one kind long. A transaction that fails stops the writer for
good: what it held is lost, so every later write raises the same `StoreError`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import groupby
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar

from sqlalchemy import Connection

from docendo.errors import StoreError
from docendo.runtime.store.database import Database

__all__ = ["ROWS", "SECONDS", "Apply", "Writer"]

T = TypeVar("T")

ROWS = 500
SECONDS = 0.02

Apply = Callable[[Connection, Sequence[Any]], None]
"""Writes a batch of payloads of one kind."""


@dataclass(slots=True)
class _Write:
    ticket: int
    apply: Apply
    payload: Any
    rows: int
    first: bool


@dataclass(slots=True)
class _Task:
    run: Callable[[Connection], Any] | None
    """`None`: nothing, somebody waits for what came before."""
    done: Future[Any]
    last: bool = False


class Writer:
    """The queue and the thread that empties it."""

    def __init__(self, database: Database, beat: Callable[[Connection], None], every: float) -> None:
        """`beat` runs in a transaction of its own every so many seconds, writes or not."""
        self._database = database
        self._beat = beat
        self._every = every
        self._queue: SimpleQueue[_Write | _Task] = SimpleQueue()
        self._lock = Lock()
        self._ticket = 0
        self._closed = False
        self.durable = 0
        """Ticket of the last write that is committed."""
        self.failure: StoreError | None = None
        self._thread = Thread(target=self._loop, name="docendo-store", daemon=True)
        self._thread.start()

    def put(self, apply: Apply, payload: Any, *, rows: int = 1, first: bool = False) -> int:
        """Queue one write; returns its ticket.

        Raises:
            StoreError: An earlier write failed, or the store is closed.
        """
        with self._lock:
            self.raise_if_stopped()
            self._ticket += 1
            self._queue.put(_Write(self._ticket, apply, payload, rows, first))
            return self._ticket

    def submit(self, task: Callable[[Connection], T] | None) -> Future[T]:
        """Run `task` in a transaction of its own, after everything queued so far is committed.

        Raises:
            StoreError: An earlier write failed, or the store is closed.
        """
        with self._lock:
            self.raise_if_stopped()
            done: Future[T] = Future()
            self._queue.put(_Task(task, done))
            return done

    def flush(self) -> Future[None]:
        """A future that is done when everything queued so far is committed.

        Raises:
            StoreError: An earlier write failed, or the store is closed.
        """
        return self.submit(None)

    def close(self) -> None:
        """Commit what is queued and end the thread. `failure` says whether that worked."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._queue.put(_Task(None, Future(), last=True))
        self._thread.join()

    def raise_if_stopped(self) -> None:
        """Nothing while writes are taken.

        Raises:
            StoreError: An earlier write failed, or the store is closed.
        """
        if self.failure:
            raise StoreError(self.failure.message, suggestion=self.failure.suggestion)
        if self._closed:
            raise StoreError("the store is closed")

    def _loop(self) -> None:
        beaten = time.monotonic()
        while True:
            batch, task = self._collect()
            self._commit(batch)
            if task:
                self._perform(task)
                if task.last:
                    return
            if time.monotonic() - beaten >= self._every:
                self._attempt(self._beat)
                beaten = time.monotonic()

    def _collect(self) -> tuple[list[_Write], _Task | None]:
        """Wait for a batch. A task ends it, so that whoever waits does not wait for a clock."""
        batch: list[_Write] = []
        rows = 0
        deadline = time.monotonic() + self._every
        while rows < ROWS:
            try:
                entry = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                break
            if isinstance(entry, _Task):
                return batch, entry
            if not batch:
                deadline = time.monotonic() + SECONDS
            batch.append(entry)
            rows += entry.rows
        return batch, None

    def _commit(self, batch: list[_Write]) -> None:
        if not batch:
            return
        ticket = batch[-1].ticket
        batch.sort(key=lambda write: not write.first)

        def apply(connection: Connection) -> None:
            for function, writes in groupby(batch, key=lambda write: write.apply):
                function(connection, [write.payload for write in writes])

        self._attempt(apply)
        if self.failure is None:
            self.durable = ticket

    def _attempt(self, task: Callable[[Connection], None]) -> None:
        """Run `task`; if it fails, stop for good."""
        if self.failure:
            return
        try:
            with self._database.write() as connection:
                task(connection)
        except StoreError as error:
            self.failure = error
        except BaseException as error:  # a bug must not end the thread: producers would wait for ever
            self.failure = StoreError(f"a record cannot be written: {type(error).__name__}: {error}")
            self.failure.__cause__ = error

    def _perform(self, task: _Task) -> None:
        """Run `task` for the one who waits. Its failure is theirs: no queued write is lost by it."""
        if not task.done.set_running_or_notify_cancel():
            return
        if self.failure:
            task.done.set_exception(StoreError(self.failure.message, suggestion=self.failure.suggestion))
            return
        try:
            result = None
            if task.run:
                with self._database.write() as connection:
                    result = task.run(connection)
        except BaseException as error:
            task.done.set_exception(error)
        else:
            task.done.set_result(result)
