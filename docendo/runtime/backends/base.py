"""What a backend is: one model behind one endpoint, and what it can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

from docendo.agents.port import GenerateReply, GenerateRequest, ScoreReply, ScoreRequest
from docendo.errors import DocendoError

__all__ = ["Backend", "BackendFault", "Capabilities", "Room"]


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a backend can do. Asking for the rest is an error before the run."""

    scoring: bool = False
    """`score` works."""
    seed: bool = False
    """Sampling obeys the request's seed."""
    logprobs: bool = False
    """`generate` returns token log-probabilities."""
    schema: bool = False
    """`generate` obeys a JSON schema by itself; otherwise docendo asks for it in words and validates."""
    deterministic: bool = False
    """Equal requests have equal answers, whatever their seed. Greedy calls then leave it out of their key."""
    reads_view: bool = False
    """Answers depend on the typed view, whose content then enters the call's key."""


class BackendFault(DocendoError):
    """One attempt at a call failed.

    `retry`: whether another attempt may help. `after`: seconds to wait first, where the server said so.
    `fatal`: no call to this model can succeed (refused connection after retries, wrong key, unknown model).
    `busy`: the model has no room at present, whoever asks: such attempts wait by the backend's `patience`.
    `kind`: how the episode's failure is named if no further attempt is made.
    """

    code = "backend"
    exit_code = 3

    def __init__(
        self,
        message: str,
        *,
        retry: bool,
        after: float | None = None,
        fatal: bool = False,
        busy: bool = False,
        kind: Literal["model", "timeout", "context"] = "model",
        suggestion: str = "",
    ) -> None:
        super().__init__(message, suggestion=suggestion)
        self.kind = kind
        self.retry = retry
        self.after = after
        self.fatal = fatal
        self.busy = busy


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How much an engine holds at once. Episodes are admitted by it."""

    sequences: int
    """Sequences that are decoded together."""
    tokens: int
    """Tokens that its KV cache holds."""
    context: int
    """Longest prompt with its completion, in tokens."""


class Backend(ABC):
    """One model that can be asked. Backends inherit from it what they have no need to say."""

    capabilities: Capabilities
    paced: bool = False
    """How many calls it bears at once is found out while it is asked (`docendo.runtime.concurrency`)."""
    patience: float = 0.0
    """Seconds that calls wait for it where it has gone, or has no room; such attempts are no `retries`."""

    @property
    def tells_cache(self) -> bool:
        """`cached_tokens` of its answers mean something; else they are 0 because nobody says."""
        return True

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Identity of what answers: backend, model, adapter, endpoint, settings. Part of every call's key.

        Known without loading anything, and the same on every machine that has the same weights. The first
        time it may take as long as reading them.

        Raises:
            UsageError: The weights are not here.
        """

    def unread(self) -> Mapping[str, int]:
        """Files that have to be read before `fingerprint` is known, and their bytes."""
        return {}

    async def start(self) -> None:  # noqa: B027 - most have nothing to start
        """Load weights, start processes. The client awaits it once, before the first call that is sent.

        Raises:
            BackendFault: It cannot start, always `fatal`.
        """

    def about(self) -> dict[str, Any]:
        """What answers, in detail, once started: engine, versions, device, flags. Kept with the run."""
        return {}

    def room(self) -> Room | None:
        """What the engine holds at once, once started; `None` where that is unknown or unlimited."""
        return None

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Entered around every call. Engines that take turns on one device let the call wait here.

        This wait is no part of the time that an attempt may take.

        Raises:
            BackendFault: On entry: the engine cannot be made ready.
        """
        return nullcontext()

    @abstractmethod
    async def generate(self, request: GenerateRequest) -> GenerateReply:
        """Answer once.

        Raises:
            BackendFault: This attempt failed.
        """

    @abstractmethod
    async def score(self, request: ScoreRequest) -> ScoreReply:
        """Score once.

        Raises:
            BackendFault: This attempt failed.
        """

    @abstractmethod
    async def close(self) -> None:
        """Release connections, memory and processes. Nothing is left behind, also after a failed start."""
