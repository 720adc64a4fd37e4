"""RQ5: misleading explanations harm, and most where the most damaging items come first."""

import pytest

from tests.gallery.gallery_run import clearly, run_gallery

NOBODY = {"control": "no_teacher"}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    run = run_gallery(
        "misaligned-teacher",
        tmp_path_factory.mktemp("gallery"),
        "replicates=3",
        "items.test=20",
        "matrix.budget.interventions=[20%, 40%, 100%]",
    )
    yield run
    run.store.close()


def at(misleading, order, interventions):
    return {"misleading": misleading, "order": order, "interventions": interventions}


def test_a_misleading_teacher_harms(found):
    assert clearly(found.difference("accuracy", at(True, "worst", "20%"), NOBODY), -1)
    assert clearly(found.difference("accuracy", at(True, "best", "100%"), NOBODY), -1)
    assert clearly(found.difference("accuracy", at(False, "best", "20%"), NOBODY), +1)


@pytest.mark.parametrize("budget", ["20%", "40%"])
def test_the_most_damaging_items_first_harm_faster(found, budget):
    assert clearly(found.difference("accuracy", at(True, "worst", budget), at(True, "best", budget)), -1)


def test_at_the_full_budget_the_order_does_not_matter(found):
    assert found.difference("accuracy", at(True, "worst", "100%"), at(True, "best", "100%")).mean == 0


def test_the_harm_is_done_by_what_is_said(found):
    assert abs(found.mean("accuracy", control="irrelevant") - found.mean("accuracy", **NOBODY)) < 0.02
    assert found.mean("rectified", **at(True, "worst", "100%")) < 0.02
