"""What is known of the server behind an address, and what follows from it for requests.

It is found out by `docendo.runtime.backends.openai_discovery`. What a server does not say stays unknown, and
calls find it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from docendo.messages import PromptMessage
from docendo.runtime.backends.openai_wire import chat_messages, goes_on

__all__ = ["Kind", "Server", "Way"]

Kind = Literal["vllm", "llama.cpp", "ollama", "sglang", "unknown"]

Way = Literal["tokens", "echo", "plain echo", "first token", "none"]
"""How continuations are scored: `docendo.runtime.backends.openai_scoring`."""

_NEUTRAL: dict[Kind, Mapping[str, float]] = {
    "vllm": {"top_k": -1, "min_p": 0, "repetition_penalty": 1},
    "sglang": {"top_k": -1, "min_p": 0, "repetition_penalty": 1},
    "llama.cpp": {"top_k": 0, "min_p": 0, "repeat_penalty": 1},
}
"""Servers cut and bend the distribution by defaults of their own, or of the model's generation_config: these
turn that off. Ollama's address of this protocol has no words for it, and of others nobody knows."""

_NAMES = 4
"""Models that a message names."""

_UNTOLD = {"tail", "for_template"}
"""Of no interest to people, or in the scenario anyway."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """What is known of a server and the model behind it."""

    kind: Kind = "unknown"
    version: str = ""
    served: tuple[str, ...] = ()
    """Names of its models."""
    context: int | None = None
    """Longest prompt with its completion, in tokens."""
    slots: int | None = None
    """Sequences that are decoded together, where it says so."""
    tokenizer: bool = False
    """It turns texts and messages into tokens for whoever asks."""
    template: bool = True
    """The model has a chat template."""
    system: bool = True
    """The template takes a system message, and shows it."""
    alternate: bool = False
    """The template wants roles in turn."""
    tail: str = ""
    """What the template writes behind a user's last message, where the server lets see it."""
    scoring: Way = "first token"
    for_template: Mapping[str, Any] = field(default_factory=dict)
    """What a request says to the template beside the messages."""

    def chat(self, prompt: tuple[PromptMessage, ...]) -> dict[str, Any]:
        """The part of a request that says the prompt, for the server's template."""
        return {
            "messages": chat_messages(prompt, system=self.system, alternate=self.alternate),
            **goes_on(prompt),
            **self.for_template,
        }

    @property
    def names(self) -> str:
        """Its models, as far as a message has room for them."""
        more = f" and {len(self.served) - _NAMES} more" if len(self.served) > _NAMES else ""
        return ", ".join(f"`{name}`" for name in self.served[:_NAMES]) + more

    @property
    def neutral(self) -> Mapping[str, float]:
        """What a request says so that tokens are drawn by its own sampling and by nothing else."""
        return _NEUTRAL.get(self.kind, {})

    def about(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items() if k not in _UNTOLD
        }
