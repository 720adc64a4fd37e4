"""What every backend's `score` does, or declares that it does not."""

from __future__ import annotations

import math

import pytest

from docendo.agents.port import ScoreRequest
from docendo.runtime.backends.base import BackendFault
from tests.conformance.subjects import CONTEXT, DECLARED, Subject, ask, weigh

CLOSE = 1e-3
"""Rounding, natural logarithms: engines may compute a prefix in other pieces."""


@pytest.fixture
def scorer(subject: Subject) -> Subject:
    if "scoring" not in DECLARED[subject.name]:
        with pytest.raises(BackendFault, match="cannot score"):
            subject.score(weigh(" yes"))
        pytest.skip("declares itself out: scoring")
    return subject


@pytest.fixture
def writer(scorer: Subject) -> Subject:
    if not scorer.speaks:
        pytest.skip("has no tokens")
    return scorer


def totals(subject: Subject, request: ScoreRequest) -> list[float]:
    return [score.total for score in subject.score(request).scores]


def test_one_score_for_each_in_order(scorer: Subject) -> None:
    there = totals(scorer, weigh(" yes", " no"))
    back = totals(scorer, weigh(" no", " yes"))
    assert there == pytest.approx(back[::-1], abs=CLOSE)
    assert all(-math.inf < total <= 0 for total in there)
    assert sum(map(math.exp, there)) <= 1 + 1e-6


def test_scores_are_told_to_be_exact(scorer: Subject) -> None:
    assert not any(score.censored for score in scorer.score(weigh(" yes", " no")).scores)


def test_asked_alone_or_together(scorer: Subject) -> None:
    options = (" yes", " no", " 12", " maybe not", " A")
    if not scorer.speaks:
        options = options[:2]
    alone = [totals(scorer, weigh(option))[0] for option in options]
    assert totals(scorer, weigh(*options)) == pytest.approx(alone, abs=CLOSE)


def test_scores_cost_the_prompt_and_write_nothing(scorer: Subject) -> None:
    usage = scorer.score(weigh(" yes", " no")).usage
    assert usage.prompt_tokens > 0
    assert usage.completion_tokens == 0
    assert 0 <= usage.cached_tokens <= usage.prompt_tokens


def test_scores_are_what_generate_reports_of_the_same_tokens(writer: Subject) -> None:
    asked = ask(opened="So the answer is", logprobs=20, max_tokens=1)
    known = dict(writer.generate(asked).completions[0].logprobs[0].top)
    # Whole words and pieces that follow a blank: they merge with nothing before them.
    words = [token for token in known if token[:1] == " " and token[1:].isalpha() and token.isascii()]
    assert len(words) > 1
    for word, score in zip(words, writer.score(weigh(*words)).scores, strict=True):
        assert score.logprobs == pytest.approx([known[word]], abs=CLOSE)


def test_parts_multiply_to_the_whole(writer: Subject) -> None:
    whole = totals(writer, weigh(" yes it is"))[0]
    first = totals(writer, weigh(" yes"))[0]
    rest = totals(writer, weigh(" it is", opened="So the answer is yes"))[0]
    assert whole == pytest.approx(first + rest, abs=CLOSE)


def test_answers_of_several_tokens_report_each(writer: Subject) -> None:
    scores = writer.score(weigh(" 1999", " neither of these two")).scores
    assert all(len(score.logprobs) > 1 for score in scores)
    assert all(x <= 0 for score in scores for x in score.logprobs)


def test_a_blank_before_the_answer_may_stand_on_either_side(writer: Subject) -> None:
    before = totals(writer, weigh(" yes", " no"))
    behind = totals(writer, weigh("yes", "no", opened="So the answer is "))
    assert behind == pytest.approx(before, abs=CLOSE), "both spell the same text, so the same tokens"


def test_answers_after_the_users_message(writer: Subject) -> None:
    scores = writer.score(weigh("yes", "no", opened=None)).scores
    assert sum(math.exp(score.total) for score in scores) <= 1 + 1e-6


def test_a_long_prefix_changes_nothing_the_second_time(writer: Subject) -> None:
    text = "Demonstration: water is wet. " * 40
    request = weigh(" yes", " no", text=text)
    first, second = writer.score(request), writer.score(request)
    assert [s.total for s in second.scores] == pytest.approx([s.total for s in first.scores], abs=CLOSE)
    if writer.name == "transformers":
        assert second.usage.cached_tokens > 0.9 * len(text) / 4


def test_many_at_once_are_scored_as_one_at_a_time(writer: Subject) -> None:
    requests = [
        weigh(
            " yes",
            " no",
            " maybe so",
            text=f"Question {i} " + "why " * (i % 9),
            opened="I say" if i % 2 else None,
        )
        for i in range(30)
    ]
    alone = [totals(writer, request) for request in requests]
    together = [[s.total for s in reply.scores] for reply in writer.together(requests)]
    for one, other in zip(alone, together, strict=True):
        assert other == pytest.approx(one, abs=CLOSE)


def test_what_cannot_be_scored_is_refused(writer: Subject) -> None:
    with pytest.raises(BackendFault, match="''") as empty:
        writer.score(weigh(""))
    with pytest.raises(BackendFault) as long:
        writer.score(weigh(" yes", text="too long " * CONTEXT))
    assert not empty.value.retry
    assert long.value.kind == "context"


def test_the_same_weights_weigh_the_same_whoever_runs_them(
    writer: Subject, seen: dict[str, list[float]]
) -> None:
    if writer.name == "server":
        pytest.skip("reads plain text, without the template")
    mine = [*totals(writer, weigh(" yes", " no", " 12")), *totals(writer, weigh("yes", "no", opened=None))]
    completion = writer.generate(ask(logprobs=1, max_tokens=24)).completions[0]
    mine += [token.logprob for token in completion.logprobs]
    for theirs in seen.values():
        assert mine == pytest.approx(theirs, abs=CLOSE)
    seen[writer.name] = mine
