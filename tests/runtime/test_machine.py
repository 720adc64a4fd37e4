"""What a machine has for models: the GPUs that engines of this process will see, in their order."""

from __future__ import annotations

from pathlib import Path

import pytest

from docendo.runtime.backends.machine import gpus

SAID = """0, GPU-aa11aaaa-0000-0000-0000-000000000000, NVIDIA A100, 81920, 1000
1, GPU-aa22aaaa-0000-0000-0000-000000000000, NVIDIA L4, 23034, 22000
2, GPU-bb33bbbb-0000-0000-0000-000000000000, A card, with a comma, 24576, 24000
3, GPU-cc44cccc-0000-0000-0000-000000000000, NVIDIA GB10, [N/A], [N/A]
"""
FREE = [1000, 22000, 24000]


@pytest.fixture(autouse=True)
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with four GPUs; of the last one's memory its driver says nothing."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{SAID}END\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")


@pytest.mark.parametrize(
    ("chosen", "free"),
    [
        (None, FREE),
        ("1", [22000]),
        ("2,0", [24000, 1000]),
        (" 2 , 1 ", [24000, 22000]),
        ("GPU-bb33bbbb-0000-0000-0000-000000000000", [24000]),
        ("GPU-bb,0", [24000, 1000]),
        ("GPU-aa", []),
        ("0,7,1", [1000]),
        ("-1", []),
        ("", []),
    ],
)
def test_the_gpus_are_those_that_an_engine_sees(
    chosen: str | None, free: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    if chosen is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert [gpu.free >> 20 for gpu in gpus()] == free


def test_a_gpu_has_its_name_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    (gpu,) = gpus()
    assert (gpu.name, gpu.total) == ("A card, with a comma", 24576 << 20)
