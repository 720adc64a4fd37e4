from __future__ import annotations

from typing import Any

import pytest

import docendo.agents  # noqa: F401
from docendo.agents.act import acts_of
from docendo.errors import UnknownNameError
from docendo.graphs.actor import Outcome
from docendo.graphs.check import check_graph
from docendo.graphs.library import library_names, load_library
from docendo.graphs.mermaid import to_mermaid

ACTS = {role: set(acts_of(role)) for role in ("teacher", "student", "critic", "diagnostician")}  # type: ignore[arg-type]
LOOPS = {"dialogue": ("turns",), "tutoring": ("turns", "vetoes")}
"""Graphs that go round for as long as the budget of these units lasts."""


def test_the_names() -> None:
    assert library_names() == (
        "demonstration", "dialogue", "exam", "intervention", "learning_by_teaching", "observation",
        "pressure", "refinement", "reflection", "teacher_exam", "teacher_score", "tutoring",
    )  # fmt: skip


@pytest.mark.parametrize("name", library_names())
def test_every_library_graph_is_valid_with_any_budget(name: str) -> None:
    graph = load_library(name)
    loops = LOOPS.get(name, ())
    assert check_graph(graph, units=loops, acts=ACTS) == []
    assert check_graph(graph, units=("interventions", *loops), acts=ACTS) == []
    assert graph.description.endswith(".")
    assert to_mermaid(graph).startswith("flowchart TD\n")


@pytest.mark.parametrize("name", LOOPS)
def test_a_dialogue_without_a_limit_is_refused(name: str) -> None:
    for unit in LOOPS[name]:
        others = [u for u in LOOPS[name] if u != unit]
        (problem,) = check_graph(load_library(name), units=others, acts=ACTS)
        assert f"spends `{unit}`, which the budget does not limit" in problem.message


def test_an_unknown_graph_is_answered_with_a_guess() -> None:
    with pytest.raises(UnknownNameError, match="`intervenion`") as caught:
        load_library("intervenion")
    assert "`intervention`" in caught.value.suggestion


@pytest.mark.parametrize(
    ("params", "nodes"),
    [
        ({}, ["demonstrate", "remember"]),
        ({"explanation": "teacher"}, ["demonstrate", "remember"]),
        ({"explanation": "human"}, ["quote", "remember"]),
        ({"explanation": "self"}, ["self_explain", "remember"]),
        ({"explanation": "none"}, ["demonstrate", "remember_answer"]),
    ],
)
def test_a_demonstration_is_explained_by_whom_the_phase_says(
    params: dict[str, str], nodes: list[str], recorder: Any, run: Any
) -> None:
    values = {"decision": {"intervene": True}, "params": params}
    actor = recorder(budget={"interventions": 1}, values=values)
    assert run(load_library("demonstration"), actor) == Outcome("end", turns=3)
    assert actor.path() == ["decide", *nodes]
    assert actor.budget == {"interventions": 0}


@pytest.mark.parametrize(
    ("params", "node"), [({}, "explain"), ({"explanation": "human"}, "quote"), ({"other": 1}, "explain")]
)
def test_an_intervention_is_explained_by_whom_the_phase_says(
    params: dict[str, Any], node: str, recorder: Any, run: Any
) -> None:
    values = {"decision": {"intervene": True}, "params": params}
    actor = recorder(budget={"interventions": 1}, values=values)
    assert run(load_library("intervention"), actor) == Outcome("end", turns=4)
    assert actor.path() == ["attempt", "decide", node, "retry"]


def test_a_demonstration_is_not_made_where_nobody_intervenes(recorder: Any, run: Any) -> None:
    actor = recorder(values={"decision": {"intervene": False}})
    run(load_library("demonstration"), actor)
    assert actor.path() == ["decide"]


def test_an_intervention_that_cannot_be_paid_is_an_outcome(recorder: Any, run: Any) -> None:
    actor = recorder(budget={"interventions": 0}, values={"decision": {"intervene": True}})
    assert run(load_library("intervention"), actor) == Outcome("budget", "interventions", 3)
    assert actor.path() == ["attempt", "decide"]
