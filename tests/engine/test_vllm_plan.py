"""Which engines get what of a GPU: a plan that needs no GPU to be tried."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docendo.runtime.backends.base import BackendFault
from docendo.runtime.backends.engine_plan import (
    GIB,
    EngineWish,
    Placement,
    kv_bytes_per_token,
    loaded_bytes,
    plan_engines,
)
from docendo.runtime.backends.vllm_engines import Want, refuse
from docendo.runtime.backends.vllm_start import Device
from docendo.runtime.backends.weights import Weights, resolve
from docendo.scenarios.local_model_spec import VllmModel

QWEN_8B = {
    "num_hidden_layers": 36,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
}


QWEN_4B = QWEN_8B | {
    "dtype": "bfloat16",
    "hidden_size": 2560,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
    "max_position_embeddings": 262144,
}
"""Qwen3-4B-Instruct-2507, as far as its size matters; 8.0 GB."""
LLAMA_8B = {
    "dtype": "bfloat16",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
    "max_position_embeddings": 131072,
}
"""Llama-3.1-8B-Instruct; 16.1 GB."""
GB = 10**9
CARDS = {24: (24.0, 23.6), 80: (79.2, 78.7), 141: (139.8, 139.3)}
"""Card -> GiB of its memory, in all and free."""


def wanted(config: dict[str, Any], **fields: Any) -> EngineWish:
    """The engine of one of these models, with the context of its own unless `fields` say otherwise."""
    weights = Weights(
        name="Llama-3.1-8B" if config is LLAMA_8B else "Qwen3-4B",
        folder=Path(),
        adapter=None,
        template=None,
        size=int((16.1 if config is LLAMA_8B else 8.0) * GB),
        config=config,
        context=fields.get("context") or config["max_position_embeddings"],
    )
    return Want(VllmModel(model="m", **fields), weights).wish()


def planned(card: int, *wishes: EngineWish) -> list[Placement]:
    total, free = CARDS[card]
    return plan_engines(wishes, int(total * GIB), int(free * GIB))


def wish(key: str, weights: float, **more) -> EngineWish:
    """A model of so many GiB, with Qwen3's KV cache."""
    return EngineWish(key=key, weights=int(weights * GIB), kv_token=147456, **{"context": 4096, **more})


WISHES = st.lists(
    st.builds(
        wish,
        st.sampled_from("abcdef"),
        st.floats(0.1, 200),
        context=st.integers(128, 131072),
        gpus=st.sampled_from([1, 2, 4]),
        share=st.none() | st.floats(0.01, 1),
        kv_cache=st.none() | st.floats(0.1, 100),
    ),
    min_size=1,
    max_size=5,
)


@given(WISHES, st.floats(8, 200), st.floats(0, 1))
def test_plan_gives_every_engine_its_need_and_nobody_more_than_there_is(wishes, total, used):
    total_bytes = int(total * GIB)
    free = int(total_bytes * (1 - used))
    if any(w.least > min(int(0.92 * total_bytes), free) for w in wishes if w.share is None):
        with pytest.raises(BackendFault) as caught:
            plan_engines(wishes, total_bytes, free)
        assert caught.value.fatal
        return
    places = plan_engines(wishes, total_bytes, free)
    assert [p.key for p in places] == [w.key for w in wishes]
    bytes_of = [p.share * total_bytes for p in places]
    assert len({p.turns for p in places}) == 1
    for w, size in zip(wishes, bytes_of, strict=True):
        assert size <= free + 1
        if w.share is None:
            assert size >= (w.least if len(wishes) == 1 or places[0].turns else w.need) - 1
    assert not (places[0].turns and len(wishes) == 1)
    if not places[0].turns:
        assert sum(bytes_of) <= free + len(places)


def test_two_small_models_live_together_and_share_what_is_left():
    teacher, student = plan_engines([wish("teacher", 16), wish("student", 1.5)], 80 * GIB, 79 * GIB)
    assert not teacher.turns
    assert 0.9 < teacher.share + student.share <= 0.93
    assert teacher.share > student.share


def test_two_large_models_take_turns_with_all_of_the_gpu_each():
    teacher, student = plan_engines([wish("teacher", 60), wish("student", 60)], 80 * GIB, 79 * GIB)
    assert teacher.turns
    assert student.turns
    assert teacher.share == student.share == pytest.approx(0.92, abs=1e-3)


def test_a_share_that_the_scenario_names_is_kept():
    teacher, student = plan_engines(
        [wish("teacher", 16, share=0.5), wish("student", 1.5)], 80 * GIB, 79 * GIB
    )
    assert teacher.share == pytest.approx(0.5)
    assert teacher.share + student.share <= 0.93


def test_a_share_of_one_that_is_alone_is_no_reason_to_take_turns():
    (alone,) = plan_engines([wish("teacher", 16, share=0.97)], 80 * GIB, 79 * GIB)
    assert not alone.turns
    assert alone.share == pytest.approx(0.97)


@pytest.mark.parametrize(("config", "card"), [(QWEN_4B, 80), (QWEN_4B, 141), (LLAMA_8B, 80), (LLAMA_8B, 141)])
def test_one_full_context_is_all_that_a_model_must_have_room_for(config: dict[str, Any], card: int) -> None:
    (alone,) = planned(card, wanted(config))
    assert not alone.turns
    assert alone.share == pytest.approx(0.92, abs=1e-3)


@pytest.mark.parametrize(
    ("config", "fields", "context"),
    [
        (QWEN_4B, {}, 91136),
        (LLAMA_8B, {}, 40960),
        (QWEN_4B, {"tensor_parallel": 2, "dtype": "float32"}, 91136),
    ],
)
def test_a_context_that_is_too_long_is_refused_with_the_longest_that_fits(
    config: dict[str, Any], fields: dict[str, Any], context: int
) -> None:
    with pytest.raises(BackendFault) as caught:
        planned(24, wanted(config, **fields))
    assert caught.value.suggestion.startswith(f"Set `context: {context}` or less.")
    planned(24, wanted(config, context=context, **fields))
    with pytest.raises(BackendFault):
        planned(24, wanted(config, context=context + 1024, **fields))


@pytest.mark.parametrize(
    ("card", "models", "fields", "turns"),
    [
        # Long contexts, which few sequences fill: together as soon as there is room for one of each.
        (141, (QWEN_4B, QWEN_4B), {}, False),
        (141, (QWEN_4B, LLAMA_8B), {}, False),
        (80, (LLAMA_8B, LLAMA_8B), {}, False),
        (80, (QWEN_4B, LLAMA_8B), {}, True),
        # Short contexts, which sequences do fill: together if there is room for four of each.
        (24, (QWEN_4B, QWEN_4B), {"context": 2048}, False),
        (24, (QWEN_4B, QWEN_4B), {"context": 4096}, True),
        (80, (QWEN_4B, LLAMA_8B), {"context": 16384}, False),
    ],
)
def test_models_live_together_where_each_has_room_for_a_batch(
    card: int, models: tuple[dict[str, Any], ...], fields: dict[str, Any], turns: bool
) -> None:
    wishes = [wanted(config, **fields) for config in models]
    places = planned(card, *wishes)
    assert [place.turns for place in places] == [turns] * len(models)
    for one, place in zip(wishes, places, strict=True):
        assert place.share * CARDS[card][0] * GIB >= one.least


def test_a_model_that_does_not_fit_alone_is_refused_with_numbers_and_advice():
    with pytest.raises(BackendFault, match=r"`big` needs 6[0-9]\.\d GiB .* 22\.1 are free") as caught:
        plan_engines([wish("big", 62)], 24 * GIB, 24 * GIB)
    assert caught.value.fatal
    assert "`context:" not in caught.value.suggestion
    assert "tensor_parallel" in caught.value.suggestion


def test_the_parts_of_what_is_needed_add_up_on_every_gpu():
    with pytest.raises(BackendFault, match="on each of 2 GPUs") as caught:
        plan_engines([wish("big", 60, gpus=2)], 24 * GIB, 24 * GIB)
    needs, *parts, free = map(float, re.findall(r"\d+\.\d", str(caught.value)))
    assert needs == pytest.approx(sum(parts), abs=0.2)
    assert free == 22.1


def test_a_fixed_cache_that_is_too_large_is_refused_with_one_that_fits():
    with pytest.raises(BackendFault) as caught:
        planned(24, wanted(QWEN_4B, kv_cache=30))
    assert caught.value.suggestion.startswith("Set `kv_cache: 12.6` or less.")
    planned(24, wanted(QWEN_4B, kv_cache=12.6))


def test_a_share_goes_past_the_estimate_and_the_refusal_says_so():
    with pytest.raises(BackendFault) as caught:
        planned(24, wanted(QWEN_4B))
    assert "`memory: 0.9`" in caught.value.suggestion
    (placed,) = planned(24, wanted(QWEN_4B, memory=0.9))
    assert placed.share == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("config", "fields", "gigabytes"),
    [
        (QWEN_4B, {}, 8.0),
        (QWEN_4B, {"dtype": "float16"}, 8.0),
        (QWEN_4B, {"dtype": "float32"}, 16.0),
        # Embeddings stay as they are: 151936 x 2560 numbers, and twice 128256 x 4096.
        (QWEN_4B, {"quantization": "fp8"}, (8.0 + 0.78) / 2),
        (QWEN_4B, {"quantization": "fp8_per_tensor"}, (8.0 + 0.78) / 2),
        (LLAMA_8B, {"quantization": "fp8_per_channel"}, (16.1 + 2.1) / 2),
        (QWEN_4B | {"dtype": "float32"}, {}, 4.0),
        (QWEN_4B | {"dtype": None, "torch_dtype": "float32"}, {"dtype": "bfloat16"}, 4.0),
        (QWEN_4B | {"quantization_config": {"quant_method": "fp8"}}, {"quantization": "fp8"}, 8.0),
        (QWEN_4B | {"quantization_config": {"quant_method": "awq"}}, {"dtype": "float32"}, 8.0),
        (QWEN_4B | {"dtype": None}, {"quantization": "fp8"}, 8.0),
    ],
)
def test_weights_take_what_they_take_once_loaded(
    config: dict[str, Any], fields: dict[str, Any], gigabytes: float
) -> None:
    assert wanted(config, **fields).weights == pytest.approx(gigabytes * GB, rel=0.01)


def test_the_format_of_weights_is_that_of_the_language_model():
    assert loaded_bytes(100, {"text_config": {"dtype": "float32"}}, 2, None) == 50


def test_an_engine_is_known_by_its_folder_and_not_by_what_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "config.json").write_text(json.dumps(QWEN_4B), "utf-8")
    (tmp_path / "w" / "model.safetensors").write_bytes(b"0")
    (tmp_path / "link").symlink_to(tmp_path / "w")
    specs = [
        VllmModel(model=name, chat_template="plain") for name in ("w", "./w", "link", str(tmp_path / "w"))
    ]
    assert len({Want(spec, resolve(spec, tmp_path)).engine for spec in specs}) == 1
    (tmp_path / "v").mkdir()
    for file in (tmp_path / "w").iterdir():
        (tmp_path / "v" / file.name).write_bytes(file.read_bytes())
    other = VllmModel(model="v", chat_template="plain")
    assert Want(other, resolve(other, tmp_path)).engine != Want(specs[0], resolve(specs[0], tmp_path)).engine


def test_on_a_cpu_every_engine_has_its_own_cache_and_nobody_takes_turns():
    places = plan_engines([wish("a", 500), wish("b", 500, kv_cache=0.5)], None, 0)
    assert [(p.share, p.kv_bytes, p.turns) for p in places] == [
        (None, GIB, False),
        (None, GIB // 2, False),
    ]


def test_kv_cache_of_a_token_is_known_from_the_configuration():
    assert kv_bytes_per_token(QWEN_8B, 2) == 144 * 1024
    assert kv_bytes_per_token({"text_config": QWEN_8B}, 2) == 144 * 1024
    assert kv_bytes_per_token({"n_layer": 12, "n_embd": 768, "n_head": 12}, 4) == 2 * 12 * 768 * 4


@pytest.mark.parametrize(
    ("fields", "turns", "adapted", "what"),
    [
        ({"engine": "thread"}, True, False, "engine: process"),
        ({"dtype": "float32"}, False, True, "dtype: bfloat16"),
    ],
)
def test_what_vllm_answers_with_a_bare_assertion_on_a_gpu_is_refused_in_words(
    fields: dict[str, Any], turns: bool, adapted: bool, what: str
) -> None:
    weights = Weights(name="m", folder=Path(), adapter=None, template=None, size=1, config={}, context=8)
    want = Want(VllmModel(model="m", **fields), weights)
    place = Placement(key="m", share=0.5, kv_bytes=None, turns=turns)
    gpu = Device(kind="cuda", name="GPU", total=1, free=1)
    with pytest.raises(BackendFault) as caught:
        refuse(want, place, gpu, adapted=adapted)
    assert caught.value.fatal
    assert what in caught.value.suggestion
    refuse(want, place, Device(kind="cpu", name="cpu", total=1, free=1), adapted=adapted)
    plain = Want(VllmModel(model="m"), weights)
    refuse(plain, place, gpu, adapted=adapted)
