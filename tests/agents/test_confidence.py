"""What answer confidence makes of scores that are bounds, and of answers that are no answers.

The scores are given here; tests/engine/test_confidence.py has them from real models.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import Any

import pytest

from docendo.agents.act import Ask
from docendo.agents.confidence import Confidence, answer_confidence
from docendo.agents.port import (
    ContinuationScore,
    GenerateReply,
    GenerateRequest,
    Origin,
    Sampling,
    ScoreReply,
    ScoreRequest,
)
from docendo.messages import PromptMessage, Span
from docendo.scenarios.item import Item
from tests.runtime.minds_lab import subtraction, view, yes_no


@dataclass
class Scores:
    """A port that scores continuations as written down here."""

    p: dict[str, float]
    censored: frozenset[str] = frozenset()
    asked: list[str] = field(default_factory=list)

    async def generate(self, request: GenerateRequest) -> GenerateReply:
        raise AssertionError("nothing has to be generated")

    async def score(self, request: ScoreRequest) -> ScoreReply:
        words = [c.strip() for c in request.continuations]
        self.asked += words
        return ScoreReply(
            scores=tuple(
                ContinuationScore(logprobs=(math.log(self.p[w]),), censored=w in self.censored) for w in words
            )
        )


QUESTION = yes_no(7)


def confidence(port: Scores, target: str, mode: Any, item: Item = QUESTION) -> Confidence:
    ask = Ask(port=port, model="m", sampling=Sampling(), seed=1, origin=Origin())
    prompt = (PromptMessage("user", (Span("Q"),)), PromptMessage("assistant", (Span("So the answer is"),)))
    return asyncio.run(
        answer_confidence(ask, view(item), prompt, target, mode=mode, samples=1, read=lambda text: text)
    )


@pytest.mark.parametrize(
    ("mode", "bounded", "label"),
    [
        ("raw", "yes", "raw, censored"),
        ("raw", "no", "raw"),
        ("renormalised", "yes", "renormalised, censored"),
        ("renormalised", "no", "renormalised, censored"),
        ("renormalised", "", "renormalised"),
    ],
)
def test_what_rests_on_a_bound_says_so(mode: str, bounded: str, label: str) -> None:
    found = confidence(Scores({"yes": 0.6, "no": 0.2}, frozenset({bounded})), "yes", mode)
    assert (found.p, found.label) == (pytest.approx(0.6 if mode == "raw" else 0.75), label)


@pytest.mark.parametrize("mode", ["raw", "renormalised"])
def test_an_answer_that_was_not_given_has_no_probability(mode: str) -> None:
    port = Scores({"yes": 0.6, "no": 0.2})
    found = confidence(port, "", mode)
    assert (found.p, found.options, port.asked) == (0, pytest.approx((0.6, 0.2)), ["yes", "no"])
    nothing = Scores({})
    assert confidence(nothing, "", mode, subtraction(9, 4)) == Confidence(p=0, mode=mode)
    assert nothing.asked == []


def test_an_answer_beside_the_options_has_no_share_of_them() -> None:
    port = Scores({"yes": 0.1, "no": 0.1, "perhaps": 0.7})
    assert confidence(port, "perhaps", "renormalised").p == 0
    assert confidence(port, "perhaps", "raw").p == pytest.approx(0.7)
