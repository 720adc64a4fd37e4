"""Everything that can be read from a store.

A study has millions of events, so nothing here loads a whole one: episodes come page by page (keyset, never
offset), events come per episode, observations some lessons at a time. Reads see what is committed;
`Store.flush` first where a writer has just been at work.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from sqlalchemy import Row, Select, case, func, select, tuple_

from docendo.errors import UnknownNameError, UsageError, did_you_mean
from docendo.events import Event
from docendo.messages import Usage
from docendo.runtime.store.codec import decode, decode_event
from docendo.runtime.store.database import Database
from docendo.runtime.store.journal import load_calls
from docendo.runtime.store.lock import is_live
from docendo.runtime.store.recorder import combine_digests
from docendo.runtime.store.records import (
    CallRecord,
    ConditionCounts,
    ConditionRecord,
    EngineRecord,
    EpisodeRecord,
    LessonKey,
    LessonRecord,
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

__all__ = ["StoreReader", "episode_record"]

PAGE = 500
"""Episodes fetched at a time."""
LESSONS = 100
"""Lessons whose observations are fetched at a time."""


class StoreReader:
    """The reading half of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def name(self) -> str:
        """What the store is called in messages: its path, or its URL without the password."""
        return self._database.name

    def runs(self) -> list[RunRecord]:
        """All runs, newest first."""
        statement = select(run).order_by(run.c.created_at.desc(), run.c.id)
        return [_run(row) for row in self._all(statement)]

    def run(self, reference: str) -> RunRecord:
        """The run with this id, or the newest with this name, or the one whose id starts so, or `latest`.

        Raises:
            UnknownNameError: No run matches.
            UsageError: The beginning of an id fits several runs.
        """
        runs = self.runs()
        if reference == "latest" and runs:
            return runs[0]
        for record in [r for r in runs if r.id == reference] + [r for r in runs if r.name == reference]:
            return record
        matches = [r for r in runs if reference and r.id.startswith(reference)]
        if len(matches) > 1:
            raise UsageError(
                f"`{reference}` fits {len(matches)} runs: {', '.join(r.id for r in matches[:6])}",
                suggestion="Give more of the id.",
            )
        if not matches:
            known = {r.id for r in runs} | {r.name for r in runs}
            hint = did_you_mean(reference, known) or "`docendo ls` shows the runs of this store."
            raise UnknownNameError(f"no run `{reference}` in {self.name}", suggestion=hint)
        return matches[0]

    def conditions(self, run_id: str) -> list[ConditionRecord]:
        """The conditions of a run, in the order of its matrix."""
        statement = (
            select(condition)
            .where(condition.c.run_id == run_id)
            .order_by(condition.c.ordinal, condition.c.id)
        )
        return [
            ConditionRecord(
                run=row.run_id,
                id=row.id,
                ordinal=row.ordinal,
                coordinates=decode(row.coordinates),
                control=row.control,
                scenario=decode(row.scenario),
            )
            for row in self._all(statement)
        ]

    def engines(self, run_id: str) -> list[EngineRecord]:
        """What answered in a run, in the order of starting."""
        statement = select(engine).where(engine.c.run_id == run_id).order_by(engine.c.id)
        return [
            EngineRecord(
                run=row.run_id,
                model=row.model,
                fingerprint=row.fingerprint,
                about=decode(row.about),
                self_test=None if row.self_test is None else decode(row.self_test),
                started_at=row.started_at,
            )
            for row in self._all(statement)
        ]

    def lessons(self, run_id: str, condition_id: str | None = None) -> list[LessonRecord]:
        """The lessons of a run, by condition and replicate."""
        return [_lesson(row) for row in self._lesson_rows(run_id, condition_id, None)]

    def episodes(
        self,
        run_id: str,
        condition_id: str | None = None,
        replicate: int | None = None,
        *,
        after: EpisodeRecord | None = None,
        limit: int | None = None,
    ) -> Iterator[EpisodeRecord]:
        """Episodes by condition, replicate and place in the lesson.

        Args:
            run_id: Which run.
            condition_id: Only this condition.
            replicate: Only this replicate.
            after: Go on behind this episode, also if it has been replaced since.
            limit: Stop after so many.
        """
        left = limit
        for row in self._lesson_rows(run_id, condition_id, replicate):
            key = LessonKey(row.run_id, row.condition_id, row.replicate)
            place: tuple[int, str] | None = None
            if after is not None:
                if key != after.lesson:
                    continue
                place, after = (after.ordinal, after.key), None
            while left is None or left > 0:
                page = self._episode_page(row.id, place, PAGE if left is None else min(left, PAGE))
                if not page:
                    break
                yield from (episode_record(key, found) for found in page)
                place = (page[-1].ordinal, page[-1].key)
                left = None if left is None else left - len(page)

    def episode(self, episode_id: int) -> EpisodeRecord:
        """One episode.

        Raises:
            UnknownNameError: There is none, or it was replaced by a newer record.
        """
        statement = (
            select(episode, lesson.c.run_id, lesson.c.condition_id, lesson.c.replicate)
            .join(lesson, lesson.c.id == episode.c.lesson_id)
            .where(episode.c.id == episode_id)
        )
        for row in self._all(statement):
            return episode_record(LessonKey(row.run_id, row.condition_id, row.replicate), row)
        raise UnknownNameError(f"no episode {episode_id} in {self.name}")

    def events(self, episode_id: int) -> list[Event]:
        """The events of an episode, by position."""
        return [
            decode_event(
                {
                    "turn": row.turn,
                    "branch": row.branch,
                    "n": row.n,
                    "kind": row.kind,
                    "agent": row.agent,
                    "act": row.act,
                },
                row.payload,
            )
            for row in self._all(_events(episode_id))
        ]

    def calls(self, keys: Iterable[str]) -> dict[str, CallRecord]:
        """Whole entries of the journal, prompts with their spans included."""
        with self._database.read() as connection:
            return load_calls(connection, keys)

    def episode_calls(self, episode_id: int) -> list[CallRecord]:
        """The calls of an episode in the order in which it made them, each once."""
        rows = self._all(_events(episode_id).where(event.c.kind == "call"))
        keys = list(dict.fromkeys(decode(row.payload)["key"] for row in rows))
        found = self.calls(keys)
        return [found[key] for key in keys if key in found]

    def observations(self, run_id: str, measures: Collection[str] | None = None) -> Iterator[ObservationRow]:
        """Measured values of a run, lesson by lesson; all measures, or only these."""
        c = observation.c
        columns = (c.lesson_id, c.phase, c.measure, c.item, c.student, c.round, c.value, c.reason, c.weight)
        lessons = self._lesson_rows(run_id, None, None)
        for start in range(0, len(lessons), LESSONS):
            keys = {
                row.id: LessonKey(row.run_id, row.condition_id, row.replicate)
                for row in lessons[start : start + LESSONS]
            }
            statement = select(*columns).where(c.lesson_id.in_(list(keys))).order_by(c.id)
            if measures is not None:
                statement = statement.where(c.measure.in_(list(measures)))
            found: dict[int, list[Any]] = {id_: [] for id_ in keys}
            for row in self._all(statement):
                found[row[0]].append(row)
            for id_, rows in found.items():
                for _, phase, measure, item, student, number, value, reason, weight in rows:
                    yield ObservationRow(
                        lesson=keys[id_], phase=phase, measure=measure, item=item, student=student,
                        round=number, value=value, reason=reason, weight=weight,
                    )  # fmt: skip

    def kept(self, name: str) -> str | None:
        """The text that `Store.keep` left under this name."""
        rows = self._all(select(meta.c.value).where(meta.c.key == name))
        return rows[0].value if rows else None

    def run_digest(self, run_id: str) -> str:
        """Digest of the event streams of all finished lessons, whatever the order of work."""
        return combine_digests(
            (record.key.condition, record.key.replicate, record.digest)
            for record in self.lessons(run_id)
            if record.status == "finished"
        )

    def counts(self, run_id: str) -> list[ConditionCounts]:
        """What was planned, ran, failed and is missing, per condition in the order of the matrix."""
        lessons: dict[str, list[LessonRecord]] = {}
        for record in self.lessons(run_id):
            lessons.setdefault(record.key.condition, []).append(record)
        ran = self._per_condition(run_id, episode, case((episode.c.outcome == "failed", 1), else_=0))
        seen = self._per_condition(run_id, observation, case((observation.c.value.is_(None), 1), else_=0))
        return [
            ConditionCounts(
                condition=name,
                lessons_planned=len(records),
                lessons_finished=sum(r.status == "finished" for r in records),
                episodes=ran.get(name, (0, 0))[0],
                failed=ran.get(name, (0, 0))[1],
                observations=seen.get(name, (0, 0))[0],
                missing=seen.get(name, (0, 0))[1],
            )
            for name, records in lessons.items()
        ]

    def _per_condition(self, run_id: str, table: Any, flag: Any) -> dict[str, tuple[int, int]]:
        """Condition -> (rows of `table`, those of them that are flagged)."""
        statement = (
            select(
                lesson.c.condition_id.label("name"),
                func.count().label("total"),
                func.sum(flag).label("flagged"),
            )
            .join(table, table.c.lesson_id == lesson.c.id)
            .where(lesson.c.run_id == run_id)
            .group_by(lesson.c.condition_id)
        )
        return {row.name: (int(row.total), int(row.flagged)) for row in self._all(statement)}

    def _lesson_rows(self, run_id: str, condition_id: str | None, replicate: int | None) -> list[Row[Any]]:
        statement = (
            select(lesson)
            .outerjoin(
                condition, (condition.c.run_id == lesson.c.run_id) & (condition.c.id == lesson.c.condition_id)
            )
            .where(lesson.c.run_id == run_id)
            .order_by(condition.c.ordinal, lesson.c.condition_id, lesson.c.replicate)
        )
        if condition_id is not None:
            statement = statement.where(lesson.c.condition_id == condition_id)
        if replicate is not None:
            statement = statement.where(lesson.c.replicate == replicate)
        return self._all(statement)

    def _episode_page(self, lesson_id: int, after: tuple[int, str] | None, limit: int) -> list[Row[Any]]:
        order = (episode.c.ordinal, episode.c.key)
        statement = select(episode).where(episode.c.lesson_id == lesson_id).order_by(*order).limit(limit)
        if after is not None:
            statement = statement.where(tuple_(*order) > tuple_(*after))
        return self._all(statement)

    def _all(self, statement: Select[Any]) -> list[Row[Any]]:
        with self._database.read() as connection:
            return list(connection.execute(statement).all())


def _events(episode_id: int) -> Select[Any]:
    first = episode_id * EVENTS_PER_EPISODE
    return select(event).where(event.c.id.between(first, first + EVENTS_PER_EPISODE - 1)).order_by(event.c.id)


def _run(row: Row[Any]) -> RunRecord:
    abandoned = row.status == "running" and not is_live(row, time.time())
    return RunRecord(
        id=row.id,
        name=row.name,
        digest=row.digest,
        items_digest=row.items_digest,
        scenario=decode(row.scenario),
        scenario_yaml=row.scenario_yaml,
        manifest=decode(row.manifest),
        created_at=row.created_at,
        status="interrupted" if abandoned else row.status,
    )


def _lesson(row: Row[Any]) -> LessonRecord:
    return LessonRecord(
        key=LessonKey(row.run_id, row.condition_id, row.replicate),
        status=row.status,
        digest=row.digest,
        n_episodes=row.n_episodes,
        n_failed=row.n_failed,
        wall_s=row.wall_s,
        usage=Usage(
            prompt_tokens=row.prompt_tokens,
            completion_tokens=row.completion_tokens,
            cached_tokens=row.cached_tokens,
        ),
    )


def episode_record(key: LessonKey, row: Row[Any]) -> EpisodeRecord:
    """An episode from its row."""
    return EpisodeRecord(
        lesson=key,
        key=row.key,
        ordinal=row.ordinal,
        phase=row.phase,
        phase_kind=row.phase_kind,
        round=row.round,
        item=row.item,
        student=row.student,
        outcome=row.outcome,
        failure=row.failure,
        digest=row.digest,
        wall_s=row.wall_s,
        events_n=row.events_n,
        id=row.id,
    )
