"""Exams find the right sample where they exercise its rule; without a lesson a vote is a count."""

import pytest

from tests.gallery.gallery_run import clearly, run_gallery

FEW = ("items.test=16", "replicates=2", "baseline=null")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    run = run_gallery(
        "learn-by-teaching", tmp_path_factory.mktemp("gallery"), *FEW, "matrix.plan.teach.samples=[1, 9]",
        "controls=[silent]",
    )  # fmt: skip
    yield run
    run.store.close()


def at(choose, samples):
    return {"choose": choose, "samples": samples}


def test_exams_find_what_counting_misses(found):
    assert clearly(found.difference("vote_gain", at("same_skill", 9), {"control": "silent"}), +1)
    assert found.mean("vote_sum", **at("same_skill", 9)) > found.mean(
        "self_consistency", **at("same_skill", 9)
    )


def test_an_exam_has_to_exercise_the_rule(found):
    assert found.mean("score_auc", **at("same_skill", 9)) > found.mean("score_auc", **at("given", 9)) > 0.5


def test_where_nothing_is_taught_the_vote_is_a_count(found):
    assert found.mean("score_auc", control="silent") == 0.5
    for rule in ("vote_sum", "vote_max", "vote_avg"):
        assert list(found.sample(rule, control="silent").values) == list(
            found.sample("self_consistency", control="silent").values
        )


def test_one_sample_is_one_sample(found):
    for rule in ("vote_sum", "vote_max", "vote_avg", "self_consistency"):
        assert found.mean(rule, **at("given", 1)) == pytest.approx(
            found.mean("one_sample", **at("given", 1)), abs=1e-12
        )


def test_what_no_sample_says_no_vote_can_find(tmp_path):
    run = run_gallery(
        "learn-by-teaching", tmp_path, "items.test=8", "replicates=1", "baseline=null",
        "models.expert.doubt=0", "models.expert.error_rate=0.35", "controls=[]",
        "matrix.plan.teach.exam.choose=[same_skill]", "matrix.plan.teach.samples=[4]",
    )  # fmt: skip
    assert set(run.sample("vote_gain").values) == {0.0}
    run.store.close()
