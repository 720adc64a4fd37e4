"""vLLM's own engine on the CPU, with a tiny model: what it is asked, and what comes back."""

import asyncio
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docendo.errors import EpisodeFailure
from docendo.runtime.backends.vllm_backend import VllmBackend
from docendo.runtime.client import Client
from docendo.runtime.journal import MemoryJournal
from docendo.scenarios.local_model_spec import VllmModel
from tests.engine.tiny_model import make_adapter, make_model
from tests.engine.vllm_lab import QUESTION, Lab, ask, model, needs_vllm, prompt, weigh

pytestmark = needs_vllm

SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "integer", "minimum": 0, "maximum": 99}, "sure": {"type": "boolean"}},
    "required": ["answer", "sure"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab()
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def tiny(lab: Lab, folder: Path) -> VllmBackend:
    return lab.start(model(folder))[0]


def texts(reply: Any) -> list[str]:
    return [completion.text for completion in reply.completions]


# --- generate -------------------------------------------------------------------------------------------


def test_answers_are_the_same_alone_and_in_a_batch(lab, tiny):
    for temperature in (0.0, 0.9):
        calls = [ask(f"{QUESTION} {i}", seed=i, temperature=temperature) for i in range(32)]
        together = lab.all(*(tiny.generate(call) for call in calls))
        alone = [lab.run(tiny.generate(call)) for call in calls]
        assert [r.text for r in together] == [r.text for r in alone]


def test_completions_of_one_call_differ_and_come_back_with_the_seed(lab, tiny):
    first, again, other = lab.all(
        tiny.generate(ask(seed=2**63 - 1, temperature=0.9, n=4)),
        tiny.generate(ask(seed=2**63 - 1, temperature=0.9, n=4)),
        tiny.generate(ask(seed=2**63 - 2**40, temperature=0.9, n=4)),
    )
    assert len(set(texts(first))) == 4
    assert texts(first) == texts(again)
    assert not set(texts(first)) & set(texts(other))


def test_greedy_completions_of_one_call_are_decoded_once(lab, tiny):
    reply = lab.run(tiny.generate(ask(n=3)))
    assert len(reply.completions) == 3
    assert len(set(texts(reply))) == 1
    assert reply.usage.completion_tokens == 12


def test_usage_counts_the_prompt_once_and_what_the_engine_had_of_it(lab, tiny):
    text = f"{QUESTION} Say why, in one sentence that a child understands."
    length = len(tiny._ready.tokens(prompt(text)))
    block = tiny.facts.block
    lab.run(tiny.driver.forget_prefixes())
    first = lab.run(tiny.generate(ask(text, temperature=0.9)))
    again = lab.run(tiny.generate(ask(text, temperature=0.9, n=2)))
    assert (first.usage.prompt_tokens, first.usage.cached_tokens) == (length, 0)
    assert (again.usage.prompt_tokens, again.usage.cached_tokens) == (length, length // block * block)
    assert again.usage.completion_tokens == 24


def test_the_answer_is_cut_before_a_stop_text(lab, tiny):
    whole = lab.run(tiny.generate(ask(max_tokens=40))).completions[0]
    stop = whole.text[8:10]
    cut = lab.run(tiny.generate(ask(max_tokens=40, stop=(stop,), logprobs=1))).completions[0]
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.finish == "stop"
    # The last token told is the one that the cut goes through, or the one before it.
    *before, last = (t.token for t in cut.logprobs)
    assert cut.text.startswith("".join(before))
    assert ("".join(before) + last).startswith(cut.text)


def test_a_choice_is_one_of_the_choices(lab, tiny):
    choices = ("yes", "no", 'it\'s "odd"', "a\nb", "é")
    calls = (tiny.generate(ask(seed=i, temperature=2.0, max_tokens=20, choices=choices)) for i in range(40))
    assert {r.text for r in lab.all(*calls)} == set(choices)


def test_json_obeys_the_schema_without_blanks(lab, tiny):
    for reply in lab.all(
        *(tiny.generate(ask(seed=i, temperature=1.0, max_tokens=60, schema=SCHEMA)) for i in range(16))
    ):
        data = json.loads(reply.text)
        assert set(data) == {"answer", "sure"}
        assert 0 <= data["answer"] <= 99
        assert reply.text == json.dumps(data, separators=(",", ":"))
        assert reply.completions[0].finish == "stop"


def test_logprobs_are_raw_and_best_first(lab, tiny):
    told = lab.run(tiny.generate(ask(temperature=0.7, top_p=0.5, logprobs=3))).completions[0].logprobs
    assert told
    for token in told:
        alternatives = [logprob for _, logprob in token.top]
        assert len(alternatives) == 3
        assert alternatives == sorted(alternatives, reverse=True)
        # Raw: the sampler's temperature and top_p leave some of the mass elsewhere.
        assert sum(map(math.exp, alternatives)) < 1
        assert token.logprob <= alternatives[0]


# --- score ----------------------------------------------------------------------------------------------


def reference(folder: Path, backend: VllmBackend, text: str, continuation: str) -> float:
    """Log-probability of a continuation by transformers' forward pass."""
    import torch
    from transformers import AutoModelForCausalLM

    before = backend._ready.tokens(prompt(text))
    whole = backend._ready.encode(backend._ready.text(prompt(text)) + continuation)
    assert whole[: len(before)] == before
    net = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        logprobs = net(torch.tensor([whole])).logits[0].log_softmax(-1)
    return sum(float(logprobs[i - 1, whole[i]]) for i in range(len(before), len(whole)))


@pytest.mark.parametrize("way", ["lists", "prompts"])
def test_scores_are_those_of_a_forward_pass(lab, tiny, folder, way, monkeypatch):
    monkeypatch.setattr("docendo.runtime.backends.vllm_backend.lists_are_cheaper", lambda *_: way == "lists")
    continuations = ("yes", "no", "no, it is not", "yes, because the air scatters light")
    scores = lab.run(tiny.score(weigh(*continuations))).scores
    for continuation, score in zip(continuations, scores, strict=True):
        assert score.total == pytest.approx(reference(folder, tiny, QUESTION, continuation), abs=1e-3)
        assert not score.censored


def test_alternatives_of_an_answer_score_as_they_were_told(lab, tiny):
    first = lab.run(tiny.generate(ask(logprobs=20))).completions[0].logprobs[0]
    told = {token: logprob for token, logprob in first.top if token.strip().isalpha() and token.isascii()}
    assert len(told) >= 3
    scores = lab.run(tiny.score(weigh(*told))).scores
    assert [s.total for s in scores] == pytest.approx(list(told.values()), abs=1e-4)


def test_logprobs_under_a_grammar_are_over_what_it_allows(lab, tiny):
    made = lab.run(tiny.generate(ask(choices=("yes",), logprobs=2))).completions[0]
    assert made.text == "yes"
    assert sum(t.logprob for t in made.logprobs) == pytest.approx(0, abs=1e-6)
    assert lab.run(tiny.score(weigh("yes"))).scores[0].total < -1


def test_answers_of_one_token_take_one_call_that_reads_the_prefix_cache(lab, tiny):
    text = f"{QUESTION} Remember what you have learned about light and about air."
    lab.run(tiny.score(weigh("a", "b", "c", text=text)))
    before = tiny.stats()
    lab.run(tiny.score(weigh("a", "b", "c", text=text)))
    spent = tiny.stats().since(before)
    assert (spent.steps, spent.generated_tokens) == (1, 1)
    assert spent.prefill_tokens <= tiny.facts.block
    assert spent.cached_tokens > 0


# --- adapters -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pupils(lab: Lab, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[VllmBackend, ...]:
    """A base with two adapters over it, in one engine."""
    made = [
        make_adapter(tmp_path_factory.mktemp("adapter"), folder, rank=rank, seed=rank) for rank in (4, 12)
    ]
    return lab.start(
        model(folder, max_sequences=32),
        *(model(folder, max_sequences=32, adapter=str(adapter)) for adapter in made),
    )


def test_adapters_over_one_base_share_an_engine_and_stay_models_of_their_own(lab, pupils):
    base, first, second = pupils
    assert base.driver is first.driver is second.driver
    assert len({one.fingerprint for one in pupils}) == 3
    alone = [lab.run(one.generate(ask(max_tokens=20))).text for one in pupils]
    assert len(set(alone)) == 3
    mixed = lab.all(*(one.generate(ask(max_tokens=20)) for one in pupils * 8))
    assert [r.text for r in mixed] == alone * 8


def test_an_adapter_scores_as_peft_does(lab, pupils, folder):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    adapted = pupils[1]
    assert adapted._weights.adapter is not None
    net = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    net = PeftModel.from_pretrained(net, adapted._weights.adapter.folder).eval()
    tokens = adapted._ready.tokens(prompt())
    wanted = adapted._ready.encode(adapted._ready.text(prompt()) + "no")
    with torch.no_grad():
        logprobs = net(torch.tensor([wanted])).logits[0].log_softmax(-1)
    expected = [float(logprobs[i - 1, wanted[i]]) for i in range(len(tokens), len(wanted))]
    assert lab.run(adapted.score(weigh("no"))).scores[0].logprobs == pytest.approx(expected, abs=1e-3)


def test_long_texts_are_scored_with_adapters_too(lab, pupils):
    """Prompt log-probabilities kill an engine that has room for adapters: it never asks for them."""
    text = "because the air scatters the light of the sun, and blue light most of all. " * 4
    scores = lab.all(*(one.score(weigh(text)) for one in pupils))
    assert len({score.scores[0].total for score in scores}) == 3
    assert all(len(s.scores[0].logprobs) > 50 for s in scores)


# --- what it says of itself ---------------------------------------------------------------------------------


def test_about_and_room_tell_what_runs(tiny):
    about = tiny.about()
    assert about["engine"] == "vllm"
    assert about["device"] == "cpu"
    assert about["dtype"] == "float32"
    assert json.loads(json.dumps(about)) == about
    room = tiny.room()
    assert (room.sequences, room.context) == (64, 2048)
    assert room.tokens == about["kv_tokens"] > 10_000


def test_the_fingerprint_is_the_same_in_another_folder_and_other_with_another_template(folder, tmp_path):
    import shutil

    copy = shutil.copytree(folder, tmp_path / "copy")
    template = tmp_path / "t.jinja"
    template.write_text("{% for m in messages %}{{ m['content'] }}\n{% endfor %}", encoding="utf-8")
    one, same, other, plain, narrow = (
        model(folder),
        model(copy, max_sequences=3),
        model(folder, chat_template=str(template)),
        model(folder, chat_template="plain"),
        model(folder, dtype="bfloat16"),
    )
    assert one.fingerprint == same.fingerprint
    assert len({one.fingerprint, other.fingerprint, plain.fingerprint, narrow.fingerprint}) == 4


# --- through the client ---------------------------------------------------------------------------------


def test_a_prompt_that_does_not_fit_names_agent_and_turn_and_is_not_sent(lab, tiny):
    async def call():
        client = Client({"m": tiny}, {"m": VllmModel(model="m")}, MemoryJournal())
        before = tiny.stats()
        with pytest.raises(EpisodeFailure) as caught:
            await client.generate(ask("word " * 3000))
        return caught.value, tiny.stats().since(before).steps

    # The client is not closed: the model is the module's.
    failure, steps = lab.run(call())
    assert failure.kind == "context"
    assert "student-1.solve (turn 3)" in failure.message
    assert "the model holds 2048" in failure.message
    assert steps == 0


def test_a_call_that_takes_too_long_is_taken_out_of_the_batch(lab, tiny):
    async def call():
        spec = VllmModel(model="m", timeout=0.01, retries=0)
        client = Client({"m": tiny}, {"m": spec}, MemoryJournal())
        with pytest.raises(EpisodeFailure) as caught:
            await client.generate(ask(max_tokens=1900, temperature=1.0))
        await tiny.driver.forget_prefixes()  # comes after the withdrawal on the engine's thread
        return caught.value, tiny.driver._hosted.engine.get_num_unfinished_requests()

    failure, left = lab.run(call())
    assert failure.kind == "timeout"
    assert left == 0


def test_a_cancelled_call_does_not_disturb_the_others(lab, tiny):
    async def calls():
        unwanted = [
            asyncio.create_task(tiny.generate(ask(seed=i, max_tokens=1500, temperature=1.0)))
            for i in range(8)
        ]
        wanted = asyncio.create_task(tiny.generate(ask(max_tokens=40)))
        await asyncio.sleep(0)
        for task in unwanted:
            task.cancel()
        return await wanted

    assert lab.run(calls()).text == lab.run(tiny.generate(ask(max_tokens=40))).text
