import asyncio
import json

import pytest

from docendo.agents.port import GenerateRequest, ScoreRequest
from docendo.runtime.backends.base import BackendFault
from docendo.runtime.minds.population import new_mind
from docendo.scenarios.model_spec import ExpertModel, ParrotModel, ProceduralModel, SkillModel
from tests.runtime.minds_lab import Lab, answer_in, ask, subtraction, view, yes_no

ITEM, FACT = subtraction(702, 348), yes_no(7)
STRANGER = yes_no(8).model_copy(update={"id": "stranger"})
LAB = Lab([ITEM, FACT])
SPECS = [ProceduralModel(bugs=("smaller_from_larger",)), SkillModel(), ExpertModel(), ParrotModel()]


def test_capabilities_and_fingerprints():
    backends = [LAB.backend(spec) for spec in SPECS]
    assert len({b.fingerprint for b in backends}) == 4
    assert LAB.backend(SkillModel(slip=0.2)).fingerprint != LAB.backend(SkillModel()).fingerprint
    assert LAB.backend(SkillModel(retries=1)).fingerprint == LAB.backend(SkillModel()).fingerprint
    assert Lab([FACT]).backend(SkillModel()).fingerprint != LAB.backend(SkillModel()).fingerprint
    can = backends[0].capabilities
    assert (can.scoring, can.seed, can.schema, can.deterministic, can.reads_view, can.logprobs) == (
        True,
    ) * 5 + (False,)


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.mind)
def test_unknown_act_names_mind_and_act(spec):
    with pytest.raises(BackendFault, match=rf"`{spec.mind}` cannot `juggle`; it can: .*`solve`") as caught:
        ask(LAB.backend(spec), view(ITEM, "juggle"))
    assert not caught.value.retry


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.mind)
def test_greedy_answers_do_not_depend_on_the_seed(spec):
    what = view(ITEM, mind=new_mind(spec, seed=8))
    assert len({ask(LAB.backend(spec), what, seed=s, temperature=0).text for s in range(5)}) == 1


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.mind)
def test_agents_without_a_state_have_one_of_their_own(spec):
    what = view(ITEM)
    assert ask(LAB.backend(spec), what, seed=3) == ask(LAB.backend(spec), what, seed=3)


def test_completions_of_one_call_are_separate_draws():
    spec = SkillModel(mastery=0.0)
    what = view(FACT, mind=new_mind(spec, seed=1))
    reply = ask(LAB.backend(spec), what, n=30)
    assert {answer_in(ask(LAB.backend(spec), what)), "yes", "no"} == {"yes", "no"}
    assert {c.text.rsplit(" ", 1)[1] for c in reply.completions} == {"yes.", "no."}
    assert reply.usage.completion_tokens == sum(len(c.text.split()) for c in reply.completions)


def test_schema_gives_json_and_a_missing_field_is_an_error():
    backend = LAB.backend(SPECS[0])
    schema = {"properties": {"answer": {}, "explanation": {}}, "required": ["answer"]}
    data = json.loads(ask(backend, view(ITEM), schema=schema).text)
    assert data["answer"] == "446"
    assert "take the smaller digit" in data["explanation"]
    with pytest.raises(BackendFault, match="says nothing about mood"):
        ask(backend, view(ITEM), schema={"properties": {"mood": {}}, "required": ["mood"]})


def test_choices_are_obeyed():
    assert ask(LAB.backend(SPECS[0]), view(ITEM), choices=("354", "446")).text == "446"
    assert ask(LAB.backend(SPECS[0]), view(ITEM), choices=("cat", "dog")).text in {"cat", "dog"}


def test_too_little_room_cuts_and_says_so():
    reply = ask(LAB.backend(SPECS[0]), view(ITEM), max_tokens=4)
    assert len(reply.text.split()) == 4
    assert reply.completions[0].finish == "length"


@pytest.mark.parametrize(
    ("spec", "what", "message"),
    [
        (SPECS[0], view(None), "holds no item"),
        (SPECS[0], view(FACT), "is neither"),
        (SPECS[1], view(STRANGER), "answer key of this simulated model holds no item `stranger`"),
        (SPECS[1], view(FACT, mind={"kind": "procedural"}), "has the mind of a `procedural`"),
    ],
)
def test_what_cannot_be_done_is_explained(spec, what, message):
    with pytest.raises(BackendFault, match=message):
        ask(LAB.backend(spec), what)


def test_acts_without_an_answer_cannot_be_scored():
    request = ScoreRequest(
        model="m", prompt=(), continuations=("1",), view=view(ITEM, "explain", agent="teacher")
    )
    with pytest.raises(BackendFault, match="comes to no answer"):
        asyncio.run(LAB.backend(ExpertModel()).score(request))


def test_scores_of_all_answers_sum_to_one():
    request = ScoreRequest(model="m", prompt=(), continuations=(" yes", " no"), view=view(FACT))
    reply = asyncio.run(LAB.backend(SkillModel()).score(request))
    assert sum(2.718281828459045**s.total for s in reply.scores) == pytest.approx(1)
    assert all(len(s.logprobs) == 1 and not s.censored for s in reply.scores)


def test_the_answer_key_is_in_no_reply_of_a_learner_that_knows_nothing():
    canary = FACT.model_copy(update={"id": "canary", "solution": "ZEBRA-7131 is the law of factfa."})
    spec = SkillModel(mastery=0.0)
    request = GenerateRequest(model="m", prompt=(), view=view(canary))
    assert "ZEBRA" not in asyncio.run(Lab([canary]).backend(spec).generate(request)).text
