"""How long a person waits for a page of the viewer, in a browser, on stores of growing size.

    python benchmarks/first_paint.py [--events 10000 1000000] [--rounds 5] [--folder DIR]

Each page is opened by its address in Chromium, in a new browser context (nothing cached), and timed from the
start of navigation to the first frame after its part is there. *cold*: the server has just started and has
answered nobody; otherwise it has. A study shows its design first, and its table once the report is there:
made by the first who asks, kept after that. Stores are those of `viewer.py`, made where they are missing.
Needs Debian's `chromium` and the extra `dev`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measuring import facts, spread, table
from playwright.sync_api import Browser, sync_playwright
from viewer import Viewer, make_store, viewing

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
]
PATIENCE_MS = 300_000
WATCH = """
const parts = %s;
window.shown = {};
const look = () => {
  for (const part of parts)
    if (!(part in window.shown) && document.querySelector(part)) {
      window.shown[part] = 0;
      requestAnimationFrame(() => requestAnimationFrame(() => { window.shown[part] = performance.now(); }));
    }
};
new MutationObserver(look).observe(document, { childList: true, subtree: true, attributes: true });
"""
"""Notes when each part is there and painted: the second frame starts when the first has been drawn."""

Page = tuple[str, dict[str, str]]
"""An address within the viewer, and what is waited for -> the selector that stands for it."""


def pages(viewer: Viewer) -> dict[str, Page]:
    """What is opened, by name."""
    run = viewer.get("store")["runs"][0]["id"]
    lesson = viewer.get(f"runs/{run}/lessons")["lessons"][-1]
    here = f"run/{run}/lesson/{lesson['condition']}/{lesson['replicate']}"
    ordinal = viewer.get(f"{here.replace('run/', 'runs/', 1).replace('/lesson/', '/lessons/')}/episodes")[
        "episodes"
    ][-1]["ordinal"]
    return {
        "runs": ("/", {"all": "table.runs"}),
        "study": (f"/run/{run}", {"design": "main .plan", "table and curves": "[data-done]"}),
        "lesson": (f"/{here}", {"all": "table.list tbody tr"}),
        "episode": (f"/{here}/episode/{ordinal}", {"all": "main .turn"}),
        "search": (f"/run/{run}/find?q=borrow", {"all": ".hit-row"}),
    }


def opened(browser: Browser, viewer: Viewer, page: Page) -> dict[str, float]:
    """Milliseconds from the start of navigation until each part is painted."""
    place, parts = page
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    context.set_default_timeout(PATIENCE_MS)
    try:
        tab = context.new_page()
        tab.add_init_script(WATCH % list(parts.values()))
        tab.goto(f"http://127.0.0.1:{viewer.connection.port}/#{place}", wait_until="commit")
        tab.wait_for_function("n => Object.values(window.shown).filter(Boolean).length === n", arg=len(parts))
        shown = tab.evaluate("window.shown")
    finally:
        context.close()
    return {name: shown[selector] for name, selector in parts.items()}


def measure(browser: Browser, url: str, rounds: int) -> list[list[str]]:
    """A line of the table per page and part."""
    with viewing(url) as viewer:
        known = pages(viewer)
    lines: list[list[str]] = []
    for name, page in known.items():
        with viewing(url) as viewer:
            cold = opened(browser, viewer, page)
            warm = [opened(browser, viewer, page) for _ in range(rounds)]
        for part in page[1]:
            lines.append([f"{name}: {part}", f"{cold[part]:,.0f}", spread([seen[part] for seen in warm])])
    return lines


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser that ends with the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        yield browser
        browser.close()


def main() -> None:
    """Make what is missing, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, nargs="*", default=[10_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where stores are kept; a temporary folder by default")
    asked = parser.parse_args()
    os.environ.setdefault("PYTHONPATH", os.getcwd())
    with tempfile.TemporaryDirectory() as scratch, chromium() as browser:
        folder = asked.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        columns: list[list[list[str]]] = []
        for size in asked.events:
            columns.append(measure(browser, make_store(folder, size)[0], asked.rounds))
    header = ["milliseconds", *(f"{size:,}: {what}" for size in asked.events for what in ("cold", "again"))]
    rows = [
        [cells[0][0], *(cell for line in cells for cell in line[1:])] for cells in zip(*columns, strict=True)
    ]
    print(table(header, rows))
    print(f"\n{facts()}")


if __name__ == "__main__":
    main()
