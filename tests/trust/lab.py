"""Runs scenarios through the public doors: the command line, and `prepare` with `run_study`.

`docendo(...)` is the command line in this process, `docendo_process(...)` in one of its own. Small
scenarios are written as Python mappings, so that a test can change one thing.
"""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
from ruamel.yaml import YAML

from docendo.agents.port import GenerateRequest
from docendo.events import CallEvent, Event
from docendo.runtime.backends.base import Backend
from docendo.runtime.cli.app import main
from docendo.runtime.runner import Tally, begin, run_study, todo
from docendo.runtime.store import Store, open_store
from docendo.runtime.store.records import CallRecord, EpisodeRecord
from docendo.runtime.study import Study, prepare
from docendo.scenarios.loader import load_raw, load_scenario

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
"""Real item files, where they are present."""

Raw = dict[str, Any]

SMALL: Raw = {
    "version": 1,
    "name": "small",
    "models": {
        "expert": {"backend": "simulated", "mind": "expert", "error_rate": 0.2},
        "novice": {
            "backend": "simulated",
            "mind": "procedural",
            "bugs": ["smaller_from_larger", "borrow_no_decrement"],
            "bugs_per_student": 1,
        },
    },
    "agents": {
        "teacher": {"model": "expert", "student_model": {"kind": "few_shot", "demonstrations": 3}},
        "student": {"model": "novice"},
    },
    "items": {"source": "subtraction", "digits": 3, "train": 6, "test": 8},
    "plan": [
        {"observe": {"items": "train", "count": 4}},
        {"teach": {"items": "test", "policy": "expected_utility"}},
    ],
    "budget": {"interventions": "50%"},
    "measures": ["accuracy"],
    "seed": 3,
}
"""One condition, one replicate, 12 episodes."""


def small(**changes: Any) -> Raw:
    """`SMALL` with other values at dotted paths, whose dots are written `__`."""
    raw = deepcopy(SMALL)
    for path, value in changes.items():
        *way, last = path.split("__")
        place = raw
        for name in way:
            place = place.setdefault(name, {})
        place[last] = value
    return raw


def gallery(name: str, test: int = 3) -> Raw:
    """A gallery scenario, small, with its agents, plan, grid and controls as they are."""
    raw: Raw = deepcopy(dict(load_scenario(name).raw))
    raw.pop("baseline", None)
    raw["replicates"] = 1
    raw["controls"] = [c["kind"] if isinstance(c, dict) else c for c in raw["controls"]]
    observations = 0
    for phase in raw["plan"]:
        if phase["kind"] == "observe":
            phase["count"] = 4
            observations += 4
        if phase.get("rounds"):
            phase["rounds"] = 2
        if phase.get("samples"):
            phase["samples"] = 2
    for agent in raw["agents"].values():
        memory = agent.get("memory")
        if isinstance(memory, dict) and memory.get("initial"):
            memory["initial"] = 3
    raw["items"] |= {"train": observations + 4, "test": test}
    if "pools" in raw["items"]:
        raw["items"]["pools"] = dict.fromkeys(raw["items"]["pools"], 4)
    raw["matrix"] = {k: v[-1:] if k.startswith("budget") else v for k, v in raw.get("matrix", {}).items()}
    if "plan.teach.samples" in raw["matrix"]:
        raw["matrix"]["plan.teach.samples"] = [1, 2]
    return raw


def write(folder: Path, raw: Mapping[str, Any], name: str = "scenario.yaml") -> Path:
    """The scenario as a file."""
    path = folder / name
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(dict(raw), file)
    return path


def subtractions(folder: Path, test: int, train: int = 0) -> Raw:
    """An `items:` block over a file of column subtractions `i0`, `i1`, ... in that order per pool."""
    pools = ["test"] * test + ["train"] * train
    lines = [
        {"id": f"i{n}", "question": f"{500 + n} - {2 * n + 120} = ?", "answer": str(380 - n), "pool": pool,
         "solution": f"Take {2 * n + 120} away from {500 + n}."}
        for n, pool in enumerate(pools)
    ]  # fmt: skip
    (folder / "items.jsonl").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    return {"source": "jsonl", "file": "items.jsonl", "test": test} | ({"train": train} if train else {})


# --- the command line -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def envelope(self) -> dict[str, Any]:
        found = orjson.loads(self.out)
        assert isinstance(found, dict)
        return found

    @property
    def data(self) -> Any:
        assert self.envelope["status"] == "ok", self.out
        return self.envelope["data"]

    @property
    def error(self) -> dict[str, Any]:
        assert self.envelope["status"] == "error", self.out
        found = self.envelope["error"]
        assert isinstance(found, dict)
        return found


def docendo(*arguments: object) -> Said:
    """The command line, in this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    code: object = None
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main([str(a) for a in arguments])
        except SystemExit as leave:
            code = leave.code
    assert isinstance(code, int)
    return Said(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))  # type: ignore[attr-defined]


def command(*arguments: object) -> list[str]:
    """The command line as a process would be started with it."""
    start = "from docendo.runtime.cli import main; main()"
    return [sys.executable, "-c", start, *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    """What such a process needs."""
    before = more.pop("PYTHONPATH", "") or os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join(filter(None, [str(ROOT), before]))
    return {**os.environ, **more, "PYTHONPATH": path}


def docendo_process(*arguments: object, env: Mapping[str, str] | None = None, **options: Any) -> Said:
    """The command line, in a process of its own."""
    done = subprocess.run(
        command(*arguments),
        env=environment(**(env or {})), capture_output=True, text=True, timeout=120, check=False, **options,
    )  # fmt: skip
    return Said(done.returncode, done.stdout, done.stderr)


# --- without the command line ---------------------------------------------------------------------------


@dataclass
class Ran:
    """A run, and its open store."""

    study: Study
    store: Store
    tally: Tally
    folder: Path

    url: str

    @property
    def digest(self) -> str:
        return self.store.run_digest(self.study.run_id)

    def episodes(self, phase: str | None = None, **fields: str) -> list[EpisodeRecord]:
        """Episodes, of one phase or all."""
        found = self.store.episodes(self.study.run_id)
        return [
            e
            for e in found
            if phase in (None, e.phase) and all(getattr(e, k) == v for k, v in fields.items())
        ]

    def events(self, *kinds: type[Event], phase: str | None = None, **fields: str) -> list[Any]:
        """Events of those kinds, in order."""
        found = [e for record in self.episodes(phase, **fields) for e in self.store.events(record.id)]
        return [e for e in found if not kinds or isinstance(e, kinds)]

    def calls(self, phase: str | None = None, **fields: str) -> Iterator[tuple[CallEvent, CallRecord]]:
        """Every call event with what the journal holds."""
        for record in self.episodes(phase, **fields):
            yield from self.calls_of(record)

    def calls_of(self, record: EpisodeRecord) -> Iterator[tuple[CallEvent, CallRecord]]:
        """The calls of one episode."""
        events = [e for e in self.store.events(record.id) if isinstance(e, CallEvent)]
        known = self.store.calls({e.key for e in events})
        yield from ((e, known[e.key]) for e in events)


def run(
    raw: Mapping[str, Any],
    folder: Path,
    *,
    backends: Mapping[str, Backend] | None = None,
    url: str = "",
    concurrent: int = 4,
    retry_errors: bool = False,
) -> Ran:
    """Run a scenario into a store in `folder`; `backends` stand in for models of these names."""
    study = prepare(load_raw(raw, base=folder))
    if backends:
        study = replace(
            study, backends={world: {**known, **backends} for world, known in study.backends.items()}
        )
    url = url or f"sqlite:///{folder / 'store.db'}"
    store = open_store(url)
    begin(study, store)
    lessons = todo(study, store, retry_errors=retry_errors)
    tally = asyncio.run(
        run_study(study, store, lessons=lessons, concurrent=concurrent, retry_errors=retry_errors)
    )
    store.finish_run(study.run_id)
    return Ran(study, store, tally, folder, url)


@dataclass
class Asked:
    """A function that answers, and remembers what it was asked."""

    answers: Any
    """Text of every answer, or act -> text or function of the request."""
    requests: list[GenerateRequest] = field(default_factory=list)

    def __call__(self, request: GenerateRequest) -> str:
        self.requests.append(request)
        answer = self.answers
        if isinstance(answer, Mapping):
            answer = answer[request.view.act]
        return str(answer(request)) if callable(answer) else str(answer)


def texts(prompts: Sequence[Any]) -> str:
    """Everything that stands in a prompt."""
    return "\n".join(message.text for message in prompts)
