"""How records become rows, inside the writer's transactions.

Everything here may be done twice with the same outcome: an episode takes the place of an earlier one with
its key, a lesson's observations are replaced as a whole. So a run that was killed can be issued again.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, and_, delete, insert, or_, select, update

from docendo.errors import StoreError
from docendo.events import Event
from docendo.messages import Usage
from docendo.runtime.store.codec import encode, encode_event
from docendo.runtime.store.database import Database
from docendo.runtime.store.records import (
    ConditionRecord,
    EngineRecord,
    EpisodeRecord,
    LessonKey,
    ObservationRow,
    RunRecord,
)
from docendo.runtime.store.tables import (
    EVENTS_PER_EPISODE,
    condition,
    engine,
    episode,
    event,
    lesson,
    meta,
    observation,
    run,
)
from docendo.runtime.store.words import add_words, remove_words

__all__ = ["Recorder", "combine_digests"]

_CHUNK = 400
"""Values per `IN`; SQLite takes 999 parameters at least."""


def combine_digests(parts: Iterable[tuple[str | int, ...]]) -> str:
    """SHA-256 over the sorted parts, one line each with tabs between: independent of the order of work."""
    lines = "".join("\t".join(map(str, part)) + "\n" for part in sorted(parts))
    return hashlib.sha256(lines.encode()).hexdigest()


class Recorder:
    """Writes batches. Used by the writer thread alone."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ids: dict[LessonKey, int] = {}

    def run(self, connection: Connection, record: RunRecord) -> None:
        """Add a run, or check that the one there is the same.

        Raises:
            StoreError: A run of this id was made from another scenario or other items.
        """
        row = {
            "id": record.id,
            "name": record.name,
            "digest": record.digest,
            "items_digest": record.items_digest,
            "scenario": encode(record.scenario),
            "scenario_yaml": record.scenario_yaml,
            "manifest": encode(record.manifest),
            "created_at": time.time(),
            "status": "running",
            "lock_token": "",
            "lock_host": "",
            "lock_pid": 0,
            "locked_at": 0.0,
            "heartbeat": 0.0,
        }
        self._database.insert_new(connection, run, [row])
        there = connection.execute(select(run).where(run.c.id == record.id)).one()
        for name, what in (("digest", "another scenario"), ("items_digest", "other items")):
            if getattr(there, name) != row[name]:
                raise StoreError(
                    f"run {record.id} of this store was made from {what}",
                    suggestion="Restore what it was made from, or name another store with --store.",
                )

    def keep(self, connection: Connection, name: str, text: str) -> None:
        """Replace a kept text."""
        connection.execute(delete(meta).where(meta.c.key == name))
        self._database.insert_new(connection, meta, [{"key": name, "value": text}])

    def pulse(self, connection: Connection, payloads: Sequence[tuple[str, str]]) -> None:
        """Replace what was said last under each name."""
        for name, text in dict(payloads).items():
            self.keep(connection, name, text)

    def conditions(self, connection: Connection, records: Sequence[ConditionRecord]) -> None:
        """Add the conditions that are not there yet."""
        rows = [
            {
                "run_id": r.run,
                "id": r.id,
                "ordinal": r.ordinal,
                "coordinates": encode(r.coordinates),
                "control": r.control,
                "scenario": encode(r.scenario),
            }
            for r in records
        ]
        self._database.insert_new(connection, condition, rows)

    def engines(self, connection: Connection, records: Sequence[EngineRecord]) -> None:
        """Add what answered."""
        rows = [
            {
                "run_id": r.run,
                "model": r.model,
                "fingerprint": r.fingerprint,
                "started_at": time.time(),
                "about": encode(r.about),
                "self_test": None if r.self_test is None else encode(r.self_test),
            }
            for r in records
        ]
        connection.execute(insert(engine), rows)

    def plan(self, connection: Connection, keys: Sequence[LessonKey]) -> None:
        """Add the lessons that are not there yet."""
        self._lessons(connection, keys)

    def start(self, connection: Connection, keys: Sequence[LessonKey]) -> None:
        """Mark lessons as running."""
        for id_ in self._lessons(connection, keys).values():
            connection.execute(update(lesson).where(lesson.c.id == id_).values(status="running"))

    def finish(self, connection: Connection, payloads: Sequence[tuple[LessonKey, float, Usage]]) -> None:
        """Mark lessons as finished; digest and counts come from the episodes recorded."""
        ids = self._lessons(connection, [key for key, *_ in payloads])
        for key, wall_s, usage in payloads:
            rows = connection.execute(
                select(episode.c.key, episode.c.digest, episode.c.outcome).where(
                    episode.c.lesson_id == ids[key]
                )
            ).all()
            connection.execute(
                update(lesson)
                .where(lesson.c.id == ids[key])
                .values(
                    status="finished",
                    digest=combine_digests((row.key, row.digest) for row in rows),
                    n_episodes=len(rows),
                    n_failed=sum(row.outcome == "failed" for row in rows),
                    wall_s=wall_s,
                    prompt_tokens=usage.prompt_tokens,
                    completion_tokens=usage.completion_tokens,
                    cached_tokens=usage.cached_tokens,
                )
            )

    def clear(self, connection: Connection, keys: Sequence[LessonKey]) -> None:
        """Forget what lessons recorded; they are planned again."""
        for id_ in self._lessons(connection, keys).values():
            found = connection.execute(select(episode.c.id).where(episode.c.lesson_id == id_))
            _remove_episodes(connection, found.scalars().all())
            connection.execute(delete(observation).where(observation.c.lesson_id == id_))
            fresh = {"status": "planned", "digest": "", "n_episodes": 0, "n_failed": 0, "wall_s": 0.0}
            fresh |= {"prompt_tokens": 0, "completion_tokens": 0, "cached_tokens": 0}
            connection.execute(update(lesson).where(lesson.c.id == id_).values(**fresh))

    def episodes(
        self, connection: Connection, payloads: Sequence[tuple[EpisodeRecord, Sequence[Event]]]
    ) -> None:
        """Write episodes with their events, in the place of earlier ones with the same keys."""
        ids = self._lessons(connection, [record.lesson for record, _ in payloads])
        batch = {(ids[record.lesson], record.key): (record, events) for record, events in payloads}
        _remove_episodes(connection, _episode_ids(connection, batch))
        rows = [_episode_row(id_, record, len(events)) for (id_, _), (record, events) in batch.items()]
        added = connection.execute(
            insert(episode).returning(episode.c.id, episode.c.lesson_id, episode.c.key), rows
        )
        event_rows: list[dict[str, Any]] = []
        written: list[tuple[int, list[Event]]] = []
        for episode_id, lesson_id, key in added:
            _, events = batch[lesson_id, key]
            first = episode_id * EVENTS_PER_EPISODE
            ordered = sorted(events, key=lambda e: e.position)
            event_rows += [_event_row(first + n, entry) for n, entry in enumerate(ordered)]
            written.append((episode_id, ordered))
        if event_rows:
            connection.execute(insert(event), event_rows)
        for episode_id, ordered in written:
            add_words(connection, episode_id, ordered)

    def observations(
        self, connection: Connection, payloads: Sequence[tuple[LessonKey, Sequence[ObservationRow]]]
    ) -> None:
        """Replace the observations of whole lessons."""
        batch = dict(payloads)
        ids = self._lessons(connection, list(batch))
        for key in batch:
            connection.execute(delete(observation).where(observation.c.lesson_id == ids[key]))
        rows = [
            {
                "lesson_id": ids[key],
                "phase": o.phase,
                "measure": o.measure,
                "item": o.item,
                "student": o.student,
                "round": o.round,
                "value": o.value,
                "reason": o.reason.replace("\0", ""),  # PostgreSQL holds no NUL
                "weight": o.weight,
            }
            for key, observed in batch.items()
            for o in observed
        ]
        if rows:
            connection.execute(insert(observation), rows)

    def _lessons(self, connection: Connection, keys: Iterable[LessonKey]) -> dict[LessonKey, int]:
        """The numbers of lessons; those that are not there yet are added as planned."""
        wanted = dict.fromkeys(keys)
        missing = [key for key in wanted if key not in self._ids]
        if missing:
            rows = [_lesson_row(key) for key in missing]
            self._database.insert_new(connection, lesson, rows)
            of_runs = lesson.c.run_id.in_({key.run for key in missing})
            columns = (lesson.c.id, lesson.c.run_id, lesson.c.condition_id, lesson.c.replicate)
            for id_, run_id, condition_id, replicate in connection.execute(select(*columns).where(of_runs)):
                self._ids[LessonKey(run_id, condition_id, replicate)] = id_
        return {key: self._ids[key] for key in wanted}


def _episode_ids(connection: Connection, keys: Iterable[tuple[int, str]]) -> list[int]:
    """Numbers of the episodes that are there under (lesson number, key)."""
    by_lesson: dict[int, list[str]] = defaultdict(list)
    for lesson_id, key in keys:
        by_lesson[lesson_id].append(key)
    wanted = [and_(episode.c.lesson_id == id_, episode.c.key.in_(names)) for id_, names in by_lesson.items()]
    return list(connection.execute(select(episode.c.id).where(or_(*wanted))).scalars())


def _remove_episodes(connection: Connection, ids: Sequence[int]) -> None:
    for start in range(0, len(ids), _CHUNK):
        chunk = ids[start : start + _CHUNK]
        for id_ in chunk:
            first = id_ * EVENTS_PER_EPISODE
            remove_words(connection, id_)
            connection.execute(delete(event).where(event.c.id.between(first, first + EVENTS_PER_EPISODE - 1)))
        connection.execute(delete(episode).where(episode.c.id.in_(chunk)))


def _lesson_row(key: LessonKey) -> dict[str, Any]:
    return {
        "run_id": key.run,
        "condition_id": key.condition,
        "replicate": key.replicate,
        "status": "planned",
        "digest": "",
        "n_episodes": 0,
        "n_failed": 0,
        "wall_s": 0.0,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "cached_tokens": 0,
    }


def _episode_row(lesson_id: int, record: EpisodeRecord, events_n: int) -> dict[str, Any]:
    return {
        "lesson_id": lesson_id,
        "key": record.key,
        "ordinal": record.ordinal,
        "phase": record.phase,
        "phase_kind": record.phase_kind,
        "round": record.round,
        "item": record.item,
        "student": record.student,
        "outcome": record.outcome,
        "failure": record.failure,
        "digest": record.digest,
        "wall_s": record.wall_s,
        "events_n": events_n,
    }


def _event_row(id_: int, entry: Event) -> dict[str, Any]:
    return {
        "id": id_,
        "turn": entry.turn,
        "branch": entry.branch,
        "n": entry.n,
        "kind": entry.kind,
        "agent": entry.agent,
        "act": entry.act,
        "payload": encode_event(entry),
    }
