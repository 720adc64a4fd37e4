"""Everything that needs a GPU, in one run: `make gpu-check`.

Models are made on the spot, with random weights: what is tried and measured is the machinery. With vLLM
installed both engines are tried, else transformers alone; a probe that fails is reported, the others go on,
and the exit code is 1. The report is Markdown, `docs/measurements/gpu-YYYY-MM-DD.md` unless `--out` says
otherwise.

    python benchmarks/gpu_check.py [--out FILE] [--large] [--seconds N] [--allow-cpu]
    make gpu-check ARGS=--large
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import importlib.util
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Coroutine
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

try:
    from benchmarks import gpu_probes as probes
except ImportError as missing:
    raise SystemExit(f"docendo cannot be imported here ({missing}): pip install --editable .") from None


def main() -> int:
    """Run all probes and write the report; 1 if a probe failed."""
    wanted = argparse.ArgumentParser(description="What needs a GPU, tried and measured.")
    wanted.add_argument("--out", type=Path, help="the report; docs/measurements/gpu-YYYY-MM-DD.md by default")
    wanted.add_argument("--large", action="store_true", help="also a model of 4 billion parameters")
    wanted.add_argument(
        "--seconds", type=float, default=math.inf, help="start no probe after so long, on a lent machine"
    )
    wanted.add_argument(
        "--allow-cpu", action="store_true", help="try the script itself where there is no GPU"
    )
    wanted.add_argument("--engine", choices=["vllm", "transformers"], help="only this one")
    asked = wanted.parse_args()
    if importlib.util.find_spec("torch") is None:
        print(
            "torch is not installed: pip install 'docendo[transformers]', or 'docendo[vllm]'", file=sys.stderr
        )
        return 1
    import torch

    if not torch.cuda.is_available() and not asked.allow_cpu:
        print(f"torch {torch.__version__} sees no GPU (built for CUDA {torch.version.cuda})", file=sys.stderr)
        return 1
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    out = asked.out or ROOT / "docs" / "measurements" / f"gpu-{today}.md"
    check = Check(asked.seconds)
    check.say(f"# On a GPU, {today}\n\nMade by `make gpu-check`. Models have random weights.\n")
    check.table(["what", "is"], machine(torch))
    with tempfile.TemporaryDirectory(prefix="docendo-gpu-") as folder:
        for engine in ("vllm", "transformers"):
            if asked.engine in {None, engine}:
                try_engine(check, engine, Path(folder), large=asked.large)
    check.say(
        f"\n{check.seconds():.0f} s in all, {check.failed} probes failed, {check.left_out} were left out.\n"
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(check.lines) + "\n", encoding="utf-8")
    print(f"written: {out}")
    return 1 if check.failed else 0


def machine(torch: Any) -> list[list[str]]:
    """What this was measured on."""
    rows = [
        ["Python", platform.python_version()],
        ["torch", f"{torch.__version__} (CUDA {torch.version.cuda})"],
    ]
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info(0)
        rows += [
            ["GPU", torch.cuda.get_device_name(0)],
            ["GPU's memory", f"{total / 2**30:.1f} GiB, {free / 2**30:.1f} free at the start"],
        ]
    for name in ("vllm", "transformers"):
        rows.append([name, version_of(name)])
    return rows


def version_of(name: str) -> str:
    """A library's version without importing it; CPU builds of vLLM have a name of their own."""
    for distribution in (name, f"{name}-cpu"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return "not installed"


class Check:
    """The report as it grows, and the time that is left."""

    def __init__(self, seconds: float) -> None:
        self.lines: list[str] = []
        self.failed = 0
        self.left_out = 0
        self.memory = probes.memory_used()
        """GiB of the GPU that others use."""
        self._started = time.monotonic()
        self._limit = seconds

    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    def say(self, text: str) -> None:
        """Add a paragraph, and print it."""
        self.lines.append(text)
        print(text, flush=True)

    def table(self, head: list[str], rows: list[list[str]]) -> None:
        """Add a table."""
        mark = ["|".join(["", *("---" for _ in head), ""])]
        self.say(
            "\n".join(
                ["| " + " | ".join(row) + " |" for row in [head]]
                + mark
                + ["| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows]
            )
        )

    def probe(self, title: str, work: Callable[[], tuple[list[str], list[list[str]]]]) -> None:
        """Run one probe and add its table; a failure is a line of the report."""
        if self.seconds() > self._limit:
            self.left_out += 1
            self.say(f"\n### {title}\n\nLeft out: the time was over.\n")
            return
        before = time.monotonic()
        try:
            head, rows = work()
        except Exception as error:
            self.failed += 1
            self.say(f"\n### {title}\n\n**Failed**: {type(error).__name__}: {error}\n")
            traceback.print_exc()
            return
        self.say(f"\n### {title}\n")
        self.table(head, rows)
        self.say(f"\n{time.monotonic() - before:.1f} s.")


def try_engine(check: Check, engine: str, folder: Path, *, large: bool) -> None:
    """All probes of one engine."""
    check.say(f"\n## {engine}\n")
    if version_of(engine) == "not installed":
        check.say("Not installed.\n")
        return
    tiny = probes.tiny_folder(folder)

    def run(work: Coroutine[Any, Any, tuple[list[str], list[list[str]]]]) -> Any:
        return asyncio.run(work)

    check.probe("Same answers alone, in a batch, and again", lambda: run(probes.determinism(engine, tiny)))
    check.probe("Adapters in one batch", lambda: run(probes.adapters(engine, tiny, folder)))
    check.probe("Scores", lambda: run(probes.scores(engine, tiny)))
    on_gpu = probes.on_gpu()
    if engine == "vllm" and on_gpu:
        check.probe("Sleeping and waking", lambda: run(probes.sleeping(tiny)))
        check.probe("Two models that live together", lambda: run(probes.together(tiny, folder)))
        check.probe("Two models that take turns", lambda: run(probes.turns(tiny, folder)))
    sizes = [("0.6 billion parameters", probes.SMALL)] if on_gpu else [("a toy", probes.TOY)]
    sizes += [("4 billion parameters", probes.LARGE)] if large else []
    for name, size in sizes:
        check.probe(f"Tokens per second, {name}", lambda size=size: run(probes.speed(engine, size, folder)))
    check.probe("The conformance suite", lambda: suite("tests/conformance", "-k", engine))
    if engine == "vllm":
        check.probe(
            "Engines that are killed", lambda: suite("-m", "slow", "tests/engine/test_vllm_process.py")
        )
        check.probe("Efficiency under a run", lambda: efficiency(large=large, on_gpu=on_gpu))
    check.probe("What is left of the GPU's memory afterwards", lambda: probes.left(check.memory))


def suite(*chosen: str) -> tuple[list[str], list[list[str]]]:
    """Tests of the project, in a process of their own.

    Raises:
        RuntimeError: They cannot be run, or one of them failed.
    """
    for needed in ("pytest", "hypothesis"):
        if importlib.util.find_spec(needed) is None:
            raise RuntimeError(f"{needed} is not installed: pip install {needed}")
    done = in_process("-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen)
    told = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if done.returncode:
        raise RuntimeError("\n".join(told) or (done.stdout + done.stderr)[-600:])
    return ["result"], [[done.stdout.splitlines()[-1]]]


def efficiency(*, large: bool, on_gpu: bool) -> tuple[list[str], list[list[str]]]:
    """`engine_efficiency.py`: a run against replays of its own calls.

    Raises:
        RuntimeError: It failed.
    """
    sized = ["--shape", "4B", "--slots", "256", "--episodes", "384", "--longest", "128"]
    small = ["--shape", "25M" if on_gpu else "tiny", "--episodes", "96", "--turns", "3", "--longest", "32"]
    done = in_process("benchmarks/engine_efficiency.py", "--engine", "process", *(sized if large else small))
    if done.returncode:
        raise RuntimeError((done.stdout + done.stderr)[-600:])
    cells = [
        [c.strip() for c in line.strip("|").split("|")] for line in done.stdout.splitlines() if "|" in line
    ]
    told = [line for line in done.stdout.splitlines() if line.startswith(("eta", "step ratio"))]
    head, _, *rows = cells
    return head, [*rows, *([line, *[""] * (len(head) - 1)] for line in told)]


def in_process(*command: str) -> subprocess.CompletedProcess[str]:
    """Python with these arguments, at the project's root, to its end."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


if __name__ == "__main__":
    raise SystemExit(main())
