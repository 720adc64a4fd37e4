"""Keys, side by side and back again, links, themes, and half a screen."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import HALF, Served
from tests.browser.places import Places


def hash_of(page: Page) -> str:
    return str(page.evaluate("location.hash"))


def turn(page: Page) -> str:
    return page.locator(".turn.current .turn-number").inner_text()


def test_keys_walk_through_an_episode(page: Page, viewer: Served, places: Places) -> None:
    page.goto(viewer.at(places.believing))
    page.locator(".turns").wait_for()
    page.keyboard.press("j")
    assert turn(page) == "0"
    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    assert turn(page) == "2"
    page.keyboard.press("k")
    assert turn(page) == "1"
    page.keyboard.press("End")
    last = page.locator(".turn").count() - 1
    expect(page.locator(".turn.current")).to_have_attribute("data-step", str(last))
    expect(page.locator(".turn.current")).to_be_in_viewport()
    page.keyboard.press("Home")
    assert turn(page) == "0"
    assert "turn=0" in hash_of(page)


def test_keys_go_to_the_next_episode_and_back_up(page: Page, viewer: Served, places: Places) -> None:
    page.goto(viewer.at(places.believing))
    page.locator(".turns").wait_for()
    for key, ordinal in (("]", places.ordinal + 1), ("[", places.ordinal)):
        page.keyboard.press(key)
        page.locator(f"main[data-place$='/episode/{ordinal}']").wait_for()
    page.keyboard.press("u")
    page.locator("main[data-place$='/0?phase=teach']").wait_for()
    expect(page.locator("table.list tbody tr")).to_have_count(4)


def test_keys_open_the_prompt_and_walk_from_act_to_act(page: Page, viewer: Served, places: Places) -> None:
    page.goto(viewer.at(f"{places.believing}?turn=0"))
    page.locator(".turn.current").wait_for()
    page.keyboard.press("w")
    title = page.locator("#saw-title")
    expect(title).to_have_text("What student saw, turn 0")
    page.keyboard.press("j")
    expect(title).to_have_text("What diagnostician saw, turn 1")
    page.keyboard.press("n")
    expect(title).to_contain_text("What diagnostician saw")
    expect(title).not_to_contain_text("turn 1")
    page.keyboard.press("p")
    page.keyboard.press("k")
    expect(title).to_have_text("What student saw, turn 0")
    page.keyboard.press("w")
    expect(page.locator("dialog.drawer")).to_be_hidden()
    expect(page.locator(".turn.current")).to_have_attribute("data-step", "0")


def test_keys_switch_panels_lens_theme_and_playback(page: Page, viewer: Served, places: Places) -> None:
    page.goto(viewer.at(f"{places.believing}?turn=0"))
    side = page.locator("aside.side h2")
    expect(side).to_have_text("Belief against truth")
    page.keyboard.press("d")
    expect(side).to_have_text("Graph")
    page.keyboard.press("x")
    expect(side).to_have_text("Facts")
    page.keyboard.press("x")
    expect(page.locator("aside.side")).to_be_hidden()
    page.keyboard.press("l")
    assert "lens=student" in hash_of(page)
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.keyboard.press(" ")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    page.keyboard.press(" ")
    expect(page.get_by_role("button", name="Play")).to_be_visible()


def test_keys_go_everywhere(page: Page, viewer: Served, places: Places) -> None:
    for key, title in {
        "s": "tutoring-dialogue", "f": "Find", "c": "Side by side", "e": "Errors and missing",
        "g": "Graphs", "v": "Live", "r": "Runs",
    }.items():  # fmt: skip
        page.goto(viewer.at(places.lesson))
        page.locator(f"main[data-place='#{places.lesson}'] table.list").wait_for()
        page.keyboard.press("g")
        page.keyboard.press(key)
        expect(page.locator("main h1")).to_have_text(title)


def test_a_sequence_of_keys_has_its_own_time(page: Page, viewer: Served, places: Places) -> None:
    page.clock.install(time="2026-01-01T00:00:00Z")
    page.goto(viewer.at(places.lesson))
    page.locator("table.list").wait_for()
    page.clock.pause_at("2026-01-01T01:00:00Z")
    page.keyboard.press("g")
    page.keyboard.press("e")
    expect(page.locator("main h1")).to_have_text("Errors and missing")
    page.clock.run_for(1_000)
    page.keyboard.press("g")
    page.clock.run_for(1_000)  # the time of the first one ends in this one
    page.keyboard.press("r")
    expect(page.locator("main h1")).to_have_text("Runs", timeout=5_000)


def test_the_sheet_lists_every_key_of_the_page(page: Page, viewer: Served, places: Places) -> None:
    page.goto(viewer.at(places.believing))
    page.locator(".turns").wait_for()
    page.keyboard.press("?")
    sheet = page.get_by_role("dialog", name="Keys")
    for does in (
        "next turn",
        "previous episode",
        "what the agent of this turn saw",
        "this sheet",
        "dark or light",
    ):
        expect(sheet).to_contain_text(does)
    page.keyboard.press("Escape")
    expect(sheet).to_be_hidden()
    page.keyboard.press("j")
    assert turn(page) == "0"


def test_keys_walk_the_rows_of_a_list_and_open_them(page: Page, viewer: Served, places: Places) -> None:
    page.goto(viewer.at(f"{places.lesson}?phase=teach"))
    expect(page.locator("table.list tbody tr")).to_have_count(4)
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/episode/"))


def test_letters_typed_into_a_field_are_no_keys(page: Page, viewer: Served, places: Places) -> None:
    page.goto(viewer.at(places.dialogues))
    page.locator("[data-done]").wait_for()
    page.keyboard.press("/")
    page.keyboard.type("gtu?")
    expect(page.get_by_label("Filter the conditions")).to_have_value("gtu?")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"


def test_two_conditions_then_two_episodes_then_one_and_back_to_the_place(
    page: Page, viewer: Served, places: Places
) -> None:
    page.goto(
        viewer.at(f"{places.dialogues}/compare?first={places.first}&second={places.second}&measure=solved")
    )
    forest = page.locator("figure", has_text="Paired differences").first
    forest.wait_for()
    assert forest.locator(".forest-row").count() >= 5
    dumbbells = page.locator("figure", has_text="item by item")
    dumbbells.locator("a").first.click()
    rows = page.locator(".pair")
    expect(rows.first).to_contain_text("same words")
    assert page.locator(".pair ins, .pair del").count() > 0
    expect(page.locator("main")).to_contain_text("Second minus first")
    turns = page.locator(".pair").nth(6).locator("a.turn-number")
    turns.last.scroll_into_view_if_needed()
    before = page.evaluate("scrollY")
    assert before > 0
    for side in (0, 1):
        href = turns.nth(side).get_attribute("href")
        assert href is not None
        turns.nth(side).click()
        expect(page.locator(".turn.current")).to_be_visible()
        assert hash_of(page).startswith(href.split("?")[0])
        page.go_back()
        expect(rows.first).to_be_visible()
        page.wait_for_function("(y) => Math.abs(scrollY - y) < 3", arg=before)
    page.go_back()
    expect(dumbbells).to_be_visible()
    assert "measure=solved" in page.url


def test_an_episode_opens_beside_its_partner(page: Page, viewer: Served, places: Places) -> None:
    page.goto(viewer.at(places.believing))
    page.locator(".turns").wait_for()
    page.keyboard.press("c")
    expect(page.locator(".pair-head .card")).to_have_count(2)
    first = page.locator(".pair-head .card a").first.inner_text()
    page.keyboard.press("s")
    expect(page.locator(".pair-head .card a").last).to_have_text(first)


def test_the_address_of_a_turn_shows_it_to_somebody_else(page: Page, viewer: Served, places: Places) -> None:
    page.goto(viewer.at(places.believing))
    page.locator(".turn-number").nth(4).click()
    page.keyboard.press("b")
    page.keyboard.press("d")
    address = page.url
    other = page.context.new_page()
    other.goto(address)
    expect(other.locator(".turn.current")).to_have_attribute("data-step", "4")
    expect(other.locator("aside.side h2")).to_have_text("Graph")


def test_nothing_sticks_out_of_half_a_screen(page: Page, viewer: Served, places: Places) -> None:
    page.set_viewport_size(HALF)
    compare = f"{places.dialogues}/compare?first={places.first}&second={places.second}"
    beside = f"{compare}&replicate=0&a={places.ordinal}&b={places.ordinal}"
    tabs = [f"{places.dialogues}/{tab}" for tab in ("find", "errors", "graphs", "live")]
    for place in ["/", places.dialogues, places.lesson, places.believing, compare, beside, *tabs]:
        page.goto(viewer.at(place))
        page.locator("main h1").wait_for()
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= HALF["width"], place
