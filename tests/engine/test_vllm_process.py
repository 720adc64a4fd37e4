"""An engine in a process of its own: the same answers, and nothing left behind however it ends.

Its start takes some twenty seconds on a CPU, so these tests are few: what the engine answers is tried on the
engine thread, where it starts in two.
"""

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from docendo.runtime.backends.base import BackendFault
from docendo.runtime.backends.vllm_process import root_cause
from tests.engine.tiny_model import make_model
from tests.engine.vllm_lab import Lab, ask, model, needs_vllm, weigh

pytestmark = needs_vllm

PATIENCE = 60
"""Seconds in which processes must be gone."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("tiny"))


def test_a_process_answers_as_a_thread_does_and_its_death_fails_everyone_at_once(folder):
    import psutil

    lab = Lab()
    apart, inside = lab.start(model(folder, engine="process"), model(folder))
    family = apart.driver._family
    assert len(family) >= 1
    calls = [ask(seed=i, temperature=0.9, logprobs=2) for i in range(8)]
    assert [r.text for r in lab.all(*map(apart.generate, calls))] == [
        r.text for r in lab.all(*map(inside.generate, calls))
    ]
    one, other = lab.all(*(m.score(weigh("yes", "no, it is not")) for m in (apart, inside)))
    for x, y in zip(one.scores, other.scores, strict=True):
        assert x.logprobs == pytest.approx(y.logprobs, abs=1e-4)
    assert apart.stats().steps > 0
    with pytest.raises(BackendFault, match=r"temperature must be in \[0, 2\]"):
        lab.run(apart.generate(ask(temperature=3.0)))

    async def die():
        waiting = [
            asyncio.create_task(apart.generate(ask(seed=i, max_tokens=1900, temperature=1.0)))
            for i in range(8)
        ]
        before = apart.stats().steps
        while apart.stats().steps == before:
            await asyncio.sleep(0.01)
        waiting[0].cancel()
        os.kill(family[0].pid, signal.SIGKILL)
        return await asyncio.gather(*waiting, return_exceptions=True)

    cancelled, *failed = lab.run(die())
    assert isinstance(cancelled, asyncio.CancelledError)
    for fault in failed:
        assert isinstance(fault, BackendFault)
        assert fault.fatal
        assert "ended by SIGKILL" in fault.message
    assert lab.run(inside.generate(ask())).text
    lab.close()
    assert not psutil.wait_procs(family, timeout=PATIENCE)[1]
    assert not multiprocessing.active_children()


def test_a_start_that_is_cancelled_leaves_no_process(folder):
    async def run():
        one = model(folder, engine="process")
        start = asyncio.create_task(one.start())
        while not (born := multiprocessing.active_children()):
            await asyncio.sleep(0.01)
        start.cancel()
        await asyncio.gather(start, return_exceptions=True)
        await one.close()
        return born

    for process in asyncio.run(run()):
        assert not process.is_alive()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["interrupt", "kill"])
def test_the_engine_ends_with_the_process_that_uses_it(folder, how):
    import psutil

    with subprocess.Popen(
        [sys.executable, __file__, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as user:
        assert user.stdout is not None  # one line: the engine's processes
        pids = [int(pid) for pid in user.stdout.readline().split()]
        family = [psutil.Process(pid) for pid in pids]
        assert family
        if how == signal.SIGINT:
            os.killpg(user.pid, how)  # as the terminal does
        else:
            user.kill()
        user.wait(PATIENCE)
        assert not psutil.wait_procs(family, timeout=PATIENCE)[1]


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        (
            "(EngineCore pid=7) ERROR 11-26 02:04:51 [core.py:1510] Traceback (most recent call last):\n"
            "(EngineCore pid=7) ERROR 11-26 02:04:51 [c.py:1] torch.OutOfMemoryError: CUDA out of memory\n"
            "Process EngineCore:\nTraceback (most recent call last):\n"
            "torch.OutOfMemoryError: CUDA out of memory\n",
            "torch.OutOfMemoryError: CUDA out of memory",
        ),
        (
            "(VllmWorker-0 pid=8) ERROR 11-26 02:04:49 [w.py:9] ValueError: no room\n"
            "(EngineCore pid=7) ERROR 11-26 02:04:51 [c.py:1] Exception: failed. See above for root cause.\n"
            "RuntimeError: Engine core initialization failed. See root cause above.\n",
            "ValueError: no room",
        ),
        ("nothing went wrong\n", ""),
    ],
)
def test_the_root_cause_is_found_in_the_log(log, cause):
    assert root_cause(log) == cause


async def _use(folder: Path) -> None:
    """Start an engine, say which processes it is, and keep it at work; whoever waits at its end is told."""
    one = model(folder, engine="process")
    calls: list[asyncio.Task[object]] = []
    try:
        await one.start()
        calls += [asyncio.create_task(one.generate(ask(max_tokens=1900, seed=i))) for i in range(4)]
        await asyncio.sleep(0)
        print(*(process.pid for process in one.driver._family), flush=True)  # noqa: T201
        await asyncio.Event().wait()
    finally:
        await one.close()
        await asyncio.gather(*calls, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(_use(Path(sys.argv[1])))
