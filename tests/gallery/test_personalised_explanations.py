"""RQ3: where room is short, what the teacher knows of the student decides what it says."""

import pytest

from tests.gallery.gallery_run import clearly, run_gallery


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    run = run_gallery(
        "personalised-explanations",
        tmp_path_factory.mktemp("gallery"),
        "items.test=40",
        "matrix.plan.teach.params.explanation=[plain, d-tom, evidence]",
        "matrix.budget.interventions=[40%]",
        "controls=[]",
    )
    yield run
    run.store.close()


def at(explanation, interventions):
    return {"explanation": explanation, "interventions": interventions}


@pytest.mark.parametrize("explanation", ["d-tom", "evidence"])
def test_personalised_explanations_beat_plain_ones(found, explanation):
    assert clearly(found.difference("accuracy", at(explanation, "40%"), at("plain", "40%")), +1)


def test_with_room_for_everything_there_is_nothing_to_personalise(tmp_path):
    ample = run_gallery(
        "personalised-explanations",
        tmp_path,
        "agents.teacher.sampling.max_tokens=512",
        "replicates=2",
        "items.test=20",
        "matrix.budget.interventions=[100%]",
        "controls=[]",
    )
    for explanation in ("d-tom", "evidence"):
        same = ample.difference("accuracy", at(explanation, "100%"), at("plain", "100%"))
        assert (same.mean, same.se) == (0, 0)
    ample.store.close()
