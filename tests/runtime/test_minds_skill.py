import json
import math
import re
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docendo.memory.record import Demonstration
from docendo.runtime.minds.population import describe_mind, has_mastered, new_mind, rest
from docendo.runtime.minds.world import World
from docendo.scenarios.item import Item
from docendo.scenarios.model_spec import ParrotModel, SkillModel
from tests.runtime.minds_lab import Lab, answer_in, ask, chance, view, yes_no

ITEMS = [yes_no(n, skill=f"s{n % 4}") for n in range(100, 140)]
LAB = Lab(ITEMS)


def novice(seed=1, **spec):
    model = SkillModel(mastery=0.0, slip=0.0, comprehension=1.0, **spec)
    return LAB.backend(model), new_mind(model, seed=seed)


@given(mastery=st.floats(0, 1), slip=st.floats(0, 0.5), guess=st.floats(0, 1), seed=st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_score_is_the_tracing_formula(mastery, slip, guess, seed):
    item = Item(id="x", question="?", kind="number", answer="7", skills=("a", "b"))
    spec = SkillModel(mastery=mastery, slip=slip, guess=guess)
    mind = new_mind(spec, seed=seed)
    p = 1.0
    for skill in item.skills:
        p *= 1 - slip if has_mastered(mind, skill) else guess
    assert chance(Lab([item]).backend(spec), view(item, mind=mind), "7") == pytest.approx(max(p, guess, 1e-6))


def test_known_parameters_are_recovered_from_answers():
    """Fit prior mastery, guess and slip by maximum likelihood to simulated first answers on three items."""
    items = [Item(id=str(n), question="?", kind="number", answer="5", skills=("s",)) for n in range(4)]
    spec = SkillModel(mastery=0.6, guess=0.2, slip=0.1)
    backend = Lab(items).backend(spec)
    counts = [0] * 5
    for learner in range(900):
        mind = new_mind(spec, seed=learner)
        right = sum(
            answer_in(ask(backend, view(i, mind=mind), seed=10 * learner + k)) == "5"
            for k, i in enumerate(items)
        )
        counts[right] += 1
    grid = [i / 20 for i in range(1, 20)]

    def fit(known, guess, slip):
        total = 0.0
        for k, n in enumerate(counts):
            p = known * (1 - slip) ** k * slip ** (4 - k) + (1 - known) * guess**k * (1 - guess) ** (4 - k)
            total += n * math.log(p)
        return total

    best = max(((m, g, s) for m in grid for g in grid[:9] for s in grid[:9]), key=lambda x: fit(*x))
    assert best == pytest.approx((0.6, 0.2, 0.1), abs=0.051)


def test_guesses_by_answer_kind_at_temperature_one():
    item = Item(
        id="c", question="Which?", kind="choice", options=("red", "green", "blue", "black"), answer="B"
    )
    backend, mind = Lab([item]).backend(SkillModel(mastery=0.0)), new_mind(SkillModel(mastery=0.0), seed=4)
    answers = [answer_in(ask(backend, view(item, mind=mind), seed=s)) for s in range(800)]
    assert {a: pytest.approx(answers.count(a) / 800, abs=0.06) for a in "ABCD"} == dict.fromkeys("ABCD", 0.25)
    assert len({answer_in(ask(backend, view(item, mind=mind), seed=s, temperature=0)) for s in range(9)}) == 1


def test_right_explanation_is_followed_and_teaches_the_skill_for_other_items():
    backend, mind = novice(learn=1.0)
    item, sibling = ITEMS[0], ITEMS[4]
    reply = ask(backend, view(item, mind=mind, help=[item.solution]))
    assert answer_in(reply) == item.answer
    after = reply.completions[0].mind
    assert describe_mind(after)["skills"] == {"s0": True}
    assert chance(backend, view(sibling, mind=after), sibling.answer) == 1
    assert chance(backend, view(sibling, mind=mind), sibling.answer) == 0.5


def test_wrong_conclusion_is_followed_and_undoes_mastery():
    model = SkillModel(mastery=1.0, slip=0.0, comprehension=1.0, learn=1.0)
    item = ITEMS[0]
    reply = ask(
        LAB.backend(model),
        view(item, mind=new_mind(model, seed=1), help=[f"{item.solution} So the answer is yes."]),
    )
    assert item.answer == "no"
    assert answer_in(reply) == "yes"
    assert describe_mind(reply.completions[0].mind)["skills"] == {"s0": False}


@pytest.mark.parametrize(
    "text",
    ["", "The weather is nice today.", ITEMS[7].solution, f"{ITEMS[7].solution} So the answer is yes."],
)
def test_irrelevant_text_does_nothing(text):
    backend, mind = novice(learn=1.0)
    for item in ITEMS[:5]:
        alone, helped = (
            ask(backend, view(item, mind=mind), seed=5),
            ask(backend, view(item, mind=mind, help=[text]), seed=5),
        )
        assert helped.completions == alone.completions


def test_bare_answer_is_given_but_teaches_nothing():
    backend, mind = novice(learn=1.0)
    reply = ask(backend, view(ITEMS[1], mind=mind, help=["So the answer is yes."]))
    assert answer_in(reply) == "yes"
    assert reply.completions[0].mind is None


def test_half_an_explanation_teaches_half_as_often():
    item = ITEMS[0]
    half = item.solution.split(". ")[0] + "."
    coverage = World(LAB.key).read(half, item).coverage
    assert 0.2 < coverage < 0.8
    learned = 0
    for seed in range(500):
        backend, mind = novice(seed=seed, learn=0.8)
        learned += ask(backend, view(item, mind=mind, help=[half])).completions[0].mind is not None
    assert learned / 500 == pytest.approx(0.8 * coverage, abs=0.07)


def test_worked_examples_teach_for_the_call_only():
    backend, mind = novice(learn=1.0)
    shown, asked = ITEMS[0], ITEMS[8]
    example = Demonstration(
        item=shown.id, question=shown.question, explanation=shown.solution, answer=shown.answer
    )
    reply = ask(backend, view(asked, mind=mind, demonstrations=[example]))
    assert answer_in(reply) == asked.answer
    assert reply.completions[0].mind is None
    assert chance(backend, view(asked, mind=mind, demonstrations=[example]), asked.answer) == 1


def test_forgetting_loses_skills_at_the_given_rate_and_never_adds_any():
    spec = SkillModel(mastery=0.7, forget=0.25)
    skills = [f"k{n}" for n in range(2000)]
    mind = new_mind(spec, seed=2) | {"skills": {"k0": True, "k1": False}}
    known = [mind]
    for _ in range(3):
        known.append(rest(known[-1]))
    sets = [{s for s in skills if has_mastered(m, s)} for m in known]
    for before, after in pairwise(sets):
        assert after < before
        assert len(after) / len(before) == pytest.approx(0.75, abs=0.04)
    assert rest(new_mind(SkillModel(), seed=1)) == new_mind(SkillModel(), seed=1)


def test_parrot_repeats_the_last_answer_it_saw_and_keeps_nothing():
    backend = LAB.backend(ParrotModel())
    for item in ITEMS[:4]:
        for said in ("yes", "no"):
            reply = ask(backend, view(item, help=["Blah. So the answer is no.", f"So the answer is {said}."]))
            assert answer_in(reply) == said
            assert reply.completions[0].mind is None
    alone = [answer_in(ask(backend, view(ITEMS[0]), seed=s)) for s in range(400)]
    assert alone.count("yes") / 400 == pytest.approx(0.5, abs=0.1)


STRATEGYQA = Path(__file__).parents[2].parent / "shared/data/strategyqa"


@pytest.mark.skipif(not STRATEGYQA.exists(), reason="needs the real item files")
def test_reading_real_texts():
    items = [
        Item(
            id=d["qid"],
            question=d["question"],
            kind="yes_no",
            answer="yes" if d["answer"] else "no",
            solution=" ".join(d["facts"]),
        )
        for d in json.loads((STRATEGYQA / "dev.json").read_text(encoding="utf-8"))
    ]
    harmful = json.loads((STRATEGYQA / "harmful_explanations.json").read_text(encoding="utf-8"))
    bad = [
        Item(
            id=d["qid"],
            question=d["question"],
            kind="yes_no",
            answer=d["answer"],
            solution=d["gold_explanation"],
            taxonomy={
                "harmful": {"explanations": d["harmful_explanation"], "wrong_answer": d["wrong_answer"]}
            },
        )
        for d in harmful
    ]
    world = World({i.id: i for i in [*items, *bad]})
    assert all(world.read(i.solution, i).conclusion == i.answer for i in items)
    first = [world.read(re.split(r"(?<=\.)\s", i.solution)[0], i).conclusion == i.answer for i in items]
    assert sum(first) / len(first) > 0.95
    draw = Random(0)
    strangers = [world.read(draw.choice([j for j in items if j is not i]).solution, i) for i in items]
    assert sum(r.conclusion is not None for r in strangers) <= 3
    for item in bad:
        for text in item.taxonomy["harmful"]["explanations"]:
            assert world.read(text, item).conclusion == item.taxonomy["harmful"]["wrong_answer"]
