"""What docendo costs per act beside its models, and where that goes.

    python benchmarks/overhead.py [--rounds 5] [--replicates 4]
    python benchmarks/overhead.py --grid

The workload is lessons of the gallery's first scenario: by default of one condition (its policy looks at
every item, 40 % of the items get help), where hardly a call is shared; with `--grid` of all its conditions,
where nine calls of ten are. Models cost nothing: each answer was recorded in a run before the measurement
and is handed out by a dictionary. The layers take turns in every round, each with all that stands above it:

- *bare loop*: an asyncio task per episode that awaits the same answers one after the other
- *graph*: the same, acts asked for by the compiled graph, of an actor that does nothing
- *lesson*: everything that agents do (views, prompts, ledgers, policies, grading), journal in memory
- *run*: with journal, events and observations in a SQLite file
- *usual collector*: the same with Python's cycle collector at its usual pace

Target: at most 1 ms of processor time an act with everything. An act is whatever an agent does: a node of a
graph, or an attempt, an explanation or a prediction in a policy's rehearsal. All but decisions ask a model.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from measuring import Batch, facts, number, ratio, run_lessons, spread, study_of, table

from docendo.agents.port import GenerateReply, GenerateRequest, ScoreReply, ScoreRequest
from docendo.events import digest_events
from docendo.graphs.actor import Branch
from docendo.runtime import runner
from docendo.runtime.backends.base import Backend
from docendo.runtime.collector import patient_collector
from docendo.runtime.journal import MemoryJournal, StoreJournal, call_key
from docendo.runtime.measures.measure import EpisodeTrace
from docendo.runtime.runner import begin, run_study, todo
from docendo.runtime.store import open_store
from docendo.runtime.study import Setup, Study
from docendo.scenarios import grader
from docendo.scenarios.schema import NodeSpec

Request = GenerateRequest | ScoreRequest
Layer = Callable[[], Awaitable[None]]


class Recorded:
    """A backend that hands out what another one answered before."""

    def __init__(self, backend: Backend, answers: Mapping[str, Any]) -> None:
        self.capabilities = backend.capabilities
        self.fingerprint = backend.fingerprint
        self._answers = answers

    async def generate(self, request: GenerateRequest) -> GenerateReply:
        """The recorded answer."""
        return self._answers[key_of(request)]

    async def score(self, request: ScoreRequest) -> ScoreReply:
        """The recorded scores."""
        return self._answers[key_of(request)]

    async def close(self) -> None:
        """Nothing to release."""


def acts_of(batch: Batch) -> int:
    """Acts: requests of agents, and decisions, which ask nobody."""
    events = (event for trace in batch.traces for episode in trace.episodes for event in episode.events)
    return batch.requests + sum(event.kind == "decision" for event in events)


def key_of(request: Request) -> Any:
    """A cheap name of a request, good enough within one workload."""
    texts = "\n".join(message.text for message in request.prompt)
    more = request.continuations if isinstance(request, ScoreRequest) else request.schema is None
    return request.model, request.seed, request.view.act, texts, more, repr(request.view.mind)


class Listening:
    """A port that remembers requests and answers."""

    def __init__(self, port: Any, heard: list[tuple[Request, Any]]) -> None:
        self._port = port
        self._heard = heard

    async def generate(self, request: GenerateRequest) -> GenerateReply:
        """Ask and remember."""
        reply = await self._port.generate(request)
        self._heard.append((request, reply))
        return reply

    async def score(self, request: ScoreRequest) -> ScoreReply:
        """Ask and remember."""
        reply = await self._port.score(request)
        self._heard.append((request, reply))
        return reply


class Idle:
    """An actor that does nothing, and lets the graph decide as it did."""

    def __init__(self, trace: EpisodeTrace) -> None:
        said = [event.chosen for event in trace.events if event.kind == "decision"]
        self._scope = {"decision": {"intervene": said[-1] if said else False}, "params": {}}

    async def act(self, node: str, spec: NodeSpec, *, turn: int, branch: Branch) -> None:
        """Do nothing."""

    def scope(self, branch: Branch) -> Mapping[str, Any]:
        """The decision that was made."""
        return self._scope

    def members(self, axis: str, branch: Branch) -> Sequence[str]:
        """Nobody: these graphs do not fan out."""
        return ()


@dataclass(frozen=True)
class Workload:
    """Lessons whose answers are known."""

    study: Study
    batch: Batch
    heard: Sequence[tuple[Request, Any]]

    @property
    def backends(self) -> dict[str, Backend]:
        """The study's models without their cost."""
        answers = {key_of(request): reply for request, reply in self.heard}
        own = self.study.backends[self.study.setups[0].world]
        return {name: Recorded(backend, answers) for name, backend in own.items()}


def workload(grid: bool, replicates: int) -> Workload:
    """Run once, with the real models, and listen."""
    one = ("matrix.plan.teach.policy=[expected_utility]", "matrix.budget.interventions=[40%]", "controls=[]")
    study = study_of(f"replicates={replicates}", *(() if grid else (*one, "baseline={}")))
    heard: list[tuple[Request, Any]] = []
    batch = asyncio.run(run_lessons(study, port=lambda client: Listening(client, heard)))
    return Workload(study, batch, heard)


def layers(work: Workload, folder: Path) -> dict[str, Layer]:
    """The layers by name, cheapest first."""
    backends = work.backends
    episodes: dict[Any, list[Any]] = defaultdict(list)
    for request, reply in work.heard:
        origin = request.origin
        episodes[origin.condition, origin.replicate, origin.episode].append(reply)
    setups = {setup.condition.id: setup for setup in work.study.setups}
    walks = [
        (setups[trace.condition].graphs[episode.phase], Idle(episode))
        for trace in work.batch.traces
        for episode in trace.episodes
    ]
    stored = replace(work.study, backends={work.study.setups[0].world: backends})

    async def answer(reply: Any) -> Any:
        return reply

    async def bare() -> None:
        async def episode(replies: Sequence[Any]) -> None:
            for reply in replies:
                await answer(reply)

        await asyncio.gather(*(episode(replies) for replies in episodes.values()))

    async def graph() -> None:
        with patient_collector():
            await asyncio.gather(*(compiled.run(actor) for compiled, actor in walks))

    async def lesson() -> None:
        with patient_collector():
            await run_lessons(work.study, backends=backends)

    async def run() -> None:
        url = f"sqlite:///{folder}/{time.monotonic_ns()}.db"
        with open_store(url) as store:
            begin(stored, store)
            await run_study(stored, store, lessons=todo(stored, store))

    async def usual() -> None:
        with patch.object(runner, "patient_collector", nullcontext):
            await run()

    return {"bare loop": bare, "graph": graph, "lesson": lesson, "run": run, "usual collector": usual}


def measure(work: Workload, rounds: int) -> dict[str, list[float]]:
    """Processor seconds per layer and round."""
    found: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        order = list(layers(work, Path(folder)).items())
        for number_ in range(rounds + 1):
            for name, layer in order if number_ % 2 else reversed(order):
                begun = time.process_time()
                asyncio.run(layer())
                if number_:  # the first round warms up
                    found[name].append(time.process_time() - begun)
    return {name: found[name] for name, _ in order}


def parts(work: Workload) -> list[tuple[str, float, float]]:
    """Parts of an act on their own: name, microseconds each, how often per act."""
    setup: Setup = work.study.setups[0]
    heard = [request for request, _ in work.heard if isinstance(request, GenerateRequest)][:2000]
    templates = {
        (group, act): template for group, found in setup.templates.items() for act, template in found.items()
    }
    backends = work.study.backends[setup.world]
    rendered = [
        (templates[r.origin.agent, r.view.act], r.view)
        for r in heard
        if (r.origin.agent, r.view.act) in templates
    ]
    traces = [(episode,) for trace in work.batch.traces for episode in trace.episodes][:500]
    texts = [
        (reply.text, request.view.item.kind, request.view.item.options)
        for request, reply in work.heard[:2000]
        if isinstance(reply, GenerateReply) and request.view.item is not None
    ]
    acts, requests = acts_of(work.batch), work.batch.requests
    journal = asyncio.run(_filled(work))
    keys = [reply.key for _, reply in work.heard[:2000]]
    with open_store("sqlite://") as store:
        trials: list[tuple[str, float, Callable[..., Any], Sequence[Any]]] = [
            ("rendering a prompt", requests / acts, lambda t, v: t.render(v), rendered),
            ("naming a call (its key)", requests / acts, _name(backends), [(r,) for r in heard]),
            ("finding a call in memory", requests / acts, journal.get, [(k,) for k in keys]),
            (
                "missing a call in SQLite",
                work.batch.sent / acts,
                StoreJournal(store).get,
                [(k,) for k in keys],
            ),
            ("reading an answer anew", work.batch.sent / acts, grader._extract.__wrapped__, texts),
            ("digest of an episode", work.batch.episodes / acts, lambda t: digest_events(t.events), traces),
        ]
        return [(name, _each(call, arguments), often) for name, often, call, arguments in trials]


def _each(call: Callable[..., Any], arguments: Sequence[Any]) -> float:
    """Microseconds per call, the median of five passes."""
    seconds = []
    for _ in range(5):
        begun = time.process_time()
        for each in arguments:
            call(*each)
        seconds.append((time.process_time() - begun) / len(arguments))
    return median(seconds) * 1e6


def _name(backends: Mapping[str, Backend]) -> Callable[[Request], str]:
    return lambda r: call_key(r, backends[r.model].fingerprint, backends[r.model].capabilities)


async def _filled(work: Workload) -> MemoryJournal:
    journal = MemoryJournal()
    await run_lessons(work.study, journal=journal)
    return journal


def report(work: Workload, found: Mapping[str, Sequence[float]]) -> None:
    """Print the tables."""
    batch, rows, before = work.batch, [], None
    acts = acts_of(batch)
    for name, seconds in found.items():
        per_act = [1e3 * s / acts for s in seconds]
        more = "" if before is None else number(median(per_act) - median(before))
        per_node = number(1e3 * median(seconds) / batch.nodes)
        rows.append((name, spread(per_act), more, per_node, ratio(seconds, found["run"])))
        before = per_act
    print(f"{batch.episodes:,} episodes, {acts:,} acts, {batch.nodes:,} of them nodes of graphs;")
    print(f"{batch.requests:,} requests of agents, {batch.sent:,} distinct calls. Processor time:\n")
    print(table(("layer", "ms per act", "more than above", "ms per node", "by `run`"), rows))
    print("\nParts of an act, each on its own:\n")
    print(
        table(
            ("part", "us each", "times per act", "us per act"),
            [(name, number(us), number(often), number(us * often)) for name, us, often in parts(work)],
        )
    )
    print(f"\n{facts()}")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="interleaved repetitions")
    parser.add_argument("--replicates", type=int, default=4, help="lessons of the one condition")
    parser.add_argument("--grid", action="store_true", help="all conditions, one replicate")
    arguments = parser.parse_args()
    work = workload(arguments.grid, 1 if arguments.grid else arguments.replicates)
    report(work, measure(work, arguments.rounds))


if __name__ == "__main__":
    main()
