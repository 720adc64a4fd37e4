"""What every backend's `generate` does, or declares that it does not."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import pytest

from docendo.agents.port import GenerateRequest
from docendo.runtime.backends.base import BackendFault
from tests.conformance.subjects import CONTEXT, DECLARED, Subject, ask, weigh

FORM = {
    "type": "object",
    "properties": {
        "answer": {"type": "string", "enum": ["yes", "no"]},
        "explanation": {"type": "string", "maxLength": 8},
    },
    "required": ["answer", "explanation"],
    "additionalProperties": False,
}


def needs(subject: Subject, *capabilities: str) -> None:
    """Leave the test if the backend has declared that it cannot."""
    if lacking := set(capabilities) - DECLARED[subject.name]:
        pytest.skip(f"declares itself out: {', '.join(sorted(lacking))}")


def speaks(subject: Subject) -> None:
    if not subject.speaks:
        pytest.skip("has no tokens")


def test_declares_what_it_can(subject: Subject) -> None:
    can = subject.backend.capabilities
    assert {name for name in type(can).__dataclass_fields__ if getattr(can, name)} == DECLARED[subject.name]


def test_identity_is_one_text_and_names_no_place(subject: Subject) -> None:
    assert subject.backend.fingerprint == subject.backend.fingerprint != ""
    assert "/tiny" not in subject.backend.fingerprint


def test_room_is_known_once_started(subject: Subject) -> None:
    room = subject.backend.room()
    if subject.name in {"transformers", "vllm"}:
        assert room is not None
        assert room.sequences == 32
        assert room.tokens >= room.context == CONTEXT
        torch = pytest.importorskip("torch")
        assert (subject.backend.about()["device"] == "cpu") is not torch.cuda.is_available()
    else:
        assert room is None


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_as_many_completions_as_asked(subject: Subject, temperature: float) -> None:
    reply = subject.generate(ask(n=3, temperature=temperature))
    assert len(reply.completions) == 3
    assert all(c.finish in {"stop", "length"} for c in reply.completions)


def test_completions_are_separate_draws(subject: Subject) -> None:
    speaks(subject)
    assert len({c.text for c in subject.generate(ask(n=6, temperature=1.0)).completions}) > 1


def test_equal_seeds_bring_equal_answers(subject: Subject) -> None:
    needs(subject, "seed")
    request = ask(n=2, temperature=1.0, top_p=0.9, seed=2**62 + 17)
    assert subject.generate(request).completions == subject.generate(request).completions


def test_different_seeds_bring_different_answers(subject: Subject) -> None:
    needs(subject, "seed")
    texts = {subject.generate(ask(temperature=1.0, seed=seed, max_tokens=64)).text for seed in range(8)}
    assert len(texts) > 1


def test_greedy_answers_leave_the_seed_out(subject: Subject) -> None:
    needs(subject, "deterministic")
    assert len({subject.generate(ask(seed=seed)).text for seed in range(3)}) == 1


def test_low_temperatures_come_to_the_greedy_answer(subject: Subject) -> None:
    speaks(subject)
    greedy = subject.generate(ask()).text
    assert subject.generate(ask(temperature=1e-4, seed=3)).text == greedy
    assert subject.generate(ask(temperature=1.0, top_p=1e-6, seed=3)).text == greedy


def test_too_few_tokens_end_in_length(subject: Subject) -> None:
    if subject.name == "scripted":
        pytest.skip("its replies are given whole")
    reply = subject.generate(ask(max_tokens=3))
    assert reply.completions[0].finish == "length"
    assert reply.usage.completion_tokens == 3
    assert len(reply.text) < len(subject.generate(ask(max_tokens=30)).text)


def test_a_stop_text_ends_the_answer_before_it(subject: Subject) -> None:
    speaks(subject)
    whole = subject.generate(ask(max_tokens=24)).text
    # A piece from the middle that is text, so that the server can send it.
    stop = next(whole[i : i + 2] for i in range(6, len(whole) - 4) if whole[i : i + 2].isascii())
    cut = subject.generate(ask(max_tokens=24, stop=("never said", stop))).completions[0]
    assert cut.text == whole[: whole.index(stop)]
    assert cut.finish == "stop"


def test_log_probabilities_of_every_token(subject: Subject) -> None:
    needs(subject, "logprobs")
    completion = subject.generate(ask(logprobs=3)).completions[0]
    assert 1 <= len(completion.logprobs) <= 16
    for token in completion.logprobs:
        known = [logprob for _, logprob in token.top]
        assert len(known) == 3
        assert known == sorted(known, reverse=True)
        assert sum(map(math.exp, known)) <= 1 + 1e-4
        assert token.logprob == pytest.approx(known[0], abs=1e-4), "a greedy token is the likeliest"
        assert token.token == token.top[0][0]


def test_sampled_tokens_report_the_models_own_probabilities(subject: Subject) -> None:
    needs(subject, "logprobs")
    greedy = subject.generate(ask(logprobs=1, max_tokens=1)).completions[0].logprobs[0]
    hot = subject.generate(ask(logprobs=1, max_tokens=1, temperature=2.0, top_p=0.5, seed=4)).completions[0]
    assert dict(hot.logprobs[0].top)[greedy.token] == pytest.approx(greedy.logprob, abs=1e-4)
    assert hot.logprobs[0].logprob <= greedy.logprob + 1e-4


def test_tokens_spell_the_text(subject: Subject) -> None:
    needs(subject, "logprobs")
    completion = subject.generate(ask(logprobs=1, max_tokens=24)).completions[0]
    spelled = "".join(token.token for token in completion.logprobs)
    assert spelled.replace("\ufffd", "") == completion.text.replace("\ufffd", "")


def test_without_being_asked_there_are_no_log_probabilities(subject: Subject) -> None:
    assert subject.generate(ask()).completions[0].logprobs == ()


@pytest.mark.parametrize("opened", [None, "So the answer is "])
def test_choices_are_obeyed(subject: Subject, opened: str | None) -> None:
    if subject.name == "scripted":
        pytest.skip("says what its script says")
    choices = ("yes", "no", 'neither "of" these', "yes, but later")
    reply = subject.generate(ask(choices=choices, opened=opened, n=6, temperature=1.5, max_tokens=40))
    assert {c.text for c in reply.completions} <= set(choices)
    assert all(c.finish == "stop" for c in reply.completions)


def test_a_schema_is_obeyed(subject: Subject) -> None:
    needs(subject, "schema")
    reply = subject.generate(ask(schema=FORM, n=4, temperature=1.2, max_tokens=120, seed=5))
    for completion in reply.completions:
        data = json.loads(completion.text)
        assert list(data) == ["answer", "explanation"], "in the schema's own order"
        assert data["answer"] in {"yes", "no"}
        assert isinstance(data["explanation"], str)


def test_a_schema_without_enough_tokens_ends_in_length(subject: Subject) -> None:
    needs(subject, "schema")
    speaks(subject)
    completion = subject.generate(ask(schema=FORM, max_tokens=3)).completions[0]
    assert completion.finish == "length"


def test_prompts_and_answers_are_counted(subject: Subject) -> None:
    short, long = ask(temperature=1.0, n=2), ask("Is water wet? " * 20, temperature=1.0, n=2)
    usage = subject.generate(short).usage
    assert 0 < usage.prompt_tokens < subject.generate(long).usage.prompt_tokens
    assert 0 <= usage.cached_tokens <= usage.prompt_tokens
    if subject.name != "scripted":
        assert 2 <= usage.completion_tokens <= 32


def test_any_text_passes(subject: Subject) -> None:
    reply = subject.generate(ask('Zürich, 東京, 🙂, "quotes", <|strange|>, \t tabs\n\n\nand lines '))
    assert reply.usage.prompt_tokens > 0


@pytest.mark.parametrize("tail", ["", " ", "\n"])
def test_an_opened_answer_is_continued_to_the_letter(subject: Subject, tail: str) -> None:
    needs(subject, "logprobs", "scoring")
    opened = f"So the answer is{tail}"
    token = subject.generate(ask(opened=opened, logprobs=1, max_tokens=1)).completions[0].logprobs[0]
    other = subject.generate(ask(opened="So", logprobs=1, max_tokens=1)).completions[0].logprobs[0]
    assert token.logprob != pytest.approx(other.logprob, abs=1e-6)


def mixed(count: int) -> list[GenerateRequest]:
    """Requests that have nothing in common but the engine."""
    return [
        ask(
            f"Question {i}: " + "why " * (i * 7 % 40),
            opened=None if i % 4 else "I think",
            temperature=[0.0, 0.7, 1.0][i % 3],
            top_p=[1.0, 0.9][i % 2],
            n=1 + i % 2,
            seed=i,
            max_tokens=4 + i % 20,
            schema=FORM if i % 10 == 5 else None,
            choices=("yes", "no") if i % 10 == 7 else (),
        )
        for i in range(count)
    ]


def test_fifty_at_once_are_answered_as_one_at_a_time(subject: Subject) -> None:
    requests = [r for r in mixed(50) if subject.name != "simulated" or r.schema is None]
    alone = [subject.generate(request) for request in requests]
    together = subject.together(requests)
    assert [r.completions for r in together] == [r.completions for r in alone]
    assert [r.usage.prompt_tokens for r in together] == [r.usage.prompt_tokens for r in alone]


def test_log_probabilities_beside_scores(subject: Subject) -> None:
    needs(subject, "logprobs", "scoring")
    asked = ask(logprobs=4, max_tokens=12)
    alone = subject.generate(asked).completions[0]
    crowd: list[Any] = [asked, *(weigh(" yes", " no", text=f"Question {i}") for i in range(12)), asked]
    first, *_, last = subject.together(crowd)
    for reply in (first, last):
        found = reply.completions[0]
        assert found.text == alone.text
        for one, other in zip(found.logprobs, alone.logprobs, strict=True):
            assert dict(one.top) == pytest.approx(dict(other.top), abs=1e-3)


def test_cancelled_calls_leave_the_others_alone(subject: Subject) -> None:
    speaks(subject)
    wanted = ask("Stay", temperature=1.0, seed=9, max_tokens=20)
    alone = subject.generate(wanted)

    async def main() -> Any:
        backend = subject.backend
        many = [
            asyncio.create_task(backend.generate(ask(f"Go {i}", max_tokens=1500, temperature=1.0, seed=i)))
            for i in range(40)
        ]
        stays = asyncio.create_task(backend.generate(wanted))
        await backend.generate(ask("Any", max_tokens=2))
        for task in many:
            task.cancel()
        outcomes = await asyncio.gather(*many, return_exceptions=True)
        assert any(isinstance(o, asyncio.CancelledError) for o in outcomes)
        return await stays

    assert subject.run(main()).completions == alone.completions


def test_a_prompt_that_is_too_long_is_refused_in_numbers(subject: Subject) -> None:
    speaks(subject)
    for request in (ask("too long " * CONTEXT), ask(max_tokens=CONTEXT)):
        with pytest.raises(BackendFault, match=rf"\b{CONTEXT}\b") as caught:
            subject.generate(request)
        assert caught.value.kind == "context"
        assert not caught.value.retry
        assert caught.value.suggestion
    assert subject.generate(ask()).text, "and the next one is answered"
