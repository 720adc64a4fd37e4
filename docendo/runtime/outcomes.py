"""What a call comes to, said in the name of whoever asked: an answer, a failure, or the end of the run."""

from __future__ import annotations

from dataclasses import replace

from docendo.agents.port import GenerateReply, GenerateRequest, Origin, ScoreReply, ScoreRequest
from docendo.errors import EpisodeFailure, ModelError, Where
from docendo.runtime.backends.base import BackendFault
from docendo.runtime.journal import Failure, Recorded

__all__ = ["asker", "final", "replay_miss", "serve", "where"]

Request = GenerateRequest | ScoreRequest


def final(fault: BackendFault, attempts: int, request: Request) -> Failure:
    """The end of a call that no further attempt helps.

    Raises:
        ModelError: No other call to this model would fare better.
    """
    times = f" ({attempts} attempts)" if attempts > 1 else ""
    if fault.fatal:
        raise ModelError(
            f"model `{request.model}` cannot be used: {fault.message}{times}",
            suggestion=fault.suggestion,
            where=where(request.origin),
        ) from fault
    return Failure(
        kind=fault.kind, message=fault.message + times, suggestion=fault.suggestion, attempts=attempts
    )


def serve(recorded: Recorded, request: Request, key: str, *, cached: bool) -> GenerateReply | ScoreReply:
    """Hand out an answer, or raise a failure in the name of whoever asks."""
    if isinstance(recorded, Failure):
        raise EpisodeFailure(
            recorded.kind,
            f"model `{request.model}` failed for {asker(request.origin)}: {recorded.message}",
            suggestion=recorded.suggestion or "`--retry errors` asks again for what failed.",
            where=where(request.origin),
            call=key,
        )
    return replace(recorded, key=key, cached=cached)


def replay_miss(request: Request) -> EpisodeFailure:
    """A replay asks what the run did not."""
    return EpisodeFailure(
        "replay",
        f"the journal holds no answer of model `{request.model}` for {asker(request.origin)}",
        suggestion="Its prompt, seed or model differs from the recorded run: compare the scenario, the items "
        "and the version of docendo, or run live.",
        where=where(request.origin),
    )


def asker(origin: Origin) -> str:
    """Who asks, for messages."""
    act = ".".join(part for part in (origin.agent, origin.act) if part) or "an unnamed caller"
    return f"{act} (turn {origin.turn})"


def where(origin: Origin) -> Where:
    """Where in the run it asks."""
    return Where(
        condition=origin.condition or None,
        replicate=origin.replicate,
        episode=origin.episode or None,
        agent=origin.agent or None,
        act=origin.act or None,
        turn=origin.turn,
    )
