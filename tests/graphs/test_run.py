from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from typing import Any

import langsmith.utils
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from docendo.errors import EpisodeFailure, ModelError
from docendo.graphs.actor import Branch, Outcome
from docendo.graphs.check import check_graph
from docendo.graphs.compile import compile_graph
from docendo.graphs.library import load_library
from docendo.graphs.termination import longest_path_bound
from docendo.scenarios.schema import EdgeSpec, GraphSpec, NodeSpec

Load = Callable[[str], GraphSpec]
Run = Callable[[GraphSpec, Any], Outcome]

# A tutoring dialogue: diagnose, decide, speak, and let a critic veto what was said, until the student is
# right or the turns are spent. Vetoes have a price of their own, so that a stubborn critic runs dry, too.
DIALOGUE = """
nodes:
  diagnose: {do: diagnostician.diagnose}
  decide: {do: teacher.decide}
  utter: {do: teacher.utter, spends: {turns: 1}}
  review: {do: critic.review}
  revise: {do: teacher.revise, spends: {revisions: 1}}
  answer: {do: student.answer}
edges:
  - {from: start, to: diagnose}
  - {from: diagnose, to: decide}
  - {from: decide, to: utter}
  - {from: utter, to: review}
  - {from: review, to: revise, when: verdict.veto}
  - {from: review, to: answer}
  - {from: revise, to: answer, when: exhausted}
  - {from: revise, to: review}
  - {from: answer, to: end, when: grade.correct}
  - {from: answer, to: diagnose}
"""

# Learning by teaching: the teacher writes several solutions, each student takes an exam after reading
# one of them, and what the students got right says which solution was good.
TEACHING = """
nodes:
  plan: {do: teacher.plan}
  write: {do: teacher.solve}
  study: {do: student.read}
  exam: {do: student.solve}
  mark: {do: teacher.grade}
  vote: {do: teacher.vote}
edges:
  - {from: start, to: plan}
  - {from: plan, to: write, each: samples}
  - {from: write, to: study, each: [students, items]}
  - {from: study, to: exam}
  - {from: exam, to: mark, join: true}
  - {from: mark, to: vote, join: true}
  - {from: vote, to: end}
"""


def correct_after(answers: int) -> Callable[[Any, Branch], dict[str, bool]]:
    return lambda actor, branch: {"correct": actor.path(str(branch)).count("answer") >= answers}


def test_an_intervention(recorder: Any, run: Run) -> None:
    yes = recorder(budget={"interventions": 1}, values={"decision": {"intervene": True}})
    assert run(load_library("intervention"), yes) == Outcome("end", turns=4)
    assert yes.acts == [(0, "", "attempt"), (1, "", "decide"), (2, "", "explain"), (3, "", "retry")]
    no = recorder(values={"decision": {"intervene": False}})
    assert run(load_library("intervention"), no) == Outcome("end", turns=2)
    assert no.path() == ["attempt", "decide"]


def test_a_dialogue_goes_on_until_the_item_is_solved(graph: Load, recorder: Any, run: Run) -> None:
    actor = recorder(
        budget={"turns": 9, "revisions": 9}, values={"verdict": {"veto": False}, "grade": correct_after(3)}
    )
    assert run(graph(DIALOGUE), actor) == Outcome("end", turns=15)
    assert actor.path() == ["diagnose", "decide", "utter", "review", "answer"] * 3


def test_a_dialogue_ends_when_the_turns_are_spent(graph: Load, recorder: Any, run: Run) -> None:
    values = {"verdict": {"veto": False}, "grade": {"correct": False}}
    actor = recorder(budget={"turns": 2, "revisions": 0}, values=values)
    assert run(graph(DIALOGUE), actor) == Outcome("budget", "turns", 13)
    assert actor.path().count("utter") == 2
    assert actor.budget["turns"] == 0


def test_a_graph_may_go_on_without_what_is_exhausted(graph: Load, recorder: Any, run: Run) -> None:
    values = {"verdict": {"veto": True}, "grade": correct_after(1)}
    actor = recorder(budget={"turns": 9, "revisions": 2}, values=values)
    assert run(graph(DIALOGUE), actor).reason == "end"
    assert actor.path() == [
        "diagnose", "decide", "utter", "review", "revise", "review", "revise", "review", "answer",
    ]  # fmt: skip


def test_branches_are_named_by_their_members(graph: Load, recorder: Any, run: Run) -> None:
    axes = {"samples": ["1", "2"], "students": ["ann", "bob"], "items": ["x/1", "y"]}
    actor = recorder(axes=axes)
    assert run(graph(TEACHING), actor) == Outcome("end", turns=6)
    assert actor.path() == ["plan", "vote"]
    assert actor.path("samples=2") == ["write", "mark"]
    assert actor.path("samples=2/students=bob/items=x%2F1") == ["study", "exam"]
    assert len(actor.acts) == 2 + 2 * 2 + 2 * 4 * 2
    assert {turn for turn, _, node in actor.acts if node == "vote"} == {5}


def test_what_happens_does_not_depend_on_who_is_faster(graph: Load, recorder: Any, run: Run) -> None:
    axes = {"samples": ["1", "2"], "students": ["ann", "bob", "cem"], "items": ["x", "y"]}
    arrivals, streams = set(), set()
    for seed in range(6):
        actor = recorder(axes=axes, awaits=random.Random(seed))
        run(graph(TEACHING), actor)
        arrivals.add(tuple(actor.acts))
        streams.add(tuple(sorted(actor.acts)))
        assert len(set(actor.acts)) == len(actor.acts), "positions are unique"
    assert len(arrivals) > 1, "the random awaits must have changed the order of arrival"
    assert len(streams) == 1


UNEVEN = """
nodes:
  try: {do: student.solve, spends: {turns: 1}}
  join: {do: teacher.grade}
  last: {do: teacher.plan}
edges:
  - {from: start, to: try, each: students}
  - {from: try, to: try, when: grade.again}
  - {from: try, to: join, join: true}
  - {from: join, to: last}
  - {from: last, to: end}
"""


def again(actor: Any, branch: Branch) -> dict[str, bool]:
    return {"again": len(actor.path(str(branch))) < int(branch.get("students"))}


def test_a_join_waits_for_the_longest_branch(graph: Load, recorder: Any, run: Run) -> None:
    actor = recorder(
        budget={"turns": 20}, axes={"students": ["3", "1", "5"]}, values={"grade": again},
        awaits=random.Random(1),
    )  # fmt: skip
    assert run(graph(UNEVEN), actor) == Outcome("end", turns=7)
    assert actor.acts[-2:] == [(5, "", "join"), (6, "", "last")]
    assert [len(actor.path(f"students={n}")) for n in ("3", "1", "5")] == [3, 1, 5]


def test_the_last_unit_goes_to_the_same_branch_in_every_run(graph: Load, recorder: Any, run: Run) -> None:
    streams = set()
    for seed in range(5):
        actor = recorder(
            budget={"turns": 7}, axes={"students": ["5", "4", "3"]}, values={"grade": again},
            awaits=random.Random(seed),
        )  # fmt: skip
        assert run(graph(UNEVEN), actor) == Outcome("budget", "turns", 3)
        streams.add(tuple(sorted(actor.acts)))
    assert len(streams) == 1
    assert [len(actor.path(f"students={n}")) for n in ("5", "4", "3")] == [3, 2, 2]


def test_fan_outs_in_a_loop_have_positions_of_their_own(graph: Load, recorder: Any, run: Run) -> None:
    spec = graph("""
    nodes: {ask: {do: teacher.ask, spends: {questions: 1}}, answer: {do: student.answer}}
    edges:
      - {from: start, to: ask}
      - {from: ask, to: end, when: turn > 4}
      - {from: ask, to: answer, each: students}
      - {from: answer, to: ask, join: true}
    """)
    actor = recorder(budget={"questions": 9}, axes={"students": ["a", "b"]})
    assert run(spec, actor) == Outcome("end", turns=5)
    assert len(set(actor.acts)) == len(actor.acts) == 3 + 2 * 2


def test_an_empty_fan_out_fails_with_a_name(graph: Load, recorder: Any, run: Run) -> None:
    axes = {"samples": ["1"], "students": [], "items": ["x"]}
    with pytest.raises(EpisodeFailure, match="`write -> study` fans out over `students`") as caught:
        run(graph(TEACHING), recorder(axes=axes))
    assert caught.value.kind == "crash"


def test_a_condition_that_fails_names_its_edge(recorder: Any, run: Run) -> None:
    with pytest.raises(EpisodeFailure, match=r"`decide -> end`.*`not decision\.intervene`") as caught:
        run(load_library("intervention"), recorder())
    assert caught.value.kind == "crash"


@pytest.mark.parametrize("error", [EpisodeFailure("model", "no"), ModelError("gone"), KeyError("bug")])
def test_failures_reach_the_caller_unchanged(recorder: Any, run: Run, error: Exception) -> None:
    def during(node: str, turn: int, branch: Branch) -> None:
        if node == "decide":
            raise error

    actor = recorder(during=during)
    with pytest.raises(type(error)) as caught:
        run(load_library("intervention"), actor)
    assert caught.value is error
    assert not getattr(error, "__notes__", [])
    assert actor.path() == ["attempt"]


def test_a_failure_ends_the_episode_after_its_turn(graph: Load, recorder: Any, run: Run) -> None:
    def during(node: str, turn: int, branch: Branch) -> None:
        if turn == 1 and branch.get("students") in {"4", "3"}:
            raise EpisodeFailure("model", str(branch))

    streams = set()
    for seed in range(5):
        actor = recorder(
            budget={"turns": 50}, axes={"students": ["4", "3", "6"]}, values={"grade": again},
            awaits=random.Random(seed), during=during,
        )  # fmt: skip
        with pytest.raises(EpisodeFailure, match="students=3"):
            run(graph(UNEVEN), actor)
        streams.add(tuple(sorted(actor.acts)))
    assert len(streams) == 1
    assert actor.path("students=6") == ["try", "try"]


def test_cancellation_reaches_the_acts_and_the_caller(graph: Load, recorder: Any) -> None:
    async def main() -> None:
        acting, seen = asyncio.Event(), []

        class Slow(recorder):  # type: ignore[misc]
            async def act(self, node: str, spec: NodeSpec, *, turn: int, branch: Branch) -> None:
                acting.set()
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    seen.append(str(branch))
                    raise

        compiled = compile_graph(graph(UNEVEN), limits={"turns": 9})
        episode = asyncio.create_task(compiled.run(Slow(axes={"students": ["1", "2"]})))
        await acting.wait()
        await asyncio.sleep(0)
        episode.cancel()
        with pytest.raises(asyncio.CancelledError):
            await episode
        assert sorted(seen) == ["students=1", "students=2"]

    asyncio.run(main())


def test_one_compiled_graph_serves_many_episodes_at_once(graph: Load, recorder: Any) -> None:
    compiled = compile_graph(graph(UNEVEN), limits={"turns": 20})
    actors = [
        recorder(
            budget={"turns": 20}, axes={"students": ["2", str(n)]}, values={"grade": again},
            awaits=random.Random(n),
        )
        for n in range(3, 7)
    ]  # fmt: skip

    async def main() -> list[Outcome]:
        return await asyncio.gather(*(compiled.run(actor) for actor in actors))

    assert [outcome.turns for outcome in asyncio.run(main())] == [5, 6, 7, 8]


def test_an_act_that_is_not_charged_for_runs_into_the_limit(graph: Load, recorder: Any) -> None:
    compiled = compile_graph(graph(DIALOGUE), limits={"turns": 3, "revisions": 2})
    generous = recorder(values={"verdict": {"veto": False}, "grade": {"correct": False}})
    outcome = asyncio.run(compiled.run(generous))
    assert outcome == Outcome("limit", f"more than {compiled.bound} turns", compiled.bound + 1)


def test_start_may_choose(graph: Load, recorder: Any, run: Run) -> None:
    spec = graph("""
    nodes: {a: {do: student.solve}}
    edges: [{from: start, to: a, when: params.act}, {from: start, to: end}, {from: a, to: end}]
    """)
    assert run(spec, recorder(values={"params": {"act": False}})) == Outcome("end", turns=0)
    assert run(spec, recorder(values={"params": {"act": True}})) == Outcome("end", turns=1)


def test_nothing_is_traced(recorder: Any, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    langsmith.utils.get_env_var.cache_clear()
    traced = []
    try:
        assert langsmith.utils.tracing_is_enabled()
        run(
            load_library("exam"),
            recorder(during=lambda *_: traced.append(langsmith.utils.tracing_is_enabled())),
        )
        assert os.environ["LANGSMITH_TRACING"] == "true"
    finally:
        langsmith.utils.get_env_var.cache_clear()
    assert traced == [False]


# --- every valid graph ends -----------------------------------------------------------------------------

WHEN = ["turn % 2 == 0", "turn % 3 != 1", "grade", "not grade", "true"]
PATHS = st.recursive(
    st.tuples(st.just("act"), st.sampled_from(["", "turns", "hints"])),
    lambda parts: st.one_of(
        st.tuples(st.just("then"), parts, parts),
        st.tuples(st.just("loop"), parts, st.sampled_from(WHEN), st.sampled_from(["turns", "hints"])),
        st.tuples(
            st.just("choice"), parts, st.sampled_from([*WHEN, "exhausted", "not exhausted"]),
            st.sampled_from(["", "turns", "hints"]),
        ),
        st.tuples(st.just("each"), parts, st.sampled_from(["students", "samples"])),
    ),
    max_leaves=5,
)  # fmt: skip


class Build:
    """A valid graph from a drawn plan: acts in sequence, paid loops, choices and fan-outs, nested."""

    def __init__(self, plan: Any) -> None:
        self.nodes: dict[str, NodeSpec] = {}
        self.edges: list[EdgeSpec] = []
        self.open: list[str] = []
        first, last = self.part(plan)
        self.edge("start", first)
        self.edge(last, "end")
        self.spec = GraphSpec(nodes=self.nodes, edges=tuple(self.edges))

    def edge(self, source: str, target: str, **more: Any) -> None:
        self.edges.append(EdgeSpec(from_=source, to=target, **more))

    def node(self, unit: str = "") -> str:
        name = f"n{len(self.nodes)}"
        self.nodes[name] = NodeSpec(do="student.solve", spends={unit: 1} if unit else {})
        return name

    def part(self, plan: Any) -> tuple[str, str]:
        """Add a part; its first node, and its last, which lacks its last edge."""
        match plan:
            case ("act", unit):
                return (name := self.node(unit)), name
            case ("then", one, two):
                (first, left), (right, last) = self.part(one), self.part(two)
                self.edge(left, right)
                return first, last
            case ("loop", inner, when, unit):
                first, left = self.part(inner)
                self.edge(left, last := self.node(unit))
                self.edge(last, first, when=when)
                return first, last
            case ("choice", inner, when, unit):
                first, last = self.node(unit), self.node()
                entry, left = self.part(inner)
                self.edge(first, entry, when=when)
                self.edge(first, last)
                self.edge(left, last)
                return first, last
            case ("each", inner, axis):
                if axis in self.open:
                    return self.part(inner)
                self.open.append(axis)
                first, last = self.node(), self.node()
                entry, left = self.part(inner)
                self.open.pop()
                self.edge(first, entry, each=axis)
                self.edge(left, last, join=True)
                return first, last
        raise AssertionError(plan)


BUDGETS = st.fixed_dictionaries({"turns": st.integers(0, 5), "hints": st.integers(0, 5)})
FIXTURE = [HealthCheck.function_scoped_fixture]


def run_twice(recorder: Any, spec: GraphSpec, budget: dict[str, int]) -> None:
    streams = set()
    compiled = compile_graph(spec, limits=budget)
    for seed in range(2):
        actor = recorder(
            budget=dict(budget),
            axes={"students": ["a", "bb"], "samples": ["1", "2", "3"]},
            values={"grade": lambda actor, branch: len(str(branch)) % 2 == 1},
            awaits=random.Random(seed),
        )
        outcome = asyncio.run(compiled.run(actor))
        assert outcome.reason in {"end", "budget"}
        assert outcome.turns <= compiled.bound == longest_path_bound(spec, budget)
        assert len(set(actor.acts)) == len(actor.acts)
        streams.add((outcome, tuple(sorted(actor.acts))))
    assert len(streams) == 1


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=FIXTURE)
@given(PATHS, BUDGETS)
def test_every_valid_graph_ends_within_its_bound(recorder: Any, plan: Any, budget: dict[str, int]) -> None:
    spec = Build(plan).spec
    assert check_graph(spec, units=budget) == []
    run_twice(recorder, spec, budget)


@st.composite
def any_graphs(draw: st.DrawFn) -> GraphSpec:
    """Graphs whose edges have known ends; whether they follow the other rules is left to chance."""
    names = [f"n{i}" for i in range(draw(st.integers(1, 3)))]
    nodes = {n: NodeSpec(do="student.solve", spends=draw(st.sampled_from([{}, {"turns": 1}]))) for n in names}
    shapes = st.sampled_from([{}, {}, {}, {"each": "students"}, {"join": True}])
    edges = [EdgeSpec(from_="start", to="n0", **draw(shapes))]
    for name in names:
        for when in [*draw(st.lists(st.sampled_from([*WHEN, "exhausted"]), max_size=2, unique=True)), None]:
            to = draw(st.sampled_from([*names, "end"]))
            edges.append(EdgeSpec(from_=name, to=to, when=when, **draw(shapes)))
    return GraphSpec(nodes=nodes, edges=tuple(edges))


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=FIXTURE)
@given(any_graphs(), BUDGETS)
def test_whatever_passes_the_check_runs(recorder: Any, spec: GraphSpec, budget: dict[str, int]) -> None:
    if not check_graph(spec, units=budget):
        run_twice(recorder, spec, budget)
