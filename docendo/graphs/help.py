"""Which node of a graph gives the help that a policy decides about, and which nodes a run can come to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from docendo.graphs.compile import CompiledGraph
from docendo.graphs.expression import SCOPE_NAMES
from docendo.graphs.termination import START
from docendo.scenarios.schema import NodeSpec

__all__ = ["help_node", "nodes_reached"]


def help_node(graph: CompiledGraph, params: Mapping[str, Any]) -> NodeSpec | None:
    """The node that gives help when the teacher decides to intervene; `None` where help has no price."""
    nodes = graph.spec.nodes
    scope = dict.fromkeys(SCOPE_NAMES) | {
        "decision": {"intervene": True},
        "params": dict(params),
        "exhausted": "",
    }
    for name, spec in nodes.items():
        if spec.do.endswith(".decide"):
            for edge in graph.edges[name]:
                target = nodes.get(edge.spec.to)
                taken = edge.condition is None or edge.condition.holds(scope)
                if taken and target is not None and "interventions" in target.spends:
                    return target
    return next((n for n in nodes.values() if "interventions" in n.spends), None)


def nodes_reached(graph: CompiledGraph, params: Mapping[str, Any]) -> set[str]:
    """The nodes that a run with these parameters can come to, by any of the ways that they leave open."""
    scope = dict.fromkeys(SCOPE_NAMES) | {"params": dict(params)}
    found: set[str] = set()
    waiting = [START]
    while waiting:
        taken = False
        for edge in graph.edges[waiting.pop()]:
            settled = edge.condition is None or edge.condition.names <= {"params"}
            if settled and edge.condition is not None and not edge.condition.holds(scope):
                continue
            if taken and not edge.handles_exhaustion:
                continue
            taken = taken or settled
            if edge.spec.to in graph.spec.nodes and edge.spec.to not in found:
                found.add(edge.spec.to)
                waiting.append(edge.spec.to)
    return found
