"""Spreads a run of simulated models over processes.

Simulated minds think in this process, so more cores mean more episodes. Lessons are dealt by replicate:
replicates share no call, so no two processes ever ask the same thing. Each worker has its own writer on the
store (short immediate transactions) and sends its tally up a queue. With real models one process is enough,
and sharding is off.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import queue
import signal
import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

from docendo.errors import DocendoError, InfrastructureError
from docendo.runtime.client import ModelStats
from docendo.runtime.runner import Progress, Tally, add_stats, run_study
from docendo.runtime.store import Store, open_store
from docendo.runtime.store.records import LessonKey
from docendo.runtime.study import Study, prepare
from docendo.scenarios.loader import load_raw

__all__ = ["run_sharded", "shards_for"]

SMALL = 4
"""Fewer lessons than this are not worth starting processes for."""


def shards_for(study: Study, lessons: Sequence[LessonKey], processes: int, url: str) -> list[list[LessonKey]]:
    """Deal lessons to processes by replicate; one shard where sharding does not apply.

    Args:
        study: What is run.
        lessons: What is left of it.
        processes: Most processes; 0 for one per core.
        url: The store, which other processes must be able to open.
    """
    wanted = processes or os.cpu_count() or 1
    by_replicate: dict[int, list[LessonKey]] = defaultdict(list)
    for key in lessons:
        by_replicate[key.replicate].append(key)
    count = min(wanted, len(by_replicate))
    if count < 2 or len(lessons) < SMALL or not study.simulated or url in ("sqlite://", "sqlite:///:memory:"):
        return [list(lessons)]
    shards: list[list[LessonKey]] = [[] for _ in range(count)]
    for replicate in sorted(by_replicate, key=lambda r: -len(by_replicate[r])):
        min(shards, key=len).extend(by_replicate[replicate])
    return shards


def run_sharded(
    study: Study,
    store: Store,
    shards: Sequence[Sequence[LessonKey]],
    *,
    url: str,
    concurrent: int | None,
    retry_errors: bool,
    progress: Progress,
) -> Tally:
    """Run each shard in a process of its own, and wait for all of them.

    Raises:
        DocendoError: What a worker failed with. The others are stopped; what was recorded stays.
        KeyboardInterrupt: Interrupted; the workers are stopped.
    """
    context = multiprocessing.get_context("spawn")
    tallies: dict[int, Tally] = {}
    up: Queue[Any] = context.Queue()
    job = (study.loaded.raw, str(study.loaded.base), study.loaded.file, url, concurrent, retry_errors)
    workers = [
        context.Process(target=_work, args=(number, *job, list(shard), up), daemon=True)
        for number, shard in enumerate(shards)
    ]
    for worker in workers:
        worker.start()
    try:
        waiting = set(range(len(workers)))
        while waiting:
            number, what = _next(up, workers, waiting)
            if isinstance(what, BaseException):
                raise what
            if what is None:
                waiting.discard(number)
                continue
            tallies[number] = what
            progress(_added(tallies.values(), sum(map(len, shards)), len(study.setups)))
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.terminate()
            worker.join()
    return _added(tallies.values(), sum(map(len, shards)), len(study.setups))


def _next(up: Queue[Any], workers: Sequence[Any], waiting: set[int]) -> tuple[int, Any]:
    """The next thing that a worker says; a worker that died without a word says so through its exit code."""
    while True:
        try:
            return up.get(timeout=0.5)  # type: ignore[no-any-return]
        except queue.Empty:
            for number in waiting:
                code = workers[number].exitcode
                if code is not None and up.empty():
                    return number, InfrastructureError(
                        f"a worker process ended without finishing (exit code {code})",
                        suggestion="Issue the same command to go on. With little memory, use --processes 1.",
                    )


def _added(tallies: Any, lessons: int, conditions: int) -> Tally:
    """Several workers' tallies as one."""
    total = Tally(conditions=conditions, lessons=lessons)
    models: dict[str, ModelStats] = {}
    for tally in tallies:
        total = replace(
            total,
            lessons_done=total.lessons_done + tally.lessons_done,
            episodes=total.episodes + tally.episodes,
            failed=total.failed + tally.failed,
        )
        for name, stats in tally.models.items():
            models[name] = add_stats(models[name], stats) if name in models else stats
    return replace(total, models=models)


def _work(
    number: int,
    raw: dict[str, Any],
    base: str,
    file: str,
    url: str,
    concurrent: int | None,
    retry_errors: bool,
    lessons: list[LessonKey],
    up: Queue[Any],
) -> None:
    """A worker: prepare the study anew, run the shard, say how it goes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted and stops its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        study = prepare(load_raw(raw, base=Path(base), file=file))
        with open_store(url, create=False) as store:
            tally = asyncio.run(
                run_study(
                    study,
                    store,
                    lessons=lessons,
                    concurrent=concurrent,
                    retry_errors=retry_errors,
                    progress=lambda t: up.put((number, t)),
                )
            )
        up.put((number, tally))
        up.put((number, None))
    except ExceptionGroup as group:
        up.put((number, _portable(group.exceptions[0])))
    except Exception as error:
        up.put((number, _portable(error)))


def _end_with_parent() -> None:
    """A parent that is killed cannot stop its workers, and whoever continues the run must find it alone."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _portable(error: Exception) -> Exception:
    """An error that can cross a process boundary: its words, without live objects."""
    if isinstance(error, DocendoError):
        copy = InfrastructureError(error.message, suggestion=error.suggestion, where=error.where)
        copy.code, copy.exit_code = error.code, error.exit_code
        return copy
    return InfrastructureError(f"a worker failed: {type(error).__name__}: {error}")
