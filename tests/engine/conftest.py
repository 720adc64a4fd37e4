"""Model folders for the tests of engines; the tests themselves are left out where torch is not installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine import quiet  # noqa: F401 - sets the environment before a model library is imported
from tests.engine.tiny_model import Tiny, make_model

collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["test_*.py"]

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
