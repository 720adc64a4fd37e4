"""Which engines get what of a GPU: a plan that needs no GPU to be tried."""

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
    plan_engines,
)
from docendo.runtime.backends.vllm_engines import Want, refuse
from docendo.runtime.backends.vllm_start import Device
from docendo.runtime.backends.weights import Weights
from docendo.scenarios.local_model_spec import VllmModel

QWEN_8B = {
    "num_hidden_layers": 36,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
}


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
    if any(w.need > min(int(0.92 * total_bytes), free) for w in wishes if w.share is None):
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
            assert size >= w.need - 1
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


def test_a_model_that_does_not_fit_alone_is_refused_with_numbers_and_advice():
    with pytest.raises(BackendFault, match=r"`big` needs 6[0-9]\.\d GiB .* 22\.1 are free") as caught:
        plan_engines([wish("big", 62)], 24 * GIB, 24 * GIB)
    assert caught.value.fatal
    assert "tensor_parallel" in caught.value.suggestion


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
    weights = Weights(
        name="m", folder=Path(), digest="", adapter=None, template=None, size=1, config={}, context=8
    )
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
