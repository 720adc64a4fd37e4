"""Replay: run again on the journal alone, and compare every event.

No backend is asked: each call is looked up under its key. An answer that was changed shows up as a
differing event, a prompt that was changed as a call that the journal does not know; either way the first
difference is named by condition, replicate, episode, agent and turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from docendo.errors import Where
from docendo.events import ErrorEvent, Event, EventBase, digest_events
from docendo.runtime.client import Client
from docendo.runtime.collector import patient_collector
from docendo.runtime.journal import StoreJournal
from docendo.runtime.lesson import Lesson
from docendo.runtime.measures.measure import EpisodeTrace
from docendo.runtime.store import Store
from docendo.runtime.store.records import EpisodeRecord, LessonKey
from docendo.runtime.study import Study, lesson_setting

__all__ = ["Difference", "Verified", "verify"]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first place where a replay is not the run."""

    where: Where
    message: str


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What a replay found."""

    lessons: int
    episodes: int
    events: int
    calls: int
    differences: tuple[Difference, ...]
    """The first of each lesson that differs."""

    @property
    def exact(self) -> bool:
        """Whether every event was reproduced."""
        return not self.differences


async def verify(
    study: Study, store: Store, progress: Callable[[int, int], None] | None = None, *, run_id: str = ""
) -> Verified:
    """Replay all finished lessons of a run and compare them with the store.

    Args:
        study: The scenario of the run, prepared anew.
        store: Holds the run and its journal.
        progress: Told (lessons done, lessons) after each lesson.
        run_id: The run; the study's own by default. It is another where item files have changed since.
    """
    journal = StoreJournal(store)
    setups = {s.condition.id: s for s in study.setups}
    finished = [r.key for r in store.lessons(run_id or study.run_id) if r.status == "finished"]
    total = Verified(lessons=0, episodes=0, events=0, calls=0, differences=())
    for number, key in enumerate(finished, 1):
        setup = setups[key.condition]
        backends = study.backends[setup.world]
        client = Client(backends, setup.scenario.models, journal, mode="replay")
        stored = {e.key: e for e in store.episodes(key.run, key.condition, key.replicate)}
        replayed: dict[str, EpisodeTrace] = {}

        async def finish(
            ordinal: int, trace: EpisodeTrace, seconds: float, into: dict[str, EpisodeTrace] = replayed
        ) -> None:
            into[trace.key] = trace

        with patient_collector():
            await Lesson(lesson_setting(setup, key.replicate, client, finish)).run()
            difference = _compare(store, key, stored, replayed)
        total = replace(
            total,
            lessons=total.lessons + 1,
            episodes=total.episodes + len(replayed),
            events=total.events + sum(len(t.events) for t in replayed.values()),
            calls=total.calls + sum(m.calls for m in client.stats().values()),
            differences=total.differences + ((difference,) if difference else ()),
        )
        if progress:
            progress(number, len(finished))
    return total


def _compare(
    store: Store, key: LessonKey, stored: dict[str, EpisodeRecord], replayed: dict[str, EpisodeTrace]
) -> Difference | None:
    """The first difference of one lesson, in the order of its episodes."""
    for name, trace in replayed.items():
        record = stored.get(name)
        where = Where(condition=key.condition, replicate=key.replicate, episode=name)
        if record is None:
            return Difference(where=where, message="the run has no such episode")
        events = store.events(record.id)
        if digest_events(trace.events) == record.digest == digest_events(events):
            continue
        return _first(where, events, trace.events)
    for name in stored:
        if name not in replayed:
            where = Where(condition=key.condition, replicate=key.replicate, episode=name)
            return Difference(where=where, message="the replay has no such episode")
    return None


def _first(where: Where, stored: Sequence[Event], replayed: Sequence[EventBase]) -> Difference:
    for old, new in zip(stored, replayed, strict=False):
        if old != new:
            if isinstance(new, ErrorEvent) and new.failure == "replay":
                return _difference(where, new, new.message)
            return _difference(where, new, f"recorded {_short(old)}, replayed {_short(new)}")
    longer, who = (stored, "recorded") if len(stored) > len(replayed) else (replayed, "replayed")
    rest = longer[min(len(stored), len(replayed)) :]
    if rest:
        return _difference(where, rest[0], f"only {who}: {_short(rest[0])}")
    return Difference(
        where=where, message="the stored events and their digest disagree: the store was edited"
    )


def _difference(where: Where, event: EventBase, message: str) -> Difference:
    place = replace(where, agent=event.agent or None, act=event.act or None, turn=event.turn)
    return Difference(where=place, message=message)


def _short(event: EventBase) -> str:
    text = event.model_dump_json(exclude={"turn", "branch", "n"}, exclude_defaults=True)
    return text if len(text) <= 160 else text[:157] + "..."
