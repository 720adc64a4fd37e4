"""Which node of a graph gives the help that a policy decides about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from docendo.graphs.compile import CompiledGraph
from docendo.graphs.expression import SCOPE_NAMES
from docendo.scenarios.schema import NodeSpec

__all__ = ["help_node"]


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
