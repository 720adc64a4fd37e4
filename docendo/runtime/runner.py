"""Runs a study: every lesson of every condition and replicate, into the store.

A lesson is the unit of resumption. One that is finished is left alone; one that was interrupted runs again
on the journal, so that what models have answered is not asked twice, and its episodes take the places of
the earlier ones, so that nothing is doubled. The order of lessons and their concurrency have no influence
on any event.
"""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

from docendo import __version__
from docendo.errors import UsageError
from docendo.events import SCHEMA_VERSION, digest_events
from docendo.messages import Usage
from docendo.runtime.client import Client, ModelStats
from docendo.runtime.collector import patient_collector
from docendo.runtime.journal import Journal, StoreJournal
from docendo.runtime.lesson import Lesson
from docendo.runtime.measures import observe_lesson
from docendo.runtime.measures.measure import EpisodeTrace, LessonTrace
from docendo.runtime.store import Store
from docendo.runtime.store.records import (
    ConditionRecord,
    EpisodeRecord,
    LessonKey,
    LessonRecord,
    ObservationRow,
    RunRecord,
)
from docendo.runtime.study import Setup, Study, lesson_setting

__all__ = ["Progress", "Tally", "begin", "run_lessons", "run_study", "todo"]

BEAT_SECONDS = 1.0
"""How often whoever watches is told that nothing has ended."""


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
    _same_prompts(study, record)
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


def _same_prompts(study: Study, record: RunRecord) -> None:
    """Refuse to go on with a run whose prompt files have changed: its halves would not belong together."""
    stored = record.manifest.get("prompts", {})
    changed = [name for name, digest in prompts_of(study).items() if stored.get(name, digest) != digest]
    if changed:
        raise UsageError(
            f"the prompt of `{changed[0]}` has changed since run {record.id} began",
            suggestion="Put the old prompt back, or give the scenario another `name` to run the new one.",
        )


def prompts_of(study: Study) -> dict[str, str]:
    """`agent.act` -> digest of its template."""
    return {
        f"{group}.{act}": template.digest
        for setup in study.setups
        for group, templates in setup.templates.items()
        for act, template in templates.items()
    }


def manifest(study: Study) -> dict[str, Any]:
    """What the run was made with."""
    libraries = ("langgraph", "pydantic", "sqlmodel", "sqlalchemy", "networkx", "scipy", "numpy", "jinja2")
    return {
        "docendo": __version__,
        "events": SCHEMA_VERSION,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "libraries": {name: version(name) for name in libraries},
        "prompts": prompts_of(study),
        "base": str(study.loaded.base),
        "file": study.loaded.file,
        "fingerprints": {
            world: {name: backend.fingerprint for name, backend in backends.items()}
            for world, backends in study.backends.items()
        },
    }


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
    concurrent: int = 4,
    retry_errors: bool = False,
    progress: Progress | None = None,
) -> Tally:
    """Run `lessons` into `store` and close the study's backends.

    Raises:
        InfrastructureError: A model or the store cannot be used; what was recorded stays.
    """
    journal = StoreJournal(store)
    clients = {w: _client(study, w, journal, retry_errors) for w in {s.world for s in study.setups}}
    watch = _Watch(len({k.condition for k in lessons}), len(lessons), clients, progress)
    if retry_errors:
        for key in lessons:  # their course may change, and with it which episodes there are
            store.delete_lesson(key)
    beating = asyncio.create_task(watch.beat())
    try:
        with patient_collector():
            await run_lessons(study, store, lessons, clients, concurrent, watch)
        await store.aflush()
    finally:
        beating.cancel()
        for client in clients.values():
            await client.close()
    return watch.tally()


async def run_lessons(
    study: Study,
    store: Store,
    lessons: Iterable[LessonKey],
    clients: dict[str, Client],
    concurrent: int,
    watch: _Watch,
) -> None:
    """Run lessons, at most `concurrent` at once, in the order given."""
    tasks = {_key(study, t): t for t in _tasks(study)}
    slots = asyncio.Semaphore(concurrent)

    async def one(key: LessonKey) -> None:
        async with slots:
            await _run_lesson(study, store, key, tasks[key], clients[tasks[key].setup.world], watch)

    async with asyncio.TaskGroup() as group:
        for key in lessons:
            group.create_task(one(key))


async def _run_lesson(
    study: Study, store: Store, key: LessonKey, task: _Task, client: Client, watch: _Watch
) -> None:
    started = time.perf_counter()
    store.start_lesson(key)

    async def finished(ordinal: int, trace: EpisodeTrace, seconds: float) -> None:
        store.write_episode(episode_record(key, ordinal, trace, seconds), trace.events)
        watch.episode(trace)

    trace = await Lesson(lesson_setting(task.setup, task.replicate, client, finished)).run()
    store.write_observations(key, observations(key, trace, task.setup))
    store.finish_lesson(key, wall_s=time.perf_counter() - started)
    watch.lesson()


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


def _client(study: Study, world: str, journal: Journal, retry_errors: bool) -> Client:
    models = next(s.scenario.models for s in study.setups if s.world == world)
    return Client(study.backends[world], models, journal, retry_failed=retry_errors)


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
    return ModelStats(
        **{name: getattr(a, name) + getattr(b, name) for name in ModelStats.__dataclass_fields__}
    )


def failed_share(lessons: Iterable[LessonRecord]) -> tuple[int, int]:
    """(failed episodes, episodes) over lessons."""
    records = list(lessons)
    return sum(r.n_failed for r in records), sum(r.n_episodes for r in records)
