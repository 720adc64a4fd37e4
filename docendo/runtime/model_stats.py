"""What the client tells of its work: counts per model, and notices for whoever watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from docendo.agents.port import Origin
from docendo.messages import Usage

__all__ = ["Listener", "ModelStats", "Notice", "What"]

What = Literal["sent", "retry", "answered", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStats:
    """What one model was asked so far. `calls = journal_hits + coalesced + sent` when not replaying."""

    calls: int = 0
    """Requests of agents."""
    journal_hits: int = 0
    """Served from the journal."""
    coalesced: int = 0
    """Shared with an identical request in flight."""
    sent: int = 0
    """Distinct calls that went to the backend."""
    attempts: int = 0
    """Attempts at those, retries included."""
    failures: int = 0
    """Calls that failed for good."""
    queued: int = 0
    """Calls that wait for a place at the backend now."""
    in_flight: int = 0
    """Calls that occupy the backend now."""
    limit: int = 0
    """Calls that may do so at present."""
    backoffs: int = 0
    """Times that this limit was lowered, because the server had no room or only its queue grew."""
    latency: float = 0.0
    """Seconds that attempts took, added up."""
    tells_cache: bool = False
    """The model says how much of its prompts was in a cache; else `usage.cached_tokens` means nothing."""
    usage: Usage = field(default_factory=Usage)
    """Tokens of the answers that the backend gave; journal hits cost none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that a progress display may tell."""

    what: What
    model: str
    key: str
    origin: Origin
    detail: str = ""
    usage: Usage = Usage()
    """Of an answer."""


Listener = Callable[[Notice], None]
