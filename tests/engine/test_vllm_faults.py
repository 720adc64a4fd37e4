"""What goes wrong before and while an engine starts: what is said, and that nothing stays."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import threading
from pathlib import Path

import pytest

from docendo.errors import UsageError
from docendo.runtime.backends import vllm_start
from docendo.runtime.backends.base import BackendFault
from docendo.runtime.backends.vllm_faults import start_fault
from tests.engine.tiny_model import make_model
from tests.engine.vllm_lab import model, needs_vllm

pytestmark = needs_vllm


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("tiny"))


def fails(backend) -> BackendFault:
    """The fault of a start, after everything was closed."""

    async def run() -> BackendFault:
        with pytest.raises(BackendFault) as caught:
            await backend.start()
        await backend.close()
        return caught.value

    fault = asyncio.run(run())
    assert fault.fatal
    assert not [t for t in threading.enumerate() if t.name == "docendo-engines"]
    return fault


def test_a_cache_that_holds_no_prompt_is_told_with_what_to_change(folder):
    fault = fails(model(folder, kv_cache=0.0001))
    assert "does not start" in fault.message
    assert "max_model_len=2048" in fault.message
    assert "shorter `context`" in fault.suggestion


def test_an_option_that_vllm_does_not_know_is_named(folder):
    fault = fails(model(folder, options={"no_such_option": 1}))
    assert "no_such_option" in fault.message
    assert "`options`" in fault.suggestion


def test_weights_that_are_cut_off_are_told(folder, tmp_path):
    import shutil

    broken = shutil.copytree(folder, tmp_path / "broken")
    file = broken / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    assert "Is the model's folder complete?" in fails(model(broken)).suggestion


def test_a_folder_that_is_not_there_is_an_error_before_anything_is_loaded(tmp_path):
    with pytest.raises(UsageError, match="no folder"):
        model(tmp_path / "nowhere")


def test_without_vllm_it_is_told_how_to_install_it_and_what_else_there_is(folder, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "vllm" else find(name, *rest)
    )
    fault = fails(model(folder))
    assert fault.message == "vLLM is not installed"
    assert "docendo[vllm]" in fault.suggestion
    assert "transformers" in fault.suggestion


def test_a_cpu_build_of_torch_beside_a_gpu_is_told(monkeypatch):
    import torch

    exists = os.path.exists
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(os.path, "exists", lambda path: path == "/dev/nvidiactl" or exists(path))
    with pytest.raises(
        BackendFault, match=r"has an NVIDIA GPU, and torch .* is a build for the CPU"
    ) as caught:
        vllm_start.device()
    assert "without that index" in caught.value.suggestion


@pytest.mark.parametrize(
    ("why", "advice"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "`max_sequences`"),
        ("ValueError: Free memory on device cuda:0 (3/80 GiB) on startup is less than ...", "nvidia-smi"),
        ("ValueError: Model architectures ['Odd'] are not supported for now", "newer one"),
        ("RuntimeError: something else", "VLLM_LOGGING_LEVEL"),
    ],
)
def test_what_vllm_says_is_turned_into_advice(why, advice):
    fault = start_fault("m", why, {"max_model_len": 4096, "gpu_memory_utilization": 0.4})
    assert advice in fault.suggestion
    assert "(gpu_memory_utilization=0.4, max_model_len=4096)" in fault.message
