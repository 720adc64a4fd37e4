"""The first design with skill minds, on the bundled files."""

import pytest

from tests.gallery.gallery_run import clearly, run_gallery

ARMS = [
    "matrix.plan.teach.policy=[random, expected_utility, true_utility]",
    "controls=[no_teacher, irrelevant]",
]


def at(policy, interventions):
    return {"policy": policy, "interventions": interventions}


@pytest.mark.parametrize(("name", "students"), [("word-problems", 4), ("yes-no-questions", 6)])
def test_expected_utility_beats_random(name, students, tmp_path):
    found = run_gallery(name, tmp_path, *ARMS, "matrix.budget.interventions=[60%]", f"replicates={students}")
    assert clearly(found.difference("accuracy", at("expected_utility", "60%"), at("random", "60%")), +1)
    assert found.mean("accuracy", **at("true_utility", "60%")) >= found.mean(
        "accuracy", **at("expected_utility", "60%")
    )
    idle = found.difference("accuracy", {"control": "irrelevant"}, {"control": "no_teacher"})
    assert (idle.mean, idle.se) == (0, 0), "a greedy student that learnt nothing answers as before"
    found.store.close()


def test_a_student_that_guesses_again_is_broken_by_any_text(tmp_path):
    found = run_gallery(
        "yes-no-questions",
        tmp_path,
        "models.novice.sampling.temperature=1",
        "matrix={}",
        "baseline=null",
        "controls=[no_teacher, irrelevant]",
    )
    of, to = {"control": "irrelevant"}, {"control": "no_teacher"}
    assert clearly(found.difference("broken", of, to), +1)
    accuracy = found.difference("accuracy", of, to)
    assert accuracy.low <= 0 <= accuracy.high, "the mean does not give it away"
    found.store.close()
