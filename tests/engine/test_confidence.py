"""Answer confidence in the papers' three modes, on a real model, against the model's own probabilities."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from docendo.agents.act import Ask
from docendo.agents.confidence import Confidence, answer_confidence
from docendo.agents.port import Origin, Sampling
from docendo.messages import PromptMessage, Span
from docendo.runtime.backends.local_prompt import LocalPrompt
from docendo.runtime.backends.transformers_backend import TransformersBackend
from docendo.runtime.backends.weights import resolve
from docendo.runtime.client import Client
from docendo.runtime.journal import MemoryJournal
from docendo.scenarios.local_model_spec import TransformersModel
from tests.runtime.minds_lab import subtraction, view, yes_no

OPENED = "Spiders have eight legs. So the answer is"


@dataclass
class Sure:
    """A model, asked how sure it is; and the same weights, to check it by hand."""

    spec: TransformersModel
    client: Client
    runner: asyncio.Runner

    def of(
        self, target: str, item: Any, *, mode: Any = "raw", opened: str = OPENED, samples: int = 1
    ) -> Confidence:
        ask = Ask(
            port=self.client,
            model="m",
            sampling=Sampling(temperature=1.0, max_tokens=6),
            seed=1,
            origin=Origin(),
        )
        return self.runner.run(
            answer_confidence(
                ask,
                view(item),
                prompt(opened),
                target,
                mode=mode,
                samples=samples,
                read=lambda text: "odd" if len(text) % 2 else "even",
            )
        )

    def by_hand(self, text: str, opened: str = OPENED) -> list[float]:
        """Probability of every token behind `opened`, from one forward pass over the whole."""
        local = LocalPrompt(resolve(self.spec, Path()))
        before = local.tokens(prompt(opened))
        ids = local.encode(local.text(prompt(opened)) + text)
        assert ids[: len(before)] == before
        model = AutoModelForCausalLM.from_pretrained(self.spec.model, dtype=torch.float32)
        with torch.no_grad():
            p = model(torch.tensor([ids])).logits[0].softmax(-1)
        return [p[i - 1, ids[i]].item() for i in range(len(before), len(ids))]


def prompt(opened: str) -> tuple[PromptMessage, ...]:
    return (PromptMessage("user", (Span("Q"),)), PromptMessage("assistant", (Span(opened),)))


@pytest.fixture(params=["spellings", "digits"])
def sure(request: pytest.FixtureRequest, make: Any) -> Iterator[Sure]:
    yield from started(make(cut=request.param))


@pytest.fixture
def spelling(make: Any) -> Iterator[Sure]:
    yield from started(make(cut="spellings"))


def started(folder: Path) -> Iterator[Sure]:
    spec = TransformersModel(model=str(folder))
    client = Client({"m": TransformersBackend(spec)}, {"m": spec}, MemoryJournal())
    with asyncio.Runner() as runner:
        yield Sure(spec, client, runner)
        runner.run(client.close())


def test_raw_is_the_probability_at_the_answer_token(spelling: Sure) -> None:
    found = spelling.of("yes", yes_no(7))
    (p,) = spelling.by_hand(" yes")
    assert found.p == pytest.approx(p, rel=1e-4)
    assert found.options == pytest.approx((p, *spelling.by_hand(" no")), rel=1e-4)
    assert (found.label, found.censored) == ("raw", False)


def test_raw_is_not_renormalised_and_counts_one_spelling(spelling: Sure) -> None:
    found = spelling.of("yes", yes_no(7))
    assert sum(found.options) < 0.9
    spellings = sum(spelling.by_hand(text)[0] for text in (" yes", " Yes", " YES"))
    assert found.p < 0.999 * spellings


def test_renormalised_is_over_the_items_options(spelling: Sure) -> None:
    found = spelling.of("no", yes_no(7), mode="renormalised")
    (yes,), (no,) = spelling.by_hand(" yes"), spelling.by_hand(" no")
    assert found.p == pytest.approx(no / (yes + no), rel=1e-4)
    assert found.label == "renormalised"


def test_answers_of_several_tokens(sure: Sure) -> None:
    p = sure.by_hand(" 1437")
    assert len(p) > 1
    found = sure.of("1437", subtraction(1702, 265))
    assert found.p == pytest.approx(sum(p) / len(p), rel=1e-3), "the mean over the answer's tokens"


def test_options_of_several_tokens_are_renormalised_by_their_means(sure: Sure) -> None:
    yes, no = (sum(p) / len(p) for p in (sure.by_hand(" yes"), sure.by_hand(" no")))
    found = sure.of("yes", yes_no(7), mode="renormalised")
    assert found.p == pytest.approx(yes / (yes + no), rel=1e-3)


def test_a_prompt_that_ends_in_a_blank_weighs_the_options_alike(spelling: Sure) -> None:
    odd = spelling.of("yes", yes_no(7), mode="renormalised", opened=OPENED + " ")
    assert 0 < odd.p < 1
    assert odd.p + spelling.of("no", yes_no(7), mode="renormalised", opened=OPENED + " ").p == pytest.approx(
        1
    )


def test_frequency_is_a_share_of_samples(sure: Sure) -> None:
    odd = sure.of("odd", yes_no(7), mode="frequency", samples=20)
    even = sure.of("even", yes_no(7), mode="frequency", samples=20)
    assert odd.p + even.p == pytest.approx(1)
    assert math.isclose(odd.p * 20, round(odd.p * 20))
    assert (odd.label, odd.options) == ("frequency", ())
