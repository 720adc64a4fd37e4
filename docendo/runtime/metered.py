"""A model port that charges tokens to the ledger.

Before a call its `max_tokens` is reserved, lowered to what the account still holds; after it, what was not
used is given back. So a token budget cannot be overspent even by an answer that runs to its limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from docendo.agents.port import GenerateReply, GenerateRequest, ModelPort, ScoreReply, ScoreRequest
from docendo.errors import EpisodeFailure
from docendo.graphs.actor import Exhausted
from docendo.runtime.ledger import Ledger

__all__ = ["MeteredPort"]


@dataclass
class MeteredPort:
    """Asks `port` on the account of `units`, the limited token units that apply to the asking agent."""

    port: ModelPort
    ledger: Ledger
    units: Sequence[str] = ()
    used: int = field(default=0, init=False)
    """Completion tokens so far."""

    async def generate(self, request: GenerateRequest) -> GenerateReply:
        """Reserve, ask, settle.

        Raises:
            Exhausted: Nothing is left to answer with.
            EpisodeFailure: The call failed, or the model overran the limit that it was given.
        """
        if not self.units:
            reply = await self.port.generate(request)
            self.used += reply.usage.completion_tokens
            return reply
        n = request.sampling.n
        allowed = min(request.sampling.max_tokens, *(self.ledger.remaining(u) or 0 for u in self.units)) // n
        if allowed < 1:
            raise Exhausted(next(u for u in self.units if (self.ledger.remaining(u) or 0) < n))
        for unit in self.units:
            self.ledger.spend(unit, allowed * n)
        used = allowed * n
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
        self.used += used
        return reply

    async def score(self, request: ScoreRequest) -> ScoreReply:
        """Scoring generates nothing and is not charged."""
        return await self.port.score(request)
