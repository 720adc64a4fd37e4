import json
import random

import pytest

from docendo.memory.record import Demonstration
from docendo.messages import Message
from docendo.runtime.minds.population import describe_mind, new_mind
from docendo.scenarios.arithmetic import BUGS, parse_problem
from docendo.scenarios.grader import extract_answer, grade
from docendo.scenarios.item import Item
from docendo.scenarios.model_spec import ExpertModel, ProceduralModel, SkillModel
from docendo.scenarios.worked_steps import read_steps
from tests.runtime.minds_lab import (
    Lab,
    answer_in,
    ask,
    chance,
    observed,
    subtraction,
    subtractions,
    view,
    yes_no,
)

ITEM = subtraction(702, 348)
FACTS = [yes_no(n, skill=f"s{n % 5}") for n in range(200, 240)]
NUMBER = Item(
    id="apples",
    question="Ann has 12 apples and buys 5 bags of 4. How many has she?",
    kind="number",
    answer="32",
    solution="The bags hold 5 * 4 = 20 apples. Then she has 12 + 20 = 32 apples.",
)
CHOICE = Item(
    id="drink",
    question="What do you drink from?",
    kind="choice",
    options=("a shoe", "a glass", "a roof"),
    answer="B",
    solution="Liquids are served in a glass at the table.",
)
LAB = Lab([ITEM, *FACTS, NUMBER, CHOICE])
SUBTRACTION_BUGS = tuple(b for b, bug in BUGS.items() if bug.operation == "-")


def teacher(**spec):
    return LAB.backend(ExpertModel(**spec))


def explain(backend, item, act="explain", *, room=512, **rest):
    return ask(backend, view(item, act, agent="teacher", **rest), max_tokens=room).text


def population(count, *, seed=0, **spec):
    """Learners who hold each bug-bearing rule wrongly with chance 1/2, as the expert's prior has it."""
    draw = random.Random(seed)
    by_slot = {}
    for name in SUBTRACTION_BUGS:
        by_slot.setdefault(BUGS[name].slot, []).append(name)
    for n in range(count):
        held = [draw.choice(bugs) for bugs in by_slot.values() if draw.random() < 0.5]
        model = ProceduralModel(bugs=held, **spec)
        yield LAB.backend(model), new_mind(model, seed=1000 * seed + n)


def unaided(student, mind, items, seed=0):
    return [observed(i, answer_in(ask(student, view(i, mind=mind), seed=seed))) for i in items]


@pytest.mark.parametrize("item", [ITEM, FACTS[0], NUMBER, CHOICE], ids=lambda i: i.kind)
def test_faultless_expert_solves_and_explains_rightly(item):
    expert = teacher()
    assert grade(item, answer_in(ask(expert, view(item, agent="teacher")))).correct
    assert chance(expert, view(item, agent="teacher"), item.answer) == 1
    assert answer_in(ask(expert, view(item, "demonstrate", agent="teacher"))) == LAB.key[item.id].answer
    assert "So the answer is" not in explain(expert, item, params={"reveal": False})


@pytest.mark.parametrize("item", [FACTS[0], FACTS[1], NUMBER, CHOICE], ids=lambda i: i.id)
def test_skill_learner_follows_a_misleading_explanation_to_its_wrong_end(item):
    text = explain(teacher(misleading=True), item, params={"reveal": False})
    model = SkillModel(mastery=1.0, slip=0.0, comprehension=1.0)
    answer = answer_in(ask(LAB.backend(model), view(item, mind=new_mind(model, seed=1), help=[text])))
    assert grade(item, answer).correct is False
    assert answer == answer_in(ask(teacher(misleading=True), view(item, "demonstrate", agent="teacher")))
    right = explain(teacher(), item, params={"reveal": False})
    assert (
        answer_in(ask(LAB.backend(model), view(item, mind=new_mind(model, seed=1), help=[right])))
        == item.answer
    )


def test_harmful_explanations_of_the_source_are_used():
    item = FACTS[1].model_copy(
        update={
            "id": "harm",
            "taxonomy": {
                "harmful": {"explanations": ["Some old law forbids every factcabbie."], "wrong_answer": "no"}
            },
        }
    )
    backend = Lab([item]).backend(ExpertModel(misleading=True))
    assert explain(backend, item) == "Some old law forbids every factcabbie. So the answer is no."


def test_misleading_expert_lowers_accuracy():
    items = subtractions(30, 3)
    model = ProceduralModel(comprehension=0.8)
    student, mind = LAB.backend(model), new_mind(model, seed=5)
    right = {}
    for kind in ("helpful", "misleading"):
        expert = teacher(misleading=kind == "misleading")
        replies = [ask(student, view(i, mind=mind, help=[explain(expert, i)])) for i in items]
        right[kind] = sum(answer_in(r) == i.answer for r, i in zip(replies, items, strict=True))
    assert right["helpful"] == 30
    assert right["misleading"] < 20


def test_error_rate_is_met_per_item_and_errors_are_explained_as_they_are_made():
    wrong = 0
    for seed in range(15):
        spec = ExpertModel(error_rate=0.3)
        mind = new_mind(spec, seed=seed)
        for item in FACTS[:5]:
            said = answer_in(ask(teacher(error_rate=0.3), view(item, agent="teacher", mind=mind)))
            assert (
                answer_in(ask(teacher(error_rate=0.3), view(item, "demonstrate", agent="teacher", mind=mind)))
                == said
            )
            wrong += said != item.answer
        truth = describe_mind(mind, [f"s{n}" for n in range(5)])["skills"]
        assert truth["s0"] == (
            answer_in(ask(teacher(error_rate=0.3), view(FACTS[0], agent="teacher", mind=mind)))
            == FACTS[0].answer
        )
    assert wrong / 75 == pytest.approx(0.3, abs=0.12)


def test_short_personalised_explanations_spell_out_what_the_student_lacks():
    model = ProceduralModel(bugs=("borrow_no_decrement",), comprehension=1.0)
    student, mind = LAB.backend(model), new_mind(model, seed=2)
    evidence = unaided(student, mind, subtractions(8, 11))
    item = subtraction(870, 345)
    short = {"steps": 1, "reveal": False}
    plain = explain(teacher(), item, params=short)
    fitted = explain(teacher(), item, params=short, evidence=evidence)
    assert plain != fitted
    assert answer_in(ask(student, view(item, mind=mind, help=[fitted]))) == item.answer
    assert answer_in(ask(student, view(item, mind=mind, help=[plain]))) != item.answer
    full = explain(teacher(), item, params={"reveal": False})
    assert full == explain(teacher(), item, params={"reveal": False}, evidence=evidence)
    shown = {(s.slot, s.variant) for s in read_steps(full)}
    assert shown == {("zero_minus", "correct"), ("borrow", "correct")}


def test_demonstrations_of_rectified_items_personalise_too():
    zeros = [subtraction(470 + 100 * n, 38) for n in range(3)]
    shown = [Demonstration(item=i.id, question=i.question, answer=i.answer) for i in zeros]
    item = subtraction(957, 382)
    params = {"steps": 1, "reveal": False}
    plain = explain(teacher(), item, params=params, demonstrations=shown)
    fitted = explain(teacher(), item, params={**params, "style": "personalised"}, demonstrations=shown)
    assert plain.startswith("Ones: 7 - 2 = 5, write 5.")
    assert "Tens: 5 is less than 8, so borrow: make the 9 a 8" in fitted


def test_who_lends_across_a_zero_is_said_together_with_what_becomes_of_the_ten():
    short = explain(teacher(), subtraction(905, 367), params={"steps": 1, "reveal": False})
    assert short.splitlines()[0].startswith("Ones: the next digit is 0")
    assert short.splitlines()[1].startswith("Ones: 5 is less than 7")


def test_a_slip_is_made_on_some_items_in_one_rule_and_explained_as_it_is_made():
    items = subtractions(120, 5)
    expert = ExpertModel(slip=0.3)
    right = [i for i in items if answer_in(ask(LAB.backend(expert), view(i, agent="teacher"))) == i.answer]
    assert 0.6 < len(right) / len(items) < 0.85
    for item in items:
        text = ask(LAB.backend(expert), view(item, "demonstrate", agent="teacher")).text
        assert (extract_answer(text, "number") == item.answer) == (item in right)
        wrong = [s.slot for s in read_steps(text, parse_problem(item.question)) if s.variant != "correct"]
        assert len(set(wrong)) <= 1
        assert not wrong or wrong[0] in item.skills


def test_room_is_kept_to():
    for room in (3, 8, 15, 30, 60):
        for act in ("explain", "demonstrate", "solve"):
            reply = ask(teacher(), view(ITEM, act, agent="teacher"), max_tokens=room)
            assert reply.usage.completion_tokens == len(reply.text.split()) <= room


def test_predictions_beat_the_base_rate_and_are_calibrated():
    """A well-specified expert: learners come from its own prior."""
    scored = []
    for n, (student, mind) in enumerate(population(40, seed=1)):
        items = subtractions(14, 100 + n)
        seen, asked = unaided(student, mind, items[:8]), unaided(student, mind, items[8:])
        for item, truth in zip(items[8:], asked, strict=True):
            p = chance(
                teacher(), view(item, "predict", agent="teacher", evidence=seen, gold=True), item.answer
            )
            scored.append((p, bool(truth.correct)))
    rate = sum(c for _, c in scored) / len(scored)
    assert 0.2 < rate < 0.8
    brier = sum((p - c) ** 2 for p, c in scored) / len(scored)
    assert brier < 0.5 * rate * (1 - rate)
    assert sum(p for p, _ in scored) / len(scored) == pytest.approx(rate, abs=0.06)
    for low, high in ((0, 0.3), (0.3, 0.7), (0.7, 1.01)):
        part = [(p, c) for p, c in scored if low <= p < high]
        assert sum(p for p, _ in part) / len(part) == pytest.approx(
            sum(c for _, c in part) / len(part), abs=0.15
        )


def test_predicted_answer_is_the_students_own_wrong_answer():
    model = ProceduralModel(bugs=("smaller_from_larger",))
    student, mind = LAB.backend(model), new_mind(model, seed=1)
    seen = unaided(student, mind, subtractions(8, 2))
    reply = ask(teacher(), view(ITEM, "predict", agent="teacher", evidence=seen), temperature=0)
    assert reply.text == "AI Predicted Answer: 446"


def test_comprehension_is_estimated_from_answers_after_help():
    believed = {}
    for name, comprehension in (("quick", 1.0), ("slow", 0.0)):
        model = ProceduralModel(bugs=("smaller_from_larger",), comprehension=comprehension)
        student, mind = LAB.backend(model), new_mind(model, seed=1)
        items = subtractions(12, 6)
        seen = unaided(student, mind, items[:6])
        for item in items[6:]:
            help_ = explain(teacher(), item)
            seen.append(
                observed(item, answer_in(ask(student, view(item, mind=mind, help=[help_]))), help=help_)
            )
        asked = subtraction(863, 345)
        told = [explain(teacher(), asked)]
        after = view(asked, "predict", agent="teacher", evidence=seen, help=told, params={"helped": True})
        alone = after.model_copy(update={"params": {"helped": False}})
        believed[name] = (chance(teacher(), alone, "518"), chance(teacher(), after, "518"))
    assert believed["quick"][0] < 0.05
    assert believed["slow"][0] < 0.05
    assert believed["quick"][1] > 0.7
    assert believed["slow"][1] < 0.3


def test_skill_predictions_use_skills_and_help():
    expert, model = teacher(), SkillModel(mastery={"s0": 1.0, "s1": 0.0}, slip=0.0, guess=0.0)
    student, mind = LAB.backend(model), new_mind(model, seed=1)
    pool = [i for i in FACTS if i.skills[0] in {"s0", "s1"}]
    seen = unaided(student, mind, pool[:8])
    known, unknown = pool[-2:] if pool[-2].skills == ("s0",) else pool[:-3:-1]
    p = {
        name: chance(expert, view(item, "predict", agent="teacher", evidence=seen), item.answer)
        for name, item in (("known", known), ("unknown", unknown))
    }
    assert p["known"] > 0.8
    assert p["unknown"] < 0.6
    helped = view(unknown, "predict", agent="teacher", evidence=seen, help=[unknown.solution])
    assert chance(expert, helped, unknown.answer) > p["unknown"] + 0.1
    misled = view(
        known, "predict", agent="teacher", evidence=seen, help=[explain(teacher(misleading=True), known)]
    )
    assert chance(expert, misled, known.answer) < p["known"] - 0.2


def test_expected_utility_beats_random():
    """Saha et al. 2023, RQ2, in miniature: rectified answers among the chosen quarter of 40 items."""
    gains = []
    for seed in range(10):
        model = ProceduralModel(bugs=SUBTRACTION_BUGS, bugs_per_student=2, comprehension=0.7)
        student, mind = LAB.backend(model), new_mind(model, seed=seed)
        items = subtractions(48, 50 + seed)
        seen = unaided(student, mind, items[:8])
        utility, rectified = [], []
        for item in items[8:]:
            help_ = explain(teacher(), item)
            what = view(
                item, "predict", agent="teacher", evidence=seen, help=[help_], params={"helped": True}
            )
            alone = what.model_copy(update={"params": {"helped": False}})
            utility.append(chance(teacher(), what, item.answer) - chance(teacher(), alone, item.answer))
            before = answer_in(ask(student, view(item, mind=mind))) == item.answer
            after = answer_in(ask(student, view(item, mind=mind, help=[help_]))) == item.answer
            rectified.append(after and not before)
        chosen = sorted(range(40), key=lambda i: -utility[i])[:10]
        gains.append(sum(rectified[i] for i in chosen) - sum(rectified) / 4)
    assert sum(gains) / 10 > 1


def test_diagnosis_names_the_bug_from_evidence_and_from_dialogue():
    model = ProceduralModel(bugs=("borrow_across_zero",))
    student, mind = LAB.backend(model), new_mind(model, seed=1)
    schema = {
        "properties": {"skills": {}, "misconceptions": {}, "predicted_answer": {}},
        "required": ["skills"],
    }
    seen = unaided(student, mind, [subtraction(702, 348), subtraction(904, 256), subtraction(811, 35)])
    belief = json.loads(
        ask(teacher(), view(ITEM, "diagnose", agent="doctor", evidence=seen), schema=schema).text
    )
    assert max(belief["misconceptions"], key=belief["misconceptions"].get) == "borrow_across_zero"
    assert belief["skills"]["borrow"] > 0.9 > 0.1 > belief["skills"]["borrow_from_zero"]
    said = Message(sender="student", kind="attempt", text=ask(student, view(ITEM, mind=mind)).text)
    heard = view(ITEM, "diagnose", agent="doctor", messages=(said,))
    belief = json.loads(ask(teacher(), heard, schema=schema).text)
    assert belief["misconceptions"]["borrow_across_zero"] > 0.5
    assert belief["predicted_answer"] == answer_in(ask(student, view(ITEM, mind=mind)))


@pytest.mark.parametrize("item", [ITEM, FACTS[0]], ids=["arithmetic", "facts"])
def test_review_rejects_leaks_and_errors(item):
    def verdict(text):
        what = view(
            item, "review", agent="critic", messages=(Message(sender="t", kind="explanation", text=text),)
        )
        return json.loads(ask(teacher(), what, schema={"properties": {"accept": {}, "reason": {}}}).text)[
            "accept"
        ]

    assert verdict(explain(teacher(), item, params={"reveal": False}))
    assert not verdict(explain(teacher(), item))
    assert not verdict(explain(teacher(misleading=True), item, params={"reveal": False}))


def test_the_expert_knows_of_the_student_only_what_its_view_holds():
    """The same view gives the same belief, whoever the student truly is."""
    seen = [observed(ITEM, "446")]
    what = view(subtraction(531, 264), "predict", agent="teacher", evidence=seen)
    assert ask(teacher(), what, temperature=0) == ask(teacher(), what, seed=77, temperature=0)
    assert "mind" not in what.model_dump(exclude_defaults=True)
