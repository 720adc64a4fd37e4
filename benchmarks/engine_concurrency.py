"""Tokens per second as more episodes are under way, and what docendo takes beside the engine.

    python benchmarks/engine_concurrency.py [--shape tiny|25M] [--at-once 1 10 100 1000] [--slots 256]

Dialogues of one turn run through docendo as always, each number of them in a store of its own and with an
empty prefix cache; the engine has a process of its own, so that the memory of both can be told apart. Needs
the engine environment (`make engine`).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

from engine_efficiency import Talkative, dialogues, live, made_model
from measuring import facts, number, table

MIB = 2**20


def resident(process: int) -> int:
    """Bytes of memory that a process holds; 0 where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def descendants(process: int) -> list[int]:
    """The processes that a process has started, from whichever of its threads, and theirs."""
    own = []
    for thread in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            own += [int(child) for child in thread.read_text(encoding="ascii").split()]
        except OSError:  # the thread has ended meanwhile
            continue
    return [*own, *(further for child in own for further in descendants(child))]


async def measure(asked: argparse.Namespace, folder: Path) -> None:
    """Run, and print the table."""
    model: dict[str, Any] = {
        "backend": "vllm", "model": str(asked.model), "engine": "process", "max_sequences": asked.slots,
        "context": 1024, "kv_cache": 2.0, "sampling": {"temperature": 1.0},
    }  # fmt: skip
    rows = []
    held: list[Any] = []
    for number_, count in enumerate(asked.at_once):
        study = dialogues(model, count, 1)
        world = next(iter(study.backends))
        backend: Any = study.backends[world]["one"]
        await backend.start()
        talkative = Talkative(backend, asked.longest)
        study = replace(study, backends={world: {"one": talkative}})
        held.append(backend)  # the engine stays for all
        if len(held) == 1:
            await live(study, folder, -1, 1)
        await backend.driver.forget_prefixes()
        before, started = backend.stats(), time.perf_counter()
        failed = await live(study, folder, number_)
        seconds, did = time.perf_counter() - started, backend.stats().since(before)
        engine = sum(map(resident, descendants(os.getpid())))
        rows.append((
            f"{count:,}", number(seconds), number(did.generated_tokens / seconds), number(did.mean_batch),
            f"{did.hit_rate:.0%}", number(resident(os.getpid()) / MIB), number(engine / MIB), failed,
        ))  # fmt: skip
        print(rows[-1], flush=True)
    header = ("episodes", "wall, s", "tokens per second", "sequences per step", "hit rate",
              "docendo, MiB", "engine, MiB", "failed")  # fmt: skip
    print(table(header, rows))
    print(f"\n{asked.slots} slots; docendo's memory has vLLM's front end and torch in it. {facts()}")
    for backend in held:
        await backend.close()


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="a folder with a model; made on the spot when unset")
    parser.add_argument("--shape", choices=["tiny", "25M"], default="tiny")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--slots", type=int, default=256)
    parser.add_argument("--longest", type=int, default=48, help="most tokens of an answer")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked.model = asked.model or made_model(folder, asked.shape)
        asyncio.run(measure(asked, folder))


if __name__ == "__main__":
    main()
