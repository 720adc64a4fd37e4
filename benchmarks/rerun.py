"""What a finished run costs: issued again, reported, and replayed without a model.

    python benchmarks/rerun.py [--rounds 5] [--store sqlite:///grid.db]

Runs the default grid (all conditions, 6 replicates) into a store, unless it is finished there already.
Then, each in a process of its own and in turns: `docendo run` of it once more, which finds nothing to do and
prints its kept table; the same without the table; `docendo report`, which makes the table anew;
`docendo --version`, which is the floor of any command; and a bare import of numpy, a yardstick of the
machine. At last a replay of one replicate of every condition, in requests of agents per second of processor
time. Target: under 2 s for issuing the run again.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict

from measuring import facts, number, ratio, spread, study_of, table

from docendo.errors import DocendoError
from docendo.runtime.replay import verify
from docendo.runtime.runner import begin, run_study, todo
from docendo.runtime.store import open_store

COMMAND = "import sys; from docendo.runtime.cli import main; main(sys.argv[1:])"


def grid(url: str) -> None:
    """Make sure that the run is there and finished."""
    study = study_of()
    with open_store(url) as store:
        try:
            if store.run(study.run_id).status == "finished":
                return
        except DocendoError:
            pass
        begin(study, store)
        print("running the default grid first ...", file=sys.stderr)
        asyncio.run(run_study(study, store, lessons=todo(study, store)))
        store.finish_run(study.run_id)


def spent(command: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of a command."""
    before, begun = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - begun, processor


def again(url: str, rounds: int) -> None:
    """Print what issuing it again takes."""
    docendo = [sys.executable, "-c", COMMAND]
    run = [*docendo, "run", "when-to-step-in", "--store", url]
    commands = {
        "`docendo run` again, with its table": run,
        "`docendo run -q` again": [*run, "-q"],
        "`docendo report`": [*docendo, "report", "when-to-step-in", "--store", url],
        "`docendo --version`": [*docendo, "--version"],
        "`import numpy`": [sys.executable, "-c", "import numpy"],
    }
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for number_ in range(rounds + 1):
        for name, command in commands.items() if number_ % 2 else reversed(commands.items()):
            times = spent(command)
            if number_:  # the first round fills the page cache
                found[name].append(times)
    yardstick = [processor for _, processor in found["`import numpy`"]]
    rows = [
        (name, spread([w for w, _ in found[name]]), spread([p for _, p in found[name]]),
         ratio([p for _, p in found[name]], yardstick))
        for name in commands
    ]  # fmt: skip
    print(table(("command", "wall, s", "processor, s", "by `import numpy`"), rows))


def replay(url: str, rounds: int) -> None:
    """Print how fast events come out again."""
    study = study_of("replicates=1")
    speeds, exact, counted = [], [], ""
    with tempfile.TemporaryDirectory() as folder, open_store(f"sqlite:///{folder}/one.db") as store:
        begin(study, store)
        begun = time.process_time()
        tally = asyncio.run(run_study(study, store, lessons=todo(study, store)))
        first = time.process_time() - begun
        for _ in range(rounds):
            begun = time.process_time()
            found = asyncio.run(verify(study, store))
            speeds.append(found.calls / (time.process_time() - begun))
            exact.append(found.exact)
        counted = f"{found.lessons} lessons, {found.episodes:,} episodes, {found.events:,} events"
    rows = [
        ("the run", number(tally.calls / first)),
        ("its replay, every event compared", spread(speeds)),
    ]
    print(table(("what", "requests per processor second"), rows))
    print(f"\n{counted}; every replay exact: {all(exact)}. {facts()}")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="interleaved repetitions")
    parser.add_argument("--store", default="", help="where the finished grid is, or is to be")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.store or f"sqlite:///{folder}/grid.db"
        grid(url)
        again(url, arguments.rounds)
        print()
        replay(url, max(3, arguments.rounds // 2))


if __name__ == "__main__":
    main()
