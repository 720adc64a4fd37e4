"""Learners in a dialogue, and what rest takes from them."""

import pytest

from docendo.memory.record import Demonstration
from docendo.runtime.minds.population import describe_mind, has_mastered, new_mind, rest
from docendo.scenarios.arithmetic import parse_problem, rules_with, solve
from docendo.scenarios.model_spec import ParrotModel, ProceduralModel, SkillModel
from docendo.scenarios.worked_steps import read_steps, render_steps
from tests.runtime.minds_lab import Lab, answer_in, ask, chance, say, subtraction, view, yes_no

ITEM = subtraction(702, 348)
FACTS = [yes_no(n, skill=f"s{n % 5}") for n in range(20)]
LAB = Lab([ITEM, *FACTS])
RIGHT = render_steps(solve(parse_problem("702 - 348"), {}))
WRONG = render_steps(solve(parse_problem("702 - 348"), rules_with(["borrow_no_decrement"])))


def learner(*bugs, seed=3, **spec):
    spec = ProceduralModel(bugs=bugs, **{"comprehension": 1.0, **spec})
    return LAB.backend(spec), new_mind(spec, seed=seed)


def reply(backend, mind, *messages, item=ITEM, **rest):
    return ask(backend, view(item, "reply", mind=mind, messages=messages), **rest)


def test_the_working_is_shown_to_those_who_ask_and_to_nobody_else():
    student, mind = learner("smaller_from_larger")
    first = reply(student, mind)
    assert first.text == "I get 446. So the answer is 446."
    assert not read_steps(first.text, parse_problem(ITEM.question))
    asked = reply(student, mind, say("student", "attempt", first.text), say("teacher", "question", "How?"))
    shown = {(s.slot, s.variant) for s in read_steps(asked.text, parse_problem(ITEM.question))}
    assert ("borrow", "smaller_from_larger") in shown
    assert answer_in(asked) == "446"
    later = reply(student, mind, say("teacher", "question", "How?"), say("teacher", "feedback", "Go on."))
    assert later.text == first.text


def test_a_learner_in_a_dialogue_reads_help_and_keeps_what_it_taught():
    student, mind = learner("smaller_from_larger")
    taught = reply(student, mind, say("teacher", "hint", RIGHT))
    assert answer_in(taught) == "354"
    assert describe_mind(taught.completions[0].mind)["misconceptions"] == []
    misled = reply(student, mind, say("teacher", "explanation", WRONG))
    assert describe_mind(misled.completions[0].mind)["misconceptions"] == ["borrow_no_decrement"]


def test_pressure_without_reasons_moves_parrots_only():
    claim = say("teacher", "feedback", "No. I am sure that the answer is 364.")
    student, mind = learner("smaller_from_larger")
    assert answer_in(reply(student, mind, claim)) == "446"
    spec = SkillModel()
    skilled, state = LAB.backend(spec), new_mind(spec, seed=1)
    insist = say("teacher", "feedback", "No. I am sure that the answer is yes.")
    what = view(FACTS[0], "reply", mind=state, messages=(insist,))
    assert chance(skilled, what, "yes") == chance(skilled, what.model_copy(update={"messages": ()}), "yes")
    parrot = LAB.backend(ParrotModel())
    assert answer_in(reply(parrot, None, claim)) == "364"
    assert answer_in(reply(parrot, None, insist, item=FACTS[0])) == "yes"


def test_a_parrot_that_hears_no_answer_repeats_its_own_and_in_an_exam_it_guesses():
    parrot = LAB.backend(ParrotModel())
    own = say("student", "attempt", "So the answer is 17.")
    assert answer_in(reply(parrot, None, own, say("teacher", "feedback", "Go on."))) == "17"
    example = Demonstration(item="x", question="What is 9 - 4?", explanation="", answer="5")
    sat = {answer_in(ask(parrot, view(ITEM, "sit", demonstrations=[example]), seed=s)) for s in range(50)}
    assert len(sat) > 20


@pytest.mark.parametrize("fact", FACTS[:4], ids=lambda i: i.id)
def test_skill_learners_say_in_a_dialogue_what_they_would_answer(fact):
    spec = SkillModel(comprehension=1.0, slip=0.0)
    backend, mind = LAB.backend(spec), new_mind(spec, seed=4)
    for messages in ((), (say("teacher", "explanation", fact.solution),)):
        spoken = view(fact, "reply", mind=mind, messages=messages)
        alone = view(fact, mind=mind, messages=messages)
        assert chance(backend, spoken, "yes") == chance(backend, alone, "yes")
    asked = reply(backend, mind, *messages, say("teacher", "question", "Why?"), item=fact)
    assert asked.text == f"As it was explained to me. So the answer is {fact.answer}."


def test_in_an_exam_only_memory_counts():
    student, mind = learner("smaller_from_larger")
    assert answer_in(ask(student, view(ITEM, "sit", mind=mind))) == "446"
    other = subtraction(952, 487)
    steps = render_steps(solve(parse_problem(other.question), {}))
    example = Demonstration(item=other.id, question=other.question, explanation=steps, answer=other.answer)
    sat = ask(student, view(ITEM, "sit", mind=mind, demonstrations=[example]))
    assert (answer_in(sat), sat.completions[0].mind) == ("354", None)


def test_rest_takes_what_was_learnt_rule_by_rule_at_the_rate_of_forgetting():
    relapsed = 0
    for seed in range(200):
        student, mind = learner("smaller_from_larger", forget=0.3, seed=seed)
        taught = reply(student, mind, say("teacher", "hint", RIGHT)).completions[0].mind
        assert rest(taught) == rest(taught)
        once, twice = rest(taught), rest(rest(taught))
        relapsed += once["rules"] != taught["rules"]
        assert once["rules"] in (taught["rules"], mind["rules"])
        assert twice["rules"] == mind["rules"] or once["rules"] == taught["rules"]
        assert answer_in(ask(student, view(ITEM, mind=once))) == (
            "354" if once["rules"] != mind["rules"] else "446"
        )
    assert relapsed / 200 == pytest.approx(0.3, abs=0.08)


def test_right_rules_that_were_unlearnt_come_back_with_rest_too():
    student, mind = learner(forget=1.0)
    misled = reply(student, mind, say("teacher", "explanation", WRONG)).completions[0].mind
    assert describe_mind(misled)["misconceptions"] == ["borrow_no_decrement"]
    assert describe_mind(rest(misled))["misconceptions"] == []


def test_only_minds_that_forget_carry_what_they_began_with():
    assert "first" not in new_mind(ProceduralModel(bugs=("smaller_from_larger",)), seed=1)
    skilled = new_mind(SkillModel(forget=1.0, mastery=1.0), seed=1)
    assert has_mastered(skilled, "s0")
    assert not has_mastered(rest(skilled), "s0")
