"""Model folders for the tests of engines. Tests that need an engine are left out where there is no torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine import quiet  # noqa: F401 - sets the environment before a model library is imported
from tests.engine.tiny_model import Tiny, make_model

_PURE = {"test_vllm_plan.py", "test_vllm_turns.py"}
"""Tests of arithmetic and scheduling alone."""
_EVERY = [file.name for file in Path(__file__).parent.glob("test_*.py")]
collect_ignore = [] if importlib.util.find_spec("torch") else [name for name in _EVERY if name not in _PURE]

Maker = Callable[..., Path]


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """`make(cut="digits", template=None, ...)`: the folder of such a model, made once."""
    root = tmp_path_factory.mktemp("models")
    made: dict[Tiny, Path] = {}

    def folder(**fields: object) -> Path:
        what = Tiny(**fields)  # type: ignore[arg-type]
        if what not in made:
            made[what] = make_model(root / str(len(made)), what)
        return made[what]

    return folder
