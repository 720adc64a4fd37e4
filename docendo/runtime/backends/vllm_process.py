"""An engine in a process of its own, behind vLLM's `AsyncLLM`.

The process that runs lessons keeps its event loop for itself, and the GPU is not kept waiting by it. The
engine's process ends with this one, however this one ends: closed, interrupted, or killed.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import multiprocessing
import os
import re
import shlex
import signal
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import spawn
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from docendo.errors import DocendoError
from docendo.runtime.backends.engine_driver import (
    EngineCall,
    EngineDied,
    EngineFacts,
    EngineRefusal,
    EngineStats,
    Meter,
)
from docendo.runtime.backends.engine_guard import Guard
from docendo.runtime.backends.vllm_start import configure, engine_environment, engine_facts, hush, is_quiet

__all__ = ["ProcessEngine", "root_cause"]

_NAMES = itertools.count()
_EXCEPTION = re.compile(
    r"^(?:\(\S+ pid=\d+\) ERROR [^\]]*\] )?((?:\w+\.)*\w*(?:Error|Exception|Exit|Interrupt|Warning): .+)$",
    re.M,
)
_CLOSED = "it was closed"
_GLANCE = 0.2
"""Seconds between two looks at a start."""
_PATIENCE = 5.0
"""Seconds that an engine's processes get to end by themselves."""


class ProcessEngine:
    """`EngineDriver` over `vllm.v1.engine.async_llm.AsyncLLM`."""

    def __init__(self, arguments: Mapping[str, Any], environment: Mapping[str, str | None]) -> None:
        """Say what engine it will be; nothing happens yet.

        Args:
            arguments: Of `vllm.AsyncEngineArgs`.
            environment: Variables to set, or to take away, while it starts; its process inherits them.
        """
        self._arguments = dict(arguments)
        self._environment = {**environment, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
        self._engine: Any = None
        self._starting: asyncio.Future[EngineFacts] | None = None
        self._others: set[BaseProcess] | None = None
        """Child processes of before the start, once it is under way."""
        self._process: BaseProcess | None = None
        self._family: list[Any] = []
        """The engine's process and its workers, as `psutil` knows them."""
        self._calls: set[asyncio.Task[Any]] = set()
        self._unwanted = False
        self._meter = Meter()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._guard: Guard | None = None

    async def start(self) -> EngineFacts:
        """Start the process and wait until it has loaded the weights.

        Raises:
            EngineDied: It does not start.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="docendo-vllm-")
        self._guard = Guard()
        self._starting = asyncio.get_running_loop().run_in_executor(None, self._make)
        # Waited for, not awaited: it cannot stop half way, and `close` must find what it made.
        while not self._starting.done():
            await asyncio.wait({self._starting}, timeout=_GLANCE)
            for process in self._children():
                if process.pid is not None:
                    self._guard.hold(process.pid)
        return self._starting.result()

    def _make(self) -> EngineFacts:
        import psutil

        config = engine = None
        try:
            with engine_environment(self._environment), self._complaints_to_file():
                if self._unwanted:
                    raise EngineDied(_CLOSED)
                config = configure(self._arguments, asynchronous=True)
                from vllm.v1.engine.async_llm import AsyncLLM
                from vllm.v1.executor import Executor

                self._others = set(multiprocessing.active_children())
                engine = AsyncLLM(config, Executor.get_class(config), log_stats=True, log_requests=False)
                self._process = next(iter(self._children()), None)
                if self._process is not None:
                    core = psutil.Process(self._process.pid)
                    self._family = [core, *core.children(recursive=True)]
        except (DocendoError, EngineDied):
            raise
        except (Exception, SystemExit) as error:
            why = self._cause() or f"{type(error).__name__}: {error}"
        if engine is None:
            # Outside of the handler: vLLM's half of an engine must not live on in a traceback.
            raise EngineDied(why)
        hush()
        engine.logger_manager = self._meter
        self._engine = engine
        return engine_facts(config)

    async def run(self, call: EngineCall) -> Any:
        """The finished output of one call.

        Raises:
            EngineDied: The engine has stopped, before or during the call.
            EngineRefusal: The engine does not take this call.
        """
        if self._engine is None:
            raise EngineDied(_CLOSED if self._unwanted else "it was not started")
        work = asyncio.create_task(self._generate(call))
        self._calls.add(work)
        work.add_done_callback(self._calls.discard)
        try:
            return await work
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._unwanted and task is not None and not task.cancelling():
                raise EngineDied(_CLOSED) from None  # `close` has cancelled the work, nobody the caller
            raise

    async def _generate(self, call: EngineCall) -> Any:
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        prompt = {"type": "token", "prompt_token_ids": list(call.prompt)}
        final = None
        try:
            async for output in self._engine.generate(
                prompt, call.params, f"d{next(_NAMES)}", lora_request=call.adapter
            ):
                final = output
        except EngineDeadError as error:
            raise EngineDied(self._death()) from error
        except EngineGenerateError as error:
            raise EngineRefusal(str(error.__cause__ or error)) from error
        except Exception as error:
            raise EngineRefusal(str(error)) from error
        if final is None:
            raise EngineRefusal("it gave no output")
        return final

    async def sleep(self) -> None:
        """Give the GPU's memory back."""
        await self._engine.sleep(level=1)

    async def wake(self) -> None:
        """Take the GPU's memory again."""
        await self._engine.wake_up()

    async def forget_prefixes(self) -> None:
        """Empty the prefix cache."""
        await self._engine.reset_prefix_cache()

    def stats(self) -> EngineStats:
        """What it did so far."""
        return self._meter.stats

    async def close(self) -> None:
        """End its process; one that is still loading is killed."""
        self._unwanted = True
        starting = self._starting
        while starting is not None and not starting.done():
            for process in self._children():
                process.kill()
            await asyncio.wait({starting}, timeout=_GLANCE)
        if starting is not None and not starting.cancelled():
            starting.exception()  # read, so that nobody is told of it again
        engine, self._engine = self._engine, None
        if engine is not None:
            # vLLM stops listening and lets those wait who wait.
            calls = list(self._calls)
            for work in calls:
                work.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            engine.shutdown()
            await asyncio.to_thread(self._reap)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a failed start left open
            self._starting = starting = None
            del engine
            gc.collect()
        if self._guard is not None:
            await asyncio.to_thread(self._guard.close)
            self._guard = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    # --- processes and their last words -------------------------------------------------------------------

    def _children(self) -> list[BaseProcess]:
        """The processes of this engine. Engines start one after the other, so what is new is its own."""
        others = self._others
        if others is None:
            return []
        return [
            p
            for p in multiprocessing.active_children()
            if p not in others and p.name.startswith("EngineCore")
        ]

    def _reap(self) -> None:
        """See that no process stays: workers outlive an engine that was killed."""
        import psutil

        _, left = psutil.wait_procs(self._family, timeout=_PATIENCE)
        for process in left:
            process.kill()
        psutil.wait_procs(left, timeout=_PATIENCE)

    @contextmanager
    def _complaints_to_file(self) -> Iterator[None]:
        """Let processes that start meanwhile write their errors to a file of ours.

        They print whole tracebacks otherwise, and leave the root cause of a failed start there. Users who
        have set vLLM's log level want to see its log instead.
        """
        assert self._folder is not None
        starter = Path(self._folder.name, "python")
        python = os.fsdecode(spawn.get_executable())
        starter.write_text(
            f'#!/bin/sh\nexec {shlex.quote(python)} "$@" 2>>{shlex.quote(str(self._log))}\n', "utf-8"
        )
        starter.chmod(0o700)
        if not is_quiet() or not os.access(starter, os.X_OK):
            yield
            return
        multiprocessing.set_executable(str(starter))
        try:
            yield
        finally:
            multiprocessing.set_executable(python)

    @property
    def _log(self) -> Path:
        assert self._folder is not None
        return Path(self._folder.name, "engine.log")

    def _cause(self) -> str:
        """The engine's own words, as far as it wrote them down."""
        return root_cause(self._log.read_text("utf-8", "replace")) if self._log.exists() else ""

    def _death(self) -> str:
        """Why a running engine stopped."""
        code = self._process.exitcode if self._process is not None else None
        if code is not None and code < 0:
            return f"its process was ended by {signal.Signals(-code).name}"
        return self._cause() or "its process ended"


def root_cause(log: str) -> str:
    """The last exception that a log of tracebacks names, in one line; empty where there is none."""
    found = [line for line in _EXCEPTION.findall(log) if "root cause" not in line]
    return found[-1].strip() if found else ""
