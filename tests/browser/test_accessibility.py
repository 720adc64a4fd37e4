"""axe-core finds nothing on any page, in both themes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import Served
from tests.browser.places import Places

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
RUN = "async options => (await axe.run(document, options)).violations"
ALL = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}


def findings(page: Page, options: dict[str, Any]) -> list[tuple[str, str, str]]:
    found = page.evaluate(RUN, {**options, "resultTypes": ["violations"]})
    return [(v["id"], n["target"][0], n["failureSummary"]) for v in found for n in v["nodes"]]


def pages(places: Places) -> dict[str, str]:
    """Places, each with the part that comes last."""
    compare = f"{places.dialogues}/compare?first={places.first}&second={places.second}"
    run, believing = places.dialogues, places.believing
    return {
        "/": "table.runs",
        places.grid: "[data-done]",
        f"{places.lesson}?phase=teach": "table.list tbody tr",
        f"{places.leaky}?turn={places.turn}": "mark.leaked",
        f"{believing}?turn=0&saw=0": "dialog .prompt",
        f"{believing}?panel=graph&lens=student": "svg.graph",
        compare: "figure",
        f"{compare}&replicate=0&a={places.ordinal}&b={places.ordinal}": ".pair",
        f"{run}/find?q=borrow": ".hit-row",
        f"{run}/find?where=leak": ".results tbody tr",
        f"{run}/errors": "main h1",
        f"{run}/graphs": "svg.graph",
        f"{run}/live": ".live-figures",
        "/nowhere": "[role=alert]",
    }


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(page: Page, viewer: Served, places: Places, theme: str) -> None:
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    page.add_init_script(AXE)
    wrong = []
    for place, last in pages(places).items():
        page.goto(viewer.at(place))
        page.locator(f"main[data-place^={json.dumps('#' + place.partition('?')[0])}]").wait_for()
        page.locator(last).first.wait_for()
        found = findings(page, COLOURS if theme == "dark" else {"runOnly": ALL})
        wrong += [f"{place}: {rule} at {target}: {why}" for rule, target, why in found]
    assert not wrong, "\n".join(wrong)


def test_axe_finds_nothing_in_the_sheet_of_keys(page: Page, viewer: Served) -> None:
    page.add_init_script(AXE)
    page.goto(viewer.url)
    page.locator("table.runs").wait_for()
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keys").wait_for()
    assert findings(page, {"runOnly": ALL}) == []
