"""Which graphs a phase runs: its own, the scenario's by name, or the library's."""

from __future__ import annotations

from docendo.graphs.library import load_library
from docendo.scenarios.schema import GraphSpec, Phase, Scenario

__all__ = ["GRAPH_OF", "graph_of", "graphs_of"]

GRAPH_OF = {"test": "exam", "observe": "observation", "teach": "intervention", "refine": "refinement"}
"""The library graph that a phase uses when it names none."""


def graph_of(scenario: Scenario, phase: Phase) -> GraphSpec:
    """The graph of a phase: inline, the scenario's own by name, or the library's."""
    if isinstance(phase.graph, GraphSpec):
        return phase.graph
    name = phase.graph or GRAPH_OF[phase.kind]
    return scenario.graphs[name] if name in scenario.graphs else load_library(name)


def graphs_of(scenario: Scenario, phase: Phase) -> dict[str, GraphSpec]:
    """The graphs that a phase runs, by the names under which a lesson looks for them."""
    if phase.kind == "rest":
        return {}
    own = graph_of(scenario, phase)
    if phase.kind != "refine":
        return {phase.id: own}
    return {f"{phase.id}/refinement": own, f"{phase.id}/teacher_score": load_library("teacher_score")}
