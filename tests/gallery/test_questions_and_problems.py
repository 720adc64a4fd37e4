"""The first design with skill minds, on the bundled files and, where they are, on the published ones."""

from pathlib import Path

import pytest

from tests.gallery.gallery_run import clearly, run_gallery

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
ARMS = [
    "matrix.plan.teach.policy=[random, expected_utility, true_utility]",
    "controls=[no_teacher, irrelevant]",
]


def at(policy, interventions):
    return {"policy": policy, "interventions": interventions}


@pytest.mark.parametrize("name", ["word-problems", "yes-no-questions"])
def test_expected_utility_beats_random(name, tmp_path):
    found = run_gallery(name, tmp_path, *ARMS, "matrix.budget.interventions=[60%]")
    assert clearly(found.difference("accuracy", at("expected_utility", "60%"), at("random", "60%")), +1)
    assert found.mean("accuracy", **at("true_utility", "60%")) >= found.mean(
        "accuracy", **at("expected_utility", "60%")
    )
    idle = found.mean("accuracy", control="irrelevant") - found.mean("accuracy", control="no_teacher")
    assert abs(idle) < 0.03
    found.store.close()


def test_on_the_published_dev_set(tmp_path):
    folder = DATA / "strategyqa"
    if not folder.exists():
        pytest.skip("the published StrategyQA files are not here")
    found = run_gallery(
        "yes-no-questions",
        tmp_path,
        *ARMS,
        f"items.file={{train: '{folder / 'train.json'}', test: '{folder / 'dev.json'}'}}",
        "items.train=40",
        "items.test=229",
        "matrix.budget.interventions=[20%, 40%, 60%, 80%, 100%]",
        "matrix.plan.teach.policy=[random, expected_utility]",
        "measures=[accuracy, interventions]",
        "controls=[no_teacher]",
        "replicates=2",
    )
    spent = [found.mean("interventions", **at("random", f"{b}%")) for b in (20, 40, 60, 80, 100)]
    assert spent == [45, 91, 137, 183, 229]
    assert clearly(found.difference("accuracy", at("expected_utility", "60%"), at("random", "60%")), +1)
    found.store.close()
