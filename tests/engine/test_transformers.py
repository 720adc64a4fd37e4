"""The transformers backend against transformers itself, and what happens when things go wrong."""

from __future__ import annotations

import asyncio
import json
import math
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen3ForCausalLM

from docendo.agents.port import GenerateRequest, Sampling, ScoreRequest
from docendo.agents.view import View
from docendo.messages import PromptMessage, Span
from docendo.runtime.backends.base import BackendFault
from docendo.runtime.backends.local_prompt import LocalPrompt
from docendo.runtime.backends.transformers_backend import TransformersBackend
from docendo.runtime.backends.weights import resolve
from docendo.scenarios.local_model_spec import TransformersModel
from tests.engine.living import living_models
from tests.engine.tiny_model import make_adapter

VIEW = View(agent="a", role="student", act="solve")


class Lab:
    """Models and the loop that they live in."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._open: list[TransformersBackend] = []

    def start(self, folder: Path, **fields: Any) -> TransformersBackend:
        backend = TransformersBackend(TransformersModel(model=str(folder), **fields))
        self._open.append(backend)
        self.run(backend.start())
        return backend

    def run(self, work: Any) -> Any:
        return self._runner.run(asyncio.wait_for(work, 120))

    def all(self, *work: Any) -> list[Any]:
        async def main() -> list[Any]:
            return await asyncio.gather(*work, return_exceptions=True)

        return self.run(main())  # type: ignore[no-any-return]

    def leave(self) -> None:
        """Close all models, those that did not start included."""
        for backend in self._open:
            self.run(backend.close())

    def close(self) -> None:
        self.leave()
        self._runner.close()


@pytest.fixture
def lab() -> Iterator[Lab]:
    lab = Lab()
    yield lab
    lab.close()


def prompt(text: str) -> tuple[PromptMessage, ...]:
    return (PromptMessage("user", (Span(text),)),)


def ask(text: str = "Is water wet?", **fields: Any) -> GenerateRequest:
    how = {k: fields.pop(k) for k in tuple(fields) if k in Sampling.__dataclass_fields__}
    sampling = Sampling(**{"max_tokens": 12, **how})
    return GenerateRequest(model="m", prompt=prompt(text), view=VIEW, sampling=sampling, **fields)


def weigh(text: str = "Is water wet?") -> ScoreRequest:
    return ScoreRequest(model="m", prompt=prompt(text), continuations=("yes", "no"), view=VIEW)


def texts(replies: list[Any]) -> list[str]:
    return [reply.text for reply in replies]


TEXTS = ["Is water wet?", "Why? " * 30, "No.", "Tell me how, and tell me slowly. " * 9, "Is fire hot? " * 3]


@pytest.mark.parametrize(
    "made",
    [
        {"architecture": "qwen3"},
        {"architecture": "llama"},
        {"extra": (("use_sliding_window", True), ("sliding_window", 20), ("max_window_layers", 1))},
    ],
    ids=["qwen3", "llama", "sliding window"],
)
def test_a_batch_is_greedy_as_transformers_is_alone(lab: Lab, make: Any, made: dict[str, Any]) -> None:
    folder = make(**made)
    replies = lab.all(*(lab.start(folder).generate(ask(t, max_tokens=30)) for t in TEXTS * 2))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    prompts = LocalPrompt(resolve(TransformersModel(model=str(folder)), Path()))
    for text, reply in zip(TEXTS * 2, replies, strict=True):
        ids = prompts.tokens(prompt(text))
        tensor = torch.tensor([ids])
        mask = torch.ones_like(tensor)
        out = model.generate(tensor, attention_mask=mask, max_new_tokens=30, do_sample=False, pad_token_id=0)
        assert reply.text == prompts.decode(out[0, len(ids) :].tolist(), after=ids)


def test_rows_of_any_length_come_and_go(lab: Lab, make: Any) -> None:
    wide = lab.start(make(), batch=32)
    requests = [
        ask(
            f"{i} " + "word " * (i * 37 % 90),
            max_tokens=1 + i * 13 % 40,
            temperature=[0.0, 1.0, 0.5][i % 3],
            top_p=[1.0, 0.8][i % 2],
            seed=i,
            n=1 + i % 3,
        )
        for i in range(40)
    ]
    alone = [lab.run(wide.generate(request)) for request in requests]
    for group in (requests, requests[::-1], requests[7:12], requests[::5]):
        together = lab.all(*(wide.generate(request) for request in group))
        known = {id(r): a for r, a in zip(requests, alone, strict=True)}
        assert [r.completions for r in together] == [known[id(r)].completions for r in group]


def test_a_batch_that_ends_at_once_is_followed_by_a_smaller_one(lab: Lab, make: Any) -> None:
    backend = lab.start(make())
    calls = [ask(str(i), max_tokens=6) for i in range(8)]
    eight = texts(lab.all(*(backend.generate(c) for c in calls)))
    assert texts(lab.all(*(backend.generate(c) for c in calls[:6]))) == eight[:6]


def test_a_small_batch_answers_the_same(lab: Lab, make: Any, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(make(), tmp_path / "model"))
    (copy / "generation_config.json").write_text('{"eos_token_id": [2]}', "utf-8")
    requests = [ask(f"{i}", temperature=1.0, seed=i, max_tokens=5 + i) for i in range(12)]
    many = lab.all(*(lab.start(make(), batch=32).generate(r) for r in requests))
    few = lab.all(*(lab.start(copy, batch=2).generate(r) for r in requests))
    assert texts(many) == texts(few)


def test_a_common_beginning_is_computed_once(lab: Lab, make: Any) -> None:
    backend = lab.start(make())
    shared = "Demonstration: water is wet, and fire is hot. " * 10
    calls = [ask(shared + f"Question {i}?") for i in range(10)]
    replies = lab.all(*(backend.generate(c) for c in calls), *(backend.score(weigh(shared + "?")),) * 1)
    tokens = len(LocalPrompt(resolve(TransformersModel(model=str(make())), Path())).tokens(prompt(shared)))
    assert sorted(r.usage.cached_tokens > tokens - 32 for r in replies) == [False] + [True] * 10


def test_sampling_follows_the_probabilities(lab: Lab, make: Any) -> None:
    backend = lab.start(make())
    know = lab.run(backend.generate(ask(logprobs=512, max_tokens=1))).completions[0].logprobs[0].top
    p: Counter[str] = Counter()
    for token, logprob in know:
        p[token] += math.exp(logprob)
    assert sum(p.values()) == pytest.approx(1, abs=1e-4)
    drawn = lab.run(backend.generate(ask(n=2000, temperature=1.0, max_tokens=1, logprobs=1))).completions
    shares = Counter(c.logprobs[0].token for c in drawn if c.logprobs)
    for token, chance in p.most_common(3):
        assert abs(shares[token] / 2000 - chance) < 4 * (chance * (1 - chance) / 2000) ** 0.5
    part = math.exp(know[0][1]) + 1e-4
    hot = ask(n=200, temperature=1.0, top_p=part, max_tokens=1, logprobs=1)
    nucleus = lab.run(backend.generate(hot)).completions
    assert {c.logprobs[0].token for c in nucleus} == {know[0][0], know[1][0]}


def test_the_tokenizers_own_end_ends_a_completion(lab: Lab, make: Any, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(make(), tmp_path / "model"))
    for name in ("config.json", "generation_config.json"):
        fields = json.loads((folder / name).read_text("utf-8"))
        assert fields["eos_token_id"] == 2
        (folder / name).write_text(json.dumps(fields | {"eos_token_id": 3}), "utf-8")
    one_token = ask(n=2000, temperature=1.0, max_tokens=1)
    known, found = (lab.run(lab.start(f).generate(one_token)).completions for f in (make(), folder))
    ended = {i for i, completion in enumerate(known) if completion.finish == "stop"}
    assert ended, "the model says its end now and then"
    assert ended <= {i for i, completion in enumerate(found) if completion.finish == "stop"}


# --- adapters -------------------------------------------------------------------------------------------


def test_adapters_are_models_of_their_own_over_one_base(lab: Lab, make: Any, tmp_path: Path) -> None:
    folder = make()
    adapters = [str(make_adapter(tmp_path / str(i), folder, seed=i)) for i in (1, 2)]
    requests = [ask(t, max_tokens=20) for t in TEXTS]
    plain = lab.start(folder)
    before = texts(lab.all(*(plain.generate(r) for r in requests)))
    first, second = (lab.start(folder, adapter=adapter) for adapter in adapters)
    assert living_models().count("Qwen3ForCausalLM") == 1
    assert len({plain.fingerprint, first.fingerprint, second.fingerprint}) == 3
    alone = [texts([lab.run(model.generate(r)) for r in requests]) for model in (plain, first, second)]
    assert alone[0] == before, "the base is what it was"
    assert alone[0] != alone[1] != alone[2]
    mixed = texts(lab.all(*(model.generate(r) for r in requests for model in (plain, first, second))))
    assert mixed == [answer for row in zip(*alone, strict=True) for answer in row]


def test_an_adapter_answers_as_peft_does(lab: Lab, make: Any, tmp_path: Path) -> None:
    from peft import PeftModel

    folder = make()
    adapter = make_adapter(tmp_path / "adapter", folder)
    reply = lab.run(lab.start(folder, adapter=str(adapter)).generate(ask(max_tokens=20)))
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    prompts = LocalPrompt(resolve(TransformersModel(model=str(folder)), Path()))
    ids = prompts.tokens(prompt("Is water wet?"))
    tensor = torch.tensor([ids])
    out = PeftModel.from_pretrained(base, adapter).generate(
        input_ids=tensor,
        attention_mask=torch.ones_like(tensor),
        max_new_tokens=20,
        do_sample=False,
        pad_token_id=0,
    )
    assert reply.text == prompts.decode(out[0, len(ids) :].tolist(), after=ids)


def test_an_adapter_of_another_base(lab: Lab, make: Any, tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "adapter", make(hidden=128, heads=4))
    with pytest.raises(BackendFault, match="does not fit") as caught:
        lab.start(make(), adapter=str(adapter))
    assert caught.value.fatal


def test_without_peft_an_adapter_names_the_extra(
    lab: Lab, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = make_adapter(tmp_path / "adapter", make())
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(BackendFault, match="needs peft") as caught:
        lab.start(make(), adapter=str(adapter))
    assert caught.value.suggestion == "pip install 'docendo[transformers]'"


def test_models_of_one_base_share_it_until_the_last_has_left(lab: Lab, make: Any) -> None:
    one, two = lab.start(make()), lab.start(make(), chat_template="plain")
    assert living_models().count("Qwen3ForCausalLM") == 1
    lab.run(one.close())
    assert lab.run(two.generate(ask())).text
    lab.run(two.close())
    assert not living_models()


# --- faults ---------------------------------------------------------------------------------------------


def limited(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """Memory for so many rows."""
    whole = Qwen3ForCausalLM.forward

    def forward(self: Any, input_ids: Any = None, **rest: Any) -> Any:
        if input_ids.shape[0] > rows or input_ids.shape[1] > 400:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return whole(self, input_ids=input_ids, **rest)

    monkeypatch.setattr(Qwen3ForCausalLM, "forward", forward)


def test_where_memory_runs_out_the_batch_shrinks(
    lab: Lab, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [ask(f"{i} " + "why " * i, temperature=1.0, seed=i, n=2, max_tokens=8 + i) for i in range(10)]
    form = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    calls.append(ask(schema=form, max_tokens=40))
    backend = lab.start(make())
    wanted = lab.all(*(backend.generate(c) for c in calls), backend.score(weigh()))
    lab.run(backend.close())
    limited(monkeypatch, 2)
    backend = lab.start(make())
    found = lab.all(*(backend.generate(c) for c in calls), backend.score(weigh()))
    assert [r.completions for r in found[:-1]] == [r.completions for r in wanted[:-1]]
    assert found[-1].scores[0].total == pytest.approx(wanted[-1].scores[0].total, abs=1e-4)


def test_where_not_even_one_fits_the_call_fails_with_advice(
    lab: Lab, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, 32)
    backend = lab.start(make())
    with pytest.raises(BackendFault, match="memory ran out") as caught:
        lab.run(backend.generate(ask("long " * 400)))
    assert "max_tokens" in caught.value.suggestion
    assert not caught.value.fatal
    assert lab.run(backend.generate(ask())).text, "and the next call is answered"


def test_a_model_that_breaks_tells_everybody_who_waits(
    lab: Lab, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = lab.start(make())

    def broken(*_: Any, **__: Any) -> Any:
        raise ValueError("the device is gone")

    monkeypatch.setattr(Qwen3ForCausalLM, "forward", broken)
    outcomes = lab.all(*(backend.generate(ask(str(i))) for i in range(50)), backend.score(weigh()))
    assert {type(o) for o in outcomes} == {BackendFault}
    assert all("the device is gone" in o.message and o.fatal for o in outcomes)
    with pytest.raises(BackendFault, match="the device is gone"):
        lab.run(backend.generate(ask()))


def test_cancelled_calls_stop_computing(lab: Lab, make: Any) -> None:
    backend = lab.start(make())

    async def main() -> int:
        calls = [asyncio.create_task(backend.generate(ask(str(i), max_tokens=1900))) for i in range(64)]
        await backend.generate(ask(max_tokens=1))
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await backend.generate(ask(max_tokens=5))
        return int(backend.about()["decode_steps"])

    assert lab.run(main()) < 1900


def test_other_layers_than_attention_are_refused(lab: Lab, make: Any, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(make(), tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config |= {"model_type": "qwen3_next", "layer_types": ["linear_attention", "full_attention"]}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(BackendFault, match="linear_attention") as caught:
        lab.start(folder)
    assert "vllm" in caught.value.suggestion


def test_weights_that_are_cut_off(lab: Lab, make: Any, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(make(), tmp_path / "model"))
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(BackendFault, match="cannot be run by transformers") as caught:
        lab.start(folder)
    assert caught.value.fatal
    lab.leave()
    assert not living_models()


def test_a_device_that_is_not_here(lab: Lab, make: Any) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(BackendFault, match=r"CUDA|cuda") as caught:
        lab.start(make(), device="cuda")
    assert caught.value.fatal


def test_before_it_is_started_and_after_it_was_closed(make: Any) -> None:
    backend = TransformersBackend(TransformersModel(model=str(make())))
    assert backend.about() == {}
    assert backend.room() is None
    with pytest.raises(BackendFault, match="not loaded"):
        asyncio.run(backend.generate(ask()))
