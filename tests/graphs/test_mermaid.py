from __future__ import annotations

from collections.abc import Callable

from docendo.graphs.library import load_library
from docendo.graphs.mermaid import to_mermaid
from docendo.scenarios.schema import GraphSpec


def test_the_intervention_graph() -> None:
    assert (
        to_mermaid(load_library("intervention"))
        == """\
flowchart TD
    s([start])
    n1["attempt<br/>student.solve"]
    n2["decide<br/>teacher.decide"]
    n3["explain<br/>teacher.explain<br/>spends 1 interventions"]
    n4["quote<br/>teacher.quote<br/>spends 1 interventions"]
    n5["retry<br/>student.solve"]
    e([end])
    s --> n1
    n1 --> n2
    n2 -->|"not decision.intervene"| e
    n2 -->|"params.explanation #124; default('teacher') == 'human'"| n4
    n2 --> n3
    n3 --> n5
    n4 --> n5
    n5 --> e
"""
    )


def test_fan_outs_joins_and_text_that_could_be_markup(graph: Callable[[str], GraphSpec]) -> None:
    spec = graph("""
    nodes: {class: {do: student.solve}, click: {do: teacher.grade}}
    edges:
      - {from: start, to: class, each: [students, samples]}
      - {from: class, to: click, when: 'turn < 3 and answer == "`a|b` #1"', join: true}
      - {from: class, to: click, join: true}
      - {from: click, to: end}
    """)
    assert (
        to_mermaid(spec)
        == """\
flowchart TD
    s([start])
    n1["class<br/>student.solve"]
    n2["click<br/>teacher.grade"]
    e([end])
    s ==>|"each students x samples"| n1
    n1 -.->|"turn #60; 3 and answer == #34;#96;a#124;b#96; #35;1#34;<br/>join"| n2
    n1 -.->|"join"| n2
    n2 --> e
"""
    )
