import json

import pytest

from docendo.scenarios.bundled import gallery_names
from docendo.scenarios.loader import load_scenario
from tests.gallery.gallery_run import run_gallery


def small(name: str) -> list[str]:
    """One replicate, few items, and of every budget the first and last value."""
    scenario = load_scenario(name).scenario
    cuts = ["replicates=1"]
    for path, values in scenario.matrix.axes.items():
        if path.startswith("budget.") and len(values) > 2:
            cuts.append(f"matrix.{path}={json.dumps([values[0], values[-1]])}")
    for phase in scenario.plan:
        if phase.kind != "rest":
            cuts.append(f"plan.{phase.id}.count={4 if phase.kind == 'observe' else 3}")
        if phase.rounds > 2:
            cuts.append(f"plan.{phase.id}.rounds=2")
    return cuts


@pytest.mark.parametrize("name", gallery_names())
def test_it_runs_without_a_failure_and_measures_every_condition(name, tmp_path):
    found = run_gallery(name, tmp_path, *small(name))
    assert found.failed() == 0
    measured = {row.lesson.condition for row in found.store.observations(found.id)}
    assert measured == {arm.id for arm in found.arms}
    found.store.close()


@pytest.mark.parametrize("name", gallery_names())
def test_it_is_a_comparison_with_controls_and_repetitions(name):
    scenario = load_scenario(name).scenario
    assert scenario.matrix.axes
    assert scenario.controls
    assert scenario.replicates > 1
    assert scenario.description
