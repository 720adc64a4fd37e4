"""Reads for somebody who looks around: places, pages, counts, searches, costs; nothing holds a whole run.

Pages are keyset pages. Events come as plain data, because a list of episodes needs a few fields of each and
validating them all costs ten times as much as reading them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Column, Row, Select, Subquery, and_, case, cast, func, select, text, tuple_

from docendo.errors import UnknownNameError
from docendo.messages import Usage
from docendo.runtime.store.codec import decode
from docendo.runtime.store.database import Database
from docendo.runtime.store.reads import episode_record
from docendo.runtime.store.records import EpisodeRecord, LessonKey
from docendo.runtime.store.tables import EVENTS_PER_EPISODE, call, episode, event, lesson, meta, observation
from docendo.runtime.store.words import matching, terms_of

__all__ = ["Browser", "CallCost", "Found", "LessonCount", "Missing", "RawEvent", "pulse_key"]

_CHUNK = 400
COUNTED = 1000
"""Matches of a search are counted up to here."""


@dataclass(frozen=True, slots=True)
class RawEvent:
    """An event as it is stored: its columns, and the rest as plain data."""

    turn: int
    branch: str
    n: int
    kind: str
    agent: str
    act: str
    payload: dict[str, Any]

    @property
    def position(self) -> tuple[int, str, int]:
        """Sort key inside an episode."""
        return (self.turn, self.branch, self.n)


@dataclass(frozen=True, slots=True)
class LessonCount:
    """What a lesson has recorded so far."""

    episodes: int
    failed: int


@dataclass(frozen=True, slots=True)
class Missing:
    """Observations of one measure in one condition that have no value, for one reason."""

    condition: str
    measure: str
    reason: str
    n: int


@dataclass(frozen=True, slots=True)
class CallCost:
    """What a call cost."""

    usage: Usage
    latency_s: float
    failed: bool


@dataclass(frozen=True, slots=True)
class Found:
    """A message that a search found."""

    episode: EpisodeRecord
    index: int
    """Its place among the episode's events."""
    event: RawEvent
    number: int
    """Cursor: the search goes on behind it."""


def pulse_key(run_id: str) -> str:
    """The name in `meta` under which a working process says how it is getting on."""
    return f"pulse {run_id}"


class Browser:
    """Looks around in one store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def at(self, key: LessonKey, ordinal: int) -> EpisodeRecord:
        """The episode at a place of a lesson.

        Raises:
            UnknownNameError: There is none.
        """
        rows = self._all(_episodes(_in_lesson(key), episode.c.ordinal == ordinal).limit(1))
        for row in rows:
            return _record(row)
        raise UnknownNameError(
            f"no episode {ordinal} in replicate {key.replicate} of condition `{key.condition}` of `{key.run}`"
        )

    def around(self, record: EpisodeRecord) -> tuple[int | None, int | None]:
        """Ordinals of the episodes before and after one in its lesson."""
        here = (record.ordinal, record.key)
        order = (episode.c.ordinal, episode.c.key)
        found = []
        for beyond, way in ((tuple_(*order) < tuple_(*here), True), (tuple_(*order) > tuple_(*here), False)):
            statement = (
                select(episode.c.ordinal)
                .join(lesson, lesson.c.id == episode.c.lesson_id)
                .where(_in_lesson(record.lesson), beyond)
            )
            ordered = statement.order_by(*(c.desc() if way else c for c in order)).limit(1)
            rows = self._all(ordered)
            found.append(rows[0].ordinal if rows else None)
        return found[0], found[1]

    def page(
        self,
        key: LessonKey,
        *,
        after: tuple[int, str] | None = None,
        limit: int,
        phase: str = "",
        outcome: str = "",
    ) -> list[EpisodeRecord]:
        """Episodes of a lesson by (ordinal, key), behind `after`."""
        statement = _episodes(_in_lesson(key)).limit(limit)
        if after is not None:
            statement = statement.where(tuple_(episode.c.ordinal, episode.c.key) > tuple_(*after))
        if phase:
            statement = statement.where(episode.c.phase == phase)
        if outcome:
            statement = statement.where(episode.c.outcome == outcome)
        return [_record(row) for row in self._all(statement)]

    def partners(self, record: EpisodeRecord) -> list[EpisodeRecord]:
        """Episodes of this key in other conditions of the run, same replicate."""
        statement = _episodes(
            lesson.c.run_id == record.lesson.run,
            lesson.c.replicate == record.lesson.replicate,
            lesson.c.condition_id != record.lesson.condition,
            episode.c.key == record.key,
        )
        return [_record(row) for row in self._all(statement)]

    def events(self, episode_ids: Iterable[int], kinds: Sequence[str] = ()) -> dict[int, list[RawEvent]]:
        """Number of an episode -> its events by position; of some kinds only, if named."""
        found: dict[int, list[RawEvent]] = {id_: [] for id_ in episode_ids}
        first = cast(episode.c.id, BigInteger) * EVENTS_PER_EPISODE  # PostgreSQL would overflow an integer
        columns = (event.c.id, *_EVENT, event.c.payload)
        for chunk in _chunks(sorted(found)):
            statement = (
                select(*columns)
                .select_from(episode)
                .join(event, event.c.id.between(first, first + EVENTS_PER_EPISODE - 1))
                .where(episode.c.id.in_(chunk))
                .order_by(event.c.id)
            )
            if kinds:
                statement = statement.where(event.c.kind.in_(kinds))
            for id_, turn, branch, n, kind, agent, act, payload in self._all(statement):
                raw = RawEvent(turn, branch, n, kind, agent, act, decode(payload))
                found[id_ // EVENTS_PER_EPISODE].append(raw)
        return found

    def lesson_counts(self, run_id: str) -> dict[LessonKey, LessonCount]:
        """What each lesson of a run has recorded so far, also before it is finished.

        A finished lesson knows; the episodes of others are counted.
        """
        c = lesson.c
        open_ = _under_way(c.id, c.run_id == run_id)
        # One statement, one state of the store: a lesson that finishes meanwhile is counted once.
        columns = (c.run_id, c.condition_id, c.replicate, c.status, c.n_episodes, c.n_failed)
        rows = self._all(
            select(*columns, open_.c.n, open_.c.failed)
            .outerjoin(open_, open_.c.id == c.id)
            .where(c.run_id == run_id)
        )
        return {
            LessonKey(run, condition, replicate): LessonCount(
                *((n, bad) if status == "finished" else (int(so_far or 0), int(worse or 0)))
            )
            for run, condition, replicate, status, n, bad, so_far, worse in rows
        }

    def run_counts(self) -> dict[str, tuple[int, int, int, int, int]]:
        """Run -> (conditions, lessons, finished lessons, episodes, failed episodes).

        Episodes of finished lessons are taken from the lessons, so that no episode of them is counted anew.
        """
        c = lesson.c
        open_ = _under_way(c.run_id)
        finished = func.sum(case((c.status == "finished", 1), else_=0))
        columns = (func.count(func.distinct(c.condition_id)), func.count(), finished)
        ended = (func.sum(c.n_episodes), func.sum(c.n_failed))
        so_far = (func.max(open_.c.n), func.max(open_.c.failed))
        # One statement, as above.
        statement = (
            select(c.run_id, *columns, *ended, *so_far)
            .outerjoin(open_, open_.c.run_id == c.run_id)
            .group_by(c.run_id)
        )
        return {
            run: (conditions, lessons, int(over), int(n) + int(more or 0), int(bad) + int(worse or 0))
            for run, conditions, lessons, over, n, bad, more, worse in self._all(statement)
        }

    def failures(self, run_id: str) -> Iterator[tuple[EpisodeRecord, RawEvent | None]]:
        """Failed episodes of a run with the event that says why, in the order of recording."""
        where = (lesson.c.run_id == run_id, episode.c.outcome == "failed")
        failed = [_record(row) for row in self._all(_episodes(*where, order=(episode.c.id,)))]
        for chunk in _chunks(failed):
            events = self.events([record.id for record in chunk], ["error"])
            for record in chunk:
                yield record, next(iter(events[record.id]), None)

    def missing(self, run_id: str) -> list[Missing]:
        """Observations of a run without a value, counted by condition, measure and reason."""
        o = observation.c
        statement = (
            select(lesson.c.condition_id, o.measure, o.reason, func.count())
            .join(observation, o.lesson_id == lesson.c.id)
            .where(lesson.c.run_id == run_id, o.value.is_(None))
            .group_by(lesson.c.condition_id, o.measure, o.reason)
            .order_by(o.measure, func.count().desc(), o.reason, lesson.c.condition_id)
        )
        return [Missing(*row) for row in self._all(statement)]

    def means(self, run_id: str, measures: Collection[str]) -> dict[tuple[str, str, int], float]:
        """(measure, condition, replicate) -> mean of the values that are there."""
        o = observation.c
        statement = (
            select(o.measure, lesson.c.condition_id, lesson.c.replicate, func.avg(o.value))
            .join(observation, o.lesson_id == lesson.c.id)
            .where(lesson.c.run_id == run_id, o.measure.in_(list(measures)), o.value.is_not(None))
            .group_by(o.measure, lesson.c.condition_id, lesson.c.replicate)
        )
        return {(measure, cond, rep): float(mean) for measure, cond, rep, mean in self._all(statement)}

    def latest(self, run_id: str, limit: int) -> list[EpisodeRecord]:
        """The episodes of a run that were recorded last, the newest first."""
        statement = _episodes(lesson.c.run_id == run_id, order=(episode.c.id.desc(),)).limit(limit)
        return [_record(row) for row in self._all(statement)]

    def costs(self, keys: Iterable[str]) -> dict[str, CallCost]:
        """What calls cost, without what was said."""
        c = call.c
        columns = (
            c.key,
            c.prompt_tokens,
            c.completion_tokens,
            c.cached_tokens,
            c.latency_s,
            c.reply.is_(None),
        )
        found = {}
        for chunk in _chunks(sorted(set(keys))):
            for key, p, n, cached, seconds, failed in self._all(select(*columns).where(c.key.in_(chunk))):
                usage = Usage(prompt_tokens=p, completion_tokens=n, cached_tokens=cached)
                found[key] = CallCost(usage, seconds, bool(failed))
        return found

    def pulse(self, run_id: str) -> dict[str, Any] | None:
        """What the process that works on a run said last."""
        rows = self._all(select(meta.c.value).where(meta.c.key == pulse_key(run_id)))
        return decode(rows[0].value) if rows else None

    def search(
        self, query: str, run_id: str = "", *, after: int = -1, limit: int = 50
    ) -> tuple[list[Found], int, bool]:
        """Messages that hold the words of `query`, in the order of the store.

        Args:
            query: `word`, `"a phrase"`, `begin*`, `-without`.
            run_id: Only of this run.
            after: `number` of the last one found.
            limit: Most messages.

        Returns:
            Messages, how many there are in all (counted up to `COUNTED`), and whether there are more.

        Raises:
            UsageError: `query` has no word.
        """
        inner, values = matching(terms_of(query), self._database.engine.dialect.name)
        matched = text(inner).bindparams(**values).columns(event.c.id).subquery()
        statement = select(matched.c.id).order_by(matched.c.id)
        if run_id:
            statement = (
                statement.join(episode, episode.c.id == matched.c.id // EVENTS_PER_EPISODE)
                .join(lesson, lesson.c.id == episode.c.lesson_id)
                .where(lesson.c.run_id == run_id)
            )
        rows = self._all(statement.where(matched.c.id > after).limit(limit))
        counted = select(func.count()).select_from(statement.limit(COUNTED + 1).subquery())
        n = int(self._all(counted)[0][0])
        return self._resolve([row.id for row in rows]), min(n, COUNTED), n > COUNTED

    def _resolve(self, ids: Sequence[int]) -> list[Found]:
        """The events of these numbers with their episodes; one may have been replaced meanwhile."""
        of = _episodes(episode.c.id.in_({id_ // EVENTS_PER_EPISODE for id_ in ids}))
        records = {row.id: _record(row) for row in self._all(of)}
        statement = select(event.c.id, *_EVENT, event.c.payload).where(event.c.id.in_(ids))
        rows = self._all(statement.order_by(event.c.id))
        return [
            Found(
                records[row.id // EVENTS_PER_EPISODE],
                row.id % EVENTS_PER_EPISODE,
                RawEvent(row.turn, row.branch, row.n, row.kind, row.agent, row.act, decode(row.payload)),
                row.id,
            )
            for row in rows
            if row.id // EVENTS_PER_EPISODE in records
        ]

    def _all(self, statement: Select[Any]) -> list[Any]:
        with self._database.read() as connection:
            return list(connection.execute(statement).all())


_EVENT = (event.c.turn, event.c.branch, event.c.n, event.c.kind, event.c.agent, event.c.act)


def _in_lesson(key: LessonKey) -> Any:
    c = lesson.c
    return and_(c.run_id == key.run, c.condition_id == key.condition, c.replicate == key.replicate)


def _episodes(*where: Any, order: Sequence[Any] = (episode.c.ordinal, episode.c.key)) -> Select[Any]:
    return (
        select(episode, lesson.c.run_id, lesson.c.condition_id, lesson.c.replicate)
        .join(lesson, lesson.c.id == episode.c.lesson_id)
        .where(*where)
        .order_by(*order)
    )


def _record(row: Row[Any]) -> EpisodeRecord:
    return episode_record(LessonKey(row.run_id, row.condition_id, row.replicate), row)


def _under_way(by: Column[Any], *where: Any) -> Subquery:
    """Of lessons that are not finished: how many episodes they have (`n`), and how many of these `failed`."""
    failed = func.sum(case((episode.c.outcome == "failed", 1), else_=0))
    return (
        select(by, func.count().label("n"), failed.label("failed"))
        .join(episode, episode.c.lesson_id == lesson.c.id)
        .where(lesson.c.status != "finished", *where)
        .group_by(by)
        .subquery()
    )


def _chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]
