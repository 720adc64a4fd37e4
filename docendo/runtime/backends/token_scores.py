"""How likely is an answer? Read from the alternatives of one token, or from an echo with log-probabilities.

Tokens are compared by their letters, since every tokenizer writes blanks in its own way. Probabilities are
raw, over the whole vocabulary, as in Saha et al. 2023; renormalising over the options is the reader's choice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

from docendo.agents.port import ContinuationScore

__all__ = ["single_token_score", "tail_score"]


def single_token_score(
    continuation: str, top: Mapping[str, float], continuations: Sequence[str]
) -> ContinuationScore:
    """Log-probability (natural log) that the next token reads as `continuation`.

    Spellings of one answer are added up: with or without a leading space, and for words of two letters or
    more in any case (`Yes` is `yes`), unless two of `continuations` differ in case only. An answer outside
    the alternatives is censored at the best upper bound: the smallest returned, or more where the
    continuation's beginning was returned, since it may be spelled in several tokens.
    """
    wanted = continuation.strip()
    folded = [c.strip().casefold() for c in continuations]
    fold = len(wanted) > 1 and folded.count(wanted.casefold()) == 1
    spelled = wanted.casefold() if fold else wanted
    found, begun = [], [min(top.values())]
    for token, logprob in top.items():
        read = _bare(token).casefold() if fold else _bare(token)
        if read == spelled:
            found.append(logprob)
        elif read and spelled.startswith(read):
            begun.append(logprob)
    if found:
        return ContinuationScore(logprobs=(_log_sum(found),))
    return ContinuationScore(logprobs=(max(begun),), censored=True)


def tail_score(
    continuation: str, tokens: Sequence[str], logprobs: Sequence[float | None]
) -> ContinuationScore | None:
    """Log-probabilities of the last tokens of an echo, those that spell `continuation`.

    Counted from the end, because servers put tokens that are not in the text (begin of sentence) at the
    start. A token across the boundary, such as ` yes` for `yes` after a space, counts as the continuation's.
    `None` where the echo does not end in the continuation.
    """
    wanted = _bare(continuation)
    spelled, start = "", len(tokens)
    while start > 0 and len(spelled) < len(wanted):
        start -= 1
        spelled = _bare(tokens[start]) + spelled
    chosen = logprobs[start : len(tokens)]
    if not wanted or not spelled.endswith(wanted) or any(x is None for x in chosen):
        return None
    return ContinuationScore(logprobs=tuple(cast(float, x) for x in chosen))


def _bare(token: str) -> str:
    """The token's letters without blanks, however the tokenizer writes a blank."""
    return "".join(token.replace("\u2581", " ").replace("\u0120", " ").replace("\u010a", " ").split())


def _log_sum(logprobs: list[float]) -> float:
    best = max(logprobs)
    if best == -math.inf:
        return best
    return min(0.0, best + math.log(sum(math.exp(x - best) for x in logprobs)))
