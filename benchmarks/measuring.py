"""What the benchmarks share: a study to run, processor time, medians over rounds, Markdown tables.

Times are processor time of this process (`time.process_time`) unless a column says `wall`: other processes of
the machine then count little, though they still slow it down through its caches. What is compared takes turns
within a round; figures are medians over rounds, with the smallest and the largest in brackets.
"""

from __future__ import annotations

import asyncio
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

from docendo.runtime.backends.base import Backend
from docendo.runtime.client import Client
from docendo.runtime.journal import Journal, MemoryJournal
from docendo.runtime.lesson import Lesson
from docendo.runtime.measures.measure import EpisodeTrace, LessonTrace
from docendo.runtime.runner import lesson_setting
from docendo.runtime.study import Study, prepare
from docendo.scenarios.loader import load_scenario

__all__ = ["Batch", "facts", "number", "ratio", "run_lessons", "spread", "study_of", "table", "unlimited"]

GRID = "when-to-step-in"
"""The gallery's first scenario, which `make demo` runs."""


def study_of(*overrides: str, scenario: str = GRID) -> Study:
    """A scenario of the gallery, with `--set` overrides, ready to run."""
    return prepare(load_scenario(scenario, overrides=overrides))


@dataclass(frozen=True)
class Batch:
    """What came of some lessons."""

    traces: tuple[LessonTrace, ...]
    requests: int
    """Requests of agents."""
    sent: int
    """Distinct calls that a backend answered."""

    @property
    def episodes(self) -> int:
        """Episodes that ended."""
        return sum(len(trace.episodes) for trace in self.traces)

    @property
    def nodes(self) -> int:
        """Acts that graphs asked for: every one says something."""
        events = (event for trace in self.traces for episode in trace.episodes for event in episode.events)
        return sum(event.kind == "message" for event in events)


async def run_lessons(
    study: Study,
    *,
    journal: Journal | None = None,
    backends: Mapping[str, Backend] | None = None,
    finished: Any = None,
    port: Any = lambda client: client,
) -> Batch:
    """All lessons of a study, four at once and into no store, as `docendo.runtime.runner` does it.

    Args:
        study: What to run; its conditions must share their models and items.
        journal: In memory by default.
        backends: In place of the study's own.
        finished: Called with (ordinal, trace, seconds) after every episode.
        port: What stands between the lessons and the client.
    """
    world = study.setups[0].world
    specs = study.setups[0].scenario.models
    client = Client(backends or study.backends[world], specs, journal or MemoryJournal())
    slots = asyncio.Semaphore(4)

    async def nothing(ordinal: int, trace: EpisodeTrace, seconds: float) -> None:
        pass

    async def one(setup: Any, replicate: int) -> LessonTrace:
        async with slots:
            return await Lesson(lesson_setting(setup, replicate, port(client), finished or nothing)).run()

    lessons = [(setup, r) for r in range(study.scenario.replicates) for setup in study.setups]
    traces = await asyncio.gather(*(one(*lesson) for lesson in lessons))
    stats = client.stats().values()
    return Batch(tuple(traces), sum(s.calls for s in stats), sum(s.sent for s in stats))


def unlimited(study: Study, most: int = 1_000_000) -> Study:
    """The study with models that take any number of calls at once."""
    setups = []
    for setup in study.setups:
        models = {
            name: model.model_copy(update={"max_concurrent": most})
            for name, model in setup.scenario.models.items()
        }
        setups.append(replace(setup, scenario=setup.scenario.model_copy(update={"models": models})))
    return replace(study, setups=tuple(setups))


def facts() -> str:
    """The machine and the versions, in one line."""
    names = ("langgraph", "pydantic", "sqlalchemy", "jinja2")
    libraries = ", ".join(f"{name} {version(name)}" for name in names)
    busy = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores {_processor()}, {platform.system()}, Python {platform.python_version()}, "
        f"{libraries}; load average {busy:.1f} at the end"
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def number(value: float) -> str:
    """Three significant figures, without exponents."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    digits = 2 if abs(value) < 10 else 1
    return f"{value:.{digits if abs(value) >= 0.1 else 4}f}"


def spread(values: Sequence[float]) -> str:
    """Median, with smallest and largest."""
    return f"{number(statistics.median(values))} [{number(min(values))}, {number(max(values))}]"


def ratio(above: Iterable[float], below: Iterable[float]) -> str:
    """The same of the rounds' quotients."""
    return spread([a / b for a, b in zip(above, below, strict=True)])


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
