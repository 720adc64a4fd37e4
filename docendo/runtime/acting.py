"""The model port as one act of one episode sees it: every answered call is an event, every token is paid.

Before a call on a limited account its `max_tokens` is reserved, lowered to what the account still holds;
after it, what was not used is given back. So a token budget cannot be overspent even by an answer that runs
to its limit. Calls are recorded here and nowhere else, so none is lost when the act fails later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from docendo.agents.port import GenerateReply, GenerateRequest, ModelPort, ScoreReply, ScoreRequest
from docendo.errors import EpisodeFailure
from docendo.graphs.actor import Exhausted
from docendo.runtime.ledger import Ledger

__all__ = ["ActingPort", "Note", "Purpose"]

Purpose = Literal["act", "repair", "probe"]
Note = Callable[[str, Literal["generate", "score"], Purpose], None]
"""Told of (key, operation, purpose) of every answered call."""


@dataclass
class ActingPort:
    """Asks `port` on the account of `units`, the limited token units that apply to the asking agent."""

    port: ModelPort
    ledger: Ledger
    note: Note
    units: Sequence[str] = ()
    purpose: Literal["act", "probe"] = "act"
    """`act`: the first call is the act, a further one its repair."""
    _asked: int = field(default=0, init=False)

    async def generate(self, request: GenerateRequest) -> GenerateReply:
        """Reserve, ask, settle, record.

        Raises:
            Exhausted: Nothing is left to answer with.
            EpisodeFailure: The call failed, or the model overran the limit that it was given.
        """
        reply = await (self._paid(request) if self.units else self.port.generate(request))
        repair = self.purpose == "act" and self._asked > 0
        self._asked += 1
        self.note(reply.key, "generate", "repair" if repair else self.purpose)
        return reply

    async def score(self, request: ScoreRequest) -> ScoreReply:
        """Ask and record; scoring generates nothing and costs nothing.

        Raises:
            EpisodeFailure: The call failed.
        """
        reply = await self.port.score(request)
        self.note(reply.key, "score", "probe")
        return reply

    async def _paid(self, request: GenerateRequest) -> GenerateReply:
        n = request.sampling.n
        allowed = min(request.sampling.max_tokens, *(self.ledger.remaining(u) or 0 for u in self.units)) // n
        if allowed < 1:
            raise Exhausted(next(u for u in self.units if (self.ledger.remaining(u) or 0) < n))
        for unit in self.units:
            self.ledger.spend(unit, allowed * n)
        used = 0
        try:
            sampling = replace(request.sampling, max_tokens=allowed)
            reply = await self.port.generate(replace(request, sampling=sampling))
            used = reply.usage.completion_tokens
        finally:
            for unit in self.units:
                self.ledger.refund(unit, max(0, allowed * n - used))
        if used > allowed * n:
            raise EpisodeFailure(
                "budget",
                f"model `{request.model}` answered with {used} tokens where {allowed * n} were left to spend",
                suggestion="Its backend does not obey `max_tokens`; a token budget cannot be kept with it.",
            )
        return reply
