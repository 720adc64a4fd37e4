"""A tutor's content teaches, away from the tutor; who only repeats solves dialogues and learns nothing."""

import pytest

from docendo.events import DecisionEvent, FlagEvent
from tests.gallery.gallery_run import clearly, run_gallery

FEW = ("replicates=6", "fidelity=null", "items.pools.other.size=1", "matrix.plan.teach.moves.source=[self]")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    run = run_gallery("tutoring-dialogue", tmp_path_factory.mktemp("gallery"), *FEW)
    yield run
    run.store.close()


@pytest.mark.parametrize("other", ["no_teacher", "silent", "answer_only", "irrelevant", "wrong_teacher"])
@pytest.mark.parametrize("measure", ["gain", "far_transfer"])
def test_the_content_teaches(found, measure, other):
    assert clearly(found.difference(measure, {"control": ""}, {"control": other}), +1)


@pytest.mark.parametrize("other", ["silent", "answer_only", "irrelevant"])
def test_without_content_nothing_is_learnt(found, other):
    same = found.difference("gain", {"control": other}, {"control": "no_teacher"})
    assert (same.mean, same.low, same.high) == (0, 0, 0)


def test_order_does_not_matter_to_a_reader_of_steps(found):
    same = found.difference("gain", {"control": "shuffled_dialogue"}, {"control": ""})
    assert (same.low, same.high) == (0, 0)


def test_what_was_learnt_is_lost_in_part(found):
    """Rest takes rules back, and leaves what nobody taught."""
    assert 0 < found.mean("retention", control="no_teacher") < found.mean("retention", control="")
    assert found.mean("retention", control="") < found.mean("near_transfer", control="")


def test_nothing_that_the_critic_vetoed_leaks(found):
    arm = found.arm(control="").id
    lessons = [e for e in found.store.episodes(found.id, arm) if e.phase == "teach"]
    events = [e for episode in lessons for e in found.store.events(episode.id)]
    assert [e for e in events if isinstance(e, DecisionEvent) and e.policy == "critic" and not e.chosen]
    assert not [e for e in events if isinstance(e, FlagEvent)]


def test_a_parrot_gains_in_the_dialogue_and_nothing_in_the_isolated_test(tmp_path):
    run = run_gallery(
        "tutoring-dialogue", tmp_path, *FEW, "replicates=3",
        "models.novice={backend: simulated, mind: parrot}", "controls=[no_teacher, answer_only]",
    )  # fmt: skip
    assert run.mean("solved", control="answer_only") == 1
    assert run.mean("solved", control="no_teacher") < 0.2
    assert run.mean("gain", control="answer_only") == pytest.approx(
        run.mean("gain", control="no_teacher"), abs=1e-9
    )
    run.store.close()
