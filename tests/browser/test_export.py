"""The one-file export, opened from `file://` with nothing behind it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Served, Watched, export
from tests.browser.places import Places


@pytest.fixture(scope="module")
def exported(store: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return export(store, "tutoring-dialogue", tmp_path_factory.mktemp("export") / "study.html")


def test_it_opens_on_the_study_and_asks_nobody(page: Page, exported: str, watched: Watched) -> None:
    page.goto(exported)
    expect(page.locator("main h1")).to_have_text("tutoring-dialogue")
    page.locator("[data-done]").wait_for()
    expect(page.locator("table.grid tbody tr")).to_have_count(4)
    expect(page.locator("nav.tabs")).not_to_contain_text("Live")
    assert {re.sub(r"#.*", "", url) for url in watched.requests} == {exported}


def test_every_page_is_in_it(page: Page, exported: str, places: Places) -> None:
    compare = f"{places.dialogues}/compare?first={places.second}&second={places.first}"
    beside = f"{compare}&replicate=0&a={places.ordinal}&b={places.ordinal}"
    signs = {
        f"{places.lesson}?phase=teach": "table.list tbody tr",
        f"{places.leaky}?turn={places.turn}": "mark.leaked",
        f"{places.believing}?panel=graph": "svg.graph",
        f"{places.believing}?turn=0&saw=0": "dialog .prompt .span-public",
        compare: "figure .forest-row",
        beside: ".pair",
        f"{places.dialogues}/errors": "main table",
        f"{places.dialogues}/graphs": "svg.graph",
    }
    for place, sign in signs.items():
        page.goto(f"{exported}#{place}")
        page.locator(sign).first.wait_for()


def test_words_and_filters_work_in_it(page: Page, exported: str, places: Places) -> None:
    page.goto(f"{exported}#{places.dialogues}/find?q=borrow")
    hits = page.locator("a.hit-row")
    expect(hits.first.locator("mark").first).to_have_text(re.compile("borrow", re.IGNORECASE))
    field = page.get_by_label("Episodes where")
    rows = page.locator(".results table tbody tr")
    status = page.locator(".results [role=status]")
    field.fill("leak > 0 and any(t.leak and t.agent == 'teacher' for t in turns)")
    field.press("Enter")
    expect(status).to_have_text(re.compile(r"^\d+ episodes?$"))
    expect(rows.first).to_contain_text("leak")
    field.fill("lek > 0")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Did you mean `leak`?")


FILTERS = [
    "leak",
    "not leak and right and phase_kind == 'teach'",
    "(gain < 0 or gain is None) and phase == 'near'",
    "0 < answers <= 2 and phase != 'pretest' and not right",
    "spent.get('hints', 0) > 1",
    'phase in ("teach", "near") and not right',
    "len(turns) > 3 and count(t.agent == 'critic' for t in turns) >= 2",
    "any('borrow' in t.text.lower() for t in turns if t.agent == 'teacher')",
    "sum(t.tokens for t in turns) // 2 > 40",
    "(tokens if right else 0) > 60",
]


def found_by_filters(page: Page, address: str, run: str) -> dict[str, str]:
    """What the page says of each filter."""
    found = {}
    for where in FILTERS:
        page.goto(f"{address}#{run}/errors")  # away, so that nothing of the filter before is left
        page.locator("main[data-place$='/errors']").wait_for()
        page.goto(f"{address}#{run}/find")
        field = page.get_by_label("Episodes where")
        field.fill(where)
        field.press("Enter")
        status = page.locator(".results [role=status]")
        expect(status).to_have_text(re.compile(r"^(\d+ episodes?|No episode fits\.)$"))
        found[where] = status.inner_text()
    return found


def test_a_filter_finds_in_it_what_the_server_finds(
    page: Page, exported: str, places: Places, viewer: Served
) -> None:
    here = found_by_filters(page, exported, places.dialogues)
    assert here == found_by_filters(page, viewer.url, places.dialogues)
    assert len(set(here.values())) > 3


def test_back_keeps_the_place(page: Page, exported: str, places: Places) -> None:
    page.goto(f"{exported}#{places.lesson}")
    page.locator("table.list tbody tr").last.wait_for()
    page.locator("table.list tbody tr").last.get_by_role("link").scroll_into_view_if_needed()
    before = page.evaluate("scrollY")
    assert before > 0
    page.locator("table.list tbody tr").last.get_by_role("link").click()
    page.locator(".turns").wait_for()
    page.go_back()
    page.wait_for_function("y => Math.abs(scrollY - y) < 3", arg=before)


def test_its_size(exported: str) -> None:
    """A thousand episodes shall stay under 10 MB."""
    size = Path(exported.removeprefix("file://")).stat().st_size
    assert size < 10_000 * 192  # episodes of this run, dialogues among them
