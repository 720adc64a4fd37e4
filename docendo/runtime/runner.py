"""Runs a study: every lesson of every condition and replicate, into the store.

A lesson is the unit of resumption. One that is finished is left alone; one that was interrupted runs again
on the journal, so that what models have answered is not asked twice, and its episodes take the places of
the earlier ones, so that nothing is doubled. The order of lessons and their concurrency have no influence
on any event.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from docendo.events import digest_events
from docendo.messages import Usage
from docendo.runtime.admission import Admission
from docendo.runtime.backends.base import Backend
from docendo.runtime.client import Client, ModelStats, Notice
from docendo.runtime.collector import patient_collector
from docendo.runtime.engines import self_test
from docendo.runtime.journal import Journal, StoreJournal
from docendo.runtime.lesson import Lesson
from docendo.runtime.manifest import manifest, refuse_changes
from docendo.runtime.measures import observe_lesson
from docendo.runtime.measures.measure import EpisodeTrace, LessonTrace
from docendo.runtime.store import Store
from docendo.runtime.store.records import (
    ConditionRecord,
    EngineRecord,
    EpisodeRecord,
    LessonKey,
    LessonRecord,
    ObservationRow,
    RunRecord,
)
from docendo.runtime.study import Setup, Study, lesson_setting
from docendo.runtime.together import all_ended
from docendo.scenarios.schema import ModelSpec

__all__ = ["Progress", "Tally", "begin", "run_lessons", "run_study", "todo"]

BEAT_SECONDS = 1.0
"""How often whoever watches is told that nothing has ended."""


THINKING, ASKING = 4, 64
"""Lessons under way by default: where minds think in this process more only take memory; where models are
asked, lessons wait for them between phases, and others fill the gaps."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How far a run has come, and what it has asked of its models."""

    conditions: int = 0
    lessons: int = 0
    lessons_done: int = 0
    episodes: int = 0
    failed: int = 0
    models: dict[str, ModelStats] = field(default_factory=dict)

    @property
    def calls(self) -> int:
        """Requests of agents."""
        return sum(m.calls for m in self.models.values())

    @property
    def sent(self) -> int:
        """Distinct calls that went to a backend."""
        return sum(m.sent for m in self.models.values())

    @property
    def usage(self) -> Usage:
        """Tokens that backends read and wrote."""
        return sum((m.usage for m in self.models.values()), Usage())


Progress = Callable[[Tally], None]


@dataclass(frozen=True, slots=True)
class _Task:
    """One lesson to run."""

    setup: Setup
    replicate: int


def begin(study: Study, store: Store) -> RunRecord:
    """Register the run with its conditions and lessons, and hold its lock.

    Raises:
        StoreError: Another process works on this run.
        UsageError: Its prompts or models have changed since it began.
    """
    record = RunRecord(
        id=study.run_id,
        name=study.scenario.name,
        digest=study.identity.digest,
        items_digest=study.identity.items_digest,
        scenario=study.loaded.raw,
        scenario_yaml=study.loaded.source_text,
        manifest=manifest(study),
    )
    record = store.begin_run(record)
    refuse_changes(study, record)
    store.put_conditions(
        [
            ConditionRecord(
                run=record.id,
                id=s.condition.id,
                ordinal=i,
                coordinates=dict(s.condition.coordinates),
                control=s.condition.control or "",
                scenario=s.scenario.model_dump(mode="json", by_alias=True),
            )
            for i, s in enumerate(study.setups)
        ]
    )
    store.put_lessons([_key(study, t) for t in _tasks(study)])
    store.flush()
    return record


def todo(study: Study, store: Store, *, retry_errors: bool = False) -> list[LessonKey]:
    """The lessons that still have to run: unfinished ones and, if asked, those with failed episodes."""
    done = {
        r.key
        for r in store.lessons(study.run_id)
        if r.status == "finished" and not (retry_errors and r.n_failed)
    }
    return [key for t in _tasks(study) if (key := _key(study, t)) not in done]


async def run_study(
    study: Study,
    store: Store,
    *,
    lessons: Sequence[LessonKey],
    concurrent: int | None = None,
    retry_errors: bool = False,
    progress: Progress | None = None,
    test_copies: int = 0,
) -> Tally:
    """Run `lessons` into `store` and close the study's backends.

    Args:
        study: What is run.
        store: Where it is recorded.
        lessons: What is left of it.
        concurrent: Most lessons under way; by default as many as pay.
        retry_errors: Ask models again where the journal holds a failure.
        progress: Told how far the run is.
        test_copies: Ask every model that starts the same things so many times first, and record what
            differs; see `docendo.runtime.engines.self_test`.

    Raises:
        InfrastructureError: A model or the store cannot be used; what was recorded stays.
    """
    journal = StoreJournal(store)
    clients: dict[str, Client] = {}
    spent: dict[tuple[str, int], Usage] = {}
    admission = Admission(
        lambda: [r for c in clients.values() for r in c.rooms().values()], engines=study.engines
    )
    for world in {s.world for s in study.setups}:
        desk = _Desk(study, world, store, admission, spent, test_copies)
        clients[world] = desk.client(journal, retry_errors)
    watch = _Watch(len({k.condition for k in lessons}), len(lessons), clients, progress)
    if retry_errors:
        for key in lessons:  # their course may change, and with it which episodes there are
            store.delete_lesson(key)
    beating = asyncio.create_task(watch.beat())
    try:
        with patient_collector():
            most = concurrent or (THINKING if study.simulated else ASKING)
            await run_lessons(study, store, lessons, clients, admission, most, watch, spent)
        await store.aflush()
    finally:
        beating.cancel()
        await all_ended(client.close() for client in clients.values())
    return watch.tally()


async def run_lessons(
    study: Study,
    store: Store,
    lessons: Iterable[LessonKey],
    clients: dict[str, Client],
    admission: Admission,
    concurrent: int,
    watch: _Watch,
    spent: Mapping[tuple[str, int], Usage],
) -> None:
    """Run lessons, at most `concurrent` at once, in the order given."""
    tasks = {_key(study, t): t for t in _tasks(study)}
    slots = asyncio.Semaphore(concurrent)

    async def one(key: LessonKey) -> None:
        async with slots:
            task = tasks[key]
            started = time.perf_counter()
            await _run_lesson(store, key, task, clients[task.setup.world], admission, watch)
            usage = spent.get((key.condition, key.replicate), Usage())
            store.finish_lesson(key, wall_s=time.perf_counter() - started, usage=usage)
            watch.lesson()

    async with asyncio.TaskGroup() as group:
        for key in lessons:
            group.create_task(one(key))


async def _run_lesson(
    store: Store, key: LessonKey, task: _Task, client: Client, admission: Admission, watch: _Watch
) -> None:
    store.start_lesson(key)

    async def finished(ordinal: int, trace: EpisodeTrace, seconds: float) -> None:
        store.write_episode(episode_record(key, ordinal, trace, seconds), trace.events)
        watch.episode(trace)

    setting = lesson_setting(task.setup, task.replicate, client, finished, admission)
    trace = await Lesson(setting).run()
    store.write_observations(key, observations(key, trace, task.setup))


def episode_record(key: LessonKey, ordinal: int, trace: EpisodeTrace, seconds: float) -> EpisodeRecord:
    """An ended episode as the store keeps it."""
    return EpisodeRecord(
        lesson=key,
        key=trace.key,
        ordinal=ordinal,
        phase=trace.phase,
        phase_kind=trace.phase_kind,
        round=trace.round,
        item=trace.item,
        student=trace.student,
        outcome=trace.outcome,
        failure=trace.failure,
        digest=digest_events(trace.events),
        wall_s=seconds,
    )


def observations(key: LessonKey, trace: LessonTrace, setup: Setup) -> list[ObservationRow]:
    """What the scenario's measures make of a lesson."""
    return [
        ObservationRow(
            lesson=key,
            phase=o.phase,
            measure=o.measure,
            item=o.item,
            student=o.student,
            round=o.round,
            value=o.value,
            reason=o.reason,
        )
        for o in observe_lesson(trace, setup.scenario.measures)
    ]


@dataclass(frozen=True)
class _Desk:
    """What is written down of a world's models beside their calls."""

    study: Study
    world: str
    store: Store
    admission: Admission
    spent: dict[tuple[str, int], Usage]
    """(Condition, replicate) -> tokens of the calls that its lesson was the first to make."""
    test_copies: int

    def client(self, journal: Journal, retry_errors: bool) -> Client:
        """The door to the world's models."""
        return Client(
            self.study.backends[self.world],
            self._specs(),
            journal,
            retry_failed=retry_errors,
            listener=self._heard,
            started=self._started,
        )

    def _specs(self) -> Mapping[str, ModelSpec]:
        return next(s.scenario.models for s in self.study.setups if s.world == self.world)

    def _heard(self, notice: Notice) -> None:
        if notice.what == "answered":
            self.admission.saw(notice.origin, notice.usage)
            place = (notice.origin.condition, notice.origin.replicate)
            self.spent[place] = self.spent.get(place, Usage()) + notice.usage

    async def _started(self, name: str, backend: Backend) -> None:
        """A model is there: test it if asked, and record what it is. Minds of this process need no record."""
        if backend.capabilities.reads_view:
            return
        tested = (
            await self_test(name, backend, self._specs()[name], self.test_copies)
            if self.test_copies
            else None
        )
        self.store.put_engine(
            EngineRecord(
                run=self.study.run_id,
                model=name,
                fingerprint=backend.fingerprint,
                about=backend.about(),
                self_test=tested,
            )
        )


def _tasks(study: Study) -> list[_Task]:
    """All lessons: replicate by replicate, so that the first results cover all conditions."""
    return [_Task(setup, r) for r in range(study.scenario.replicates) for setup in study.setups]


def _key(study: Study, task: _Task) -> LessonKey:
    return LessonKey(study.run_id, task.setup.condition.id, task.replicate)


class _Watch:
    """Counts what happens and tells whoever watches, at most every tenth of a second."""

    def __init__(
        self, conditions: int, lessons: int, clients: dict[str, Client], progress: Progress | None
    ) -> None:
        self._tally = Tally(conditions=conditions, lessons=lessons)
        self._clients = clients
        self._progress = progress
        self._told = 0.0

    def episode(self, trace: EpisodeTrace) -> None:
        t = self._tally
        self._tally = replace(t, episodes=t.episodes + 1, failed=t.failed + bool(trace.failure))
        self._tell()

    def lesson(self) -> None:
        self._tally = replace(self._tally, lessons_done=self._tally.lessons_done + 1)
        self._tell(always=True)

    async def beat(self) -> None:
        """Tell every second, also while no episode ends: calls wait and are answered meanwhile."""
        while self._progress is not None:
            await asyncio.sleep(BEAT_SECONDS)
            self._tell(always=True)

    def tally(self) -> Tally:
        stats: dict[str, ModelStats] = {}
        for client in self._clients.values():
            for name, s in client.stats().items():
                stats[name] = add_stats(stats[name], s) if name in stats else s
        return replace(self._tally, models=stats)

    def _tell(self, *, always: bool = False) -> None:
        now = time.monotonic()
        if self._progress is not None and (always or now - self._told > 0.1):
            self._told = now
            self._progress(self.tally())


def add_stats(a: ModelStats, b: ModelStats) -> ModelStats:
    """Two clients' counts of the same model, added."""
    sums = {name: getattr(a, name) + getattr(b, name) for name in ModelStats.__dataclass_fields__}
    return ModelStats(**{**sums, "tells_cache": a.tells_cache or b.tells_cache})


def failed_share(lessons: Iterable[LessonRecord]) -> tuple[int, int]:
    """(failed episodes, episodes) over lessons."""
    records = list(lessons)
    return sum(r.n_failed for r in records), sum(r.n_episodes for r in records)
