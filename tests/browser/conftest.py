from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Page,
    Request,
    expect,
    sync_playwright,
)  # fmt: skip

from tests.browser.places import Places, find_places
from tests.trust import lab

WIDE, HALF = {"width": 1280, "height": 860}, {"width": 700, "height": 860}
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
WAIT_MS = 20_000
FORGET = "() => { try { localStorage.clear() } catch { /* closed to some file:// pages */ } }"
expect.set_options(timeout=WAIT_MS)


def find_chromium() -> str | None:
    """Debian's Chromium; installed where it is missing and this user may."""
    for name in ("chromium", "chromium-browser"):
        if found := shutil.which(name):
            return found
    if shutil.which("apt-get") and os.geteuid() == 0:
        for command in (["apt-get", "update"], ["apt-get", "install", "--yes", "chromium"]):
            if subprocess.run(command, check=False, capture_output=True).returncode:
                return None
    return shutil.which("chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for one file of tests. While Playwright lives, its loop counts as running, and tests of other
    files start loops of their own."""
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium here, and apt could not install it (apt-get install chromium)")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield found
        found.close()


@dataclass
class Watched:
    """What a page did that it should not have: errors, dialogs, requests to elsewhere."""

    allowed: tuple[str, ...] = ("http://127.0.0.1:", "file://", "blob:", "data:")
    troubles: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.troubles.append(f"error: {error}"))
        page.on("dialog", self._dialog)
        page.on("request", self._request)

    def _dialog(self, dialog: Dialog) -> None:
        self.troubles.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _console(self, message: ConsoleMessage) -> None:
        refused = "the server responded with a status of 4" in message.text
        if message.type in {"error", "warning"} and not refused:
            self.troubles.append(f"console: {message.text}")

    def _request(self, request: Request) -> None:
        self.requests.append(request.url)
        if not request.url.startswith(self.allowed):
            self.troubles.append(f"request to {request.url}")


@pytest.fixture
def watched() -> Iterator[Watched]:
    found = Watched()
    yield found
    assert found.troubles == []


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """What the pages of one file of tests have in common: the browser's cache, and nothing that they keep."""
    found = browser.new_context(viewport=WIDE, color_scheme="light", reduced_motion="reduce")
    found.set_default_timeout(WAIT_MS)
    yield found
    found.close()


@pytest.fixture
def page(context: BrowserContext, watched: Watched) -> Iterator[Page]:
    """A page at 1280 px that fails its test if it logs an error, opens a dialog or asks anybody else.

    The page of the test before is closed only now: while it is there, a new page of the same place starts in
    its process, in half the time. What it kept is thrown away.
    """
    before = context.pages
    found = context.new_page()
    watched.watch(found)
    yield found
    for each in context.pages:
        if each in before:
            each.close()
        elif each.url != "about:blank":
            each.evaluate(FORGET)
    context.clear_permissions()
    context.clear_cookies()


def docendo(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command line to its end."""
    return subprocess.run(
        [sys.executable, "-m", "docendo", *arguments], check=True, capture_output=True, text=True, cwd=cwd
    )


def export(store: str, run: str, target: Path) -> str:
    """Exports a run, in this process; gives the address of the file."""
    said = lab.docendo("view", "export", run, "--store", store, "-o", target)
    assert said.code == 0, said.err
    return target.as_uri()


@dataclass
class Served:
    """A viewer's server on a store."""

    url: str
    store: str
    process: subprocess.Popen[str]

    def at(self, place: str) -> str:
        return f"{self.url}#{place}"

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()


def serve(store: str) -> Served:
    """Starts `docendo view` on a free port and waits until it says where it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "docendo", "view", "--store", store, "--port", "0", "--no-open"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    said = ""
    assert process.stdout is not None
    for line in process.stdout:
        said += line
        if match := re.search(r"http://127\.0\.0\.1:\d+/", line):
            return Served(match[0], store, process)
    raise AssertionError(f"the viewer did not start: {said}")


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that `make` fills, once for all workers that run these tests together."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folder, done = root / name, root / f"{name}.done"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


def two_runs(folder: Path) -> None:
    url = f"sqlite:///{folder / 'runs.db'}"
    grid = "{plan.teach.policy: [random, expected_utility], budget.interventions: [0%, 50%, 100%]}"
    docendo("run", "when-to-step-in", "-r", "1", "-n", "4", "-q", "--set", f"matrix={grid}", "--store", url)
    sources = "{plan.teach.moves.source: [random, self]}"
    controls = "[no_teacher, answer_only]"
    docendo("run", "tutoring-dialogue", "-r", "1", "-q", "--set", f"matrix={sources}", "--set",
            f"controls={controls}", "--store", url)  # fmt: skip


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two runs of the gallery: dialogues with beliefs and leaks, and a grid of policies over budgets."""
    return f"sqlite:///{made_once(tmp_path_factory, 'browser', two_runs) / 'runs.db'}"


@pytest.fixture(scope="session")
def viewer(store: str) -> Iterator[Served]:
    served = serve(store)
    yield served
    served.stop()


@pytest.fixture(scope="session")
def places(store: str) -> Places:
    return find_places(store)
