"""RQ4: explained examples help on new items without a teacher, and more so the further they go."""

import pytest

from tests.gallery.gallery_run import clearly, run_gallery


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    run = run_gallery(
        "lessons-that-last",
        tmp_path_factory.mktemp("gallery"),
        "items.test=20",
        "baseline=null",
        "replicates=4",
        "plan.teach.rounds=2",
        "plan.teach.per_round=5",
        "matrix.plan.teach.params.explanation=[none, self, teacher]",
        "matrix.budget.interventions=[10]",
        "matrix.include=[{plan.teach.params.explanation: teacher, budget.interventions: 2}]",
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


def test_a_teacher_that_looks_again_goes_on_to_what_is_still_lacking(tmp_path):
    arm = [
        *("items.test=20", "baseline=null", "controls=[]", "replicates=3"),
        "matrix.plan.teach.params.explanation=[teacher]",
        "matrix.budget.interventions=[10]",
    ]
    runs = {
        update: run_gallery(
            "lessons-that-last", tmp_path, *arm, f"agents.teacher.student_model.update={update}"
        )
        for update in ("true", "false")
    }
    seen = {update: {e.round for e in run.store.episodes(run.id, run.arms[0].id) if e.phase_kind == "observe"}
            for update, run in runs.items()}  # fmt: skip
    assert seen == {"true": {0, 1, 2, 3, 4}, "false": {0}}
    means = {update: run.mean("test_accuracy", explanation="teacher") for update, run in runs.items()}
    assert means["true"] > means["false"]
    for run in runs.values():
        run.store.close()
