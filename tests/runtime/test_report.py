import io
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from docendo.errors import UnknownNameError, UsageError
from docendo.runtime.measures import LessonTrace
from docendo.runtime.report.build import build_report
from docendo.runtime.report.compare import compare
from docendo.runtime.report.design import numeric
from docendo.runtime.report.kept import report_of
from docendo.runtime.report.model import Report
from docendo.runtime.report.render import render_comparison, render_markdown, render_table
from docendo.runtime.store import LessonKey, Store, open_store
from tests.runtime.recorded_run import (
    BUDGET,
    POLICY,
    begin,
    belief,
    episode,
    grade,
    lesson,
    write_grid,
    write_lesson,
)


@pytest.fixture
def store() -> Iterator[Store]:
    with open_store("sqlite://") as opened:
        yield opened


@pytest.fixture(scope="module")
def grid() -> Iterator[Store]:
    with open_store("sqlite://") as opened:
        write_grid(opened)
        opened.flush()
        yield opened


@pytest.fixture(scope="module")
def report(grid: Store) -> Report:
    return build_report(grid, "study")


def printed(report: Report, width: int = 100) -> str:
    out = io.StringIO()
    render_table(report, Console(file=out, width=width))
    return out.getvalue()


def two_arms(store: Store, first: LessonTrace, second: LessonTrace, **scenario: Any) -> Report:
    begin(store, [({POLICY: "a"}, ""), ({POLICY: "b"}, "")], **scenario)
    write_lesson(store, "r1", first)
    write_lesson(store, "r1", second)
    store.finish_run("r1")
    return build_report(store, "r1")


def answers(condition: str, correct: list[bool | None], replicate: int = 0) -> LessonTrace:
    return lesson(
        *(episode(f"i{i}", grade(f"i{i}", ok)) for i, ok in enumerate(correct)),
        condition=condition,
        replicate=replicate,
    )


# --- shape ----------------------------------------------------------------------------------------------


def test_report_has_the_promised_shape(report: Report, grid: Store) -> None:
    data = report.model_dump()
    assert data["run"]["id"] == "r1"
    assert data["run"]["name"] == "study"
    assert data["run"]["scenario_digest"] == "d" * 64
    assert data["digest"] == grid.run_digest("r1")
    assert isinstance(data["warnings"], list)
    first = data["conditions"][0]
    assert first["coordinates"] == {POLICY: "random", BUDGET: "0%"}
    assert first["n"] == {"planned": 80, "ran": 80, "errored": 0, "missing": 0}
    assert {"mean", "low", "high", "n", "raw_mean", "difference"} <= set(first["measures"]["accuracy"])
    assert first["measures"]["accuracy"]["difference"] is None
    best = data["conditions"][4]["measures"]["accuracy"]["difference"]
    assert {"to", "mean", "low", "high", "p", "p_adjusted", "n_pairs", "mcnemar"} <= set(best)
    assert (best["to"], best["n_pairs"]) == ("c1", 80)
    assert [c["control"] for c in data["conditions"]][-1] == "no_teacher"


def test_report_means_are_those_of_the_data(report: Report) -> None:
    at = {c.label: c.measures for c in report.conditions}
    assert at["random, 100%"]["accuracy"].mean == at["best, 100%"]["accuracy"].mean == 1.0
    zero = at["random, 0%"]["accuracy"].mean
    assert zero == at["best, 0%"]["accuracy"].mean == at["control no_teacher"]["accuracy"].mean
    assert zero is not None
    assert at["random, 100%"]["rectified"].mean == pytest.approx(1 - zero)
    assert (at["best, 50%"]["rectified"].mean or 0) > (at["random, 50%"]["rectified"].mean or 0)
    assert at["random, 50%"]["interventions"].mean == 20.0


def test_same_data_give_the_same_report_bytes(report: Report, grid: Store) -> None:
    assert build_report(grid, "r1").model_dump_json() == report.model_dump_json()


def test_a_kept_report_is_the_report(store: Store) -> None:
    write_grid(store, items=4)
    made = report_of(store, "r1")
    assert made == report_of(store, "r1") == build_report(store, "r1")
    assert printed(made) == printed(report_of(store, "r1"))
    write_lesson(store, "r1", answers("c0", [True, False], replicate=1))
    store.flush()
    after = report_of(store, "r1")
    assert after.digest != made.digest
    assert after == build_report(store, "r1")


def test_area_under_the_curve_is_the_trapezoid(report: Report) -> None:
    curve = next(c for c in report.curves if c.measure == "accuracy" and c.held == {POLICY: "random"})
    heights = [
        next(c for c in report.conditions if c.id == p.condition).measures["accuracy"].mean or 0
        for p in curve.points
    ]
    assert [p.x for p in curve.points] == [0, 0.5, 1]
    assert curve.auc.mean == pytest.approx((heights[0] + 2 * heights[1] + heights[2]) / 4, abs=1e-6)
    assert {c.measure for c in report.curves} == {"accuracy", "rectified", "broken", "calibration"}


def test_only_the_measures_asked_for(grid: Store) -> None:
    assert list(build_report(grid, "r1", measures=["broken"]).measures) == ["broken"]
    with pytest.raises(UnknownNameError, match="ece"):
        build_report(grid, "r1", measures=["ece"])


def test_phases_are_told_apart(store: Store) -> None:
    begin(store, [({}, "")])
    tests = [
        episode(i, grade(i, ok), kind="test", phase=phase)
        for phase, ok in (("pretest", False), ("posttest", True))
        for i in ("a", "b")
    ]
    write_lesson(store, "r1", lesson(*tests, condition="c0"))
    store.finish_run("r1")
    measured = build_report(store, "r1").conditions[0].measures["accuracy"]
    assert {name: i.mean for name, i in measured.phases.items()} == {"pretest": 0.0, "posttest": 1.0}


# --- missing data ---------------------------------------------------------------------------------------


def test_errored_unjudged_and_unrun_are_counted_apart(store: Store) -> None:
    begin(store, [({}, "")])
    broken = episode("a", grade("a", True), outcome="failed", failure="timeout")
    unjudged = episode("b", grade("b", None))
    write_lesson(store, "r1", lesson(broken, unjudged, episode("c", grade("c", True)), condition="c0"))
    store.put_lessons([LessonKey("r1", "c0", 1)])
    store.finish_run("r1", "interrupted")
    report = build_report(store, "r1")
    n, measured = report.conditions[0].n, report.conditions[0].measures["accuracy"]
    assert n.model_dump() == {"planned": 6, "ran": 2, "errored": 1, "missing": 4}
    assert (measured.n, measured.missing, measured.mean) == (1, 2, 1.0)
    assert (measured.raw_mean, measured.worst, measured.best) == (pytest.approx(1 / 3, abs=1e-6),) * 2 + (
        1.0,
    )
    assert any("incomplete (interrupted): 3 of 6" in w for w in report.warnings)
    assert any("1 of 6 episodes errored" in w for w in report.warnings)


def test_injected_failures_widen_the_bounds_and_undo_the_verdict(store: Store) -> None:
    right = [i < 26 for i in range(60)]
    better = [i < 40 for i in range(60)]
    whole = two_arms(store, answers("c0", right), answers("c1", better)).conditions[1]
    found = whole.measures["accuracy"].difference
    assert found is not None
    assert (found.conclusion, found.lowest, found.highest) == ("higher", found.mean, found.mean)

    begin(store, [({POLICY: "a"}, ""), ({POLICY: "b"}, "")], run="r2")
    write_lesson(store, "r2", answers("c0", right))
    write_lesson(store, "r2", answers("c1", [None if i % 3 == 0 else ok for i, ok in enumerate(better)]))
    store.finish_run("r2")
    holed = build_report(store, "r2").conditions[1]
    found = holed.measures["accuracy"].difference
    assert found is not None
    assert found.missing == 20
    assert found.lowest is not None
    assert found.highest is not None
    assert found.lowest <= 0 < found.highest
    assert found.conclusion == "inconclusive"
    assert "the missing pairs could reverse it" in holed.verdicts[0]


def test_report_of_a_run_that_has_not_started(store: Store) -> None:
    begin(store, [({POLICY: "a"}, ""), ({POLICY: "b"}, "")])
    store.put_lessons([LessonKey("r1", "c0", 0)])
    store.flush()
    report = build_report(store, "latest")
    assert report.conditions[0].measures["accuracy"].mean is None
    assert "no verdict" in report.conditions[1].verdicts[0]
    assert "missing" in printed(report)


# --- claims ---------------------------------------------------------------------------------------------


def gain_study(store: Store, control_accuracy: float) -> Report:
    """Arm `b` is right on 45 of 60 items, its baseline `a` on 15, the control on a share."""
    begin(store, [({POLICY: "a"}, ""), ({POLICY: "b"}, ""), ({}, "irrelevant")])
    for condition, right in (("c0", 15), ("c1", 45), ("c2", round(60 * control_accuracy))):
        write_lesson(store, "r1", answers(condition, [i < right for i in range(60)]))
    store.finish_run("r1")
    return build_report(store, "r1", measures=["accuracy"])


def test_gain_is_said_only_of_an_arm_that_beats_its_controls(store: Store) -> None:
    assert "`b` gains over `a`" in gain_study(store, 0.25).conditions[1].verdicts[0]


def test_a_control_that_does_as_well_takes_the_gain_away(store: Store) -> None:
    sentence = gain_study(store, 0.75).conditions[1].verdicts[0]
    assert "is higher than `a`" in sentence
    assert "not a gain" in sentence


def test_without_controls_nothing_is_a_gain(store: Store) -> None:
    report = two_arms(store, answers("c0", [False] * 30), answers("c1", [True] * 30))
    assert report.conditions[1].measures["accuracy"].difference is not None
    assert not any("gain" in v for v in report.conditions[1].verdicts)
    assert any("no controls" in w for w in report.warnings)


def test_p_is_corrected_over_comparisons_that_can_differ(store: Store) -> None:
    rights = (15, 30, 22, 15)
    begin(store, [({POLICY: name}, "") for name in "abcd"])
    for index, right in enumerate(rights):
        write_lesson(store, "r1", answers(f"c{index}", [i < right for i in range(60)]))
    store.finish_run("r1")
    conditions = build_report(store, "r1", measures=["accuracy"]).conditions
    large, small, equal = (d for c in conditions if (d := c.measures["accuracy"].difference))
    assert large.p is not None
    assert small.p is not None
    assert large.p < small.p
    assert large.p_adjusted == pytest.approx(2 * large.p)
    assert small.p_adjusted == pytest.approx(small.p)
    assert (equal.p_adjusted, equal.conclusion) == (1.0, "inconclusive")
    assert "all pairs are equal" in conditions[3].verdicts[0]


def test_a_baseline_that_no_condition_has_is_said(store: Store) -> None:
    report = two_arms(store, answers("c0", [True]), answers("c1", [True]), baseline={POLICY: "never"})
    assert any("No condition has the coordinates of the baseline" in w for w in report.warnings)


# --- rendering ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 100, 200])
def test_table_fits_and_shows_the_pivot(report: Report, width: int) -> None:
    text = printed(report, width)
    assert max(map(len, text.splitlines())) <= min(width, 100)
    assert "accuracy by policy and interventions" in text
    assert "AUC" in text
    assert "Key findings" in text
    assert "Controls" in text
    assert "planned" in text


def test_a_matrix_without_numbers_is_listed(store: Store) -> None:
    text = printed(two_arms(store, answers("c0", [True, False]), answers("c1", [True, True])))
    assert "2/2/0/0" in text
    assert "0.50 [" in text


def test_many_policies_fold_into_two_lines(store: Store) -> None:
    conditions = [({POLICY: f"policy_{p}", BUDGET: b}, "") for p in range(6) for b in ("0%", "100%")]
    begin(store, conditions)
    for i in range(len(conditions)):
        write_lesson(store, "r1", answers(f"c{i}", [j % 3 > 0 for j in range(12)]))
    store.finish_run("r1")
    text = printed(build_report(store, "r1", measures=["accuracy"]))
    assert max(map(len, text.splitlines())) <= 100
    assert "0.67\n" in text or "0.67 " in text
    assert ".." in text


def test_markdown_has_every_table(report: Report) -> None:
    text = render_markdown(report)
    assert text.startswith("# study")
    assert "| interventions | random | best |" in text
    assert "## Key findings" in text
    assert "**calibration**" in text


@pytest.mark.parametrize(
    ("value", "number"), [("20%", 0.2), (3, 3.0), ("x", None), (True, None), (None, None), ("2.5", 2.5)]
)
def test_numeric_values_of_an_axis(value: object, number: float | None) -> None:
    assert numeric(value) == number


# --- compare --------------------------------------------------------------------------------------------


def test_compare_two_conditions_of_a_run(grid: Store) -> None:
    found = compare(grid, "r1:best, 50%", ":c1", measures=["accuracy"])
    assert (found.first.label, found.second.label) == ("best, 50%", "random, 50%")
    accuracy = found.measures["accuracy"]
    assert accuracy.difference.mean == pytest.approx(
        (accuracy.first.mean or 0) - (accuracy.second.mean or 0), abs=1e-5
    )
    assert "`best, 50%` is higher than `random, 50%`" in accuracy.verdict
    out = io.StringIO()
    render_comparison(found, Console(file=out, width=100))
    assert "A - B" in out.getvalue()


def test_compare_two_runs_matches_their_items(store: Store) -> None:
    for run, right in (("r1", 10), ("r2", 30)):
        begin(store, [({}, "")], run=run)
        for replicate in range(2):
            write_lesson(store, run, answers("c0", [i < right for i in range(40)], replicate))
        store.finish_run(run)
    found = compare(store, "r2", "r1", measures=["accuracy"])
    difference = found.measures["accuracy"].difference
    assert (difference.mean, difference.n_pairs, difference.conclusion) == (0.5, 80, "higher")
    assert found.first.label != found.second.label


def test_compare_needs_two_sides(grid: Store) -> None:
    with pytest.raises(UsageError, match="both sides"):
        compare(grid, "r1:c0", "study:random, 0%")
    with pytest.raises(UsageError, match="has 7 conditions; name one"):
        compare(grid, "r1", "r1")
    with pytest.raises(UnknownNameError, match="no single condition"):
        compare(grid, "r1:c0", "r1:bets, 50%")


def test_constant_belief_and_oracle_in_a_report(store: Store) -> None:
    correct = [i < 16 for i in range(64)]

    def believing(condition: str, p: list[float]) -> LessonTrace:
        rows = enumerate(zip(p, correct, strict=True))
        return lesson(
            *(episode(f"i{i}", belief(f"i{i}", q), grade(f"i{i}", ok)) for i, (q, ok) in rows),
            condition=condition,
        )

    report = two_arms(store, believing("c0", [0.25] * 64), believing("c1", [float(ok) for ok in correct]))
    assert [c.measures["calibration"].mean for c in report.conditions] == [0.25 * 0.75, 0.0]
    assert "is lower than" in report.conditions[1].verdicts[3]
