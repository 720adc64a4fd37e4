"""How probable is an answer to a model? Three published ways, told apart in every record.

- `raw`: the probability of the answer's tokens as a forced continuation, over the whole vocabulary and not
  renormalised; for several tokens the mean of their probabilities (Saha et al. 2023, code).
- `renormalised`: the same, divided by the sum over the item's options; for items that have some.
- `frequency`: the share of sampled completions with that answer, for models that cannot score.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
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
    """An answer was outside what the model reports, so `p` is no measurement: of `raw` an upper bound; of
    `renormalised` it may err to either side, as the bound may be the target's or another option's."""

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
        target: The answer whose probability is wanted. Empty where the teacher gave none: its probability
            is 0. So is that of `renormalised` for an answer that is none of the options.
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
    continuations = tuple(dict.fromkeys((target, *options) if target else options))
    if not continuations:
        return Confidence(p=0.0, mode=mode)
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
    scores = dict(zip(continuations, scored.scores, strict=True))
    of = {answer: _probability(score) for answer, score in scores.items()}
    behind = (target, *options) if mode == "renormalised" else (target,)
    return Confidence(
        p=_share(of, target, options) if mode == "renormalised" else of.get(target, 0.0),
        mode=mode,
        options=tuple(of[option] for option in options),
        censored=any(scores[answer].censored for answer in behind if answer in scores),
    )


def _share(of: Mapping[str, float], target: str, options: Sequence[str]) -> float:
    """What falls to `target` of all that falls to the options."""
    total = sum(of[option] for option in options)
    return of[target] / total if target in options and total else 0.0


def _probability(score: ContinuationScore) -> float:
    """Mean token probability: the token's own for one token, the digits' mean for a number."""
    return sum(map(math.exp, score.logprobs)) / len(score.logprobs) if score.logprobs else 0.0
