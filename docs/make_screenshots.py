"""Makes the pictures of the viewer in `docs/screenshots`: `python docs/make_screenshots.py`.

It runs two scenarios of the gallery into a store of its own, opens the viewer on it in Chromium, and takes
each picture of the place that shows its subject. Needs Debian's `chromium` and the extra `dev`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from playwright.sync_api import Page, sync_playwright

from docendo.events import BeliefEvent, EventBase, FlagEvent, GradeEvent
from docendo.runtime.store import Store, open_store
from docendo.runtime.store.records import EpisodeRecord

FOLDER = Path(__file__).parent / "screenshots"
RUNS = [["when-to-step-in", "-r", "3", "-n", "60"], ["tutoring-dialogue", "-r", "4"]]
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
]
MOST_BYTES = 250_000


@dataclass(frozen=True)
class Shot:
    """One picture."""

    name: str
    place: str
    waits_for: str
    """A part that comes last."""
    part: str = ""
    """Only this part of the page; empty for the window."""
    height: int = 800
    theme: Literal["light", "dark"] = "light"


def shots(store: Store) -> list[Shot]:
    """The pictures, each of the place that shows its subject best."""
    grid, dialogues = store.run("when-to-step-in").id, store.run("tutoring-dialogue").id
    taught = {e.id: e for e in store.episodes(dialogues) if e.phase == "teach"}
    events = {id_: store.events(id_) for id_ in taught}
    plain = [c.id for c in store.conditions(dialogues) if not c.control]
    leaky, flag = next((i, e) for i, es in events.items() for e in es if isinstance(e, FlagEvent) and e.found)
    learnt = max(taught, key=lambda i: _insight([e for e in events[i] if isinstance(e, BeliefEvent)]))
    answers = [e.turn for e in events[learnt] if isinstance(e, GradeEvent)]
    pairs = [
        (one, two) for one in taught.values() for two in taught.values()
        if (one.lesson.condition, two.lesson.condition) == (plain[1], plain[0])
        and (one.lesson.replicate, one.key) == (two.lesson.replicate, two.key)
    ]  # fmt: skip
    one, two = max(pairs, key=lambda pair: _right(events[pair[0].id]) != _right(events[pair[1].id]))
    beside = (
        f"/run/{dialogues}/compare?first={plain[1]}&second={plain[0]}&replicate={one.lesson.replicate}"
        f"&a={one.ordinal}&b={two.ordinal}"
    )
    table = "section:has(table.grid)"
    return [
        Shot("study", f"/run/{grid}?sort=accuracy&down=1", "[data-done]", part=table, height=900),
        Shot("budget-curve", f"/run/{grid}", "[data-done]", part="#budget-curve figure"),
        Shot("episode", f"{_address(taught[leaky])}?turn={flag.said}", "mark.leaked", height=860),
        Shot(
            "what-the-student-saw",
            f"{_address(taught[learnt])}?turn={answers[-1]}&saw={answers[-1]}",
            "dialog .prompt",
        ),
        Shot("belief", _address(taught[learnt]), "aside .tracks", theme="dark", height=860),
        Shot("side-by-side", beside, ".pair", height=860),
    ]


def _address(episode: EpisodeRecord) -> str:
    key = episode.lesson
    return f"/run/{key.run}/lesson/{key.condition}/{key.replicate}/episode/{episode.ordinal}"


def _insight(beliefs: Sequence[BeliefEvent]) -> float:
    """How far the belief in a true misconception rose."""
    rise = 0.0
    for name in {n for b in beliefs for n in b.truth.get("misconceptions", [])}:
        series = [b.misconceptions[name] for b in beliefs if name in b.misconceptions]
        rise = max(rise, series[-1] - series[0] if series else 0.0)
    return rise


def _right(events: Sequence[EventBase]) -> bool | None:
    """Whether the last answer was right."""
    return next((e.correct for e in reversed(events) if isinstance(e, GradeEvent)), None)


def docendo(*arguments: str) -> list[str]:
    """The command line, run by this Python."""
    return [sys.executable, "-m", "docendo", *arguments]


@contextmanager
def served(url: str) -> Iterator[str]:
    """The address of a viewer on the store."""
    command = docendo("view", "--store", url, "--port", "0", "--no-open")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield next(m[0] for line in process.stdout if (m := re.search(r"http://\S+/", line)))
        finally:
            process.terminate()


def take(page: Page, base: str, shot: Shot) -> None:
    """Takes one picture and says how large it is."""
    page.set_viewport_size({"width": 1280, "height": shot.height})
    page.emulate_media(color_scheme=shot.theme, reduced_motion="reduce")
    page.goto("about:blank")
    page.goto(f"{base}#{shot.place}")
    page.locator(shot.waits_for).first.wait_for()
    page.wait_for_load_state("networkidle")
    target = FOLDER / f"{shot.name}.png"
    if shot.part:
        page.locator(shot.part).first.screenshot(path=target)
    else:
        page.screenshot(path=target)
    size = target.stat().st_size
    sys.stdout.write(f"{target.name}: {size // 1000} kB\n")
    if size > MOST_BYTES:
        raise SystemExit(f"{target.name} is larger than {MOST_BYTES // 1000} kB")


def main() -> None:
    """Makes them all."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("There is no `chromium` here; Debian has it: apt-get install chromium.")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/screenshots.db"
        for run in RUNS:
            subprocess.run(docendo("run", *run, "-q", "--store", url), check=True)
        with open_store(url, create=False, readonly=True) as store:
            wanted = shots(store)
        with served(url) as base, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            page = browser.new_page()
            for shot in wanted:
                take(page, base, shot)
            browser.close()


if __name__ == "__main__":
    main()
