from __future__ import annotations

from collections.abc import Callable

import pytest

from docendo.errors import Problem, ScenarioError
from docendo.graphs.check import check_graph
from docendo.graphs.compile import compile_graph
from docendo.scenarios.schema import GraphSpec

ACTS = {"teacher": {"decide", "explain"}, "student": {"solve"}}

Load = Callable[[str], GraphSpec]


def check(spec: GraphSpec, *units: str) -> list[Problem]:
    return check_graph(spec, units=units, acts=ACTS, path="plan.teach.graph")


def build(nodes: str, edges: str) -> str:
    """YAML from `a b c*` (a starred node spends one turn) and `start>a a>b?turn a>b?c!axis b>end~`."""
    lines = ["nodes:"]
    for word in nodes.split():
        pay = ", spends: {turns: 1}" if word.endswith("*") else ""
        lines.append(f"  {word.rstrip('*')}: {{do: student.solve{pay}}}")
    lines.append("edges:")
    for word in edges.split():
        join, word = word.endswith("~"), word.rstrip("~")
        word, _, each = word.partition("!")
        word, _, when = word.partition("?")
        source, _, target = word.partition(">")
        extra = f", when: '{when}'" if when else ""
        extra += f", each: [{each}]" if each else ""
        extra += ", join: true" if join else ""
        lines.append(f"  - {{from: {source}, to: {target}{extra}}}")
    return "\n".join(lines)


def test_a_good_graph_has_no_problems(graph: Load) -> None:
    assert check(graph(build("a b", "start>a a>b?decision a>end b>end"))) == []


@pytest.mark.parametrize(
    ("nodes", "edges", "path", "message", "suggestion"),
    [
        ("start", "start>end", "nodes.start", "reserved", ""),
        ("a end", "start>a a>end end>end", "nodes.end", "reserved", ""),
        ("ask", "start>ask ask>end ak>end", "edges.2.from", "unknown node `ak`", "`ask`"),
        ("ask", "start>aks ask>end", "edges.0.to", "unknown node `aks`", "`ask`"),
        ("a", "start>a a>start", "edges.1.to", "back to `start`", ""),
        ("a", "start>a a>end end>a", "edges.2.from", "leaves `end`", ""),
        ("a b", "start>a a>end b>end", "nodes.b", "no way leads from `start` to `b`", ""),
        ("a b*", "start>a a>b?turn a>end b>b", "nodes.b", "no way leads from `b` to `end`", ""),
        ("a", "start>a", "nodes.a", "no edge leaves `a`", "{from: a, to: ...}"),
        ("a", "a>end", "edges", "no edge leaves `start`", ""),
        ("a", "start>a a>end?turn", "edges.1.when", "may get stuck", "{from: a, to: end}"),
        ("a b", "start>a a>b a>end b>end", "edges.1", "is ever taken", "below"),
        ("a b", "start>a a>b?turn a>b?turn a>end b>end", "edges.2", "repeats edges.1", ""),
        ("a", "start>a a>end?trun a>end", "edges.1.when", "unknown name `trun`", "`turn`"),
        ("a", "start>a a>end?turn==(1 a>end", "edges.1.when", "not an expression", ""),
        ("a b", "start>a a>b b>a?turn b>end", "nodes.a", "`a -> b -> a` can go round", "turns"),
        ("a", "start>a a>a?turn a>end", "nodes.a", "`a -> a` can go round", ""),
        (
            "a b*",
            "start>a a>b b>a?turn b>end",
            "nodes.a",
            "spends `turns`, which the budget does not",
            "budget",
        ),
    ],
)
def test_every_problem_says_what_where_and_what_next(
    graph: Load, nodes: str, edges: str, path: str, message: str, suggestion: str
) -> None:
    problems = check(graph(build(nodes, edges)))
    found = [p for p in problems if p.where.path == f"plan.teach.graph.{path}" and message in p.message]
    assert found, [str(p) for p in problems]
    assert suggestion in found[0].suggestion


@pytest.mark.parametrize(
    ("do", "message", "suggestion"),
    [
        ("techer.explain", "unknown agent `techer`", "`teacher`"),
        ("teacher.explian", "unknown act `explian`", "`explain`"),
        ("explain", "does `explain`", "agent.act"),
        ("teacher.", "does `teacher.`", "agent.act"),
        ("a.b.c", "does `a.b.c`", "agent.act"),
    ],
)
def test_acts_are_checked(graph: Load, do: str, message: str, suggestion: str) -> None:
    spec = graph(f"{{nodes: {{a: {{do: {do}}}}}, edges: [{{from: start, to: a}}, {{from: a, to: end}}]}}")
    (problem,) = check(spec)
    assert problem.where.path == "plan.teach.graph.nodes.a.do"
    assert message in problem.message
    assert suggestion in problem.suggestion


def test_prices_are_checked(graph: Load) -> None:
    spec = graph("""
    nodes: {a: {do: student.solve, spends: {intervention: 1, hints: 0, euros: 2}}}
    edges: [{from: start, to: a}, {from: a, to: end}]
    """)
    unknown, free = check(spec, "euros")
    assert "`intervention`, which is no unit" in unknown.message
    assert "`interventions`" in unknown.suggestion
    assert unknown.where.path == "plan.teach.graph.nodes.a.spends.intervention"
    assert "at least 1" in free.message


def test_a_graph_without_nodes(graph: Load) -> None:
    assert [p.message for p in check(graph("{nodes: {}, edges: [{from: start, to: end}]}"))] == [
        "the graph has no nodes"
    ]


def test_a_loop_is_fine_once_it_spends_what_is_limited(graph: Load) -> None:
    spec = graph(build("a b*", "start>a a>b b>a?turn b>end"))
    assert check(spec, "turns") == []
    assert check(spec, "hints") != []


def test_one_loop_that_pays_does_not_excuse_another(graph: Load) -> None:
    spec = graph(build("a b* c", "start>a a>b?turn a>c b>a c>a?turn c>end"))
    (problem,) = check(spec, "turns")
    assert "`a -> c -> a`" in problem.message


def test_a_way_round_for_the_exhausted_does_not_count_as_paid(graph: Load) -> None:
    loop = "start>a a>b?exhausted a>b b>a?turn b>end"
    assert len(check(graph(build("a* b", loop)), "turns")) == 1
    paid = "start>a a>end?exhausted a>b b>a?turn b>end"
    assert check(graph(build("a* b", paid)), "turns") == []


def test_not_exhausted_is_not_a_way_for_the_exhausted(graph: Load) -> None:
    spec = graph("""
    nodes: {a: {do: student.solve, spends: {turns: 1}}, b: {do: student.solve}}
    edges:
      - {from: start, to: a}
      - {from: a, to: b, when: not exhausted}
      - {from: a, to: end}
      - {from: b, to: a, when: turn}
      - {from: b, to: end}
    """)
    assert check(spec, "turns") == []


@pytest.mark.parametrize(
    ("nodes", "edges", "path", "message"),
    [
        ("a", "start>a!students a>end", "edges.1", "inside a fan-out over students"),
        ("a", "start>a a>end~", "edges.1", "no fan-out is open"),
        ("a b", "start>a!students,pupils a>b~ b>end", "edges.0.each", "over `pupils`"),
        ("a b", "start>a!students,students a>b~ b>end", "edges.0.each", "twice"),
        (
            "a b c",
            "start>a!students a>b!students b>c~ c>end~",
            "edges.1",
            "inside another one over `students`",
        ),
        ("a b", "start>a!students a>b!samples~ b>end~", "edges.1", "both opens and closes"),
        ("a", "start>a a>end!students", "edges.1.each", "into `end`"),
        ("a b", "start>a a>b?turn!students a>b b>end~", "edges.2", "is reached inside no fan-out and inside"),
        ("a b c", "start>a!students a>b?turn~ a>c~ b>end c>end", "edges.0", "different nodes: `b` and `c`"),
        ("a b", "start>a!students a>b?turn~ a>end b>end", "edges.2", "ends the episode inside"),
    ],
)
def test_fan_outs_must_close(graph: Load, nodes: str, edges: str, path: str, message: str) -> None:
    problems = check(graph(build(nodes, edges)))
    assert [p.where.path for p in problems] == [f"plan.teach.graph.{path}"], [str(p) for p in problems]
    assert message in problems[0].message


def test_fan_outs_that_close_are_fine(graph: Load) -> None:
    assert check(graph(build("a b", "start>a!students,samples a>b~ b>end"))) == []
    nested = "start>a a>b!students b>c!samples c>d~ d>e~ e>end"
    assert check(graph(build("a b c d e", nested))) == []
    repeated = "start>a a>b!students b>a~"
    assert check(graph(build("a* b", repeated.replace("a>b", "a>end?turn a>b"))), "turns") == []
    assert check(graph(build("a", "start>a!students a>end~"))) == []


def test_an_invalid_graph_does_not_compile(graph: Load) -> None:
    with pytest.raises(ScenarioError, match="can go round") as caught:
        compile_graph(graph(build("a", "start>a a>a?turn a>end")), limits={"turns": 3})
    assert len(caught.value.problems) == 1


def test_all_problems_come_at_once(graph: Load) -> None:
    problems = check(graph(build("a b", "start>a a>end?trun b>x")))
    assert {p.where.path.rpartition("graph.")[2] for p in problems if p.where.path} == {
        "edges.1.when",
        "edges.2.to",
    }
    assert len(problems) == 3
