"""How docendo grows: many episodes in flight in one process, more students, items, conditions, processes.

    python benchmarks/scale.py flight [--episodes 10000]   # peak memory and speed with all of them in flight
    python benchmarks/scale.py growth [--rounds 3]         # cost as students, items and conditions grow
    python benchmarks/scale.py processes [--rounds 3]      # one process and two, wall time

*flight*: one lesson, one test phase, one student, so many items; every episode is one act and asks the model
once, and the model answers nobody before all have asked. So all episodes are in flight together, with their
graphs, prompts and requests in memory; journal, events and store included. Target: at most 2 GiB for 10,000.
*growth*: processor time per episode must not grow with their number. *processes*: the default grid's shards.
Every measurement is a process of its own, for its memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

from measuring import facts, number, ratio, spread, study_of, table, unlimited

from docendo.agents.port import Completion, GenerateReply, GenerateRequest, ScoreRequest
from docendo.messages import Usage
from docendo.runtime.runner import begin, run_study, todo
from docendo.runtime.shards import run_sharded, shards_for
from docendo.runtime.store import open_store
from docendo.runtime.study import Study, prepare
from docendo.scenarios.loader import load_raw

MIB = 1 << 20


class Gate:
    """A model that answers when as many requests wait as are expected, and at once from then on."""

    def __init__(self, inner: Any, expected: int) -> None:
        self.capabilities = inner.capabilities
        self.fingerprint = inner.fingerprint
        self.most = 0
        self._expected = expected
        self._waiting = 0
        self._open = asyncio.Event()

    async def generate(self, request: GenerateRequest) -> GenerateReply:
        """Wait for all the others, then say something."""
        self._waiting += 1
        self.most = max(self.most, self._waiting)
        if self._waiting >= self._expected:
            self._open.set()
        await self._open.wait()
        self._waiting -= 1
        text = f"I count up to it, step by step. So the answer is {request.seed % 1000}."
        return GenerateReply(completions=(Completion(text=text),), usage=Usage(completion_tokens=12))

    async def score(self, request: ScoreRequest) -> Any:
        """No act of this benchmark scores."""
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing to release."""


def exam(students: int, items: int, conditions: int = 1) -> Study:
    """One test phase and no teacher; conditions differ in a parameter that nothing reads."""
    novice = {"backend": "simulated", "mind": "procedural", "bugs": ["smaller_from_larger"]}
    raw = {
        "version": 1,
        "name": "exam",
        "models": {"novice": novice},
        "agents": {"student": {"model": "novice", "count": students}},
        "items": {"source": "subtraction", "digits": 4, "train": 1, "test": items},
        "plan": [{"test": {"items": "test"}}],
        "measures": ["accuracy"],
        "matrix": {"agents.student.profile": [f"c{n}" for n in range(conditions)]},
        "replicates": 1,
        "seed": 7,
    }
    return prepare(load_raw(raw, base=Path(), file="exam"))


def run(study: Study, folder: str, concurrent: int = 4) -> dict[str, float]:
    """Run a study into a new file; what it took."""
    with open_store(f"sqlite:///{folder}/{time.monotonic_ns()}.db") as store:
        begin(study, store)
        before, wall = time.process_time(), time.perf_counter()
        tally = asyncio.run(run_study(study, store, lessons=todo(study, store), concurrent=concurrent))
        cpu, wall = time.process_time() - before, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB
    return {
        "episodes": tally.episodes, "failed": tally.failed, "acts": tally.calls, "cpu": cpu, "wall": wall,
        "peak": peak,
    }  # fmt: skip


def in_flight(episodes: int, folder: str) -> dict[str, float]:
    """All episodes of one lesson at once."""
    study = unlimited(exam(1, episodes))
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB
    world = study.setups[0].world
    gates = {name: Gate(backend, episodes) for name, backend in study.backends[world].items()}
    found = run(replace(study, backends={world: gates}), folder, concurrent=1)
    return found | {"most": max(gate.most for gate in gates.values()), "idle": idle}


def flight(episodes: int, rounds: int) -> None:
    """Print peak memory and speed at a tenth, a third and all of `episodes`."""
    rows = []
    for count in (episodes // 10, episodes // 3, episodes):
        runs = [_apart("in_flight", count) for _ in range(rounds)]
        rows.append(
            (
                f"{int(runs[0]['most']):,}",
                spread([r["peak"] for r in runs]),
                spread([(r["peak"] - r["idle"]) * 1024 / count for r in runs]),
                spread([r["acts"] / r["cpu"] for r in runs]),
                spread([r["acts"] / r["wall"] for r in runs]),
                int(sum(r["failed"] for r in runs)),
            )
        )
    header = (
        "episodes in flight", "peak memory, MiB", "KiB per episode", "acts per processor second",
        "acts per second (wall)", "failed",
    )  # fmt: skip
    print(table(header, rows))
    print(f"\n{facts()}")


def growth(rounds: int) -> None:
    """Print processor time per episode along each axis."""
    sizes = {
        "items": [(1, n, 1) for n in (500, 1000, 2000, 4000)],
        "students": [(n, 250, 1) for n in (2, 4, 8, 16)],
        "conditions": [(1, 250, n) for n in (2, 4, 8, 16)],
    }
    rows = []
    for axis, points in sizes.items():
        found: dict[tuple[int, int, int], list[float]] = defaultdict(list)
        peaks: dict[tuple[int, int, int], float] = {}
        for _ in range(rounds):
            for point in points:
                got = _apart("sized", *point)
                found[point].append(1e3 * got["cpu"] / got["episodes"])
                peaks[point] = got["peak"]
        for point in points:
            students, items, conditions = point
            against = [b / a for a, b in zip(found[points[0]], found[point], strict=True)]
            rows.append(
                (axis, students, items, conditions, f"{students * items * conditions:,}",
                 spread(found[point]), spread(against), number(peaks[point]))
            )  # fmt: skip
    header = (
        "grows", "students", "items", "conditions", "episodes", "ms per episode", "against the smallest",
        "peak, MiB",
    )  # fmt: skip
    print(table(header, rows))
    print(f"\n{facts()}")


def processes(replicates: int, rounds: int) -> None:
    """Print what some replicates of the default grid take in one process and in two."""
    found: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for _ in range(rounds):
        for count, runs in found.items():
            runs.append(_apart("sharded", count, replicates))
    rows = [
        (
            count,
            spread([r["wall"] for r in runs]),
            spread([r["cpu"] for r in runs]),
            spread([r["episodes"] / r["wall"] for r in runs]),
            ratio([r["wall"] for r in found[1]], [r["wall"] for r in runs]),
        )
        for count, runs in found.items()
    ]
    print(table(("processes", "wall, s", "processor, s", "episodes per second", "times as fast"), rows))
    print(f"\n{int(found[1][0]['episodes']):,} episodes. Starting the workers is included. {facts()}")


def sharded(count: int, replicates: int, folder: str) -> dict[str, float]:
    """The default grid in `count` processes."""
    study, url = study_of(f"replicates={replicates}"), f"sqlite:///{folder}/grid.db"
    with open_store(url) as store:
        begin(study, store)
        before, begun = sum(os.times()[:4]), time.perf_counter()
        lessons = todo(study, store)
        if count == 1:
            tally = asyncio.run(run_study(study, store, lessons=lessons))
        else:
            tally = run_sharded(
                study, store, shards_for(study, lessons, count, url), url=url, concurrent=4,
                retry_errors=False, progress=lambda tally: None,
            )  # fmt: skip
        wall = time.perf_counter() - begun
    return {"wall": wall, "cpu": sum(os.times()[:4]) - before, "episodes": tally.episodes}


def sized(students: int, items: int, conditions: int, folder: str) -> dict[str, float]:
    """An exam of this size."""
    return run(exam(students, items, conditions), folder)


def _apart(what: str, *arguments: int) -> dict[str, float]:
    """Measure in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(Path(__file__)), "--measure", what, *map(str, arguments), folder]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def main() -> None:
    """Read the command line and measure."""
    if sys.argv[1:2] == ["--measure"]:
        what, *numbers, folder = sys.argv[2:]
        print(
            json.dumps(
                {"in_flight": in_flight, "sized": sized, "sharded": sharded}[what](*map(int, numbers), folder)
            )
        )
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["flight", "growth", "processes"])
    parser.add_argument("--episodes", type=int, default=10_000, help="in flight at once")
    parser.add_argument("--replicates", type=int, default=4, help="of the default grid, for `processes`")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions, interleaved")
    arguments = parser.parse_args()
    if arguments.what == "flight":
        flight(arguments.episodes, arguments.rounds)
    elif arguments.what == "growth":
        growth(arguments.rounds)
    else:
        processes(arguments.replicates, arguments.rounds)


if __name__ == "__main__":
    main()
