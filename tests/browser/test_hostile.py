"""Nothing that an agent, a file or a person wrote is ever read as markup or code, served or exported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from docendo.runtime.store import open_store
from tests.browser.conftest import Served, export, serve
from tests.browser.hostile import HOSTILE, poison
from tests.browser.places import Places

VISIBLE = HOSTILE[:40]
LOADED = "script, img, iframe, object, embed, base, link, style, [onload], [onerror], [onmouseover]"


@pytest.fixture(scope="module")
def poisoned(store: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    target = tmp_path_factory.mktemp("hostile") / "hostile.db"
    poison(Path(store.removeprefix("sqlite:///")), target)
    return f"sqlite:///{target}"


@pytest.fixture(scope="module")
def hostile_viewer(poisoned: str) -> Iterator[Served]:
    served = serve(poisoned)
    yield served
    served.stop()


@pytest.fixture(scope="module")
def hostile_export(poisoned: str, places: Places, tmp_path_factory: pytest.TempPathFactory) -> str:
    run = places.dialogues.rpartition("/")[2]
    return export(poisoned, run, tmp_path_factory.mktemp("hostile-export") / "study.html")


def pages(places: Places, *, served: bool) -> dict[str, str]:
    """Places, each with the part that comes last."""
    compare = f"{places.dialogues}/compare?first={places.second}&second={places.first}"
    both = {
        places.dialogues: "[data-done]",
        f"{places.lesson}": "table.list tbody tr",
        f"{places.leaky}?turn={places.turn}": ".turn.current",
        f"{places.believing}?panel=belief": ".tracks",
        f"{places.believing}?panel=facts": "aside dl",
        f"{places.believing}?turn=0&saw=0": "dialog .prompt",
        compare: "figure .forest-row",
        f"{compare}&replicate=0&a={places.ordinal}&b={places.ordinal}": ".pair",
        f"{places.dialogues}/find?q=answer": ".hit-row",
        f"{places.dialogues}/find?where=leak": ".results tbody tr",
        f"{places.dialogues}/errors": "main table",
        f"{places.dialogues}/graphs": "svg.graph",
    }
    only_served = {"/": "table.runs", f"{places.dialogues}/live": ".live-figures"}
    return both | (only_served if served else {})


def visit(page: Page, address: str, places: Places, *, served: bool) -> None:
    """Looks at every page, clicks what can be opened, and touches what reacts to the mouse."""
    page.goto(address)
    page.locator("main h1").wait_for()
    loaded = page.locator(LOADED).count()
    for place, last in pages(places, served=served).items():
        page.goto(f"{address}#{place}")
        page.locator(last).first.wait_for()
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
        assert page.evaluate("window.pwned") is None, place
        assert page.locator(LOADED).count() == loaded, place
        shown = page.locator("main").inner_text() + page.locator("body").inner_text()
        assert VISIBLE in shown, f"{place} does not show what was written"
    for written in (HOSTILE, f"{places.dialogues}/find?q={HOSTILE}", f"/run/{HOSTILE}"):
        page.evaluate("text => { location.hash = text }", written)
        page.locator("main h1").wait_for()
        assert page.evaluate("window.pwned") is None


def test_served(page: Page, hostile_viewer: Served, places: Places) -> None:
    visit(page, hostile_viewer.url, places, served=True)


def test_exported(page: Page, hostile_export: str, places: Places) -> None:
    visit(page, hostile_export, places, served=False)


def test_the_store_is_as_hostile_as_it_should_be(poisoned: str, places: Places) -> None:
    with open_store(poisoned, create=False, readonly=True) as store:
        run = store.run(places.dialogues.rpartition("/")[2])
        assert HOSTILE in run.name
        episode = next(store.episodes(run.id))
        assert HOSTILE in episode.item
        assert any(HOSTILE in e.message.text for e in store.events(episode.id) if e.kind == "message")
        assert all(HOSTILE in m.text for c in store.episode_calls(episode.id) for m in c.prompt)


def test_the_served_page_forbids_inline_code(page: Page, viewer: Served) -> None:
    response = page.goto(viewer.url)
    assert response is not None
    policy = response.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    sent = response.text()
    assert "style=" not in sent
    assert sent.count("<script") == sent.count('<script type="module" src=') == 1
