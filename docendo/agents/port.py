"""The model port: all that an agent knows of a language model.

Two operations. `generate` continues a prompt; `score` returns the log-probabilities of forced
continuations. `docendo.runtime` implements the port over journal, limits and backends; agents know
nothing of these.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from docendo.agents.view import View
from docendo.messages import PromptMessage, Usage

__all__ = [
    "Completion",
    "ContinuationScore",
    "GenerateReply",
    "GenerateRequest",
    "ModelPort",
    "Origin",
    "Sampling",
    "ScoreReply",
    "ScoreRequest",
    "TokenLogprob",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are drawn."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 512
    """Most tokens of the completion."""
    stop: tuple[str, ...] = ()
    n: int = 1
    """Completions of one prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who asks, for records and error messages. Never part of a call's key."""

    condition: str = ""
    replicate: int = 0
    episode: str = ""
    agent: str = ""
    act: str = ""
    item: str = ""
    turn: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """Continue `prompt`."""

    model: str
    """The model's name in the scenario's `models:` block."""
    prompt: tuple[PromptMessage, ...]
    view: View
    """What the prompt was rendered from; only simulated minds read it."""
    sampling: Sampling = Sampling()
    seed: int = 0
    """63-bit, from (scenario seed, replicate, agent, act, item, occurrence)."""
    schema: dict[str, Any] | None = None
    """JSON schema that the completion must satisfy."""
    choices: tuple[str, ...] = ()
    """The completion must be one of these; empty for free text."""
    logprobs: int = 0
    """Alternatives per generated token to return; 0 for none."""
    origin: Origin = Origin()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRequest:
    """How likely is each continuation after `prompt`?"""

    model: str
    prompt: tuple[PromptMessage, ...]
    """If the last message is the assistant's, continuations go on from its text."""
    continuations: tuple[str, ...]
    view: View
    seed: int = 0
    origin: Origin = Origin()


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One generated token with its log-probability and its alternatives'."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One answer of a model."""

    text: str
    finish: Literal["stop", "length"] = "stop"
    logprobs: tuple[TokenLogprob, ...] = ()
    mind: dict[str, Any] | None = None
    """New state of a simulated mind, where acting changed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateReply:
    """`n` completions and what they cost."""

    completions: tuple[Completion, ...]
    usage: Usage = Usage()
    key: str = ""
    """The call's key in the journal."""
    cached: bool = False
    """Served by the journal, or shared with an identical call in flight."""

    @property
    def text(self) -> str:
        """Text of the first completion."""
        return self.completions[0].text


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinuationScore:
    """Log-probabilities (natural log) of one continuation's tokens."""

    logprobs: tuple[float, ...]
    censored: bool = False
    """The backend could only bound this from above (answer outside its `top_logprobs`)."""

    @property
    def total(self) -> float:
        """Log-probability of the whole continuation."""
        return sum(self.logprobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreReply:
    """One score per continuation, in order."""

    scores: tuple[ContinuationScore, ...]
    usage: Usage = field(default_factory=Usage)
    key: str = ""
    cached: bool = False


class ModelPort(Protocol):
    """What an agent asks."""

    async def generate(self, request: GenerateRequest) -> GenerateReply:
        """Continue a prompt.

        Raises:
            EpisodeFailure: The call failed after its retries.
        """
        ...

    async def score(self, request: ScoreRequest) -> ScoreReply:
        """Score forced continuations.

        Raises:
            EpisodeFailure: The call failed after its retries.
        """
        ...
