"""The first design on StrategyQA's published dev set, where it is."""

import pytest

from tests.gallery.gallery_run import clearly, run_gallery
from tests.trust.lab import DATA

FOLDER = DATA / "strategyqa"
PUBLISHED = [
    f"items.file={{train: '{FOLDER / 'train.json'}', test: '{FOLDER / 'dev.json'}'}}",
    "items.train=40",
    "items.test=229",
    "measures=[accuracy, interventions]",
]

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="the published StrategyQA files are not here")


def at(policy, interventions):
    return {"policy": policy, "interventions": interventions}


def test_budgets_are_the_published_numbers_of_interventions(tmp_path):
    budgets = [20, 40, 60, 80, 100]
    found = run_gallery(
        "yes-no-questions",
        tmp_path,
        *PUBLISHED,
        "matrix.plan.teach.policy=[random]",
        f"matrix.budget.interventions=[{', '.join(f'{b}%' for b in budgets)}]",
        "controls=[no_teacher]",
        "replicates=1",
    )
    spent = [found.mean("interventions", **at("random", f"{b}%")) for b in budgets]
    assert spent == [45, 91, 137, 183, 229]
    found.store.close()


def test_expected_utility_beats_random(tmp_path):
    """With four students, as on the scenario's page: two are too few for an interval over students."""
    found = run_gallery(
        "yes-no-questions",
        tmp_path,
        *PUBLISHED,
        "matrix.plan.teach.policy=[random, expected_utility]",
        "matrix.budget.interventions=[60%]",
        "controls=[no_teacher]",
        "replicates=4",
    )
    assert clearly(found.difference("accuracy", at("expected_utility", "60%"), at("random", "60%")), +1)
    found.store.close()
