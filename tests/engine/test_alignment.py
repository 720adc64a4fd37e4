"""Tokenizer traps, by name: which tokens are an answer's, and what they weigh."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docendo.messages import PromptMessage, Span
from docendo.runtime.backends.alignment import Alignment, Branch, align, align_tokens
from docendo.runtime.backends.base import BackendFault
from docendo.runtime.backends.local_prompt import LocalPrompt
from docendo.runtime.backends.weights import resolve
from docendo.scenarios.local_model_spec import TransformersModel

CUTS = ["bytes", "metaspace", "digits", "spellings"]


@pytest.fixture(scope="session")
def aligned(make: Any) -> Any:
    """`aligned(cut, opened, *continuations)`: the alignment, and the prompts that spell it."""
    made: dict[str, LocalPrompt] = {}

    def of(cut: str, opened: str, *continuations: str) -> tuple[Alignment, LocalPrompt]:
        if cut not in made:
            made[cut] = LocalPrompt(resolve(TransformersModel(model=str(make(cut=cut))), Path()))
        said = (PromptMessage("user", (Span("Q"),)), PromptMessage("assistant", (Span(opened),)))
        return align(made[cut], said, continuations), made[cut]

    return of


def spelled(found: tuple[Alignment, LocalPrompt]) -> list[list[str]]:
    alignment, local = found
    return [[local.token_text(t) for t in branch.tokens] for branch in alignment.branches]


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("opened", ["So the answer is", "So the answer is ", "Answer:\n", "2 + 10 =", "1"])
def test_context_and_branch_spell_the_whole_text(aligned: Any, cut: str, opened: str) -> None:
    options = ("yes", " yes", "no", " 12", "12", "Yes", "\nyes", "es")
    alignment, local = aligned(cut, opened, *options)
    for option, branch in zip(options, alignment.branches, strict=True):
        text = local.decode((*alignment.context, *branch.tokens), after=())
        assert text.endswith(opened + option)
        whole = local.encode(local.text((PromptMessage("user", (Span("Q"),)),)) + opened + option)
        assert (*alignment.context, *branch.tokens) == whole, "as one text, as the model would read it"


def test_leading_space(aligned: Any) -> None:
    assert spelled(aligned("spellings", "So the answer is", " yes", " no")) == [[" yes"], [" no"]]


def test_blank_at_the_prompts_end_merges(aligned: Any) -> None:
    found = aligned("spellings", "So the answer is ", "yes", "no")
    assert spelled(found) == [[" yes"], [" no"]], "the tokens that the model knows, not ` ` and `yes`"
    assert found[0] == aligned("spellings", "So the answer is", " yes", " no")[0]


def test_one_answer_merges_and_another_does_not(aligned: Any) -> None:
    alignment, local = aligned("spellings", "So the answer is ", "yes", "~7")
    assert spelled((alignment, local)) == [[" yes"], [" ", "~", "7"]], "both from one context"
    assert [branch.lead for branch in alignment.branches] == [0, 1]
    first, second = (branch.fold([-1.0] * len(branch.tokens)) for branch in alignment.branches)
    assert first == (-1.0,)
    assert second == (-2.0, -1.0), "one log-probability per token of the answer, the blank's in the first"


def test_digits_alone(aligned: Any) -> None:
    assert spelled(aligned("digits", "It is", " 1234", " 7")) == [[" ", "1", "2", "3", "4"], [" ", "7"]]


def test_a_number_goes_on_from_a_digit(aligned: Any) -> None:
    alignment, local = aligned("bytes", "It is 10", "00")
    assert "".join(map(local.token_text, (*alignment.context, *alignment.branches[0].tokens))).endswith(
        "1000"
    )


def test_spellings_of_yes_are_different_continuations(aligned: Any) -> None:
    found = aligned("spellings", "It is", " yes", " Yes", " YES")
    assert spelled(found) == [[" yes"], [" Yes"], [" YES"]]


def test_visible_blanks(aligned: Any) -> None:
    assert spelled(aligned("metaspace", "It is", " no"))[0][0].startswith(" ")


def test_nothing_to_score(aligned: Any) -> None:
    with pytest.raises(BackendFault, match="no tokens of its own"):
        aligned("bytes", "It is", "")


@given(
    prompt=st.lists(st.integers(0, 3), min_size=1, max_size=6),
    kept=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    tails=st.lists(st.lists(st.integers(4, 9), min_size=1, max_size=4), min_size=4, max_size=4),
)
def test_any_merges(prompt: list[int], kept: list[int], tails: list[list[int]]) -> None:
    wholes = [(*prompt[:k], *tail) for k, tail in zip(kept, tails, strict=False)]
    found = align_tokens(tuple(prompt), wholes, [str(w) for w in wholes])
    assert found.context
    for whole, branch in zip(wholes, found.branches, strict=True):
        assert (*found.context, *branch.tokens) == whole
        logprobs = [-0.5 - i for i in range(len(branch.tokens))]
        folded = branch.fold(logprobs)
        assert len(folded) == len(branch.tokens) - branch.lead >= 1
        assert math.isclose(sum(folded), sum(logprobs))


def test_a_prompt_that_merges_whole_cannot_be_scored_behind() -> None:
    with pytest.raises(BackendFault, match="a first token has no probability"):
        align_tokens((1,), [(5, 6)], ["x"])


def test_fold_of_a_plain_branch_is_itself() -> None:
    assert Branch((4, 5)).fold([-1.0, -2.0]) == (-1.0, -2.0)
