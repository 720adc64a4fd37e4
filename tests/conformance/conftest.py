"""One started backend per subject and file of tests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.subjects import NEEDS, Subject, missing, started
from tests.engine import quiet  # noqa: F401 - sets the environment before a model library is imported
from tests.engine.tiny_model import Tiny, make_model


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that all subjects share."""
    return make_model(tmp_path_factory.mktemp("models") / "tiny", Tiny())


@pytest.fixture(scope="session")
def seen() -> dict[str, list[float]]:
    """What subjects found, for those after them to compare."""
    return {}


@pytest.fixture(scope="module", params=[name for name in sorted(NEEDS) if not missing(name)])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """A started backend, closed before the next file: other tests of this process count engines."""
    name = request.param
    folder = request.getfixturevalue("tiny_folder") if NEEDS[name] else None
    with asyncio.Runner() as runner:
        opened = started(name, folder)
        yield Subject(name, runner.run(opened.__aenter__()), runner)
        runner.run(opened.__aexit__(None, None, None))
