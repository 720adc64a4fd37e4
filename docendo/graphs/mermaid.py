"""A graph as a Mermaid flowchart, for `docendo show --graph`, the viewer and Markdown."""

from __future__ import annotations

from docendo.graphs.termination import END, START
from docendo.scenarios.schema import EdgeSpec, GraphSpec, NodeSpec

__all__ = ["to_mermaid"]


def to_mermaid(graph: GraphSpec) -> str:
    """The flowchart of `graph`, with what acts spend and when edges are taken.

    Thick arrows fan out, dotted arrows join. Nodes get numbered ids, because names such as `end` or
    `class` are words of Mermaid's own.
    """
    ids = {START: "s", END: "e"} | {name: f"n{i}" for i, name in enumerate(graph.nodes, 1)}
    lines = ["flowchart TD", f"    s([{START}])"]
    lines += [f'    {ids[name]}["{_node_text(name, spec)}"]' for name, spec in graph.nodes.items()]
    lines += [f"    e([{END}])"]
    lines += [
        f"    {ids[edge.from_]} {_arrow(edge)} {ids[edge.to]}"
        for edge in graph.edges
        if edge.from_ in ids and edge.to in ids
    ]
    return "\n".join(lines) + "\n"


def _node_text(name: str, spec: NodeSpec) -> str:
    lines = [name, spec.do]
    lines += [f"spends {amount} {unit}" for unit, amount in spec.spends.items()]
    return "<br/>".join(map(_escape, lines))


def _arrow(edge: EdgeSpec) -> str:
    words = []
    if edge.when is not None:
        words.append(edge.when)
    if edge.each:
        words.append("each " + " x ".join(edge.each))
    if edge.join:
        words.append("join")
    arrow = "==>" if edge.each else "-.->" if edge.join else "-->"
    return f'{arrow}|"{"<br/>".join(map(_escape, words))}"|' if words else arrow


def _escape(text: str) -> str:
    """`text` with everything that Mermaid or HTML could read as markup in Mermaid's own character codes."""
    flat = " ".join(text.split())
    return "".join(char if char.isalnum() or char in " .,_-=+()'/!?:" else f"#{ord(char)};" for char in flat)
