"""The engines of this process, shared by the backends that need the same one.

Several backends may describe one engine: a model in two worlds of a study, or a teacher and a student that
are adapters over one base. Every backend says what it wants when it is made, so that at the first start all
engines of the scenario are known, with all their adapters, and the memory can be planned. An engine lives
from the first backend that starts to the last one that closes.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import orjson

from docendo.runtime.backends.base import BackendFault
from docendo.runtime.backends.engine_driver import EngineDied, EngineDriver, EngineFacts
from docendo.runtime.backends.engine_plan import (
    EngineWish,
    Placement,
    kv_bytes_per_token,
    loaded_bytes,
    plan_engines,
)
from docendo.runtime.backends.engine_turns import Turns
from docendo.runtime.backends.vllm_arguments import engine_arguments, engine_environment_of
from docendo.runtime.backends.vllm_faults import dead_fault, start_fault
from docendo.runtime.backends.vllm_process import ProcessEngine
from docendo.runtime.backends.vllm_start import Device, device, import_vllm
from docendo.runtime.backends.vllm_thread import ThreadEngine
from docendo.runtime.backends.weights import Adapter, Weights
from docendo.scenarios.local_model_spec import VllmModel

__all__ = ["Engine", "Engines", "LogprobKinds", "Want", "announce", "engines_here", "refuse", "withdraw"]


@dataclass(eq=False, frozen=True)
class Want:
    """What one backend wants: an engine over these weights, and perhaps an adapter in it."""

    spec: VllmModel
    weights: Weights

    @property
    def engine(self) -> str:
        """Identity of the engine. Prompts, adapters and how many calls may wait are no part of it.

        Nor is what the scenario calls the weights: they are known by their folder.
        """
        apart = {
            "adapter", "chat_template", "chat_template_kwargs", "sampling", "max_concurrent", "timeout",
            "retries", "model", "revision",
        }  # fmt: skip
        settings = self.spec.model_dump(mode="json", exclude=apart)
        return orjson.dumps([str(self.weights.folder), self.weights.context, settings]).decode()

    def wish(self) -> EngineWish:
        """The engine as the plan for GPUs sees it; there `auto` is a format of 16 bits."""
        spec, weights = self.spec, self.weights
        width = 4 if spec.dtype == "float32" else 2
        return EngineWish(
            key=weights.name,
            weights=loaded_bytes(weights.size, weights.config, width, spec.quantization),
            kv_token=kv_bytes_per_token(weights.config, width),
            context=weights.context,
            gpus=spec.tensor_parallel,
            share=spec.memory,
            kv_cache=spec.kv_cache,
        )


class LogprobKinds:
    """Keeps calls for the likeliest tokens and calls for listed tokens out of one batch.

    The model runner of vLLM's CPU engines (and of older GPU ones) gives all sequences of a batch the columns
    of the listed tokens as soon as one asks for them, so that the others' alternatives are garbage. Calls of
    the kind that is running go on at once, unless the other kind waits; then they queue behind it.
    """

    def __init__(self) -> None:
        self._kind = ""
        self._running = 0
        self._queue: list[tuple[str, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def only(self, kind: str) -> AsyncIterator[None]:
        """Run with calls of this kind only."""
        if self._running and (self._queue or kind != self._kind):
            place = (kind, asyncio.get_running_loop().create_future())
            self._queue.append(place)
            try:
                await place[1]
            except asyncio.CancelledError:
                if not place[1].cancelled():
                    self._leave()  # it had been let in
                elif place in self._queue:
                    self._queue.remove(place)
                    self._admit()
                raise
        else:
            self._kind, self._running = kind, self._running + 1
        try:
            yield
        finally:
            self._leave()

    def _leave(self) -> None:
        self._running -= 1
        self._admit()

    def _admit(self) -> None:
        """Let in, from the front of the queue, all calls of one kind."""
        while self._queue and (not self._running or self._queue[0][0] == self._kind):
            kind, future = self._queue.pop(0)
            if not future.cancelled():
                self._kind, self._running = kind, self._running + 1
                future.set_result(None)


@dataclass(eq=False)
class Engine:
    """One engine with what is known of it and who uses it."""

    name: str
    driver: EngineDriver
    arguments: dict[str, Any]
    adapters: dict[str, Any]
    """Folder -> `vllm.lora.request.LoRARequest`."""
    turns: Turns | None
    key: str
    facts: EngineFacts | None = None
    users: set[Want] = field(default_factory=set)
    starting: asyncio.Task[None] | None = None
    kinds: LogprobKinds = field(default_factory=LogprobKinds)

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Hold it awake; at once where engines live together."""
        return nullcontext() if self.turns is None else self.turns.turn(self.key)


def refuse(want: Want, place: Placement, here: Device, *, adapted: bool) -> None:
    """What vLLM answers with a bare assertion on a GPU, seen on an H200 with vLLM 0.25.

    Raises:
        BackendFault: Always fatal.
    """
    if here.kind == "cpu":
        return
    what = advice = ""
    if place.turns and want.spec.engine == "thread":
        what = "cannot take turns with another engine inside one process"
        advice = (
            "Write `engine: process`, or give both a `memory` or `kv_cache` with which they fit together."
        )
    elif adapted and want.spec.dtype == "float32":
        what = "has an adapter, and vLLM adds adapters on a GPU in 16 bits only"
        advice = "Write `dtype: bfloat16`."
    if what:
        raise BackendFault(f"`{want.weights.name}` {what}", retry=False, fatal=True, suggestion=advice)


class Engines:
    """The engines of one event loop."""

    def __init__(self) -> None:
        self._engines: dict[str, Engine] = {}
        self._places: dict[str, Placement] = {}
        self._turns: Turns | None = None

    async def acquire(self, want: Want) -> Engine:
        """The engine that `want` describes, started. The caller must `release` it, also if this fails.

        Raises:
            BackendFault: It cannot start; always fatal.
        """
        engine = self._engines.get(want.engine)
        if engine is None:
            engine = self._engines[want.engine] = self._make(want)
        engine.users.add(want)
        if engine.starting is None:
            engine.starting = asyncio.create_task(self._start(engine))
        # Shielded: one backend's cancellation must not stop an engine that others wait for.
        await asyncio.shield(engine.starting)
        return engine

    async def release(self, want: Want) -> None:
        """One user less; the last one ends the engine."""
        engine = self._engines.get(want.engine)
        if engine is None or want not in engine.users:
            return
        engine.users.remove(want)
        if engine.users:
            return
        del self._engines[want.engine]
        self._places.pop(want.engine, None)
        if engine.starting is not None:
            engine.starting.cancel()
            await asyncio.gather(engine.starting, return_exceptions=True)
        if not self._engines and self._turns is not None:
            turns, self._turns = self._turns, None
            await turns.close()
        await engine.driver.close()

    async def _start(self, engine: Engine) -> None:
        if engine.turns is None:
            await _load(engine)
            return
        async with engine.turns.turn(engine.key):
            pass  # its first turn loads it

    async def _switch(self, before: str | None, after: str) -> None:
        """Change turns. An engine is loaded in its first one.

        Raises:
            BackendFault: One of the two has stopped, or does not start.
        """
        asleep = self._engines.get(before) if before is not None else None
        engine = self._engines[after]
        try:
            if asleep is not None:
                await asleep.driver.sleep()
            if engine.facts is not None:
                await engine.driver.wake()
        except EngineDied as error:
            raise dead_fault(engine.name, str(error)) from error
        if engine.facts is None:
            await _load(engine)

    def _make(self, want: Want) -> Engine:
        """An engine that is not started yet, and the plan if there is none that knows it.

        Raises:
            BackendFault: It does not fit.
        """
        vllm = import_vllm()
        here = device()
        wants = [other for other in _WANTS if other.engine == want.engine]
        place = self._place(want, here)
        adapters = {str(a.folder): a for other in wants if (a := other.weights.adapter) is not None}
        refuse(want, place, here, adapted=bool(adapters))
        arguments = engine_arguments(want.spec, want.weights, place, here, list(adapters.values()))
        kind = ThreadEngine if want.spec.engine == "thread" else ProcessEngine
        return Engine(
            name=want.weights.name,
            driver=kind(arguments, engine_environment_of(want.spec, here)),
            arguments=arguments,
            adapters=_requests(vllm, adapters),
            turns=self._shared_turns() if place.turns else None,
            key=want.engine,
        )

    def _place(self, want: Want, here: Device) -> Placement:
        if want.engine not in self._places:
            fresh = {w.engine: w for w in [want, *_WANTS] if w.engine not in self._places}
            wishes = [w.wish() for w in fresh.values()]
            total = here.total if here.kind == "cuda" else None
            self._places |= dict(zip(fresh, plan_engines(wishes, total, here.free), strict=True))
        return self._places[want.engine]

    def _shared_turns(self) -> Turns:
        if self._turns is None:
            self._turns = Turns(self._switch)
        return self._turns


async def _load(engine: Engine) -> None:
    try:
        engine.facts = await engine.driver.start()
    except EngineDied as error:
        raise start_fault(engine.name, str(error), engine.arguments) from error


_WANTS: weakref.WeakSet[Want] = weakref.WeakSet()
_HERE: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Engines] = weakref.WeakKeyDictionary()


def engines_here() -> Engines:
    """The engines of the running event loop."""
    return _HERE.setdefault(asyncio.get_running_loop(), Engines())


def announce(want: Want) -> None:
    """Let plans know of `want`, for as long as it is referred to or until it is withdrawn."""
    _WANTS.add(want)


def withdraw(want: Want) -> None:
    """Let plans forget `want`."""
    _WANTS.discard(want)


def _requests(vllm: Any, adapters: Mapping[str, Adapter]) -> dict[str, Any]:
    return {
        folder: vllm.lora.request.LoRARequest(
            lora_name=adapter.digest[:16], lora_int_id=number, lora_path=folder
        )
        for number, (folder, adapter) in enumerate(sorted(adapters.items()), start=1)
    }
