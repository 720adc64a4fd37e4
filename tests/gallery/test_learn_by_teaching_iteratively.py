"""A teacher becomes better by revising its examples, most where the failures show what it lacks."""

import pytest

from docendo.events import DecisionEvent
from tests.gallery.gallery_run import clearly, run_gallery


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    run = run_gallery(
        "learn-by-teaching-iteratively", tmp_path_factory.mktemp("gallery"), "baseline=null",
        "matrix.agents.student.count=[1]", "matrix.exclude=[]",
        "matrix.agents.student.model=[novice, expert]",
    )  # fmt: skip
    yield run
    run.store.close()


@pytest.mark.parametrize("model", ["novice", "expert"])
def test_the_teacher_becomes_better_on_items_that_it_has_not_seen(found, model):
    assert clearly(found.difference("teacher_gain", {"model": model}, {"control": "no_teacher"}), +1)


def test_its_own_failures_show_it_most(found):
    assert clearly(found.difference("teacher_gain", {"model": "expert"}, {"model": "novice"}), +1)


def test_a_second_test_alone_changes_nothing(found):
    assert set(found.sample("teacher_gain", control="no_teacher").values) == {0.0}


def test_the_best_score_never_falls(found):
    for arm in found.arms:
        scores: dict[int, list[float]] = {}
        for episode in found.store.episodes(found.id, arm.id):
            for event in found.store.events(episode.id) if episode.item == "selection" else ():
                if isinstance(event, DecisionEvent) and event.score is not None:
                    scores.setdefault(episode.lesson.replicate, []).append(event.score)
        for course in scores.values():
            assert course == sorted(course)
