"""RQ4: explained examples help on new items without a teacher, and more so the further they go."""

import pytest

from tests.gallery.gallery_run import clearly, run_gallery

SMALL = ["items.test=20", "baseline=null"]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    run = run_gallery(
        "lessons-that-last",
        tmp_path_factory.mktemp("gallery"),
        *SMALL,
        "matrix.plan.teach.params.explanation=[none, self, teacher]",
        "matrix.budget.interventions=[2, 10]",
    )
    yield run
    run.store.close()


def at(explanation, interventions):
    return {"explanation": explanation, "interventions": interventions}


@pytest.mark.parametrize(
    "other", [at("none", 10), at("self", 10), {"control": "irrelevant"}, at("teacher", 2)]
)
def test_ten_explained_examples_beat(found, other):
    assert clearly(found.difference("test_accuracy", at("teacher", 10), other), +1)


@pytest.mark.parametrize("other", [at("none", 10), at("self", 10), {"control": "irrelevant"}])
def test_without_a_teachers_reasons_examples_teach_nothing(found, other):
    assert found.mean("test_accuracy", **other) == pytest.approx(
        found.mean("test_accuracy", control="no_teacher"), abs=0.02
    )


def test_every_arm_spends_the_same(found):
    for explanation in ("none", "self", "teacher"):
        assert set(found.sample("interventions", **at(explanation, 10)).values) == {10.0}


def test_a_teacher_that_looks_again_goes_on_to_what_is_still_lacking(found, tmp_path):
    blind = run_gallery(
        "lessons-that-last",
        tmp_path,
        *SMALL,
        "agents.teacher.student_model.update=false",
        "matrix.plan.teach.params.explanation=[teacher]",
        "matrix.budget.interventions=[10]",
        "controls=[]",
    )
    assert blind.mean("test_accuracy", **at("teacher", 10)) < found.mean("test_accuracy", **at("teacher", 10))
    seen = {
        e.round
        for e in found.store.episodes(found.id, found.arm(**at("teacher", 10)).id)
        if e.phase_kind == "observe"
    }
    assert seen == {0, 1, 2, 3, 4}
    assert {
        e.round for e in blind.store.episodes(blind.id, blind.arms[0].id) if e.phase_kind == "observe"
    } == {0}
    blind.store.close()
