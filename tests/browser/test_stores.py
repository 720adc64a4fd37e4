"""Stores that cannot be shown say so and why; an empty one says what to do."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from docendo.runtime.store import open_store
from tests.browser.conftest import serve


def empty(path: Path) -> None:
    open_store(f"sqlite:///{path}").close()


def test_an_empty_store_says_what_to_do(page: Page, tmp_path: Path) -> None:
    empty(tmp_path / "store.db")
    served = serve(f"sqlite:///{tmp_path / 'store.db'}")
    try:
        page.goto(served.url)
        expect(page.locator("main h1")).to_have_text("This store holds no runs yet")
        expect(page.locator("main .problem")).to_contain_text("docendo run")
        expect(page.locator("main .problem")).to_contain_text("store.db")
    finally:
        served.stop()


def test_a_store_that_breaks_while_it_is_looked_at_says_so(page: Page, store: str, tmp_path: Path) -> None:
    path = tmp_path / "breaking.db"
    shutil.copy(store.removeprefix("sqlite:///"), path)
    served = serve(f"sqlite:///{path}")
    try:
        page.goto(served.url)
        expect(page.locator("main h1")).to_have_text("Runs")
        path.write_bytes(b"nonsense" * 100_000)
        page.reload()
        expect(page.locator("main h1")).to_have_text("This store cannot be shown")
        expect(page.locator("main .problem")).to_contain_text("breaking.db")
    finally:
        served.stop()


def newer(path: Path) -> None:
    empty(path)
    with sqlite3.connect(path) as database:
        assert database.execute("update meta set value = '999' where key like '%schema%'").rowcount
    database.close()


def damaged(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"nonsense" * 500)


@pytest.mark.parametrize(
    ("made", "says"), [(newer, "999"), (damaged, "store.db"), (None, "there is no store")]
)
def test_a_store_that_cannot_be_read_is_refused_with_its_reason(
    tmp_path: Path, made: Callable[[Path], None] | None, says: str
) -> None:
    path = tmp_path / "store.db"
    if made is not None:
        made(path)
    refused = subprocess.run(
        [sys.executable, "-m", "docendo", "view", "--store", f"sqlite:///{path}", "--port", "0", "--no-open"],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert refused.returncode != 0
    assert says in refused.stdout + refused.stderr
    assert "Traceback" not in refused.stderr
