"""The one door to models.

Every request of every agent passes here. It is named by its key (`docendo.runtime.journal`) and then takes
the first way that is open: the journal's answer, the identical request that is already in flight, the
backend. The backend is asked under the model's limit on concurrency (`docendo.runtime.concurrency`), each
attempt under its timeout, again after a passing fault with exponential waits whose jitter comes from the
key. A call's own faults are counted by `retries`; a server that has gone, or has no room, is waited for by
its `patience`. What came out, answer or failure, is journalled. Two things are not: a model that cannot be
used at all, which stops the run, and a cancelled call, which says nothing about the model.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Literal, cast

from docendo.agents.port import GenerateReply, GenerateRequest, ScoreReply, ScoreRequest
from docendo.errors import CapabilityError, ModelError, UnknownNameError, Where, did_you_mean
from docendo.messages import Usage
from docendo.runtime.backends.base import Backend, BackendFault, Room
from docendo.runtime.concurrency import Gate
from docendo.runtime.journal import Entry, Failure, Journal, Recorded, call_key, call_parameters, settle
from docendo.runtime.model_stats import Listener, ModelStats, Notice, What
from docendo.runtime.outcomes import asker, final, replay_miss, serve
from docendo.runtime.together import all_ended
from docendo.scenarios.schema import ModelSpec

__all__ = ["Client", "Listener", "ModelStats", "Need", "Notice", "backoff", "require"]

Need = Literal["scoring", "seed", "logprobs", "schema", "deterministic", "reads_view"]
"""A capability by name, see `docendo.runtime.backends.base.Capabilities`."""

Request = GenerateRequest | ScoreRequest

_LONGEST_WAIT = 120.0
"""Seconds. A server that asks for more is asked again after this."""
_KNOCK = 5.0
"""Longest wait in seconds before a server that has gone is tried again: knocking costs it nothing."""

_AHEAD = 4
"""Batches of calls that an engine is handed at once: among them it finds those with a common beginning. More
would only wait inside it, and that wait counts towards the time that an attempt may take."""

Started = Callable[[str, Backend], Awaitable[None]]


@dataclass(slots=True)
class _Flight:
    """A call on its way, and how many requests wait for it."""

    task: asyncio.Task[Recorded]
    waiters: int = 0


def require(backends: Mapping[str, Backend], model: str, needs: Collection[Need], who: str) -> None:
    """Refuse, before the run, what a model cannot do.

    Args:
        backends: Every model of the scenario.
        model: The one that will be asked.
        needs: Capabilities that it must have.
        who: What needs them, for the message, e.g. "the policy `teacher_confidence`".

    Raises:
        CapabilityError: It lacks some; the message names the models that have all of them.
        UnknownNameError: There is no such model.
    """
    lacking = sorted(n for n in needs if not getattr(_named(backends, model).capabilities, n))
    if not lacking:
        return
    able = [f"`{name}`" for name, b in backends.items() if all(getattr(b.capabilities, n) for n in needs)]
    could = f"Models that could: {', '.join(able)}." if able else "No model of this scenario could."
    raise CapabilityError(
        f"{who} needs {' and '.join(lacking)}, which model `{model}` does not offer", suggestion=could
    )


def _named(backends: Mapping[str, Backend], model: str) -> Backend:
    if model not in backends:
        raise UnknownNameError(
            f"no model `{model}` is declared in this scenario", suggestion=did_you_mean(model, backends)
        )
    return backends[model]


def backoff(key: str, attempt: int, asked: float | None, *, base: float, longest: float) -> float:
    """Seconds to wait after the `attempt`-th attempt (from 1) at the call `key` failed.

    `base` doubled with every attempt up to `longest`, times a jitter of 0.5 to 1 drawn from the key, so that
    calls that failed together do not come back together; at least what the server asked for, up to 120 s.
    """
    jitter = random.Random(f"{key}:{attempt}").uniform(0.5, 1.0)
    wait = min(base * 2.0 ** min(attempt - 1, 64), longest) * jitter
    return max(wait, min(asked or 0.0, _LONGEST_WAIT))


class Client:
    """Implements `docendo.agents.port.ModelPort` over backends and a journal.

    Lives in one event loop. Use it as an async context manager, or `close` it.
    """

    def __init__(
        self,
        backends: Mapping[str, Backend],
        specs: Mapping[str, ModelSpec],
        journal: Journal,
        *,
        mode: Literal["live", "replay"] = "live",
        retry_failed: bool = False,
        listener: Listener | None = None,
        started: Started | None = None,
        base_delay: float = 0.5,
        max_delay: float = 30.0,
    ) -> None:
        """Make the door.

        Args:
            backends: Model name -> backend.
            specs: Model name -> its part of the scenario: concurrency, timeout, retries.
            journal: Where calls are looked up and recorded.
            mode: `replay` serves from the journal only and never touches a backend.
            retry_failed: Ask again, once in this client's life, where the journal holds a failure.
            listener: Told of every sent, repeated, answered and failed call.
            started: Told of a model that has started, before the first call to it is sent.
            base_delay: Seconds before the second attempt; doubles with each further one.
            max_delay: Longest such wait in seconds. A server's own `Retry-After` may exceed it.
        """
        self._backends = dict(backends)
        self._specs = {name: specs[name] for name in backends}
        self._journal = journal
        self._mode = mode
        self._retry_failed = retry_failed
        self._listener = listener
        self._on_start = started
        self._base_delay = base_delay
        self._max_delay = max_delay
        self._gates = {
            name: Gate(spec.max_concurrent, paced=backends[name].paced) for name, spec in self._specs.items()
        }
        self._tallies: dict[str, dict[str, Any]] = {name: asdict(ModelStats()) for name in backends}
        self._starts: dict[str, asyncio.Task[None]] = {}
        self._flights: dict[str, _Flight] = {}
        self._retried: set[str] = set()

    async def generate(self, request: GenerateRequest) -> GenerateReply:
        """Continue a prompt.

        Raises:
            EpisodeFailure: The call failed after its retries, or a replay does not know it.
            ModelError: The model cannot be used at all.
            CapabilityError: Log-probabilities were asked of a model that has none.
            UnknownNameError: The model is not declared.
        """
        return cast(GenerateReply, await self._ask(request))

    async def score(self, request: ScoreRequest) -> ScoreReply:
        """Score forced continuations.

        Raises:
            EpisodeFailure: The call failed after its retries, or a replay does not know it.
            ModelError: The model cannot be used at all.
            CapabilityError: The model cannot score.
            UnknownNameError: The model is not declared.
        """
        return cast(ScoreReply, await self._ask(request))

    def stats(self) -> dict[str, ModelStats]:
        """Model name -> what it was asked so far."""
        return {
            name: ModelStats(
                **{
                    **tally,
                    "limit": gate.limit,
                    "backoffs": gate.backoffs,
                    "tells_cache": self._backends[name].tells_cache,
                }
            )
            for (name, tally), gate in zip(self._tallies.items(), self._gates.values(), strict=True)
        }

    def rooms(self) -> dict[str, Room]:
        """Model -> what its engine holds at once, of those that have started and say so."""
        started = [name for name, start in self._starts.items() if start.done()]
        return {name: room for name in started if (room := self._backends[name].room()) is not None}

    async def close(self) -> None:
        """Cancel what is in flight and release the backends."""
        for start in self._starts.values():
            start.cancel()
        await asyncio.gather(*self._starts.values(), return_exceptions=True)
        for flight in (flights := list(self._flights.values())):
            flight.task.cancel()
        await asyncio.gather(*(flight.task for flight in flights), return_exceptions=True)
        await all_ended(backend.close() for backend in self._backends.values())

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- the way of a request ---------------------------------------------------------------------------

    async def _ask(self, request: Request) -> GenerateReply | ScoreReply:
        backend = _named(self._backends, request.model)
        _refuse_impossible(request, self._backends)
        key = call_key(request, backend.fingerprint, backend.capabilities)
        self._count(request.model, calls=1)
        recorded = self._look_up(key)
        if recorded is not None:
            self._count(request.model, journal_hits=1)
            return serve(recorded, request, key, cached=True)
        if self._mode == "replay":
            raise replay_miss(request)
        flight = self._flights.get(key)
        shared = flight is not None
        if flight is None:
            flight = _Flight(asyncio.create_task(self._send(key, request, backend)))
            self._flights[key] = flight
        self._count(request.model, **{"coalesced" if shared else "sent": 1})
        return serve(await self._join(key, flight), request, key, cached=shared)

    def _look_up(self, key: str) -> Recorded | None:
        recorded = self._journal.get(key)
        again = self._retry_failed and self._mode == "live" and key not in self._retried
        return None if again and isinstance(recorded, Failure) else recorded

    async def _join(self, key: str, flight: _Flight) -> Recorded:
        """Wait for a flight. One waiter's cancellation leaves it; the last one's ends it."""
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if flight.waiters == 0:
                # Out of the table first: a new request must not join a flight that is being cancelled.
                if self._flights.get(key) is flight:
                    del self._flights[key]
                flight.task.cancel()

    async def _send(self, key: str, request: Request, backend: Backend) -> Recorded:
        """Ask the backend and write down what came of it."""
        await self._started(request.model, backend)
        async with self._place(request.model):
            recorded, latency = await self._attempts(key, request, backend)
        if isinstance(recorded, Failure):
            self._count(request.model, failures=1)
            self._tell("failed", key, request, recorded.message)
        else:
            self._count(request.model, usage=recorded.usage)
            self._tell("answered", key, request, usage=recorded.usage)
        self._retried.add(key)
        self._journal.put(
            Entry(
                key=key,
                operation="score" if isinstance(request, ScoreRequest) else "generate",
                model=request.model,
                fingerprint=backend.fingerprint,
                prompt=request.prompt,
                parameters=call_parameters(request),
                recorded=recorded,
                latency=latency,
            )
        )
        return recorded

    async def _started(self, model: str, backend: Backend) -> None:
        """Start the backend, once. A run that the journal answers never loads a model.

        Raises:
            ModelError: It cannot start.
        """
        if model not in self._starts:
            self._starts[model] = asyncio.create_task(self._start(model, backend))
        try:
            # Shielded: one caller's cancellation must not stop a model that others wait for.
            await asyncio.shield(self._starts[model])
        except BackendFault as fault:
            raise ModelError(
                f"model `{model}` cannot be used: {fault.message}",
                suggestion=fault.suggestion,
                where=Where(path=f"models.{model}"),
            ) from fault

    async def _start(self, model: str, backend: Backend) -> None:
        await backend.start()
        if room := backend.room():
            self._gates[model].lower(_AHEAD * room.sequences)
        if self._on_start:
            await self._on_start(model, backend)

    @asynccontextmanager
    async def _place(self, model: str) -> AsyncIterator[None]:
        """Wait for a place at the backend, and hold it."""
        self._count(model, queued=1)
        waiting = True
        try:
            async with self._gates[model]:
                self._count(model, queued=-1, in_flight=1)
                waiting = False
                yield
        finally:
            self._count(model, **{"queued" if waiting else "in_flight": -1})

    async def _attempts(self, key: str, request: Request, backend: Backend) -> tuple[Recorded, float]:
        """Ask until there is an answer or no further attempt helps; also the last attempt's seconds.

        Waits happen inside the model's gate: a server that is in trouble is not sent other work meanwhile.
        """
        retries = self._specs[request.model].retries
        clock = asyncio.get_running_loop().time
        self._tell("sent", key, request)
        attempt = failed = 0
        trouble: float | None = None
        while True:
            attempt += 1
            started = clock()
            try:
                return await self._attempt(request, backend), clock() - started
            except BackendFault as error:
                fault = error
            waits = fault.retry and (fault.busy or fault.fatal) and backend.patience > 0
            trouble = (started if trouble is None else trouble) if waits else None
            failed += not waits
            left = backend.patience - (clock() - trouble) if trouble is not None else 0.0
            if not fault.retry or (left <= 0 if waits else failed > retries):
                return final(fault, attempt, request), clock() - started
            longest = min(self._max_delay, _KNOCK) if waits and fault.fatal else self._max_delay
            wait = backoff(key, attempt, fault.after, base=self._base_delay, longest=longest)
            wait = min(wait, left) if waits else wait
            self._tell("retry", key, request, f"{fault.message}; again in {wait:.3g} s")
            await asyncio.sleep(wait)

    async def _attempt(self, request: Request, backend: Backend) -> GenerateReply | ScoreReply:
        """Ask once, and tell the gate how it went.

        Raises:
            BackendFault: It failed.
        """
        gate = self._gates[request.model]
        clock = asyncio.get_running_loop().time
        started, ticket = clock(), gate.sent()
        try:
            reply = await _once(request, backend, self._specs[request.model].timeout)
        except BackendFault as fault:
            if fault.busy or fault.kind == "timeout":
                gate.pushed_back(ticket, min(fault.after or 0.0, _LONGEST_WAIT))
            raise
        finally:
            self._count(request.model, attempts=1, latency=clock() - started)
        gate.answered(ticket, clock() - started, reply.usage.completion_tokens)
        return reply

    def _count(self, model: str, **more: Any) -> None:
        tally = self._tallies[model]
        for name, value in more.items():
            tally[name] += value

    def _tell(self, what: What, key: str, request: Request, detail: str = "", usage: Usage = Usage()) -> None:
        if self._listener:
            name, origin = request.model, request.origin
            self._listener(Notice(what=what, model=name, key=key, origin=origin, detail=detail, usage=usage))


async def _once(request: Request, backend: Backend, timeout: float) -> GenerateReply | ScoreReply:
    """One attempt, with an answer of the asked size.

    Raises:
        BackendFault: It failed, took too long, or brought another number of answers.
    """
    reply: GenerateReply | ScoreReply
    try:
        async with backend.turn(), asyncio.timeout(timeout):
            if isinstance(request, ScoreRequest):
                reply = await backend.score(request)
                got, wanted = len(reply.scores), len(request.continuations)
            else:
                reply = await backend.generate(request)
                got, wanted = len(reply.completions), request.sampling.n
    except TimeoutError:
        raise BackendFault(
            f"no answer within {timeout:g} s",
            retry=True,
            kind="timeout",
            suggestion="Raise the model's `timeout`, or lower `max_concurrent` or `max_tokens`.",
        ) from None
    if got != wanted:
        raise BackendFault(f"{wanted} answers were asked for and {got} came", retry=False)
    return settle(reply)


def _refuse_impossible(request: Request, backends: Mapping[str, Backend]) -> None:
    if isinstance(request, ScoreRequest):
        require(backends, request.model, {"scoring"}, asker(request.origin))
    elif request.logprobs:
        require(backends, request.model, {"logprobs"}, asker(request.origin))
