"""What is said, and what is shown to a model.

A `Message` is what an act says to other agents. A prompt is what one agent is shown: a list of
`PromptMessage`, each made of `Span`s that remember where every piece of text came from. The spans are
recorded with the call, which is how docendo can prove what an agent saw.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["EVERYONE", "Kind", "Message", "PromptMessage", "Provenance", "Role", "Span", "Usage"]

Role = Literal["teacher", "student", "critic", "diagnostician"]

Kind = Literal[
    "task", "attempt", "question", "answer", "explanation", "hint", "feedback", "critique",
    "correction", "suggestion", "diagnosis", "plan", "exam", "judgement", "control",
]  # fmt: skip

EVERYONE = "*"
"""A recipient that stands for every agent of the episode."""

Provenance = Literal["instruction", "public", "own", "private", "memory", "belief", "budget", "gold", "mind"]


class Usage(BaseModel):
    """Tokens of one call, or of several added up."""

    model_config = ConfigDict(frozen=True)

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    """Part of `prompt_tokens` that the engine had in its prefix cache."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
        )


class Message(BaseModel):
    """What one act said."""

    model_config = ConfigDict(frozen=True)

    sender: str
    recipients: tuple[str, ...] = (EVERYONE,)
    """Agent names, or `*`. The sender can always read its own; nobody else reads an empty tuple."""
    kind: Kind
    act: str = ""
    text: str
    thoughts: str = ""
    """Private reasoning of the sender; never in another agent's view."""
    payload: dict[str, Any] = Field(default_factory=dict)
    """The act's typed output, as plain data."""
    turn: int = 0
    usage: Usage = Usage()

    def readable_by(self, agent: str) -> bool:
        """Whether `agent` may read this message's text and payload."""
        return agent == self.sender or agent in self.recipients or EVERYONE in self.recipients


class Span(NamedTuple):
    """A piece of prompt text with its origin."""

    text: str
    provenance: Provenance = "instruction"
    source: str = ""
    """What exactly it is, e.g. `item.question`, `memory.demonstrations[2].answer`."""


@dataclass(frozen=True)
class PromptMessage:
    """One chat message of a prompt, as spans."""

    role: Literal["system", "user", "assistant"]
    spans: tuple[Span, ...]

    @cached_property
    def text(self) -> str:
        """The text that the model receives."""
        return "".join(span.text for span in self.spans)
