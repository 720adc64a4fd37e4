"""The documentation is executed: every code block of every page, as `docs/regenerate.py` does it."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _engine():
    spec = importlib.util.spec_from_file_location("regenerate", ROOT / "docs" / "regenerate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["regenerate"] = module
    spec.loader.exec_module(module)
    return module


engine = _engine()


@pytest.fixture(scope="module", autouse=True)
def _environment():
    before = dict(os.environ)
    engine.settle_environment()
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory):
    """The tutorial's folder after all of its blocks, and what was wrong with them."""
    folder = tmp_path_factory.mktemp("tutorial")
    return folder, engine.work(engine.TUTORIAL, folder).problems


def test_tutorial(tutorial):
    _, problems = tutorial
    assert problems == []


@pytest.mark.parametrize("page", engine.pages()[1:], ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page, tutorial, tmp_path):
    text = page.read_text(encoding="utf-8")
    assert text == engine.with_options(text), "a table of options is not current: run docs/regenerate.py"
    folder = tmp_path / "lab"
    shutil.copytree(tutorial[0], folder)
    assert engine.work(page, folder).problems == []


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (["a", "b"], ["a", "b"], True),
        (["a"], ["a", "b"], False),
        (["a", "..."], ["a", "b", "c"], True),
        (["..."], [], True),
        (["took ... s"], ["took 3 s"], True),
        (["took ... s"], ["took 3 min"], False),
        (["at 2026-01-02T03:04:05+00:00"], ["at 2027-02-03T04:05:06+00:00"], True),
        (["[0.1, 0.2]"], ["[0.1, 0.3]"], False),
    ],
)
def test_what_is_shown_is_compared_with_what_is_printed(shown, printed, same):
    assert engine.matches(shown, printed) is same


def _page(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    return page


@pytest.mark.parametrize(
    "text",
    [
        "```console\n$ docendo ls --store sqlite:///none.db\n```\n",
        "```console\n$ docendo --version\ndocendo 0.0.0\n```\n",
        "```yaml\nversion: 1\n```\n",
        "```yaml wrong fragment\nname: fine\n```\n",
        "```yaml gallery=when-to-step-in\nversion: 1\n```\n",
        "```sh\ndocendo run x.yaml --fast\n```\n",
        "```sh\nmake coffee\n```\n",
        "```python\nassert 1 == 2\n```\n",
        "```tree\ndocendo/\n  nowhere.py  not there\n```\n",
        "```\nplain\n```\n",
        "```ruby\nputs 1\n```\n",
    ],
)
def test_a_wrong_block_is_found(text, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "ROOT", tmp_path)
    (tmp_path / "Makefile").write_text("demo:\n", encoding="utf-8")
    (tmp_path / "docendo").mkdir()
    assert engine.work(_page(tmp_path, text), tmp_path).problems


def test_rewriting_keeps_what_is_still_true(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "ROOT", tmp_path)
    page = _page(
        tmp_path,
        "# A\n\n```console\n$ docendo init a.yaml\nold\n$ docendo init b.yaml\nWrote ...\n```\nend\n",
    )
    engine.rewrite(page, engine.work(page, tmp_path).written)
    lines = page.read_text(encoding="utf-8").split("\n")
    assert lines[4].startswith("Wrote a.yaml")
    assert lines[6:] == ["Wrote ...", "```", "end", ""]
