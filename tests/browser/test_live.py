"""A run that goes on while it is watched."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Served, docendo, serve

SCENARIO = """
version: 1
name: {name}
description: {name}
models:
  teacher: {{backend: scripted, replies: ["I will not answer in JSON."]}}
  student: {{backend: scripted, replies: ["I get 3. So the answer is 3."]}}
agents:
  teacher: {{model: teacher}}
  student: {{model: student}}
items: {{source: subtraction, digits: 2, test: 2}}
plan: [{{teach: {{items: test, graph: dialogue, moves: mathdial}}}}]
budget: {{turns: 2}}
measures: [solved]
controls: [no_teacher]
fail_on_error: 4
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("live")


@pytest.fixture(scope="module")
def watching(folder: Path) -> Iterator[Served]:
    """A viewer on a store that holds a run whose teacher never says what it is asked for."""
    (folder / "failing.yaml").write_text(SCENARIO.format(name="failing"), encoding="utf-8")
    url = f"sqlite:///{folder / 'live.db'}"
    docendo("run", str(folder / "failing.yaml"), "-q", "--store", url)
    served = serve(url)
    yield served
    served.stop()


def test_failures_stand_by_cause_with_places_and_the_command_that_retries(
    page: Page, watching: Served
) -> None:
    page.goto(watching.at("/run/failing/errors"))
    cause = page.locator(".cause").first
    expect(cause).to_contain_text("parse")
    expect(cause.locator("pre")).to_contain_text("Read the two calls")
    expect(page.locator(".command code")).to_contain_text("--retry errors")
    expect(page.locator("nav.tabs .badge.bad")).to_have_text("2")
    cause.locator("a.chip").first.click()
    expect(page.locator(".notice.bad")).to_contain_text("Failed (parse)")
    page.keyboard.press("w")
    expect(page.locator("dialog.drawer")).to_contain_text("a second try")
    expect(page.locator("dialog.drawer pre").first).to_contain_text("I will not answer in JSON.")


def test_a_running_batch_is_tailed_without_a_reload(page: Page, watching: Served) -> None:
    page.goto(watching.url)
    page.locator("table.runs").wait_for()
    page.evaluate("window.kept = true")
    running = subprocess.Popen(
        [sys.executable, "-m", "docendo", "run", "when-to-step-in", "-r", "200", "-q", "--jobs", "1",
         "--set", "matrix={plan.teach.policy: [random, expected_utility]}", "--processes", "1",
         "--store", watching.store],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        link = page.get_by_role("link", name="live")
        while not link.count():
            assert running.poll() is None
            with page.expect_response("**/api/store"):
                page.keyboard.press("r")
        link.click()
        expect(page.locator(".live .facts")).to_contain_text("running")
        episodes = page.locator(".live-figures .card", has_text="episodes").first.locator(".value")
        before = episodes.inner_text()
        expect(episodes).not_to_have_text(before)
        expect(page.locator(".live")).to_contain_text("Lessons being held")
        assert page.evaluate("window.kept") is True
    finally:
        running.send_signal(signal.SIGINT)
        running.wait(60)
    expect(page.locator(".live .facts")).to_contain_text("interrupted", timeout=90_000)
    page.get_by_role("link", name="The command that goes on with it").click()
    expect(page.locator(".command code").first).to_contain_text("docendo run")
    assert page.evaluate("window.kept") is True
