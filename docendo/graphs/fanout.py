"""Fan-outs: where a path splits into branches, and where they meet again.

An edge with `each` opens one branch per element of the product of its lists. A branch goes from node to
node by itself until it takes an edge with `join`, which closes the innermost fan-out: the edge's target
acts once, on the path that opened the fan-out, after all branches have arrived. Fan-outs nest. For this to
make sense on every way through the graph, each node lies inside the same fan-outs however it is reached,
`end` lies inside none, and all branches of one fan-out meet in the same node.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from docendo.errors import Problem, Where, did_you_mean
from docendo.graphs.actor import AXES
from docendo.graphs.termination import END, START
from docendo.scenarios.schema import EdgeSpec, GraphSpec

__all__ = ["fanout_problems"]

_Nest = tuple[tuple[str, ...], ...]
"""The `each` lists of the fan-outs that a place lies inside, the outermost first."""


def fanout_problems(graph: GraphSpec, path: str) -> list[Problem]:
    """Problems with the fan-outs of a graph whose edges all have known ends."""
    problems = list(_axis_problems(graph, path))
    if not problems:
        nests: dict[str, _Nest] = {START: ()}
        problems = list(_nest(graph, nests, path))
        if not problems:
            problems = list(_meeting_problems(graph, nests, path))
    return problems


def _problem(path: str, message: str, suggestion: str = "") -> Problem:
    return Problem(message=message, suggestion=suggestion, where=Where(path=path))


def _axis_problems(graph: GraphSpec, path: str) -> Iterator[Problem]:
    for i, edge in enumerate(graph.edges):
        here = f"{path}.edges.{i}"
        if edge.each and edge.join:
            yield _problem(
                here,
                f"the edge `{edge.from_} -> {edge.to}` both opens and closes a fan-out",
                "Put a node between the two.",
            )
        if edge.each and edge.to == END:
            yield _problem(
                f"{here}.each", "an edge fans out into `end`", "Name the node that acts in each branch."
            )
        for axis in edge.each:
            if axis not in AXES:
                yield _problem(f"{here}.each", f"cannot fan out over `{axis}`", did_you_mean(axis, AXES))
            elif edge.each.count(axis) > 1:
                yield _problem(f"{here}.each", f"`{axis}` stands twice in one fan-out")
                break


def _nest(graph: GraphSpec, nests: dict[str, _Nest], path: str) -> Iterator[Problem]:
    """Fill `nests` with every reachable node's nest, and report where there is none that fits."""
    waiting = deque([START])
    while waiting:
        name = waiting.popleft()
        for i, edge in enumerate(graph.edges):
            if edge.from_ != name:
                continue
            after, complaint = _after(edge, nests[name])
            if not complaint and edge.to == END and after:
                complaint = f"the edge `{name} -> {END}` ends the episode inside {_words(after)}"
            if not complaint and nests.get(edge.to, after) != after:
                complaint = (
                    f"`{edge.to}` is reached inside {_words(after)} and inside {_words(nests[edge.to])}"
                )
            if complaint:
                yield _problem(
                    f"{path}.edges.{i}",
                    complaint,
                    "Close a fan-out with `join: true` on the edge that leaves it.",
                )
            elif edge.to not in nests:
                nests[edge.to] = after
                waiting.append(edge.to)


def _after(edge: EdgeSpec, nest: _Nest) -> tuple[_Nest, str]:
    """The nest beyond `edge`, and a complaint if there is none."""
    if edge.each:
        twice = sorted(set(edge.each) & {axis for each in nest for axis in each})
        complaint = f"a fan-out over `{twice[0]}` opens inside another one over `{twice[0]}`" if twice else ""
        return (*nest, edge.each), complaint
    if edge.join:
        complaint = (
            "" if nest else f"the edge `{edge.from_} -> {edge.to}` joins, but no fan-out is open there"
        )
        return () if edge.to == END else nest[:-1], complaint
    return nest, ""


def _meeting_problems(graph: GraphSpec, nests: dict[str, _Nest], path: str) -> Iterator[Problem]:
    """All branches that one edge opens meet in one node."""
    for i, opening in enumerate(graph.edges):
        if not opening.each or opening.from_ not in nests:
            continue
        meetings = sorted(_meetings(graph, nests, opening))
        if len(meetings) > 1:
            names = " and ".join(f"`{name}`" for name in meetings)
            yield _problem(
                f"{path}.edges.{i}",
                f"the branches that `{opening.from_} -> {opening.to}` opens join in different nodes: {names}",
                "Let every `join` of a fan-out lead to the same node, and decide there.",
            )


def _meetings(graph: GraphSpec, nests: dict[str, _Nest], opening: EdgeSpec) -> set[str]:
    """Targets of the edges that close the fan-out that `opening` opens."""
    depth = len(nests[opening.to])
    inside, waiting, found = {opening.to}, [opening.to], set()
    while waiting:
        name = waiting.pop()
        for edge in graph.edges:
            if edge.from_ != name:
                continue
            if edge.join and len(nests[name]) == depth:
                found.add(edge.to)
            elif edge.to not in inside:
                inside.add(edge.to)
                waiting.append(edge.to)
    return found


def _words(nest: _Nest) -> str:
    """`nest` in words."""
    if not nest:
        return "no fan-out"
    return "a fan-out over " + ", within each over ".join(" x ".join(each) for each in nest)
