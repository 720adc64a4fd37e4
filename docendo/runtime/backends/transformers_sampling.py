"""From logits to tokens, row by row as each request asks, whatever other rows are in the batch.

A row draws one uniform number per token from its own generator, seeded by its request and its place among
the request's completions, and finds the token where the cumulated probabilities pass that number.
Log-probabilities that are reported are the model's own: before temperature, `top_p` and grammar.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import torch

from docendo.runtime.backends.base import BackendFault

__all__ = ["Alternatives", "Constraint", "Row", "StopWatch", "choose", "log_probabilities"]

Alternatives = tuple[tuple[int, float], ...]
"""Token ids and log-probabilities, the likeliest first."""
StopWatch = Callable[[Sequence[int]], bool]
"""Whether the tokens of a completion so far contain a text that ends it."""


class Constraint(Protocol):
    """A grammar on its way through one completion."""

    def allowed(self) -> Any:
        """Tokens that may come next, as booleans over the vocabulary.

        Raises:
            BackendFault: It does not know; the completion cannot go on.
        """
        ...

    def take(self, token: int) -> bool:
        """Go on by this token; whether nothing more may follow."""
        ...

    def fresh(self) -> Constraint:
        """The same grammar at its beginning."""
        ...


@dataclass(eq=False, kw_only=True)
class Row:
    """One completion that is being written."""

    prompt: tuple[int, ...]
    ends: frozenset[int]
    """Tokens that end it and are no part of it."""
    most: int
    """Most tokens."""
    temperature: float = 0.0
    top_p: float = 1.0
    alternatives: int = 0
    seed: str = ""
    constraint: Constraint | None = None
    stopped: StopWatch | None = None

    out: list[int] = field(default_factory=list)
    """Tokens so far, without the one that ends it."""
    logprobs: list[tuple[float, Alternatives]] = field(default_factory=list)
    finish: Literal["stop", "length"] | None = None
    cached: int = 0
    """Tokens of the prompt that were not computed again."""
    spent: int = 0
    """Tokens that were drawn, the one that ends it included."""
    fault: BackendFault | None = None
    """Why it cannot go on; it has then finished."""

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    @property
    def length(self) -> int:
        """Tokens of prompt and completion."""
        return len(self.prompt) + len(self.out)

    def fresh(self) -> Row:
        """The same row at its beginning."""
        begun = self.constraint.fresh() if self.constraint else None
        start: dict[str, Any] = {
            "out": [],
            "logprobs": [],
            "finish": None,
            "cached": 0,
            "spent": 0,
            "fault": None,
        }
        return replace(self, constraint=begun, **start)

    def draw(self) -> float:
        """The next uniform number from 0 to 1."""
        return self._random.random()

    def take(self, token: int, logprob: tuple[float, Alternatives] | None) -> None:
        """Go on by this token, and find out whether it was the last."""
        self.spent += 1
        complete = self.constraint.take(token) if self.constraint else False
        if token in self.ends:
            self.finish = "stop"
            return
        self.out.append(token)
        if logprob is not None:
            self.logprobs.append(logprob)
        if complete or (self.stopped is not None and self.stopped(self.out)):
            self.finish = "stop"
        elif self.spent >= self.most:
            self.finish = "length"


def log_probabilities(logits: Any) -> Any:
    """Natural logarithms, in single precision at least."""
    return torch.log_softmax(logits.float(), dim=-1)


def choose(logits: Any, rows: Sequence[Row]) -> None:
    """Give every row its next token.

    Args:
        logits: [rows, vocabulary].
        rows: In the order of the logits; none has finished.
    """
    said = _reported(logits, rows)
    logits = logits.float()
    if any(row.constraint for row in rows):
        logits = logits.clone()
        for i, row in enumerate(rows):
            _constrain(logits[i], row)
    tokens = logits.argmax(dim=-1).tolist()
    for whole in (True, False):
        places = [i for i, row in enumerate(rows) if row.temperature > 0 and (row.top_p >= 1) == whole]
        if places:
            drawn = _drawn(logits[places], [rows[i] for i in places], whole=whole)
            for i, token in zip(places, drawn, strict=True):
                tokens[i] = token
    for i, row in enumerate(rows):
        if row.fault is None:
            row.take(tokens[i], said(i, tokens[i]) if row.alternatives else None)


def _constrain(logits: Any, row: Row) -> None:
    """Make impossible what the row's grammar forbids. A row whose grammar breaks finishes with a fault."""
    if row.constraint is None:
        return
    try:
        logits.masked_fill_(~row.constraint.allowed().to(logits.device), -torch.inf)
    except BackendFault as fault:
        row.fault, row.finish = fault, "stop"


def _drawn(logits: Any, rows: Sequence[Row], *, whole: bool) -> list[int]:
    """Tokens drawn at the rows' temperatures, from all of the vocabulary or from its likeliest part."""
    device = logits.device
    heat = torch.tensor([row.temperature for row in rows], device=device)
    # The largest becomes 0 first, so that the smallest temperature does not overflow.
    scaled = (logits - logits.amax(dim=-1, keepdim=True)) / heat[:, None]
    p = torch.softmax(scaled, dim=-1)
    order = None
    if not whole:
        p, order = p.sort(dim=-1, descending=True, stable=True)
        part = torch.tensor([row.top_p for row in rows], device=device, dtype=torch.float64)
        before = p.cumsum(dim=-1, dtype=torch.float64) - p
        p = p.masked_fill(before >= part[:, None], 0.0)
    rising = p.cumsum(dim=-1, dtype=torch.float64)
    at = torch.tensor([row.draw() for row in rows], device=device, dtype=torch.float64)
    found = torch.searchsorted(rising, (at[:, None] * rising[:, -1:]), right=True)
    # Where rounding lets the number reach the very end, the last token with any probability.
    last = (p > 0).to(torch.int8).cumsum(dim=-1, dtype=torch.int64).argmax(dim=-1, keepdim=True)
    found = torch.minimum(found, last)
    if order is not None:
        found = order.gather(-1, found)
    return [int(token) for token in found[:, 0].tolist()]


def _reported(logits: Any, rows: Sequence[Row]) -> Any:
    """A function from (row, token) to what is reported of it."""
    places = {i: n for n, i in enumerate(i for i, row in enumerate(rows) if row.alternatives)}
    if not places:
        return None
    known = log_probabilities(logits[list(places)])
    best = known.topk(min(max(row.alternatives for row in rows), known.shape[-1]), dim=-1)
    values, ids = best.values.tolist(), best.indices.tolist()

    def said(i: int, token: int) -> tuple[float, Alternatives]:
        n, k = places[i], rows[i].alternatives
        return float(known[n, token]), tuple(zip(ids[n][:k], values[n][:k], strict=True))

    return said
