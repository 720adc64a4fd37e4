"""The journal: what was asked of a model and what came of it, under the hash of the question.

It belongs to the store, not to a run, so runs share answers. A read looks first at what this process wrote
or read lately, then asks the database by its primary key through the bare driver: a miss costs about 14
microseconds on SQLite, where SQLAlchemy's own path costs 130 (145 on PostgreSQL, which is the way to the
server). Entries that are not committed yet cannot be evicted, so a write is visible at once. A reply takes
the place of a recorded failure; nothing takes the place of a reply.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from threading import Lock
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, select

from docendo.messages import Usage
from docendo.runtime.store.codec import decode, decode_message, encode, encode_message
from docendo.runtime.store.database import Database
from docendo.runtime.store.records import CallRecord, CallResult
from docendo.runtime.store.tables import call, text
from docendo.runtime.store.writer import Writer

__all__ = ["Journal", "load_calls"]

CACHED = 4096
"""Results kept in memory."""
_KNOWN_TEXTS = 100_000
"""Addresses of prompt messages remembered as stored."""
_CHUNK = 400
"""Keys per statement; SQLite takes 999 parameters at least."""

_RESULT = (
    call.c.reply, call.c.error, call.c.prompt_tokens, call.c.completion_tokens, call.c.cached_tokens,
    call.c.latency_s,
)  # fmt: skip


class Journal:
    """Hot path of the journal: one lookup and one write per model call."""

    def __init__(self, database: Database, writer: Writer | None) -> None:
        """Without a `writer` the journal can only be read."""
        self._database = database
        self._writer = writer
        self._lock = Lock()
        self._recent: OrderedDict[str, tuple[int, CallResult]] = OrderedDict()
        self._texts: set[str] = set()
        self._connection: Any = None
        statement = select(*_RESULT).where(call.c.key == bindparam("key"))
        compiled = statement.compile(dialect=database.engine.dialect)
        self._sql = str(compiled)
        self._positional = compiled.positional
        self.conflicts: list[str] = []
        """Keys that another process answered differently at the same time; its answer is the one stored."""

    def get(self, key: str) -> CallResult | None:
        """What came of the call, or `None`.

        Raises:
            StoreError: The database failed.
        """
        with self._lock:
            found = self._recent.get(key)
            if found:
                return found[1]
            row = self._fetch(key)
            if row is None:
                return None
            result = _result(row)
            self._remember(key, 0, result)
            return result

    def put(self, record: CallRecord, writer: Writer) -> None:
        """Queue a record; `get` sees it at once.

        Raises:
            StoreError: An earlier write failed.
        """
        with self._lock:
            writer.raise_if_stopped()
            known = self._recent.get(record.key)
            if known and known[1].reply is not None:
                return
            ticket = writer.put(self._write, record, first=True)
            self._remember(record.key, ticket, record.result)

    def close(self) -> None:
        """Close the reading connection."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _fetch(self, key: str) -> Sequence[Any] | None:
        with self._database.translated():
            if self._connection is None:
                self._connection = self._database.raw()
            parameters = (key,) if self._positional else {"key": key}
            row: Sequence[Any] | None = self._connection.execute(self._sql, parameters).fetchone()
            return row

    def _remember(self, key: str, ticket: int, result: CallResult) -> None:
        self._recent.pop(key, None)
        self._recent[key] = (ticket, result)
        durable = self._writer.durable if self._writer else 0
        while len(self._recent) > CACHED:
            oldest = next(iter(self._recent))
            if self._recent[oldest][0] > durable:
                break
            del self._recent[oldest]

    def _write(self, connection: Connection, records: Sequence[CallRecord]) -> None:
        """Apply a batch, sorted by key, so that two processes cannot wait for each other in a ring."""
        batch: dict[str, CallRecord] = {}
        for record in records:
            earlier = batch.get(record.key)
            if earlier is None or earlier.result.reply is None:
                batch[record.key] = record
        for key, reply in _replies(connection, batch):
            if reply is None:
                connection.execute(delete(call).where(call.c.key == key))
                continue
            mine = batch.pop(key).result.reply
            if mine is not None and decode(reply) != decode(encode(mine)):
                self.conflicts.append(key)
        now = time.time()
        texts: dict[str, str] = {}
        rows = [_row(batch[key], now, texts) for key in sorted(batch)]
        fresh = [{"hash": h, "body": texts[h]} for h in sorted(texts) if h not in self._texts]
        self._database.insert_new(connection, text, fresh)
        self._database.insert_new(connection, call, rows)
        if len(self._texts) > _KNOWN_TEXTS:
            self._texts.clear()
        self._texts.update(texts)  # if the transaction fails, the writer writes nothing more


def load_calls(connection: Connection, keys: Iterable[str]) -> dict[str, CallRecord]:
    """Whole records, prompts included, of the keys that the journal holds."""
    rows: list[Row[Any]] = []
    for chunk in _chunks(sorted(set(keys))):
        rows += connection.execute(select(call).where(call.c.key.in_(chunk)))
    addresses = {address for row in rows for address in decode(row.prompt)}
    bodies: dict[str, str] = {}
    for chunk in _chunks(sorted(addresses)):
        found = connection.execute(select(text.c.hash, text.c.body).where(text.c.hash.in_(chunk)))
        bodies |= {address: body for address, body in found}
    return {
        row.key: CallRecord(
            key=row.key,
            fingerprint=row.fingerprint,
            operation=row.operation,
            prompt=tuple(decode_message(bodies[address]) for address in decode(row.prompt)),
            request=decode(row.request),
            result=_result(
                (
                    row.reply,
                    row.error,
                    row.prompt_tokens,
                    row.completion_tokens,
                    row.cached_tokens,
                    row.latency_s,
                )
            ),
            created_at=row.created_at,
        )
        for row in rows
    }


def _replies(connection: Connection, keys: Iterable[str]) -> list[tuple[str, str | None]]:
    """(key, reply) of those keys that are stored already."""
    found: list[tuple[str, str | None]] = []
    for chunk in _chunks(sorted(keys)):
        rows = connection.execute(select(call.c.key, call.c.reply).where(call.c.key.in_(chunk)))
        found += [(key, reply) for key, reply in rows]
    return found


def _row(record: CallRecord, now: float, texts: dict[str, str]) -> dict[str, Any]:
    """The row of a record; its prompt messages are added to `texts`."""
    messages = [encode_message(message) for message in record.prompt]
    texts.update(messages)
    result = record.result
    return {
        "key": record.key,
        "fingerprint": record.fingerprint,
        "operation": record.operation,
        "prompt": encode([address for address, _ in messages]),
        "request": encode(record.request),
        "reply": None if result.reply is None else encode(result.reply),
        "error": None if result.error is None else encode(result.error),
        "prompt_tokens": result.usage.prompt_tokens,
        "completion_tokens": result.usage.completion_tokens,
        "cached_tokens": result.usage.cached_tokens,
        "latency_s": result.latency_s,
        "created_at": now,
    }


def _result(row: Sequence[Any]) -> CallResult:
    reply, error, prompt_tokens, completion_tokens, cached_tokens, latency_s = row
    return CallResult(
        reply=None if reply is None else decode(reply),
        error=None if error is None else decode(error),
        usage=Usage(
            prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, cached_tokens=cached_tokens
        ),
        latency_s=latency_s,
    )


def _chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]
