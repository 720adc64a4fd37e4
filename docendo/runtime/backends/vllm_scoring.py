"""How likely are forced continuations? What to ask the engine, and what its answers say.

vLLM has two exact ways, and both are used:

- *Listed tokens*: one call per distinct context, each for one token, with the log-probabilities of the tokens
  that the continuations go on with. All calls of a request are independent, since the tokens between are
  forced; continuations share the calls of their common beginning, and the engine's prefix cache serves what
  they share with each other and with earlier prompts. One-token answers take one call for all of them.
- *Prompt log-probabilities*: one call per continuation, with all tokens in the prompt. It must not read the
  prefix cache (the engine returns uninitialised memory for cached positions if it is made to), so the whole
  prompt is computed again for each continuation.

Short answers are cheaper in the first way, long texts in the second. The choice depends on lengths alone, so
that a request is scored the same way whenever it is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from docendo.runtime.backends.alignment import Alignment, Branch

__all__ = ["MOST_LISTED", "Question", "ask_lists", "lists_are_cheaper", "read_lists", "read_prompt"]

MOST_LISTED = 128
"""Tokens that vLLM lists in one call."""

_CALL = 16
"""What a call costs beside its tokens, in tokens of prefill. See docs/design/engines.md."""


@dataclass(frozen=True, slots=True)
class Question:
    """One call for listed tokens."""

    tokens: tuple[int, ...]
    """What follows the request's context."""
    listed: tuple[int, ...]
    """The tokens whose log-probabilities are wanted next."""


def ask_lists(branches: Sequence[Branch]) -> list[Question]:
    """The calls that score `branches`: one per distinct beginning, or more where very many tokens follow."""
    wanted: dict[tuple[int, ...], dict[int, None]] = {}
    for branch in branches:
        for i, token in enumerate(branch.tokens):
            wanted.setdefault(branch.tokens[:i], {})[token] = None
    return [
        Question(begun, tuple(tokens)[at : at + MOST_LISTED])
        for begun, tokens in wanted.items()
        for at in range(0, len(tokens), MOST_LISTED)
    ]


def lists_are_cheaper(alignment: Alignment, questions: Sequence[Question], block: int) -> bool:
    """Whether listed tokens take less work than prompt log-probabilities.

    Counted in tokens of prefill, as if nothing were cached before: the context once and then, per question,
    what lies behind its last full block; against every continuation with its context.

    Args:
        alignment: The request.
        questions: Its calls for listed tokens.
        block: Tokens of a block of the KV cache.
    """
    start = len(alignment.context)
    lists = start + sum(((start + len(q.tokens) - 1) % block) + 1 + _CALL for q in questions)
    prompts = sum(start + len(branch.tokens) + _CALL for branch in alignment.branches)
    return lists <= prompts


def read_lists(
    branches: Sequence[Branch], questions: Sequence[Question], outputs: Sequence[Any]
) -> list[tuple[float, ...]]:
    """Log-probabilities (natural log) of each continuation's tokens.

    Args:
        branches: The request's.
        questions: Its calls.
        outputs: Their `vllm.RequestOutput`, in the same order.
    """
    found: dict[tuple[tuple[int, ...], int], float] = {}
    for question, output in zip(questions, outputs, strict=True):
        listed = output.outputs[0].logprobs[0]
        for token in question.listed:
            found[question.tokens, token] = listed[token].logprob
    return [
        branch.fold([found[branch.tokens[:i], token] for i, token in enumerate(branch.tokens)])
        for branch in branches
    ]


def read_prompt(branch: Branch, output: Any) -> tuple[float, ...]:
    """The same of one continuation, from a `vllm.RequestOutput` with prompt log-probabilities."""
    last = output.prompt_logprobs[-len(branch.tokens) :]
    return branch.fold([found[token].logprob for found, token in zip(last, branch.tokens, strict=True)])
