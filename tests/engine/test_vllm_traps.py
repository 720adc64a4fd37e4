"""Traps in vLLM that were met and are guarded against: each test fails if its guard is taken away.

Letters are those of docs/design/engines.md.
"""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from docendo.runtime.backends.base import BackendFault
from docendo.runtime.backends.vllm_backend import VllmBackend
from docendo.runtime.backends.vllm_calls import generate_parameters, prompt_parameters
from tests.engine.tiny_model import Tiny, make_adapter, make_model
from tests.engine.vllm_lab import QUESTION, Lab, ask, model, needs_vllm, weigh

pytestmark = needs_vllm


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
    return lab.start(model(folder, context=512))[0]


def test_a_burst_of_seeded_prompts_does_not_kill_the_engine(lab, tiny):
    """A: a seeded prompt that is computed in parts raises "CPU Generator does not use offset"."""
    calls = [
        ask(f"{i} " + "what is the sum of these numbers? " * 12, seed=i, temperature=0.9) for i in range(64)
    ]
    tokens = sum(len(tiny._ready.tokens(call.prompt)) for call in calls)
    assert tokens > 2 * tiny.about()["arguments"]["max_num_batched_tokens"]
    together = lab.all(*(tiny.generate(call) for call in calls))
    alone = [lab.run(tiny.generate(call)) for call in calls[::8]]
    assert [r.text for r in together[::8]] == [r.text for r in alone]


def test_prompt_logprobs_of_a_cached_prompt_are_not_read_from_the_cache(lab, tiny, monkeypatch):
    """B: cached positions would hold uninitialised memory."""
    assert prompt_parameters("m").skip_reading_prefix_cache is True
    fresh = lab.run(tiny.score(weigh("yes, it is", "no")))
    lab.run(tiny.generate(ask()))  # the prompt is in the prefix cache now
    monkeypatch.setattr("docendo.runtime.backends.vllm_backend.lists_are_cheaper", lambda *_: False)
    echoed = lab.run(tiny.score(weigh("yes, it is", "no")))
    for one, other in zip(fresh.scores, echoed.scores, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_two_engines_in_one_process_are_stepped_by_one_thread(lab, tiny, tmp_path_factory):
    """C: stepped from two threads they corrupt each other's memory."""
    other_folder = make_model(tmp_path_factory.mktemp("other"), Tiny(seed=7, architecture="llama"))
    (other,) = lab.start(model(other_folder))
    assert other.driver is not tiny.driver
    alone = {
        one: [lab.run(one.generate(ask(seed=i, temperature=0.9))).text for i in range(16)]
        for one in (tiny, other)
    }
    calls = [one.generate(ask(seed=i, temperature=0.9)) for i in range(16) for one in (tiny, other)]
    together = [reply.text for reply in lab.all(*calls)]
    assert together[::2] == alone[tiny]
    assert together[1::2] == alone[other]
    assert sum(t.name == "docendo-engines" for t in threading.enumerate()) == 1
    lab.run(other.close())
    assert lab.run(tiny.generate(ask(seed=0, temperature=0.9))).text == alone[tiny][0]


def test_an_exception_in_a_step_fails_everyone_who_waits_at_once(lab, tiny, folder):
    """D: those who wait would wait for ever."""
    broken = model(folder, max_sequences=8)
    lab.start(broken)

    def fail():
        raise RuntimeError("a kernel fell over")

    async def calls():
        waiting = [
            asyncio.create_task(broken.generate(ask(seed=i, max_tokens=400, temperature=1.0)))
            for i in range(20)
        ]
        healthy = asyncio.create_task(tiny.generate(ask(max_tokens=40)))
        while not broken.stats().steps:
            await asyncio.sleep(0)
        broken.driver._hosted.engine.step = fail
        return await asyncio.gather(*waiting, return_exceptions=True), await healthy

    failed, healthy = lab.run(calls())
    assert len(failed) == 20
    for fault in failed:
        assert isinstance(fault, BackendFault)
        assert fault.fatal
        assert "has stopped: RuntimeError: a kernel fell over" in fault.message
        assert "run again to resume" in fault.suggestion
    assert healthy.text
    with pytest.raises(BackendFault, match="has stopped"):
        lab.run(broken.generate(ask()))


def test_numbers_are_float32_on_a_cpu_unless_the_scenario_says_otherwise(tiny):
    """E: bfloat16 is emulated on most CPUs, two to three times slower."""
    assert tiny.facts.dtype == "float32"


def test_nothing_is_asked_of_the_sampler_that_nobody_wants():
    """F: log-probabilities and text of every step cost a third to two thirds of the throughput."""
    plain = generate_parameters(ask(), "m")
    assert plain.logprobs is None
    assert plain.detokenize is False
    assert plain.seed is None
    assert plain.structured_outputs is None
    assert plain.output_kind.name == "FINAL_ONLY"
    assert generate_parameters(ask(stop=("x",)), "m").detokenize is True
    assert generate_parameters(ask(temperature=1.0), "m").seed is not None


def test_alternatives_are_right_beside_calls_for_listed_tokens(lab, tiny):
    """G: one call for listed tokens spoils the alternatives of all other sequences in its batch."""
    calls = [ask(seed=i, temperature=0.9, logprobs=4) for i in range(8)]
    alone = [lab.run(tiny.generate(call)).completions[0] for call in calls]
    together = lab.all(
        *(tiny.generate(call) for call in calls), *(tiny.score(weigh("yes", "no")) for _ in range(20))
    )
    for one, other in zip(alone, together[:8], strict=True):
        assert one.text == other.completions[0].text
        for a, b in zip(one.logprobs, other.completions[0].logprobs, strict=True):
            assert [token for token, _ in a.top] == [token for token, _ in b.top]
            assert [x for _, x in a.top] == pytest.approx([x for _, x in b.top], abs=1e-4)


def test_an_adapter_does_not_touch_the_base_in_a_mixed_batch(lab, folder, tmp_path_factory):
    """H: in a mixed batch the last place for adapters is applied to calls without one. It is left empty."""
    adapter = make_adapter(tmp_path_factory.mktemp("adapter"), folder)
    base, adapted = lab.start(
        model(folder, max_sequences=16), model(folder, max_sequences=16, adapter=str(adapter))
    )
    alone = [lab.run(one.generate(ask())).text for one in (base, adapted)]
    together = lab.all(*(one.generate(ask()) for one in (base, adapted) * 4))
    assert [r.text for r in together] == alone * 4
    assert alone[0] != alone[1]


def test_an_engine_with_adapters_scores_long_texts_and_lives(lab, folder, tmp_path_factory):
    """I: prompt log-probabilities kill an engine that has room for adapters."""
    adapter = make_adapter(tmp_path_factory.mktemp("adapter"), folder)
    base, _ = lab.start(
        model(folder, max_sequences=24), model(folder, max_sequences=24, adapter=str(adapter))
    )
    text = f"{QUESTION} " * 6
    scores = lab.run(base.score(weigh(text, f"no, {text}"))).scores
    assert min(len(score.logprobs) for score in scores) > 100
    assert lab.run(base.generate(ask())).text


def test_closing_an_engine_leaves_the_others_of_the_process_alive(lab, tiny, folder):
    """J: shutting one engine down ends the process group that all engines of the process share."""
    before = lab.run(tiny.generate(ask())).text
    (other,) = lab.start(model(folder, max_sequences=4))
    lab.run(other.close())
    assert lab.run(tiny.generate(ask())).text == before


def test_strings_in_json_hold_no_control_characters(lab, tiny):
    """K: of vLLM's two grammars that can leave blanks out, one lets control characters into strings."""
    import json

    schema = {
        "type": "object",
        "properties": {"say": {"type": "string", "maxLength": 12}},
        "required": ["say"],
        "additionalProperties": False,
    }
    calls = (tiny.generate(ask(seed=i, temperature=1.5, max_tokens=80, schema=schema)) for i in range(48))
    for reply in lab.all(*calls):
        if reply.completions[0].finish == "stop":
            assert set(json.loads(reply.text)) == {"say"}
