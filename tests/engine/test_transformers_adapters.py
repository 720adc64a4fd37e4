"""Adapters that do not fit: named in the message, and without a trace in the base that others use."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from docendo.runtime.backends.base import BackendFault
from docendo.runtime.backends.transformers_backend import TransformersBackend
from docendo.scenarios.local_model_spec import TransformersModel
from tests.engine.test_transformers import TEXTS, Lab, ask, texts
from tests.engine.tiny_model import make_adapter


@pytest.fixture
def lab() -> Iterator[Lab]:
    lab = Lab()
    yield lab
    lab.close()


def _settings(folder: Path, **fields: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | fields), "utf-8")


def _cut_off(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:900])


SPOILT: dict[str, Callable[[Path], None]] = {
    "another rank than its weights": lambda folder: _settings(folder, r=7),
    "one layer of another rank": lambda folder: _settings(folder, rank_pattern={"layers.1.v_proj": 2}),
    "modules that the base lacks": lambda folder: _settings(folder, target_modules=["elsewhere"]),
    "modules without weights": lambda folder: _settings(
        folder, target_modules=["q_proj", "v_proj", "o_proj"]
    ),
    "weights without modules": lambda folder: _settings(folder, target_modules=["q_proj"]),
    "a file that is cut off": _cut_off,
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
@pytest.mark.parametrize("beside", [False, True], ids=["the first", "beside another"])
def test_an_adapter_that_does_not_fit_leaves_no_trace(
    lab: Lab, make: Any, tmp_path: Path, spoil: Callable[[Path], None], beside: bool
) -> None:
    good = make_adapter(tmp_path / "good", make())
    bad = Path(shutil.copytree(good, tmp_path / "bad"))
    spoil(bad)
    requests = [ask(text) for text in TEXTS]
    models = [lab.start(make()), *([lab.start(make(), adapter=str(good))] if beside else [])]
    before = [texts(lab.all(*(model.generate(r) for r in requests))) for model in models]
    for _ in range(2):
        with pytest.raises(BackendFault, match=r"bad does not fit") as caught:
            lab.start(make(), adapter=str(bad))
        assert caught.value.fatal
    assert [texts(lab.all(*(model.generate(r) for r in requests))) for model in models] == before
    if not beside:
        late = lab.start(make(), adapter=str(good))
        assert texts(lab.all(*(late.generate(r) for r in requests))) != before[0]


def test_an_adapter_is_loaded_while_the_base_is_at_work(lab: Lab, make: Any, tmp_path: Path) -> None:
    adapter = str(make_adapter(tmp_path / "adapter", make()))
    requests = [ask(text, max_tokens=200) for text in TEXTS]
    plain = lab.start(make())
    wanted = texts(lab.all(*(plain.generate(r) for r in requests)))

    async def first_then_load() -> bool:
        calls = asyncio.gather(*(plain.generate(r) for r in requests))
        await plain.generate(ask(max_tokens=1))
        await late.start()
        at_work = not calls.done()
        found.extend(texts(await calls))
        return at_work

    found: list[str] = []
    late = TransformersBackend(TransformersModel(model=str(make()), adapter=adapter))
    lab._open.append(late)
    assert lab.run(first_then_load()), "the base was at work"
    assert found == wanted


def test_memory_that_runs_out_for_an_adapter(
    lab: Lab, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = make_adapter(tmp_path / "adapter", make())
    plain = lab.start(make())
    before = lab.run(plain.generate(ask())).text

    def short(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(PeftModel, "load_adapter", short)
    with pytest.raises(BackendFault, match=r"memory ran out while the adapter in .*adapter was loaded"):
        lab.start(make(), adapter=str(adapter))
    assert lab.run(plain.generate(ask())).text == before
