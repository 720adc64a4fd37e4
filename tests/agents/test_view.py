"""The firewall: a view holds what its allow-list names, for every act and every allow-list."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from docendo.agents.act import ACTS
from docendo.agents.moves import Menu
from docendo.agents.participant import Participant, Situation, build_view
from docendo.agents.view import ARTEFACTS
from docendo.memory.record import Demonstration, Evidence
from docendo.memory.state import MemoryState
from docendo.messages import Message, Usage
from docendo.scenarios.item import Item
from docendo.scenarios.schema import AgentSpec

ITEM = Item(
    id="i",
    question="PUBLIC-question",
    kind="number",
    answer="SECRET-gold",
    solution="SECRET-solution",
    skills=("SECRET-skill",),
    form="SECRET-form",
    taxonomy={"x": "SECRET-taxonomy"},
)
MESSAGES = (
    Message(
        sender="other",
        kind="hint",
        text="SAID-other",
        thoughts="SECRET-thought",
        payload={"x": "SECRET-payload"},
    ),
    Message(sender="other", recipients=(), kind="plan", text="SECRET-to-itself"),
    Message(sender="other", recipients=("third",), kind="hint", text="SECRET-to-third"),
    Message(sender="me", recipients=(), kind="attempt", text="OWN-words", thoughts="OWN-thought"),
)
SITUATION = Situation(
    item=ITEM,
    messages=MESSAGES,
    budget={"BUDGET-unit": 3},
    belief={"x": "BELIEF-x"},
    moves=Menu(slots={"move": {"MOVES-label": "what it means"}}),
    evidence=(
        Evidence(item="j", question="EVIDENCE-q", correct_answer="1", student="s", student_answer="2"),
    ),
)
MARKS = {
    "item": "PUBLIC-question",
    "gold": "SECRET-gold",
    "dialogue": "SAID-other",
    "own": "OWN-words",
    "memory": "MEMORY-note",
    "evidence": "EVIDENCE-q",
    "belief": "BELIEF-x",
    "moves": "MOVES-label",
    "budget": "BUDGET-unit",
    "profile": "PROFILE-me",
}
"""Artefact -> a word that stands in nothing else."""


def me(act: str, allowed: frozenset[str] | None = None) -> Participant:
    role, _, name = act.partition(".")
    return Participant(
        name="me",
        group="me",
        role=role,  # type: ignore[arg-type]
        spec=AgentSpec(
            model="m",
            profile="PROFILE-me",
            view={} if allowed is None else {name: tuple(sorted(allowed))},
        ),
        memory=MemoryState(
            kind="notes",
            notes=("MEMORY-note",),
            mind={"x": "MIND-me"},
            demonstrations=(
                Demonstration(item="i", question="SECRET-same-item", answer="1"),
                Demonstration(item="j", question="MEMORY-q", answer="1"),
            ),
        ),
    )


def seen(act: str, allowed: frozenset[str] | None = None) -> str:
    return orjson.dumps(
        build_view(me(act, allowed), ACTS.get(act), SITUATION).model_dump(mode="json")
    ).decode()


@pytest.mark.parametrize("act", ACTS.names())
def test_an_act_sees_its_allow_list_and_nothing_else(act: str) -> None:
    shown = {name for name, mark in MARKS.items() if mark in seen(act)}
    assert shown == ACTS.get(act).reads - {"mind"}


@given(st.sampled_from(ACTS.names()), st.frozensets(st.sampled_from(sorted(ARTEFACTS))))
def test_a_scenario_decides_what_is_on_the_list(act: str, allowed: frozenset[str]) -> None:
    text = seen(act, allowed)
    assert {name for name, mark in MARKS.items() if mark in text} == allowed - {"mind"}


@pytest.mark.parametrize("act", ACTS.names())
def test_no_allow_list_opens_what_is_nobodys(act: str) -> None:
    text = seen(act, ARTEFACTS)
    for secret in ("thought", "payload", "to-itself", "to-third", "skill", "form", "taxonomy", "same-item"):
        assert f"SECRET-{secret}" not in text
    assert "MIND-me" in text, "one's own mind, never another's"


def test_when_something_was_said_and_what_it_cost_are_no_information() -> None:
    def shown(turn: int, tokens: int) -> object:
        message = Message(
            sender="other", kind="hint", text="x", turn=turn, usage=Usage(completion_tokens=tokens)
        )
        situation = Situation(item=ITEM, messages=(message,))
        return build_view(me("student.solve"), ACTS.get("student.solve"), situation)

    assert shown(0, 0) == shown(5, 70)


def test_gold_is_refused_to_students_unless_the_scenario_says_so() -> None:
    for act in ACTS.names():
        if act.startswith("student."):
            assert "gold" not in ACTS.get(act).reads
