"""Names that a scenario mentions and upper layers define: measures, policies, graphs, acts, bugs, ..."""

from __future__ import annotations

from collections.abc import Iterator

from docendo.scenarios.model_spec import ProceduralModel
from docendo.scenarios.positions import Path
from docendo.scenarios.schema import AgentSpec, GraphSpec, Scenario

__all__ = ["mentions"]

Mention = tuple[str, str, Path]


def mentions(scenario: Scenario) -> Iterator[Mention]:
    """(kind of thing, name, place) of every name that is not defined in the scenario itself."""
    for i, measure in enumerate(scenario.measures):
        yield "measure", measure, ("measures", i)
    for unit in scenario.budget:
        yield "unit", unit, ("budget", unit)
    yield from _of_phases(scenario)
    for name, agent in scenario.agents.items():
        yield from _of_agent(agent, ("agents", name))
    for name, model in scenario.models.items():
        for i, bug in enumerate(model.bugs if isinstance(model, ProceduralModel) else ()):
            yield "bug", bug, ("models", name, "bugs", i)


def _of_phases(scenario: Scenario) -> Iterator[Mention]:
    for i, phase in enumerate(scenario.plan):
        if phase.policy is not None:
            yield "policy", phase.policy.kind, ("plan", i, "policy", "kind")
        graph = phase.graph
        if graph is not None and not isinstance(graph, GraphSpec) and graph not in scenario.graphs:
            yield "graph", graph, ("plan", i, "graph")


def _of_agent(agent: AgentSpec, at: Path) -> Iterator[Mention]:
    if agent.student_model is not None:
        yield "student_model", agent.student_model.kind, (*at, "student_model", "kind")
    for i, bug in enumerate(agent.misconceptions):
        yield "bug", bug, (*at, "misconceptions", i)
    for act in agent.prompts:
        yield "act", act, (*at, "prompts", act)
    for act, artefacts in agent.view.items():
        yield "act", act, (*at, "view", act)
        for i, artefact in enumerate(artefacts):
            yield "artefact", artefact, (*at, "view", act, i)
