"""What makes a graph a graph that can be run: every rule of the language, checked before anything runs.

`check_graph` reports all problems of a graph at once, each with the path of the key that has it. Names
and shapes come first; the rules about loops (`docendo.graphs.termination`) and fan-outs
(`docendo.graphs.fanout`) are checked on graphs whose edges make sense.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import networkx as nx

from docendo.errors import Problem, PromptError, Where, did_you_mean
from docendo.graphs.expression import SCOPE_NAMES, compile_condition
from docendo.graphs.fanout import fanout_problems
from docendo.graphs.termination import END, START, free_loops
from docendo.scenarios.schema import EdgeSpec, GraphSpec, NodeSpec

__all__ = ["UNITS", "check_graph"]

UNITS = frozenset({"hints", "interventions", "questions", "tells", "tokens", "turns", "vetoes"})
"""Units that a node may spend whether or not the budget limits them. A budget may name further ones."""


def check_graph(
    graph: GraphSpec,
    *,
    units: Collection[str],
    acts: Mapping[str, Collection[str]] | None = None,
    path: str = "graph",
) -> list[Problem]:
    """All problems of `graph`, in file order; none for a graph that can be compiled and run.

    Args:
        graph: The graph.
        units: Units that the scenario's budget limits.
        acts: Agent, by every name that a node may give it -> acts it can do. `None` leaves acts unchecked.
        path: Where the graph stands in its file; the problems' paths begin with it.
    """
    problems = [
        *_node_problems(graph, units, acts, path),
        *_edge_problems(graph, path),
        *_choice_problems(graph, path),
    ]
    if not any(_misplaced(graph, edge) for edge in graph.edges):
        problems += _way_problems(graph, path)
        problems += _loop_problems(graph, units, path)
        problems += fanout_problems(graph, path)
    return problems


def _problem(path: str, message: str, suggestion: str = "") -> Problem:
    return Problem(message=message, suggestion=suggestion, where=Where(path=path))


def _node_problems(
    graph: GraphSpec, units: Collection[str], acts: Mapping[str, Collection[str]] | None, path: str
) -> Iterator[Problem]:
    if not graph.nodes:
        yield _problem(f"{path}.nodes", "the graph has no nodes")
    for name, spec in graph.nodes.items():
        here = f"{path}.nodes.{name}"
        if name in {START, END}:
            yield _problem(here, f"`{name}` is reserved and cannot name a node")
        yield from _do_problems(name, spec, acts, f"{here}.do")
        for unit, amount in spec.spends.items():
            if unit not in units and unit not in UNITS:
                yield _problem(
                    f"{here}.spends.{unit}",
                    f"`{name}` spends `{unit}`, which is no unit of the budget",
                    did_you_mean(unit, {*units, *UNITS}),
                )
            if amount < 1:
                yield _problem(
                    f"{here}.spends.{unit}", f"`{name}` spends {amount} `{unit}`; an act costs at least 1"
                )


def _do_problems(
    name: str, spec: NodeSpec, acts: Mapping[str, Collection[str]] | None, path: str
) -> Iterator[Problem]:
    agent, dot, act = spec.do.partition(".")
    if not (agent and dot and act) or "." in act:
        yield _problem(path, f"`{name}` does `{spec.do}`", "Write `agent.act`, e.g. `teacher.explain`.")
    elif acts is None:
        return
    elif agent not in acts:
        yield _problem(path, f"`{name}` asks an unknown agent `{agent}`", did_you_mean(agent, acts))
    elif act not in acts[agent]:
        yield _problem(
            path,
            f"`{name}` asks `{agent}` for an unknown act `{act}`",
            did_you_mean(act, acts[agent]),
        )


def _misplaced(graph: GraphSpec, edge: EdgeSpec) -> bool:
    """Whether an end of `edge` is not where an edge can begin or end."""
    return edge.from_ not in {START, *graph.nodes} or edge.to not in {END, *graph.nodes}


def _edge_problems(graph: GraphSpec, path: str) -> Iterator[Problem]:
    seen: dict[EdgeSpec, int] = {}
    for i, edge in enumerate(graph.edges):
        here = f"{path}.edges.{i}"
        if edge.from_ == END:
            yield _problem(f"{here}.from", "an edge leaves `end`, where the episode is over")
        elif edge.from_ not in {START, *graph.nodes}:
            hint = did_you_mean(edge.from_, {START, *graph.nodes})
            yield _problem(f"{here}.from", f"an edge leaves an unknown node `{edge.from_}`", hint)
        if edge.to == START:
            yield _problem(f"{here}.to", "an edge leads back to `start`", "Name the node that acts next.")
        elif edge.to not in {END, *graph.nodes}:
            hint = did_you_mean(edge.to, {END, *graph.nodes})
            yield _problem(f"{here}.to", f"an edge leads to an unknown node `{edge.to}`", hint)
        if edge.when is not None:
            yield from _condition_problems(edge.when, f"{here}.when")
        if edge in seen:
            yield _problem(here, f"the edge {_arrow(edge)} repeats edges.{seen[edge]}", "Remove one of them.")
        seen.setdefault(edge, i)


def _condition_problems(text: str, path: str) -> Iterator[Problem]:
    try:
        condition = compile_condition(text)
    except PromptError as error:
        yield _problem(path, error.message, error.suggestion)
        return
    for name in sorted(condition.names - SCOPE_NAMES):
        yield _problem(
            path, f"the condition `{text}` reads an unknown name `{name}`", did_you_mean(name, SCOPE_NAMES)
        )


def _choice_problems(graph: GraphSpec, path: str) -> Iterator[Problem]:
    """Every node has a way on, whatever its conditions say, and no edge that is never taken."""
    for name in (START, *graph.nodes):
        ways = [(i, edge) for i, edge in enumerate(graph.edges) if edge.from_ == name]
        if not ways:
            where = f"{path}.edges" if name == START else f"{path}.nodes.{name}"
            yield _problem(where, f"no edge leaves `{name}`", f"Add `{{from: {name}, to: ...}}`.")
            continue
        last, edge = ways[-1]
        if edge.when is not None:
            yield _problem(
                f"{path}.edges.{last}.when",
                f"the last edge that leaves `{name}` has a condition, so a run may get stuck there",
                f"Add a last edge without `when`: `{{from: {name}, to: {END}}}`.",
            )
        for i, edge in ways[:-1]:
            if edge.when is None:
                yield _problem(
                    f"{path}.edges.{i}",
                    f"the edge {_arrow(edge)} has no condition, so no later edge of `{name}` is ever taken",
                    "Move it below them.",
                )


def _way_problems(graph: GraphSpec, path: str) -> Iterator[Problem]:
    """Every node lies on some way from start to end."""
    ways: nx.DiGraph[str] = nx.DiGraph()
    ways.add_nodes_from((START, END, *graph.nodes))
    ways.add_edges_from((edge.from_, edge.to) for edge in graph.edges)
    reached, ending = nx.descendants(ways, START), nx.ancestors(ways, END)
    for name in graph.nodes:
        if name not in reached:
            yield _problem(f"{path}.nodes.{name}", f"no way leads from `start` to `{name}`")
        elif name not in ending:
            yield _problem(f"{path}.nodes.{name}", f"no way leads from `{name}` to `end`")


def _loop_problems(graph: GraphSpec, units: Collection[str], path: str) -> Iterator[Problem]:
    for loop in free_loops(graph, units):
        ring = " -> ".join((*loop, loop[0]))
        wasted = sorted(
            {unit for name in loop for unit in graph.nodes[name].spends if unit not in units},
            key=lambda unit: (unit != "turns", unit),  # where turns are paid, every way round pays them
        )
        if wasted:
            why = f"spends `{wasted[0]}`, which the budget does not limit"
            fix = f"Limit it: `budget: {{{wasted[0]}: 20}}`."
        else:
            why = "can go round without spending anything that the budget limits"
            fix = "Let one of its acts pay: `spends: {turns: 1}`, with `budget: {turns: 20}`."
        yield _problem(f"{path}.nodes.{loop[0]}", f"the loop `{ring}` {why}, so it may never end", fix)


def _arrow(edge: EdgeSpec) -> str:
    return f"`{edge.from_} -> {edge.to}`"
