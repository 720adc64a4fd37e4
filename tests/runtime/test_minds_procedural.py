import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docendo.errors import UnknownNameError, UsageError
from docendo.memory.record import Demonstration
from docendo.runtime.minds.population import describe_mind, new_mind, rest
from docendo.scenarios.arithmetic import BASE_SLOTS, BUGS, SLOTS, parse_problem, rules_with, solve
from docendo.scenarios.model_spec import ProceduralModel
from docendo.scenarios.worked_steps import render_steps
from tests.runtime.minds_lab import Lab, answer_in, ask, chance, subtraction, subtractions, view

ITEM = subtraction(702, 348)


def worked_text(item, *bugs):
    problem = parse_problem(item.question)
    return render_steps(solve(problem, rules_with(bugs)))


def learner(*bugs, comprehension=1.0, slip=0.0, seed=3):
    spec = ProceduralModel(bugs=bugs, comprehension=comprehension, slip=slip)
    return Lab([]).backend(spec), new_mind(spec, seed=seed)


@given(
    bugs=st.sampled_from([(), ("smaller_from_larger",), ("borrow_across_zero", "n_minus_zero_is_zero")]),
    top=st.integers(0, 9999),
    bottom=st.integers(0, 9999),
)
@settings(max_examples=60, deadline=None)
def test_answers_what_its_rules_give(bugs, top, bottom):
    item = subtraction(max(top, bottom), min(top, bottom))
    student, mind = learner(*bugs)
    reply = ask(student, view(item, mind=mind))
    assert answer_in(reply) == str(solve(parse_problem(item.question), rules_with(bugs)).answer)
    assert reply.completions[0].mind is None


def test_same_request_same_reply_and_the_global_generator_is_left_alone():
    student, mind = learner("smaller_from_larger", comprehension=0.5, slip=0.5)
    before = random.getstate()
    what = view(ITEM, mind=mind, help=[worked_text(ITEM)])
    assert ask(student, what, seed=9, n=5) == ask(
        learner("smaller_from_larger", comprehension=0.5, slip=0.5)[0], what, seed=9, n=5
    )
    assert random.getstate() == before
    assert mind == new_mind(ProceduralModel(bugs=("smaller_from_larger",)), seed=3)


def test_reading_teaches_what_is_shown_and_it_lasts_in_the_mind():
    student, mind = learner("smaller_from_larger", "quit_when_bottom_blank")
    reply = ask(student, view(ITEM, mind=mind, help=[worked_text(ITEM)]))
    assert answer_in(reply) == "354"
    after = reply.completions[0].mind
    assert describe_mind(after)["misconceptions"] == ["quit_when_bottom_blank"]  # not exercised by the item
    other = subtraction(941, 8)
    assert answer_in(ask(student, view(other, mind=after))) != other.answer
    assert answer_in(ask(student, view(subtraction(941, 568), mind=after))) == "373"


def test_wrong_rationale_teaches_the_wrong_rule():
    student, mind = learner()
    reply = ask(student, view(ITEM, mind=mind, help=[worked_text(ITEM, "smaller_from_larger")]))
    assert answer_in(reply) == "446"
    assert describe_mind(reply.completions[0].mind)["misconceptions"] == ["smaller_from_larger"]


@pytest.mark.parametrize(
    "text",
    [
        "Bananas are rich in potassium.",
        "So the answer is 354.",
        "You can do it! Think hard about the numbers 702 and 348.",
        worked_text(subtraction(915, 679)),
        "",
    ],
)
def test_text_without_worked_steps_of_the_item_changes_nothing(text):
    student, mind = learner("smaller_from_larger")
    reply = ask(student, view(ITEM, mind=mind, help=[text]))
    assert answer_in(reply) == "446"
    assert reply.completions[0].mind is None


def test_comprehension_is_a_stable_share_of_learners():
    text = worked_text(ITEM)
    learned = 0
    for seed in range(400):
        student, mind = learner("smaller_from_larger", comprehension=0.3, seed=seed)
        replies = {answer_in(ask(student, view(ITEM, mind=mind, help=[text]), seed=s)) for s in (1, 2)}
        assert len(replies) == 1  # grasping a text is a fact about the learner, not about the call
        learned += replies == {"354"}
    assert learned / 400 == pytest.approx(0.3, abs=0.07)


def test_worked_examples_apply_to_the_call_only():
    student, mind = learner("smaller_from_larger")
    other = subtraction(952, 487)
    example = Demonstration(
        item=other.id, question=other.question, explanation=worked_text(other), answer=other.answer
    )
    item = subtraction(731, 256)
    reply = ask(student, view(item, mind=mind, demonstrations=[example]))
    assert answer_in(reply) == item.answer
    assert reply.completions[0].mind is None
    wrong = example.model_copy(update={"explanation": worked_text(other, "borrow_no_decrement")})
    assert answer_in(ask(student, view(item, mind=mind, demonstrations=[wrong]))) == "585"


def test_own_messages_are_not_read_as_help():
    student, mind = learner("smaller_from_larger")
    what = view(ITEM, mind=mind, help=[worked_text(ITEM)])
    own = tuple(m.model_copy(update={"sender": "student"}) for m in what.messages)
    assert answer_in(ask(student, what.model_copy(update={"messages": own}))) == "446"


def test_slips_are_drawn_at_temperature_one_and_never_greedily():
    student, mind = learner(slip=0.4)
    sampled = [answer_in(ask(student, view(ITEM, mind=mind), seed=s)) for s in range(500)]
    assert sum(a != "354" for a in sampled) / 500 == pytest.approx(0.4, abs=0.08)
    assert {abs(int(a) - 354) for a in sampled} == {0, 1, 10, 100}
    greedy = {answer_in(ask(student, view(ITEM, mind=mind), seed=s, temperature=0)) for s in range(20)}
    assert greedy == {"354"}


def test_scores_are_the_frequencies_of_answers():
    student, mind = learner(slip=0.4)
    assert chance(student, view(ITEM, mind=mind), "354") == pytest.approx(0.6)
    assert chance(student, view(ITEM, mind=mind), "355") == pytest.approx(0.4 / 6)
    assert chance(student, view(ITEM, mind=mind), "9") == pytest.approx(1e-6)


def test_common_random_numbers():
    """With the same seed a learner that slips less slips on a subset of the items."""
    careful, mind = learner(slip=0.1)
    careless, _ = learner(slip=0.4)
    slips = [
        {s for s in range(300) if answer_in(ask(b, view(ITEM, mind=mind), seed=s)) != "354"}
        for b in (careful, careless)
    ]
    assert slips[0] < slips[1]


@given(seed=st.integers(0, 2**63 - 1), count=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_population_holds_one_bug_per_rule(seed, count):
    pool = ("smaller_from_larger", "borrow_no_decrement", "zero_minus_n_is_n", "quit_when_bottom_blank")
    mind = new_mind(ProceduralModel(bugs=pool, bugs_per_student=count), seed=seed)
    truth = describe_mind(mind)
    assert len(truth["misconceptions"]) == count
    assert set(truth["misconceptions"]) <= set(pool)
    assert truth["skills"].keys() == SLOTS.keys() - BASE_SLOTS
    wrong = {BUGS[b].slot for b in truth["misconceptions"]}
    assert wrong == {slot for slot, known in truth["skills"].items() if not known}
    assert rest(mind) == mind


def test_population_errors_say_what_to_do():
    with pytest.raises(UnknownNameError, match="smaller_from_large"):
        new_mind(ProceduralModel(bugs=("smaller_from_large",)), seed=1)
    with pytest.raises(UsageError, match="variants of 1 rules"):
        new_mind(
            ProceduralModel(bugs=("smaller_from_larger", "borrow_no_decrement"), bugs_per_student=2), seed=1
        )


def test_every_bug_is_cured_by_reading_correct_steps_that_exercise_it():
    items = subtractions(400, 5)
    for bug in BUGS.values():
        if bug.operation != "-":
            continue
        student, mind = learner(bug.name)
        item = next(
            i
            for i in items
            if bug.slot in i.skills and answer_in(ask(student, view(i, mind=mind))) != i.answer
        )
        reply = ask(student, view(item, mind=mind, help=[worked_text(item)]))
        assert answer_in(reply) == item.answer, bug.name
