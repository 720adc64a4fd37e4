"""Whole runs on vLLM's engine: from the scenario file to the record, through a crash, and again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from docendo.runtime.backends import vllm_thread
from docendo.runtime.backends.vllm_backend import VllmBackend
from tests.engine.tiny_model import Tiny, make_adapter, make_model
from tests.engine.vllm_lab import needs_vllm
from tests.trust.lab import Raw, docendo, write

pytestmark = needs_vllm


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher that is an adapter over its student."""
    folder = tmp_path_factory.mktemp("run")
    base = make_model(folder / "tiny", Tiny(context=8192))
    make_adapter(folder / "adapter", base)
    shared = {"backend": "vllm", "model": "tiny", "engine": "thread", "kv_cache": 0.2, "max_sequences": 32}
    raw: Raw = {
        "version": 1,
        "name": "tiny",
        "models": {
            "expert": {**shared, "adapter": "adapter", "sampling": {"max_tokens": 24, "temperature": 0.7}},
            "novice": {**shared, "sampling": {"max_tokens": 24}},
        },
        "agents": {
            "teacher": {"model": "expert", "student_model": {"kind": "few_shot", "demonstrations": 2}},
            "student": {"model": "novice"},
        },
        "items": {"source": "strategyqa", "file": "builtin:yes_no.json", "train": 4, "test": 6},
        "plan": [
            {"observe": {"items": "train", "count": 3}},
            {"teach": {"items": "test", "policy": "expected_utility"}},
        ],
        "budget": {"interventions": "50%"},
        "measures": ["accuracy"],
        "seed": 3,
    }
    return write(folder, raw)


def test_a_run_is_recorded_and_replayed_without_loading_a_model(scenario, tmp_path, monkeypatch):
    started: list[VllmBackend] = []
    start = VllmBackend.start

    async def count(self):
        await start(self)
        started.append(self)

    monkeypatch.setattr(VllmBackend, "start", count)
    store = f"sqlite:///{tmp_path / 'run.db'}"
    ran = docendo("run", scenario, "--store", store, "--json")
    assert ran.code == 0, ran.err + ran.out
    assert len(started) == 2
    replayed = docendo("replay", "latest", "--store", store)
    assert replayed.code == 0, replayed.err + replayed.out
    assert len(started) == 2


def test_an_engine_that_dies_stops_the_run_and_the_next_run_goes_on(scenario, tmp_path, monkeypatch):
    store = f"sqlite:///{tmp_path / 'run.db'}"
    steps = 0
    step = vllm_thread._Hosted.step

    def fail(self):
        nonlocal steps
        steps += 1
        if steps == 60:

            def broken():
                raise RuntimeError("a kernel fell over")

            self.engine.step = broken
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(vllm_thread._Hosted, "step", fail)
        stopped = docendo("run", scenario, "--store", store)
    assert stopped.code == 3, stopped.err + stopped.out
    assert "a kernel fell over" in stopped.err
    assert "run again to resume" in " ".join(stopped.err.split())
    assert "Traceback" not in stopped.err
    resumed = docendo("run", scenario, "--store", store)
    assert resumed.code == 0, resumed.err + resumed.out
    calm = docendo("run", scenario, "--store", f"sqlite:///{tmp_path / 'calm.db'}")
    assert calm.code == 0, calm.err + calm.out
    one, other = (
        json.loads(docendo("report", "latest", "--json", "--store", s).out)["data"]["conditions"]
        for s in (store, f"sqlite:///{tmp_path / 'calm.db'}")
    )
    assert "accuracy" in one[0]["measures"]
    assert one == other
