"""Why every run of a graph ends.

An act that spends a unit which the budget limits happens a limited number of times. All other steps are
*free*: they make up the free graph. If the free graph has no loop, a run is a sequence of free paths with
paid acts between them, so its length is bounded by (paid acts + 1) x (longest free path). If it has one,
a run may go round it for ever, and the graph is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import networkx as nx

from docendo.errors import EpisodeFailure, PromptError
from docendo.graphs.expression import compile_condition
from docendo.scenarios.schema import EdgeSpec, GraphSpec

__all__ = ["END", "START", "free_loops", "longest_path_bound"]

START = "start"
END = "end"


def free_loops(graph: GraphSpec, units: Collection[str]) -> list[list[str]]:
    """Loops that a run could go round without spending one of the limited `units`.

    One per knot of the graph (strongly connected component), as its nodes in order.
    """
    free = _free_graph(graph, units)
    loops = []
    for knot in nx.strongly_connected_components(free):
        inside = free.subgraph(knot)
        if inside.number_of_edges():
            loops.append(_in_file_order(graph, [u for u, _ in nx.find_cycle(inside)]))
    return sorted(loops)


def longest_path_bound(graph: GraphSpec, limits: Mapping[str, int]) -> int:
    """Most acts that one path of a run can have, when the budget is `limits` (unit -> amount).

    The graph must have no loop in `free_loops(graph, limits)`.
    """
    free = _free_graph(graph, limits)
    longest = int(nx.dag_longest_path_length(free.subgraph(graph.nodes))) + 1
    paid = 0
    for unit, limit in limits.items():
        prices = [spec.spends[unit] for spec in graph.nodes.values() if spec.spends.get(unit, 0) > 0]
        if prices:
            paid += max(limit, 0) // min(prices)
    return (paid + 1) * longest


def _free_graph(graph: GraphSpec, units: Collection[str]) -> nx.DiGraph[str]:
    """All nodes, and the edges that can be taken without having spent anything limited."""
    free: nx.DiGraph[str] = nx.DiGraph()
    free.add_nodes_from((START, END, *graph.nodes))
    for edge in graph.edges:
        if edge.from_ not in free or edge.to not in free:
            continue
        spends = graph.nodes[edge.from_].spends if edge.from_ in graph.nodes else {}
        limited = [unit for unit, amount in spends.items() if unit in units and amount > 0]
        if not limited or _taken_when_exhausted(edge, limited):
            free.add_edge(edge.from_, edge.to)
    return free


def _taken_when_exhausted(edge: EdgeSpec, units: list[str]) -> bool:
    """Whether `edge` may be taken after its act was refused for want of one of `units`."""
    if edge.when is None:
        return False
    try:
        condition = compile_condition(edge.when)
        if condition.names == {"exhausted"}:
            return any(condition.holds({"exhausted": unit}) for unit in units)
    except (PromptError, EpisodeFailure):
        return False  # no run passes an edge whose condition fails
    return "exhausted" in condition.names


def _in_file_order(graph: GraphSpec, loop: list[str]) -> list[str]:
    """`loop`, turned so that it begins with the node that the file names first."""
    order = list(graph.nodes)
    first = min(range(len(loop)), key=lambda i: order.index(loop[i]) if loop[i] in order else -1)
    return loop[first:] + loop[:first]
