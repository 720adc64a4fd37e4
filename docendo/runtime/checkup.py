"""`docendo doctor`: is this machine fit to run, and if not, what to do.

Every finding says what was looked at, how it is, and where it is not well what a person can do about it.
Nothing is left behind: the test of the store writes to a store that is there, or beside where one would be.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from docendo.agents.port import GenerateRequest, Origin, Sampling
from docendo.agents.view import View
from docendo.errors import DocendoError, StoreError
from docendo.messages import PromptMessage, Span
from docendo.runtime.backends.factory import build_backend
from docendo.runtime.backends.machine import BACKEND_PACKAGES, Gpu, clashes, cpu_vllm, gpus, installed
from docendo.runtime.client import Client
from docendo.runtime.inspection import Configured, ModelFacts, configured, inspect_models
from docendo.runtime.journal import MemoryJournal
from docendo.runtime.store import open_store
from docendo.scenarios.loader import LoadedScenario

__all__ = ["VIEWER_PORT", "Finding", "check_machine", "check_models", "check_store"]

VIEWER_PORT = 8420
"""Where `docendo view` listens by default."""

Status = Literal["ok", "warn", "fail"]
_GIB = 1 << 30
_LITTLE_MEMORY, _LITTLE_DISK = 2 * _GIB, 2 * _GIB


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    what: str
    status: Status
    message: str
    advice: str = ""
    stops: bool = False
    """A `fail` because of which nothing can be run: a model or the store cannot be used."""


def check_machine() -> Iterator[Finding]:
    """GPUs, memory, disk, versions, threads, the viewer's port."""
    found = gpus()
    if found:
        each = [f"{g.name}, {_size(g.free)} of {_size(g.total)} free" for g in found]
        yield Finding(what="GPU", status="ok", message="; ".join(each))
        yield from _taken(found)
    else:
        yield Finding(
            what="GPU",
            status="ok",
            message="none; simulated minds and servers need none, weights are run on the CPU",
        )
    yield _memory()
    yield _disk()
    yield _versions()
    for clash in clashes(found):
        yield Finding(
            what="versions",
            status="fail" if clash.fatal else "warn",
            message=clash.message,
            advice=clash.advice,
        )
    yield _threads(found)
    yield _port()


def _taken(found: list[Gpu]) -> Iterator[Finding]:
    for gpu in found:
        if gpu.free < gpu.total // 2:
            yield Finding(
                what="GPU",
                status="warn",
                message=f"more than half of {gpu.name}'s memory is taken",
                advice="See with `nvidia-smi` who holds it; vLLM wants most of a GPU for itself.",
            )


def _memory() -> Finding:
    size = os.sysconf("SC_PAGE_SIZE")
    total, free = os.sysconf("SC_PHYS_PAGES") * size, _available()
    message = f"{_size(free)} of {_size(total)} free, {os.cpu_count()} cores"
    if free >= _LITTLE_MEMORY:
        return Finding(what="memory", status="ok", message=message)
    return Finding(
        what="memory",
        status="warn",
        message=message,
        advice="Close other programs, and run with `--processes 1`: every process takes about 200 MiB.",
    )


def _available() -> int:
    """Bytes that programs could get, caches given up."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    message = f"{_size(free)} free in {Path.cwd()}"
    if free >= _LITTLE_DISK:
        return Finding(what="disk", status="ok", message=message)
    advice = "A run of 100,000 episodes takes about 1 GiB: make room, or name another disk with --store."
    return Finding(what="disk", status="warn", message=message, advice=advice)


def _versions() -> Finding:
    packages = dict.fromkeys(p for names in BACKEND_PACKAGES.values() for p in names)
    there = [f"{p} {v}" for p in packages if (v := installed(p)) is not None]
    missing = [b for b, names in BACKEND_PACKAGES.items() if not all(map(installed, names))]
    rest = f"; not installed: {', '.join(missing)}" if missing else ""
    return Finding(what="versions", status="ok", message=", ".join(there) + rest)


def _threads(found: list[Gpu]) -> Finding:
    threads, cores = os.environ.get("OMP_NUM_THREADS"), os.cpu_count() or 1
    if threads is None and not found and installed("torch") is not None:
        return Finding(
            what="threads",
            status="warn",
            message=f"OMP_NUM_THREADS is not set; an engine on the CPU takes all {cores} cores",
            advice=f"export OMP_NUM_THREADS={max(1, cores - 1)}: docendo needs one, and times repeat better.",
        )
    if threads is not None and threads.isdigit() and int(threads) > cores:
        return Finding(
            what="threads",
            status="warn",
            message=f"OMP_NUM_THREADS is {threads}, and there are {cores} cores",
            advice=f"export OMP_NUM_THREADS={cores}",
        )
    return Finding(what="threads", status="ok", message=f"OMP_NUM_THREADS is {threads or 'not set'}")


def _port() -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", VIEWER_PORT))
        except OSError:
            return Finding(
                what="port",
                status="warn",
                message=f"{VIEWER_PORT}, where the viewer listens by default, is taken",
                advice="A viewer may be running already; another takes the next port, or one by `--port`.",
            )
    return Finding(what="port", status="ok", message=f"{VIEWER_PORT} is free for the viewer")


# --- store ----------------------------------------------------------------------------------------------


def check_store(url: str) -> Finding:
    """Whether results can be written: to the store if it is there, else beside where it would be.

    A store of an older version is brought up to date by this, as every command that writes does it.
    """
    file = url.removeprefix("sqlite:///") if url.startswith("sqlite:///") else ""
    try:
        if file and not Path(file).exists():
            return _beside(Path(file))
        with open_store(url, create=False) as store:
            runs = len(store.runs())
            store.flush()
            return Finding(
                what="store", status="ok", message=f"{store.name} holds {runs} runs and takes writes"
            )
    except StoreError as error:
        empty = "holds no docendo store" in error.message
        return Finding(
            what="store",
            status="ok" if empty else "fail",
            message=error.message,
            advice="" if empty else error.suggestion,
            stops=not empty,
        )


def _beside(file: Path) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=file.parent) as probe:
            probe.write(b"docendo")
    except OSError as error:
        return Finding(
            what="store",
            status="fail",
            message=f"nothing can be written in {file.parent.absolute()}: {error.strerror}",
            advice="Name another place with --store sqlite:///FOLDER/FILE.db, or mend the folder.",
            stops=True,
        )
    return Finding(what="store", status="ok", message=f"{file} is not there yet and can be made")


# --- models ---------------------------------------------------------------------------------------------


async def check_models(loaded: LoadedScenario) -> list[Finding]:
    """Look at every model of a scenario, and ask each that is not simulated for one token.

    One after the other, so that two sets of weights need not fit at once. What is asked is not recorded.

    Raises:
        ScenarioError: The matrix cannot be expanded.
        ItemError: Items cannot be read.
    """
    facts = await inspect_models(loaded)
    findings = []
    for what, found in zip(configured(loaded), facts, strict=True):
        if found.status == "fail":
            findings.append(_unusable(what.name, found.message, found.advice))
        elif found.backend == "simulated":
            findings.append(_model(what.name, "ok", f"simulated mind `{found.model}`: nothing to ask"))
        else:
            findings += [*_fits(found), await _ask(what, loaded)]
    return findings


def _fits(facts: ModelFacts) -> Iterator[Finding]:
    """Whether weights have room on the device where they will be."""
    size = facts.detail.get("bytes")
    if not size:
        return
    found = gpus()
    on_gpu = bool(found) and not (facts.backend == "vllm" and cpu_vllm())
    room = found[0].free if on_gpu else _available()
    if size > room:
        where = "the GPU's" if on_gpu else "this machine's"
        yield _model(
            facts.name,
            "warn",
            f"its weights take {_size(size)}, and {_size(room)} of {where} memory are free",
            "Take a smaller or a quantized model, or share it among GPUs (`tensor_parallel`).",
        )


async def _ask(what: Configured, loaded: LoadedScenario) -> Finding:
    """One token, through the same door as a run's calls."""
    answer_key: Mapping[str, Any] = {item.id: item for pool in what.pools.values() for item in pool}
    started = time.perf_counter()
    try:
        backend = build_backend(what.name, what.spec, answer_key=answer_key, base=loaded.base)
        spec = what.spec.model_copy(update={"retries": 0})
        async with Client({what.name: backend}, {what.name: spec}, MemoryJournal()) as client:
            request = _request(what.name)
            await client.generate(request)
            first = time.perf_counter() - started
            started = time.perf_counter()
            await client.generate(replace(request, seed=2))  # another call, now that all is warm
            second = time.perf_counter() - started
    except DocendoError as error:
        return _unusable(what.name, error.message, error.suggestion)
    return _model(
        what.name, "ok", f"a token after {first:.2f} s with its start, another after {second:.2f} s"
    )


def _request(model: str) -> GenerateRequest:
    return GenerateRequest(
        model=model,
        prompt=(PromptMessage("user", (Span("Say yes."),)),),
        view=View(agent="doctor", role="student", act="solve"),
        sampling=Sampling(temperature=1.0, max_tokens=1),
        seed=1,
        origin=Origin(agent="doctor", act="ask"),
    )


def _model(name: str, status: Status, message: str, advice: str = "") -> Finding:
    return Finding(what=f"model {name}", status=status, message=message, advice=advice)


def _unusable(name: str, message: str, advice: str) -> Finding:
    return replace(_model(name, "fail", message, advice), stops=True)


def _size(n: float) -> str:
    """Bytes in words."""
    return f"{n / _GIB:.1f} GiB" if n >= _GIB else f"{n / (1 << 20):.0f} MiB"
