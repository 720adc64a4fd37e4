"""Which tokens are a continuation's? Those of prompt and continuation read as one text.

A tokenizer does not cut where a prompt ends: after `is `, `yes` may become ` yes`, the prompt's last blank
being part of the token. Scored from the prompt's own tokens the answer would be spelled in a way that the
model never saw. So all continuations of a request go on from the longest run of tokens that the prompt has
with all of them. Text of the prompt behind that run is then scored with each of them alike, in its first
token: probabilities of one request can be compared, and renormalised, whatever merged.

The text is scored as it is written. Other spellings of the same answer are other continuations: adding them
up is for servers that show only a few alternatives (`docendo.runtime.backends.token_scores`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from docendo.messages import PromptMessage
from docendo.runtime.backends.base import BackendFault
from docendo.runtime.backends.local_prompt import LocalPrompt

__all__ = ["Alignment", "Branch", "align", "align_tokens"]


@dataclass(frozen=True, slots=True)
class Branch:
    """One continuation behind the common context."""

    tokens: tuple[int, ...]
    lead: int = 0
    """Tokens at its beginning that are the prompt's alone; non-zero only where another branch merged."""

    def fold(self, logprobs: Sequence[float]) -> tuple[float, ...]:
        """Log-probabilities of the continuation's tokens, the lead's added to the first.

        Args:
            logprobs: One per token of the branch.
        """
        first, *rest = logprobs[self.lead :]
        return (sum(logprobs[: self.lead]) + first, *rest)


@dataclass(frozen=True, slots=True)
class Alignment:
    """A request's continuations as tokens behind one context."""

    context: tuple[int, ...]
    branches: tuple[Branch, ...]

    @property
    def longest(self) -> int:
        """Tokens of the longest branch."""
        return max(len(branch.tokens) for branch in self.branches)


def align(prompts: LocalPrompt, prompt: tuple[PromptMessage, ...], continuations: Sequence[str]) -> Alignment:
    """The tokens of `continuations` after `prompt`.

    Raises:
        BackendFault: A continuation is empty, or the template refuses the prompt.
    """
    text = prompts.text(prompt)
    wholes = [prompts.encode(text + continuation) for continuation in continuations]
    return align_tokens(prompts.tokens(prompt), wholes, continuations)


def align_tokens(
    prompt: tuple[int, ...], wholes: Sequence[tuple[int, ...]], continuations: Sequence[str]
) -> Alignment:
    """The same over tokens.

    Args:
        prompt: The prompt's tokens.
        wholes: For each continuation, the tokens of prompt and continuation read as one text.
        continuations: Their texts, for messages.

    Raises:
        BackendFault: A continuation has no tokens of its own, or the prompt has none left before it.
    """
    shared = [_common(prompt, whole) for whole in wholes]
    for k, whole, continuation in zip(shared, wholes, continuations, strict=True):
        if len(whole) <= k:
            raise BackendFault(f"cannot score {continuation!r}: it has no tokens of its own", retry=False)
    start = min(shared, default=len(prompt))
    if start == 0:
        raise BackendFault(
            "cannot score: nothing of the prompt stands before the answer, and a first token has no "
            "probability",
            retry=False,
        )
    branches = (Branch(whole[start:], max(0, k - start)) for k, whole in zip(shared, wholes, strict=True))
    return Alignment(prompt[:start], tuple(branches))


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common beginning."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
