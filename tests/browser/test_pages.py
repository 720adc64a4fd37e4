"""Every page on real runs: what it shows, and that one leads to the next."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Served
from tests.browser.places import Places


def ready(page: Page) -> None:
    page.locator("[data-done]").wait_for()


def test_store_lists_its_runs_and_leads_to_a_study(page: Page, viewer: Served, places: Places) -> None:
    page.goto(viewer.url)
    rows = page.locator("table.runs tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("finished")
    page.get_by_role("link", name="tutoring-dialogue").click()
    expect(page.locator("main h1")).to_have_text("tutoring-dialogue")
    assert places.dialogues in page.url


def test_study_has_a_row_per_condition_with_interval_difference_and_counts(
    page: Page, viewer: Served, places: Places
) -> None:
    page.goto(viewer.at(places.grid))
    ready(page)
    rows = page.locator("table.grid tbody tr")
    expect(rows).to_have_count(9)
    expect(page.locator("table.grid tr.control")).to_have_count(3)
    first = page.locator("tr", has=page.get_by_role("link", name="expected_utility, 50%"))
    expect(first).to_contain_text(re.compile(r"\d\.\d\d ?\[\d\.\d\d, \d\.\d\d\]"))
    expect(first).to_contain_text("Δ")
    expect(first).to_contain_text(re.compile(r"(\d+) of \1 ran"))
    assert first.locator(".dot-cell .dot").count() >= 3
    expect(page.locator(".heat-legend")).to_contain_text("better")


def test_study_sorts_filters_and_keeps_it_in_the_address(page: Page, viewer: Served, places: Places) -> None:
    page.goto(viewer.at(places.grid))
    ready(page)
    page.get_by_label("Filter the conditions").fill("utility")
    expect(page.locator("table.grid tbody tr")).to_have_count(3)
    page.get_by_label("Controls").uncheck()
    page.get_by_role("button", name="accuracy").first.click()
    means = [float(text) for text in page.locator("table.grid td:nth-child(3) b").all_inner_texts()]
    assert means == sorted(means, reverse=True)
    page.reload()
    ready(page)
    expect(page.get_by_label("Filter the conditions")).to_have_value("utility")
    expect(page.locator("table.grid tbody tr")).to_have_count(3)
    expect(page.locator("th[aria-sort=descending]")).to_contain_text("accuracy")


def test_budget_curve_has_lines_controls_a_table_and_saves_as_svg_and_png(
    page: Page, viewer: Served, places: Places, tmp_path: Path
) -> None:
    page.goto(viewer.at(places.grid))
    ready(page)
    curve = page.locator("#budget-curve figure")
    expect(curve.locator(".line")).to_have_count(2)
    expect(curve.locator(".level .control-line")).to_have_count(3)
    curve.get_by_role("button", name="Table").click()
    assert curve.locator("table tbody tr").count() == 2 * 3 + 3
    for name, head in (("SVG", b"<svg"), ("PNG", b"\x89PNG")):
        with page.expect_download() as saved:
            curve.get_by_role("button", name=name).click()
        saved.value.save_as(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        assert content.startswith(head)
        assert len(content) > 2000
    drawn = (tmp_path / "SVG").read_text(encoding="utf-8")
    assert "var(--" not in drawn
    assert "expected utility" in drawn


def test_learning_curve_and_calibration_of_dialogues(page: Page, viewer: Served, places: Places) -> None:
    page.goto(viewer.at(places.dialogues))
    ready(page)
    expect(page.locator("#learning-curve .line").first).to_be_visible()
    expect(page.locator("#calibration")).to_contain_text("Brier")
    assert page.locator("ol.plan li").count() == 8


def test_lesson_shows_the_plan_with_results_and_its_episodes(
    page: Page, viewer: Served, places: Places
) -> None:
    page.goto(viewer.at(places.lesson))
    expect(page.locator("ol.plan")).to_contain_text(re.compile(r"pretest\s*\d/8 right"))
    rows = page.locator("table.list tbody tr")
    expect(page.locator("tr", has_text="leak").first).to_be_visible()
    whole = rows.count()
    page.locator("ol.plan a", has_text="teach").first.click()
    expect(page.locator("ol.plan a[aria-current=true]")).to_contain_text("teach")
    expect(rows).to_have_count(4)
    assert whole > 4
    rows.first.get_by_role("link").first.click()
    assert "/episode/" in page.url


def test_episode_marks_the_leak_at_the_very_words(page: Page, viewer: Served, places: Places) -> None:
    page.goto(viewer.at(f"{places.leaky}?turn={places.turn}"))
    current = page.locator(".turn.current")
    expect(current.locator("mark.leaked")).to_have_text(places.leak)
    expect(current).to_contain_text("leak")
    expect(current).to_be_in_viewport()
    expect(page.locator(".turn.lane-student .chip").first).to_contain_text(re.compile("right|wrong"))


def test_ledger_ticks_down_turn_by_turn(page: Page, viewer: Served, places: Places) -> None:
    page.goto(viewer.at(places.believing))
    turns = page.locator(".ledger .unit", has_text=re.compile("^turns")).locator("b")
    turns.wait_for()
    left = []
    for number in page.locator(".turn-number").all():
        number.click()
        left.append(int(turns.inner_text().split("/")[0]))
    assert left[0] == 3
    assert left == sorted(left, reverse=True)
    assert left[-1] < 3


def test_what_an_agent_saw_is_the_recorded_prompt_with_its_provenance(
    page: Page, viewer: Served, places: Places
) -> None:
    page.goto(viewer.at(places.believing))
    page.locator(".lane-student .saw").first.click()
    drawer = page.locator("dialog.drawer")
    expect(drawer.locator("h2")).to_have_text("What student saw, turn 0")
    expect(drawer.locator(".prompt .span-public").first).to_contain_text("What is")
    assert drawer.locator(".prompt .span-gold").count() == 0
    expect(drawer).to_contain_text("Raw completion")
    expect(drawer).to_contain_text("seed")
    drawer.get_by_role("button", name="teacher", exact=True).click()
    expect(drawer.locator("h2")).to_contain_text("What teacher saw")
    expect(drawer.locator(".prompt .span-gold").first).to_be_visible()
    assert "saw=" in page.url
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    drawer.get_by_role("button", name="Copy JSON").first.click()
    expect(page.locator("#announcer")).to_contain_text("Copied")
    copied = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert copied["messages"][0]["role"] == "system"
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    assert "saw=" not in page.url


def test_lens_strikes_out_what_the_student_cannot_read(page: Page, viewer: Served, places: Places) -> None:
    page.goto(viewer.at(places.believing))
    page.get_by_role("group", name="Read as").get_by_role("button", name="student").click()
    expect(page.locator(".lane-margin .say.unseen").first).to_contain_text("not seen by student")
    assert page.locator(".lane-student .say.unseen").count() == 0
    assert "lens=student" in page.url


def test_belief_against_truth_names_the_moment_of_the_right_diagnosis(
    page: Page, viewer: Served, places: Places
) -> None:
    page.goto(viewer.at(f"{places.believing}?panel=belief"))
    panel = page.locator("aside.side")
    expect(panel.locator(".moment")).to_contain_text(re.compile("Right diagnosis|No right diagnosis"))
    held = panel.locator("table.tracks").first.locator("tr", has_text="✓ yes")
    expect(held).to_have_count(1)
    expect(panel).to_contain_text(re.compile(r"Brier \d\.\d{3} so far"))
    before = held.locator("td.number").inner_text()
    page.locator(".turn-number").nth(1).click()
    after = held.locator("td.number").inner_text()
    assert float(before) > float(after)


def test_playback_shows_the_acting_node_of_the_graph(page: Page, viewer: Served, places: Places) -> None:
    page.goto(viewer.at(f"{places.believing}?panel=graph&turn=0"))
    panel = page.locator("aside.side")
    expect(panel.locator(".acting")).to_have_attribute("data-node", "attempt")
    page.get_by_role("button", name="Play").click()
    expect(panel.locator(".acting")).to_have_attribute("data-node", "diagnose")
    assert page.locator(".turn.future").count() > 0
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".turn.future")).to_have_count(0)


def test_graphs_count_what_happened(page: Page, viewer: Served, places: Places) -> None:
    page.goto(viewer.at(f"{places.dialogues}/graphs"))
    page.get_by_role("group", name="Phase").get_by_role("button", name="teach", exact=True).click()
    expect(page.locator("svg.graph [data-node=choose]")).to_contain_text(re.compile(r"\d+\u00d7"))
    page.get_by_role("button", name="Table").click()
    expect(page.locator(".numbers table")).to_contain_text("diagnostician.diagnose")


def test_find_words_and_go_to_the_turn(page: Page, viewer: Served, places: Places) -> None:
    page.goto(viewer.at(f"{places.dialogues}/find"))
    page.get_by_label("Words").fill("borrow")
    page.get_by_role("button", name="Search").click()
    hits = page.locator("a.hit-row")
    expect(hits.first.locator("mark").first).to_have_text(re.compile("borrow", re.IGNORECASE))
    assert "q=borrow" in page.url
    hits.first.click()
    expect(page.locator(".turn.current")).to_contain_text(re.compile("borrow", re.IGNORECASE))


def test_find_filters_by_an_expression_and_says_did_you_mean(
    page: Page, viewer: Served, places: Places
) -> None:
    page.goto(viewer.at(f"{places.dialogues}/find"))
    field = page.get_by_label("Episodes where")
    field.fill("leak and any(t.leak for t in turns)")
    field.press("Enter")
    rows = page.locator(".results table tbody tr")
    expect(rows.first).to_contain_text("leak")
    field.fill("lek > 0")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("lek")
    expect(page.get_by_role("alert")).to_contain_text(re.compile("Did you mean .?leak", re.IGNORECASE))


def test_errors_page_of_a_clean_run_says_so(page: Page, viewer: Served, places: Places) -> None:
    page.goto(viewer.at(f"{places.grid}/errors"))
    expect(page.locator("main")).to_contain_text("0 episodes failed")


@pytest.mark.parametrize("place", ["/nowhere", "/run/unknown", "/run/unknown/find"])
def test_a_place_that_is_not_there_says_so(page: Page, viewer: Served, place: str) -> None:
    page.goto(viewer.at(place))
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_role("link", name="All runs of this store").click()
    expect(page.locator("main h1")).to_have_text("Runs")
