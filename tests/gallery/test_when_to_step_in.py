"""RQ1, RQ2: expected utility beats chance, true utility bounds it, a fallible teacher's full budget harms."""

import pytest

from tests.gallery.gallery_run import clearly, run_gallery

BUDGETS = ["20%", "40%", "60%"]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    run = run_gallery(
        "when-to-step-in",
        tmp_path_factory.mktemp("gallery"),
        "replicates=4",
        "items.test=30",
        "matrix.plan.teach.policy=[random, expected_utility, true_utility]",
        "matrix.budget.interventions=[20%, 40%, 60%, 100%]",
    )
    yield run
    run.store.close()


def at(policy, interventions):
    return {"policy": policy, "interventions": interventions}


@pytest.mark.parametrize("budget", BUDGETS)
def test_expected_utility_beats_random(found, budget):
    assert clearly(found.difference("accuracy", at("expected_utility", budget), at("random", budget)), +1)


@pytest.mark.parametrize("budget", BUDGETS)
def test_true_utility_is_not_beaten(found, budget):
    above = found.difference("accuracy", at("true_utility", budget), at("expected_utility", budget))
    assert above.mean >= 0
    assert not clearly(above, -1)


def test_a_part_of_the_help_of_a_fallible_teacher_is_better_than_all_of_it(found):
    part, whole = at("expected_utility", "60%"), at("expected_utility", "100%")
    assert clearly(found.difference("accuracy", part, whole), +1)
    assert clearly(found.difference("broken", whole, part), +1)


def test_all_policies_agree_on_the_full_budget(found):
    for policy in ("expected_utility", "true_utility"):
        both = found.difference("accuracy", at(policy, "100%"), at("random", "100%"))
        assert (both.mean, both.se) == (0, 0)


@pytest.mark.parametrize("control", ["irrelevant", "answer_only"])
def test_help_without_content_does_nothing_to_a_learner_of_rules(found, control):
    assert clearly(found.difference("accuracy", at("expected_utility", "40%"), {"control": control}), +1)
    assert abs(found.mean("accuracy", control=control) - found.mean("accuracy", control="no_teacher")) < 0.02
