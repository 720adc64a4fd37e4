"""The model port as one act of one episode sees it: every call is an event, every token is paid.

Before its first call on a limited account an act reserves what it can use at most: `max_tokens` for the call
and for a repair, or what the account still holds. What was not used is given back by `settle`, which in a
fan-out waits for the end of the turn: what one branch may use never depends on how fast another one is. So a
token budget cannot be overspent even by an answer that runs to its limit. Calls and payments are recorded
here and nowhere else, so none is lost when the act fails later, or the call itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from docendo.agents.port import GenerateReply, GenerateRequest, ModelPort, ScoreReply, ScoreRequest
from docendo.errors import EpisodeFailure
from docendo.graphs.actor import Exhausted
from docendo.runtime.ledger import Ledger

__all__ = ["ActingPort", "Note", "Pay", "Purpose"]

Purpose = Literal["act", "repair", "probe"]
Operation = Literal["generate", "score"]
Note = Callable[[str, Operation, Purpose, str], None]
"""Told of (key, operation, purpose, why it failed) of every call that the journal knows."""
Pay = Callable[[str, int, int], None]
"""Told of (unit, amount, what is left for others and this act) of every payment."""


@dataclass
class ActingPort:
    """Asks `port` on the account of `units`, the limited token units that apply to the asking agent."""

    port: ModelPort
    ledger: Ledger
    note: Note
    pay: Pay
    units: Sequence[str] = ()
    purpose: Literal["act", "probe"] = "act"
    """`act`: the first call is the act, a further one its repair."""
    _asked: int = field(default=0, init=False)
    _held: int | None = field(default=None, init=False)
    """Reserved and not used; `None` before the first call and after `settle`."""

    async def generate(self, request: GenerateRequest) -> GenerateReply:
        """Reserve, ask, settle, record.

        Raises:
            Exhausted: Nothing is left to answer with.
            EpisodeFailure: The call failed, or the model overran the limit that it was given.
        """
        if self.units:
            return await self._paid(request)
        return await self._generated(request)

    async def score(self, request: ScoreRequest) -> ScoreReply:
        """Ask and record; scoring generates nothing and costs nothing.

        Raises:
            EpisodeFailure: The call failed.
        """
        try:
            reply = await self.port.score(request)
        except EpisodeFailure as failure:
            self._failed(failure, "score", "probe")
            raise
        self.note(reply.key, "score", "probe", "")
        return reply

    def settle(self) -> None:
        """Give back what the act reserved and did not use."""
        for unit in self.units if self._held else ():
            self.ledger.refund(unit, self._held or 0)
        self._held = None

    async def _paid(self, request: GenerateRequest) -> GenerateReply:
        n, most = request.sampling.n, request.sampling.max_tokens
        if self._held is None:
            self._held = self._reserve(2 * most * n)
        allowed = min(most, self._held // n)
        if allowed < 1:
            raise Exhausted(self._scarcest())
        await asyncio.sleep(0)  # a recorded answer is here at once; other branches reserve first all the same
        sampling = replace(request.sampling, max_tokens=allowed)
        reply = await self._generated(replace(request, sampling=sampling))
        used = reply.usage.completion_tokens
        paid = min(used, allowed * n)
        self._held -= paid
        for unit in self.units:
            self.pay(unit, paid, (self.ledger.remaining(unit) or 0) + self._held)
        if used > allowed * n:
            raise EpisodeFailure(
                "budget",
                f"model `{request.model}` answered with {used} tokens where {allowed * n} were left to spend",
                suggestion="Its backend does not obey `max_tokens`; a token budget cannot be kept with it.",
            )
        return reply

    def _reserve(self, wanted: int) -> int:
        amount = min(wanted, self.ledger.remaining(self._scarcest()) or 0)
        for unit in self.units:
            self.ledger.spend(unit, amount)
        return amount

    def _scarcest(self) -> str:
        return min(self.units, key=lambda unit: self.ledger.remaining(unit) or 0)

    async def _generated(self, request: GenerateRequest) -> GenerateReply:
        repair = self.purpose == "act" and self._asked > 0
        purpose: Purpose = "repair" if repair else self.purpose
        try:
            reply = await self.port.generate(request)
        except EpisodeFailure as failure:
            self._failed(failure, "generate", purpose)
            raise
        self._asked += 1
        self.note(reply.key, "generate", purpose, "")
        return reply

    def _failed(self, failure: EpisodeFailure, operation: Operation, purpose: Purpose) -> None:
        if failure.call:  # else nothing was asked: a replay whose journal lacks the call
            self.note(failure.call, operation, purpose, failure.message)
