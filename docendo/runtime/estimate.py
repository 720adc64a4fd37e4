"""What a run will cost, from a short probe on its own models.

The probe is the run in small: one replicate of every condition, with a few items per teach or test phase, on
a journal in memory; nothing is recorded. Phases that observe or refine are tried in full, because what comes
after depends on them. A phase's calls are then scaled by its items, and everything by the replicates:

- **calls** are distinct ones, as the journal lets through, shared by conditions as in the run;
- the **range** is as if every item cost what the cheapest, or the dearest, item of the probe did;
- **seconds**: at least as if as many calls as the limit, and the engine's places, allow were in flight all
  the time, each as fast as in the probe; at most as if the run went no faster than the probe, which has far
  fewer calls in flight.

What the probe cannot see is not in it: budgets that let the policy spend more often on many items than on
few, and greedy calls that replicates share on a deterministic model.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from docendo.messages import Usage
from docendo.runtime.client import Client, Notice
from docendo.runtime.journal import MemoryJournal
from docendo.runtime.lesson import Lesson
from docendo.runtime.measures.measure import EpisodeTrace
from docendo.runtime.study import Setup, Study, lesson_setting
from docendo.runtime.together import all_ended
from docendo.scenarios.model_base import ModelBase
from docendo.scenarios.schema import Phase

__all__ = ["Estimate", "Range", "estimate", "items_of"]


@dataclass(frozen=True)
class Range:
    """A figure, and between what it may lie."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What one model will be asked."""

    model: str
    probed: int
    """Distinct calls of the probe."""
    calls: Range
    prompt_tokens: Range
    completion_tokens: Range
    seconds: Range
    """`mean` is the geometric mean of the ends."""
    cached: float | None
    """Share of the probe's prompt tokens that the engine had in its prefix cache; `None`: not told."""


@dataclass
class _Cost:
    """What calls cost."""

    calls: float = 0
    prompt: float = 0
    completion: float = 0
    latency: float = 0

    def __add__(self, other: _Cost) -> _Cost:
        return _Cost(
            self.calls + other.calls,
            self.prompt + other.prompt,
            self.completion + other.completion,
            self.latency + other.latency,
        )

    def times(self, factor: float) -> _Cost:
        return _Cost(*(factor * x for x in (self.calls, self.prompt, self.completion, self.latency)))


Place = tuple[int, str]
"""Number of a phase in the plan, item."""


@dataclass
class _Meter:
    """Listens to the probe's calls."""

    costs: dict[str, dict[Place, _Cost]] = field(default_factory=lambda: defaultdict(dict))
    """Model -> phase and item -> cost."""
    usage: dict[str, Usage] = field(default_factory=dict)
    busy: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Model -> seconds in which any call was in flight."""
    failed: int = 0
    told: set[str] = field(default_factory=set)
    """Models that tell what was in their caches."""
    _sent: dict[str, float] = field(default_factory=dict)
    _open: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _since: dict[str, float] = field(default_factory=dict)

    def heard(self, notice: Notice) -> None:
        """A call was sent, or has come back."""
        now, model = time.perf_counter(), notice.model
        if notice.what == "sent":
            self._sent[notice.key] = now
            self._since.setdefault(model, now)
            if not self._open[model]:
                self._since[model] = now
            self._open[model] += 1
        elif notice.what in ("answered", "failed"):
            self._open[model] -= 1
            if not self._open[model]:
                self.busy[model] += now - self._since[model]
            self.failed += notice.what == "failed"
            self._add(notice, now - self._sent.pop(notice.key, now))

    def _add(self, notice: Notice, seconds: float) -> None:
        phase, _, rest = notice.origin.episode.partition(":")
        item = "/".join(rest.split("/")[2:-1])  # see `EpisodeKey`
        place = (int(phase) if phase.isdigit() else -1, item)
        cost = _Cost(1, notice.usage.prompt_tokens, notice.usage.completion_tokens, seconds)
        known = self.costs[notice.model]
        known[place] = known.get(place, _Cost()) + cost
        self.usage[notice.model] = self.usage.get(notice.model, Usage()) + notice.usage


async def estimate(whole: Study, small: Study) -> tuple[list[Estimate], int]:
    """Probe and scale.

    Args:
        whole: What shall be run.
        small: The same with few items and one replicate.

    Returns:
        One estimate per model that was asked, and how many calls of the probe failed.

    Raises:
        ModelError: A model cannot be used.
    """
    meter = _Meter()
    specs: dict[str, ModelBase] = {}
    for setup in small.setups:
        specs |= dict(setup.scenario.models)
    places = await _probe(small, meter)
    factors = _factors(whole, small)
    at_once = {name: min(spec.max_concurrent, places.get(name, math.inf)) for name, spec in specs.items()}
    meter.told = {m for world in small.backends.values() for m, b in world.items() if b.tells_cache}
    return [
        _scaled(model, costs, meter, factors, whole.scenario.replicates, at_once[model])
        for model, costs in sorted(meter.costs.items())
    ], meter.failed


async def _probe(study: Study, meter: _Meter) -> dict[str, int]:
    """Every condition once. Gives how many sequences each model's engine decodes together, if it says so."""
    journal = MemoryJournal()
    models = {s.world: s.scenario.models for s in study.setups}
    clients = {
        world: Client(study.backends[world], specs, journal, listener=meter.heard)
        for world, specs in models.items()
    }

    async def nothing(ordinal: int, trace: EpisodeTrace, seconds: float) -> None:
        pass

    try:
        for setup in study.setups:
            # One by one: what conditions share is asked once and counted once.
            await Lesson(lesson_setting(setup, 0, clients[setup.world], nothing)).run()
        rooms = [pair for client in clients.values() for pair in client.rooms().items()]
        return {name: room.sequences for name, room in rooms}
    finally:
        await all_ended(client.close() for client in clients.values())


def _factors(whole: Study, small: Study) -> dict[int, float]:
    """Phase -> how many times the probe's items the run has."""
    factors = {-1: 1.0}
    full, probed = whole.setups[0], small.setups[0]
    for index, (phase, less) in enumerate(zip(full.scenario.plan, probed.scenario.plan, strict=True)):
        n = items_of(probed, less)
        factors[index] = items_of(full, phase) / n if n else 1.0
    return factors


def _scaled(
    model: str,
    places: dict[Place, _Cost],
    meter: _Meter,
    factors: dict[int, float],
    replicates: int,
    at_once: float,
) -> Estimate:
    mean, low, high, probed = _Cost(), _Cost(), _Cost(), _Cost()
    for index in {phase for phase, _ in places}:
        items = [cost for (phase, _), cost in places.items() if phase == index]
        total = sum(items, _Cost())
        factor = factors.get(index, 1.0)
        probed += total
        mean += total.times(factor)
        spread = factor > 1
        low += _ends(items, min).times(factor * len(items)) if spread else total
        high += _ends(items, max).times(factor * len(items)) if spread else total
    n = float(replicates)
    fastest = mean.latency * n / at_once
    # No call of the probe can have run beside more calls than it had in flight.
    slowest = max(meter.busy[model] * mean.calls / max(probed.calls, 1) * n, fastest)
    usage = meter.usage.get(model, Usage())
    return Estimate(
        model=model,
        probed=round(probed.calls),
        calls=Range(mean.calls * n, low.calls * n, high.calls * n),
        prompt_tokens=Range(mean.prompt * n, low.prompt * n, high.prompt * n),
        completion_tokens=Range(mean.completion * n, low.completion * n, high.completion * n),
        seconds=Range((fastest * slowest) ** 0.5, fastest, slowest),
        cached=usage.cached_tokens / max(usage.prompt_tokens, 1) if model in meter.told else None,
    )


def _ends(items: list[_Cost], end: Callable[[Iterable[float]], float]) -> _Cost:
    return _Cost(
        end(c.calls for c in items),
        end(c.prompt for c in items),
        end(c.completion for c in items),
        end(c.latency for c in items),
    )


def items_of(setup: Setup, phase: Phase) -> int:
    """Items that a phase holds episodes on."""
    size = len(setup.pools.get(phase.pool, ())) if phase.kind != "rest" else 0
    return min(phase.count or size, size)
