"""What the viewer costs: latency of its pages on stores of growing size, its memory, and the export.

    python benchmarks/viewer.py [--events 10000 100000 1000000] [--rounds 20] [--folder DIR]
    python benchmarks/viewer.py --export [--folder DIR]

A store of so many events is made of one real run of `when-to-step-in` (`-n 60`, 27 conditions), whose lessons
are written again as further replicates: real events, real observations, the writer's own way into the store,
full-text index included. The server is `docendo view` in a process of its own, asked over one kept
connection; times are wall time from the request to the last byte of the answer.
*cold* is the first request of its kind after the server has started. Stores are kept in the folder and used
again.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from measuring import facts, number, table

from docendo.runtime.store import LessonKey, Store, open_store

MIB = 1 << 20


def make_source(folder: Path) -> str:
    """The run that stores are made of; gives its store's URL."""
    url = f"sqlite:///{folder / 'source.db'}"
    if not (folder / "source.db").exists():
        command = [sys.executable, "-m", "docendo", "run", "when-to-step-in", "-n", "60", "-r", "1"]
        subprocess.run([*command, "--store", url, "--json"], check=True, stdout=subprocess.DEVNULL)
    return url


def make_store(folder: Path, events: int) -> tuple[str, float]:
    """A store of at least so many events; its URL, and microseconds per event that writing it took."""
    path = folder / f"{events}.db"
    url = f"sqlite:///{path}"
    if path.exists():
        return url, float("nan")
    started = time.perf_counter()
    with open_store(make_source(folder), readonly=True) as source, open_store(url) as target:
        written = _copy(source, target, events)
    return url, (time.perf_counter() - started) / written * 1e6


def _copy(source: Store, target: Store, events: int) -> int:
    run = source.run("latest")
    target.begin_run(run)
    target.put_conditions(source.conditions(run.id))
    lessons = [lesson.key for lesson in source.lessons(run.id)]
    observed: dict[LessonKey, list[Any]] = {key: [] for key in lessons}
    for row in source.observations(run.id):
        observed[row.lesson].append(row)
    episodes = {
        key: [(record, source.events(record.id)) for record in source.episodes(key.run, key.condition, 0)]
        for key in lessons
    }
    keys = {
        event.key for found in episodes.values() for _, es in found for event in es if event.kind == "call"
    }
    for record in source.calls(keys).values():
        target.put_call(record)
    written = replicate = 0
    while written < events:
        for key in lessons:
            copy = LessonKey(run.id, key.condition, replicate)
            target.put_lessons([copy])
            target.start_lesson(copy)
            for record, found in episodes[key]:
                target.write_episode(replace(record, lesson=copy), found)
                written += len(found)
            target.write_observations(copy, [replace(row, lesson=copy) for row in observed[key]])
            target.finish_lesson(copy, wall_s=1.0)
            if written >= events:
                break
        target.flush()
        replicate += 1
    target.finish_run(run.id)
    return written


# --- asking ---------------------------------------------------------------------------------------------


class Viewer:
    """`docendo view` in a process of its own."""

    def __init__(self, url: str) -> None:
        command = [sys.executable, "-m", "docendo", "view", "--store", url, "--port", "0", "--no-open"]
        started = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.started = time.perf_counter() - started
        address = urlsplit(next(word for word in line.split() if word.startswith("http://")))
        self.connection = http.client.HTTPConnection("127.0.0.1", address.port or 0, timeout=600)

    def ask(self, path: str, **query: Any) -> tuple[float, bytes]:
        """Milliseconds, and the answer."""
        started = time.perf_counter()
        self.connection.request("GET", path + (f"?{urlencode(query)}" if query else ""))
        response = self.connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status} {body[:300]!r}")
        return (time.perf_counter() - started) * 1e3, body

    def get(self, path: str, **query: Any) -> Any:
        """The document at a path below `/api`."""
        return json.loads(self.ask(f"/api/{path}", **query)[1])

    def memory(self) -> tuple[float, float]:
        """Resident memory now and at most, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        lines = dict(line.split(":", 1) for line in status.splitlines())
        return tuple(int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]


@contextmanager
def viewing(url: str) -> Iterator[Viewer]:
    """A viewer that ends with the block."""
    viewer = Viewer(url)
    try:
        yield viewer
    finally:
        viewer.connection.close()
        viewer.process.terminate()
        viewer.process.wait()


def questions(viewer: Viewer) -> dict[str, tuple[str, dict[str, Any]]]:
    """What is asked, by name: an address and its query."""
    run = viewer.get("store")["runs"][0]["id"]
    lesson = viewer.get(f"runs/{run}/lessons")["lessons"][-1]
    path = f"runs/{run}/lessons/{lesson['condition']}/{lesson['replicate']}"
    here = f"/api/{path}"
    episode = viewer.get(f"{path}/episodes")["episodes"][-1]["ordinal"]
    return {
        "the page itself": ("/", {}),
        "the page's script": ("/static/app.js", {}),
        "runs of the store": ("/api/store", {}),
        "study: design and counts": (f"/api/runs/{run}", {}),
        "study: report": (f"/api/runs/{run}/report", {}),
        "study: calibration": (f"/api/runs/{run}/calibration", {}),
        "lessons, 500": (f"/api/runs/{run}/lessons", {}),
        "lesson": (here, {}),
        "lesson: 100 episodes": (f"{here}/episodes", {}),
        "lesson: graphs": (f"{here}/graphs", {}),
        "episode": (f"{here}/episodes/{episode}", {}),
        "episode: what agents saw": (f"{here}/episodes/{episode}/calls", {}),
        "filter, frequent": (f"/api/runs/{run}/episodes", {"where": "right and not first"}),
        "filter, a page that finds nothing": (f"/api/runs/{run}/episodes", {"where": "leak > 99"}),
        "search, frequent word": ("/api/search", {"q": "borrow", "run": run}),
        "search, rare phrase": ("/api/search", {"q": '"no such words"', "run": run}),
        "problems": (f"/api/runs/{run}/problems", {}),
        "live": (f"/api/runs/{run}/live", {}),
    }


def measure(url: str, rounds: int) -> dict[str, Any]:
    """Latencies and memory of one store."""
    with viewing(url) as viewer:
        asked = questions(viewer)
    with viewing(url) as viewer:
        idle = viewer.memory()[0]
        cold = {name: viewer.ask(path, **query)[0] for name, (path, query) in asked.items()}
        warm: dict[str, list[float]] = {name: [] for name in asked}
        for _ in range(rounds):
            for name, (path, query) in asked.items():
                warm[name].append(viewer.ask(path, **query)[0])
        scanned, pages, scan = scan_all(viewer)
        now, most = viewer.memory()
    return {
        "started": viewer.started, "cold": cold, "warm": warm, "memory": (idle, now, most), "scan": scan,
        "scanned": scanned, "pages": pages,
    }  # fmt: skip


def scan_all(viewer: Viewer) -> tuple[int, int, float]:
    """Episodes, pages and seconds of a filter that nothing passes, to its end."""
    run = viewer.get("store")["runs"][0]["id"]
    started, after, scanned, pages = time.perf_counter(), "", 0, 0
    while after is not None:
        page = viewer.get(f"runs/{run}/episodes", where="leak > 99", after=after)
        scanned, pages, after = scanned + page["scanned"], pages + 1, page["next"]
    return scanned, pages, time.perf_counter() - started


# --- tables ---------------------------------------------------------------------------------------------


def report(folder: Path, sizes: list[int], rounds: int) -> None:
    """The tables of latency and memory."""
    found: dict[int, dict[str, Any]] = {}
    facts_of: list[list[str]] = []
    for size in sizes:
        url, cost = make_store(folder, size)
        with open_store(url, readonly=True) as store:
            lessons = store.lessons(store.run("latest").id)
        found[size] = measured = measure(url, rounds if size < 1e6 else max(3, rounds // 2))
        idle, now, most = measured["memory"]
        megabytes = (folder / f"{size}.db").stat().st_size / 1e6
        facts_of.append(
            [f"{size:,}", f"{sum(x.n_episodes for x in lessons):,}", f"{len(lessons):,}",
             f"{megabytes:,.0f} MB", number(cost), f"{measured['started']:.1f} s",
             f"{idle:.0f}, {now:.0f}, {most:.0f} MiB",
             f"{measured['scan']:.1f} s in {measured['pages']} pages"]
        )  # fmt: skip
    header = ["events", "episodes", "lessons", "store", "microseconds per event to write", "start",
              "memory: idle, after, most", "a filter over all episodes"]  # fmt: skip
    print(table(header, facts_of), "\n")
    rows = []
    for name in found[sizes[0]]["warm"]:
        cells = [name]
        for size in sizes:
            warm = sorted(found[size]["warm"][name])
            late = warm[int(0.95 * (len(warm) - 1))]
            cells += [number(found[size]["cold"][name]), f"{number(statistics.median(warm))}, {number(late)}"]
        rows.append(cells)
    columns = [f"{size:,}: {what}" for size in sizes for what in ("cold", "median, 95 %")]
    print(table(["milliseconds", *columns], rows), "\n")


def export(folder: Path) -> None:
    """The table of exports."""
    rows = []
    for name, settings in (("when-to-step-in", ("-n", "20", "-r", "1")), ("tutoring-dialogue", ("-r", "4"))):
        url = f"sqlite:///{folder / f'export-{name}.db'}"
        run = [sys.executable, "-m", "docendo", "run", name, *settings, "--store", url, "--json"]
        subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
        out = folder / f"{name}.html"
        started = time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "docendo",
            "view",
            "export",
            "--store",
            url,
            "-o",
            str(out),
            "--force",
        ]
        done = subprocess.run([*command, "--json"], check=True, stdout=subprocess.PIPE)
        seconds = time.perf_counter() - started
        data = json.loads(done.stdout)["data"]
        with open_store(url, readonly=True) as store:
            ids = [record.id for record in store.episodes(data["run"])]
            events = sum(record.events_n for record in store.episodes(data["run"]))
        assert len(ids) == data["episodes"]
        per = 1000 / data["episodes"]
        rows.append(
            [f"`{name}`", f"{data['episodes']:,}", f"{events:,}", f"{data['size'] / 1e6:.2f} MB",
             f"{data['size'] / 1e6 * per:.2f} MB", f"{seconds:.1f} s", f"{seconds * per:.1f} s"]
        )  # fmt: skip
    header = ["run", "episodes", "events", "file", "per 1,000 episodes", "time", "per 1,000 episodes"]
    print(table(header, rows), "\n")


def main() -> None:
    """Make what is missing, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--export", action="store_true", help="measure exports only")
    parser.add_argument("--folder", type=Path, help="where stores are kept; a temporary folder by default")
    options = parser.parse_args()
    os.environ.setdefault("PYTHONPATH", os.getcwd())
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if options.export:
            export(folder)
        else:
            report(folder, options.events, options.rounds)
    print(facts())


if __name__ == "__main__":
    main()
