"""How probable is an answer to a model? Three published ways, told apart in every record.

- `raw`: the probability of the answer's tokens as a forced continuation, over the whole vocabulary and not
  renormalised; for several tokens the mean of their probabilities (Saha et al. 2023, code).
- `renormalised`: the same, divided by the sum over the item's options.
- `frequency`: the share of sampled completions with that answer, for models that cannot score.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from docendo.agents.act import Ask
from docendo.agents.port import ContinuationScore, GenerateRequest, ScoreRequest
from docendo.agents.view import View
from docendo.messages import PromptMessage
from docendo.scenarios.item import PublicItem

__all__ = ["Confidence", "answer_confidence", "options_of"]

Mode = Literal["raw", "renormalised", "frequency"]


@dataclass(frozen=True, kw_only=True)
class Confidence:
    """Probability of a target answer, and of each of the item's options where they were asked for."""

    p: float
    mode: Mode
    options: tuple[float, ...] = ()
    censored: bool = False
    """The true probability is at most `p`: the answer was outside what the model reports."""

    @property
    def label(self) -> str:
        """The mode as records name it; a bound says that it is one."""
        return f"{self.mode}, censored" if self.censored else self.mode


def options_of(item: PublicItem) -> tuple[str, ...]:
    """The answers that an item admits, if they are few: labels, or yes and no."""
    if item.kind == "yes_no":
        return ("yes", "no")
    return tuple("ABCDEFGHIJ"[: len(item.options)]) if item.kind == "choice" else ()


async def answer_confidence(
    ask: Ask,
    view: View,
    prompt: tuple[PromptMessage, ...],
    target: str,
    *,
    mode: Mode,
    samples: int,
    read: Callable[[str], str | None],
) -> Confidence:
    """The probability that the model behind `ask` goes on from `prompt` with the answer `target`.

    Args:
        ask: Whom to ask.
        view: What the prompt was made from; holds the item.
        prompt: Ends where the answer begins.
        target: The answer whose probability is wanted.
        mode: See the module.
        samples: Completions drawn for `frequency`.
        read: Finds the answer in a sampled completion.

    Raises:
        EpisodeFailure: The call failed.
    """
    if mode == "frequency":
        sampling = replace(ask.sampling, n=samples, temperature=ask.sampling.temperature or 1.0)
        reply = await ask.port.generate(
            GenerateRequest(
                model=ask.model, prompt=prompt, view=view, sampling=sampling, seed=ask.seed, origin=ask.origin
            )
        )
        hits = sum(read(c.text) == target for c in reply.completions)
        return Confidence(p=hits / len(reply.completions), mode=mode)
    options = options_of(view.item) if view.item is not None else ()
    others = options if mode == "renormalised" or options else ()
    continuations = tuple(dict.fromkeys((target, *others)))
    lead = " " if prompt[-1].role == "assistant" else ""
    scored = await ask.port.score(
        ScoreRequest(
            model=ask.model,
            prompt=prompt,
            continuations=tuple(lead + c for c in continuations),
            view=view,
            seed=ask.seed,
            origin=ask.origin,
        )
    )
    p = {c: _probability(s) for c, s in zip(continuations, scored.scores, strict=True)}
    total = sum(p[o] for o in options) if mode == "renormalised" else 1.0
    return Confidence(
        p=p[target] / total if total else 0.0,
        mode=mode,
        options=tuple(p[o] for o in options),
        censored=scored.scores[0].censored,
    )


def _probability(score: ContinuationScore) -> float:
    """Mean token probability: the token's own for one token, the digits' mean for a number."""
    return sum(map(math.exp, score.logprobs)) / len(score.logprobs) if score.logprobs else 0.0
