"""Engines inside this process, all of them stepped by one thread.

Two engines of one process must not be stepped from two threads: vLLM keeps the forward pass's context in a
module (assertion errors, double frees and crashes were seen). So this process has one engine thread. It takes
in what was asked, steps every engine that has work in turn, and hands finished outputs to the event loops
that wait for them. Whatever goes wrong in a step fails everyone who waits for that engine, at once.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from docendo.errors import DocendoError
from docendo.runtime.backends.engine_driver import (
    EngineCall,
    EngineDied,
    EngineFacts,
    EngineRefusal,
    EngineStats,
    Meter,
)
from docendo.runtime.backends.vllm_start import configure, engine_environment, engine_facts, hush

__all__ = ["ThreadEngine"]

_Result = TypeVar("_Result")
_Settled = tuple["asyncio.Future[Any]", Any, BaseException | None]


@dataclass(eq=False)
class _Hosted:
    """An engine on the engine thread. Only that thread touches it."""

    engine: Any
    meter: Meter
    waiting: dict[str, asyncio.Future[Any]] = field(default_factory=dict)
    """Request id -> who waits for it."""
    dead: str = ""
    """Why it stopped."""

    def add(self, name: str, call: EngineCall, future: asyncio.Future[Any]) -> None:
        """Put a request into the engine's queue."""
        if self.dead:
            raise EngineDied(self.dead)
        prompt = {"type": "token", "prompt_token_ids": list(call.prompt)}
        self.engine.add_request(name, prompt, call.params, lora_request=call.adapter)
        self.waiting[name] = future

    def step(self) -> list[_Settled]:
        """One forward pass; also who got what from it."""
        settled: list[_Settled] = []
        try:
            for output in self.engine.step():
                if output.finished:
                    future = self.waiting.pop(output.request_id, None)
                    if future is not None:
                        settled.append((future, output, None))
        except BaseException as error:
            settled += self.die(f"{type(error).__name__}: {error}")
        return settled

    def die(self, why: str) -> list[_Settled]:
        """Fail everyone who waits; the engine is not stepped again."""
        self.dead = why
        settled: list[_Settled] = [(future, None, EngineDied(why)) for future in self.waiting.values()]
        self.waiting.clear()
        return settled

    @property
    def busy(self) -> bool:
        """Whether a step would do something."""
        return not self.dead and bool(self.engine.has_unfinished_requests())


class _EngineThread:
    """The thread. It lives from the first engine's start to the last one's end."""

    def __init__(self) -> None:
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._users = 0
        self._hosted: list[_Hosted] = []
        self._parked: list[_Hosted] = []

    def join_in(self) -> None:
        """Count one more user, who must `leave`."""
        with self._lock:
            self._users += 1
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, args=(self._inbox,), name="docendo-engines", daemon=True
                )
                self._thread.start()

    def leave(self) -> threading.Thread | None:
        """Count one user less. The last one gets the thread, which is ending, to wait for it."""
        with self._lock:
            self._users -= 1
            if self._users:
                return None
            thread, self._thread = self._thread, None
            self._inbox.put(self._end)
            # A new thread must not read the end of this one.
            self._inbox = queue.SimpleQueue()
            return thread

    def ask(self, work: Callable[[], _Result]) -> Future[_Result]:
        """Have `work` done on the engine thread, between two steps."""
        future: Future[_Result] = Future()

        def done() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

        self._inbox.put(done)
        return future

    def tell(self, work: Callable[[], None]) -> None:
        """Have `work`, which raises nothing, done on the engine thread."""
        self._inbox.put(work)

    # --- on the engine thread ---------------------------------------------------------------------------

    def host(self, hosted: _Hosted) -> None:
        """Step this engine from now on."""
        self._hosted.append(hosted)

    def park(self, hosted: _Hosted) -> None:
        """Step it no more. Its memory is given back when no engine is left.

        Shutting one engine down ends the process group that all engines of this process share.
        """
        self._hosted.remove(hosted)
        self._parked.append(hosted)
        _hand_out(hosted.die("it was closed"))
        if not self._hosted:
            self._shut_down()

    def _shut_down(self) -> None:
        for hosted in self._parked:
            engine, hosted.engine = hosted.engine, None
            with suppress(Exception):  # it may be broken already; the others must still be ended
                engine.engine_core.shutdown()
            del engine
        self._parked.clear()
        gc.collect()

    def _end(self) -> None:
        raise _End

    def _run(self, inbox: queue.SimpleQueue[Callable[[], None]]) -> None:
        while True:
            busy = [hosted for hosted in self._hosted if hosted.busy]
            try:
                while True:
                    inbox.get(block=not busy)()
                    busy = busy or [hosted for hosted in self._hosted if hosted.busy]
            except queue.Empty:
                pass
            except _End:
                return
            for hosted in busy:
                _hand_out(hosted.step())


class _End(BaseException):
    """Ends the engine thread."""


def _hand_out(settled: list[_Settled]) -> None:
    """Give results to the event loops of those who wait, with one wake-up for each loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Settled]] = {}
    for item in settled:
        by_loop.setdefault(item[0].get_loop(), []).append(item)
    for loop, items in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, items)


def _settle(items: list[_Settled]) -> None:
    for future, output, error in items:
        if future.done():
            continue
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(output)


_THREAD = _EngineThread()
_NAMES = itertools.count()


class ThreadEngine:
    """`EngineDriver` over an engine on the engine thread."""

    def __init__(self, arguments: Mapping[str, Any], environment: Mapping[str, str | None]) -> None:
        """Say what engine it will be; nothing happens yet.

        Args:
            arguments: Of `vllm.EngineArgs`.
            environment: Variables to set, or to take away, while it starts.
        """
        self._arguments = dict(arguments)
        self._environment = {**environment, "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
        self._hosted: _Hosted | None = None
        self._joined = False
        self._meter = Meter()

    async def start(self) -> EngineFacts:
        """Load the weights on the engine thread.

        Raises:
            EngineDied: It does not start.
        """
        _THREAD.join_in()
        self._joined = True
        # Shielded: the thread cannot stop half way, and `close` must find what it made.
        return await asyncio.shield(asyncio.wrap_future(_THREAD.ask(self._make)))

    def _make(self) -> EngineFacts:
        try:
            with engine_environment(self._environment):
                config = configure(self._arguments, asynchronous=False)
                from vllm.v1.engine.llm_engine import LLMEngine
                from vllm.v1.executor import Executor

                executor = Executor.get_class(config)
                engine = LLMEngine(config, executor, log_stats=True, multiprocess_mode=False)
        except DocendoError:
            raise
        except (Exception, SystemExit) as error:
            raise EngineDied(f"{type(error).__name__}: {error}") from error
        hush()
        engine.logger_manager = self._meter
        self._hosted = _Hosted(engine, self._meter)
        _THREAD.host(self._hosted)
        return engine_facts(config)

    async def run(self, call: EngineCall) -> Any:
        """The finished output of one call.

        Raises:
            EngineDied: The engine has stopped, before or during the call.
            EngineRefusal: The engine does not take this call.
        """
        hosted = self._hosted
        if hosted is None:
            raise EngineDied("it was not started")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        name = f"d{next(_NAMES)}"

        def add() -> None:
            if future.cancelled():
                return
            try:
                hosted.add(name, call, future)
            except EngineDied as error:
                _hand_out([(future, None, error)])
            except Exception as error:
                _hand_out([(future, None, EngineRefusal(str(error)))])

        def withdraw() -> None:
            if hosted.waiting.pop(name, None) is None:
                return
            try:
                hosted.engine.abort_request([name])
            except Exception as error:
                _hand_out(hosted.die(f"{type(error).__name__}: {error}"))

        _THREAD.tell(add)
        try:
            return await future
        except asyncio.CancelledError:
            _THREAD.tell(withdraw)
            raise

    async def sleep(self) -> None:
        """Give the GPU's memory back."""
        await self._do(lambda engine: engine.sleep(level=1))

    async def wake(self) -> None:
        """Take the GPU's memory again."""
        await self._do(lambda engine: engine.wake_up())

    async def forget_prefixes(self) -> None:
        """Empty the prefix cache."""
        await self._do(lambda engine: engine.reset_prefix_cache())

    async def _do(self, work: Callable[[Any], Any]) -> None:
        hosted = self._hosted
        if hosted is None or hosted.dead:
            raise EngineDied(hosted.dead if hosted else "it was not started")
        await asyncio.wrap_future(_THREAD.ask(lambda: work(hosted.engine)))

    def stats(self) -> EngineStats:
        """What it did so far."""
        return self._meter.stats

    async def close(self) -> None:
        """Take it off the thread; the last engine takes the thread with it."""
        if not self._joined:
            return
        self._joined = False

        def end() -> None:
            # Runs after a start that is still under way: the thread does one thing after the other.
            if self._hosted is not None:
                hosted, self._hosted = self._hosted, None
                _THREAD.park(hosted)

        await asyncio.wrap_future(_THREAD.ask(end))
        thread = _THREAD.leave()
        if thread is not None:
            await asyncio.to_thread(thread.join)
