"""How a run is getting on: counts from the store, loads and rates from the pulse of whoever works on it.

The store has no clock of its own: an episode is written when it ends. So a lesson's idleness is what this
viewer has seen of it, from one question to the next.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from docendo.messages import Usage
from docendo.runtime.store.browse import LessonCount
from docendo.runtime.store.records import LessonKey, LessonRecord
from docendo.runtime.viewer.episode_models import Place
from docendo.runtime.viewer.finding_models import LivePage, ModelLoad, RunningLesson
from docendo.runtime.viewer.library import Library
from docendo.scenarios.fidelity import FIDELITY

__all__ = ["Watch", "live_page"]

LATEST = 8
ENOUGH = 8
"""Episodes of a command from which its rate is told."""
STALLED_AFTER = 60.0
"""Seconds without an episode, at least; else ten times what an episode of the run takes."""
FRESH = 15.0
"""A pulse older than this many seconds says nothing of the present."""


@dataclass
class Watch:
    """When each lesson was last seen to record an episode."""

    seen: dict[LessonKey, tuple[int, float | None, float]] = field(default_factory=dict)
    """Lesson -> (episodes, when that number was seen to change, when it was first seen)."""
    _lock: Lock = field(default_factory=Lock)

    def idle(self, key: LessonKey, episodes: int, now: float) -> tuple[float | None, float]:
        """Seconds since the lesson was seen to record something, and since it is being watched."""
        with self._lock:
            count, changed, first = self.seen.get(key, (episodes, None, now))
            if count != episodes:
                changed = now
            self.seen[key] = (episodes, changed, first)
        return (None if changed is None else now - changed), now - first


def live_page(library: Library, watch: Watch, reference: str) -> LivePage:
    """How a run is getting on.

    Raises:
        UnknownNameError: There is no such run.
    """
    record = library.run(reference)
    lessons = library.lessons(record.id)
    counts = library.store.browse.lesson_counts(record.id)
    pulse = library.store.browse.pulse(record.id) or {}
    live = record.status == "running"
    fresh = live and time.time() - float(pulse.get("at", 0)) < FRESH
    finished = [lesson for lesson in lessons if lesson.status == "finished"]
    expected = _expected(library, record.id, lessons)
    latest = [
        Place(condition=r.lesson.condition, replicate=r.lesson.replicate, ordinal=r.ordinal)
        for r in library.store.browse.latest(record.id, LATEST)
    ]
    episodes = sum(c.episodes for c in counts.values())
    failed = sum(c.failed for c in counts.values())
    models = _models(pulse) if fresh else []
    rates = [m.tokens_per_s for m in models if m.tokens_per_s is not None]
    state = (record.status, len(finished), episodes, failed, pulse.get("at") if fresh else None)
    return LivePage(
        version=hashlib.blake2b(repr(state).encode(), digest_size=8).hexdigest(),
        run=record.id,
        status=record.status,
        lessons=len(lessons),
        lessons_finished=len(finished),
        episodes=episodes,
        failed=failed,
        episodes_expected=None if None in expected.values() else sum(n or 0 for n in expected.values()),
        elapsed_s=float(pulse["at"] - pulse["begun"]) if fresh else None,
        eta_s=_eta(pulse, counts, expected) if fresh else None,
        tokens_per_s=sum(rates) if rates else None,
        models=models,
        running=_running(library, watch, record.id, lessons, expected) if live else [],
        latest=latest,
    )


def _expected(library: Library, run_id: str, lessons: list[LessonRecord]) -> dict[LessonKey, int | None]:
    """Lesson -> how many episodes it will have: as many as the longest finished one of its kind."""
    design = library.design(run_id)

    def checks(key: LessonKey) -> bool:
        return design.control(key.condition) == FIDELITY

    longest: dict[bool, int] = {}
    for lesson in lessons:
        if lesson.status == "finished":
            kind = checks(lesson.key)
            longest[kind] = max(longest.get(kind, 0), lesson.n_episodes)
    return {
        lesson.key: lesson.n_episodes if lesson.status == "finished" else longest.get(checks(lesson.key))
        for lesson in lessons
    }


def _running(
    library: Library,
    watch: Watch,
    run_id: str,
    lessons: list[LessonRecord],
    expected: Mapping[LessonKey, int | None],
) -> list[RunningLesson]:
    design, counts = library.design(run_id), library.store.browse.lesson_counts(run_id)
    done = [lesson for lesson in lessons if lesson.status == "finished" and lesson.n_episodes]
    usual = sum(lesson.wall_s / lesson.n_episodes for lesson in done) / len(done) if done else 0.0
    patience, now = max(STALLED_AFTER, 10 * usual), time.monotonic()
    found = []
    for lesson in lessons:
        if lesson.status != "running":
            continue
        key = lesson.key
        episodes = counts[key].episodes
        idle, watched = watch.idle(key, episodes, now)
        found.append(
            RunningLesson(
                condition=key.condition,
                label=design.label(key.condition),
                replicate=key.replicate,
                episodes=episodes,
                expected=expected[key],
                idle_s=None if idle is None else round(idle, 1),
                stalled=(watched if idle is None else idle) > patience,
            )
        )
    return found


def _eta(
    pulse: Mapping[str, Any],
    counts: Mapping[LessonKey, LessonCount],
    expected: Mapping[LessonKey, int | None],
) -> float | None:
    """Seconds left, if episodes go on at the rate of this command so far."""
    done, elapsed = int(pulse["episodes"]), float(pulse["at"] - pulse["begun"])
    if done < ENOUGH or elapsed <= 0 or None in expected.values():
        return None
    left = sum(max(0, (n or 0) - counts[key].episodes) for key, n in expected.items())
    return round(left * elapsed / done, 1)


def _models(pulse: Mapping[str, Any]) -> list[ModelLoad]:
    loads = []
    for name, stats in sorted(pulse.get("models", {}).items()):
        attempts = stats.get("attempts", 0)
        loads.append(
            ModelLoad(
                model=name,
                in_flight=stats["in_flight"],
                queued=stats["queued"],
                calls=stats["calls"],
                sent=stats["sent"],
                failures=stats["failures"],
                usage=Usage(**stats["usage"]),
                tokens_per_s=stats.get("tokens_per_s"),
                latency_s=stats["latency"] / attempts if attempts else None,
            )
        )
    return loads
