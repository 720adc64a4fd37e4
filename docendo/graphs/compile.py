"""A graph as a LangGraph `StateGraph`, and one run of it.

Every node is an async function that lets the actor act, picks the first edge that holds, and returns
`Command(goto=[Send(...)])`: a path is the `_Place` that it sends along, so LangGraph's own state is
empty and needs no reducers, no joins and no checkpointer. A fan-out is one `Send` per branch; the branch
that arrives last at a join sends the opening path on. LangGraph runs all paths of one turn together and
waits for them (a superstep), so a path's turn is the number of the superstep, and an episode that must
stop (exhausted, failed) stops after the turn in which that was found: never in the middle of one, where
what had happened would depend on who was faster.
"""

from __future__ import annotations

import itertools
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphRecursionError
from langgraph.graph import END as LG_END
from langgraph.graph import START as LG_START
from langgraph.graph import StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command, Send
from langsmith import tracing_context

from docendo.errors import EpisodeFailure, ScenarioError
from docendo.graphs.actor import ROOT, Actor, Branch, Exhausted, Outcome
from docendo.graphs.check import check_graph
from docendo.graphs.expression import Condition, compile_condition
from docendo.graphs.termination import END, START, longest_path_bound
from docendo.scenarios.schema import EdgeSpec, GraphSpec

__all__ = ["CompiledGraph", "compile_graph"]


class _State(TypedDict):
    _nothing: None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a path stands: acts done so far, its branch, and the fan-out that it must close."""

    turn: int = 0
    branch: Branch = ROOT
    fan: _Fan | None = None


@dataclass(slots=True)
class _Fan:
    """An open fan-out."""

    outer: _Place
    waiting: int
    """Branches that have not arrived."""
    turn: int = 0
    """Acts done on the longest branch that has."""


@dataclass(frozen=True, slots=True)
class _Edge:
    """An edge with its condition compiled."""

    spec: EdgeSpec
    condition: Condition | None

    @property
    def handles_exhaustion(self) -> bool:
        return self.condition is not None and "exhausted" in self.condition.names

    def __str__(self) -> str:
        return f"`{self.spec.from_} -> {self.spec.to}`"


@dataclass(slots=True)
class _Walk:
    """One run: the context that LangGraph hands to every node."""

    graph: CompiledGraph
    actor: Actor
    turns: int = 0
    stops: list[tuple[str, Exception]] = field(default_factory=list)
    """What ends the run early: branch, and why."""
    stopped: int | None = None
    """The turn in which that was found."""

    async def step(self, name: str, place: _Place) -> list[Send]:
        """Act at node `name`; which paths go on, and where."""
        if self.stopped is not None and place.turn > self.stopped:
            return []
        self.turns = max(self.turns, place.turn + 1)
        try:
            exhausted = ""
            try:
                spec = self.graph.spec.nodes[name]
                await self.actor.act(name, spec, turn=place.turn, branch=place.branch)
            except Exhausted as refusal:
                exhausted = refusal.unit
            done = _Place(place.turn + 1, place.branch, place.fan)
            return self.go_on(name, done, exhausted)
        except Exception as error:
            # Not raised through LangGraph: it would cancel the other branches in the middle of their acts.
            self.stops.append((str(place.branch), error))
            self.stopped = place.turn
            return []

    def go_on(self, name: str, place: _Place, exhausted: str = "") -> list[Send]:
        """Take the first edge of `name` that holds.

        After a refusal (`exhausted` is the unit) only edges whose condition mentions it are tried.

        Raises:
            Exhausted: No edge takes care of the refusal.
            EpisodeFailure: A condition cannot be evaluated, or a fan-out has no members.
        """
        scope: Mapping[str, Any] | None = None
        for edge in self.graph.edges[name]:
            if exhausted and not edge.handles_exhaustion:
                continue
            if edge.condition is None:
                return self.follow(edge, place)
            if scope is None:
                own = {"turn": place.turn, "exhausted": exhausted}
                scope = ChainMap(own, self.actor.scope(place.branch))  # type: ignore[arg-type]
            if self.holds(edge, edge.condition, scope):
                return self.follow(edge, place)
        raise Exhausted(exhausted)

    @staticmethod
    def holds(edge: _Edge, condition: Condition, scope: Mapping[str, Any]) -> bool:
        """Whether `edge` may be taken; a failure names it."""
        try:
            return condition.holds(scope)
        except EpisodeFailure as error:
            message = f"the edge {edge} cannot be decided: {error.message}"
            raise EpisodeFailure("crash", message, suggestion=error.suggestion) from error

    def follow(self, edge: _Edge, place: _Place) -> list[Send]:
        """The paths beyond `edge`: several where it fans out, none while a join waits for other branches."""
        if edge.spec.each:
            return self.fan_out(edge, place)
        if edge.spec.join:
            fan = place.fan
            assert fan is not None, "check_graph accepts a join only inside a fan-out"
            fan.waiting -= 1
            fan.turn = max(fan.turn, place.turn)
            if fan.waiting:
                return []
            place = _Place(fan.turn, fan.outer.branch, fan.outer.fan)
        return [] if edge.spec.to == END else [Send(edge.spec.to, place)]

    def fan_out(self, edge: _Edge, place: _Place) -> list[Send]:
        """One path per element of the product of the edge's lists."""
        axes = [[(axis, m) for m in self.actor.members(axis, place.branch)] for axis in edge.spec.each]
        members = list(itertools.product(*axes))
        if not members:
            empty = " and ".join(f"`{axis}`" for axis, m in zip(edge.spec.each, axes, strict=True) if not m)
            raise EpisodeFailure(
                "crash",
                f"the edge {edge} fans out over {empty}, where there is nobody and nothing",
                suggestion="Give the edge a condition, so that it is not taken then.",
            )
        fan = _Fan(place, len(members))
        return [
            Send(edge.spec.to, _Place(place.turn, Branch(place.branch.axes + more), fan)) for more in members
        ]

    def outcome(self) -> Outcome:
        """How the run ended.

        Raises:
            Exception: What an act raised; of several in one turn, the first branch's.
        """
        failures = [stop for stop in self.stops if not isinstance(stop[1], Exhausted)]
        if failures:
            raise min(failures, key=lambda stop: stop[0])[1]
        if self.stops:
            refusal = min(self.stops, key=lambda stop: stop[0])[1]
            assert isinstance(refusal, Exhausted)
            return Outcome("budget", refusal.unit, self.turns)
        return Outcome("end", turns=self.turns)


@dataclass(frozen=True, slots=True)
class CompiledGraph:
    """A graph that can be run, any number of times and concurrently."""

    spec: GraphSpec
    bound: int
    """Most turns that a run can have (`docendo.graphs.termination.longest_path_bound`)."""
    edges: Mapping[str, tuple[_Edge, ...]] = field(repr=False)
    """The edges that leave each node, in the order in which they are tried."""
    state_graph: CompiledStateGraph[Any, Any, Any, Any] = field(repr=False)

    async def run(self, actor: Actor) -> Outcome:
        """Let `actor` act from `start` until the graph ends or the budget does.

        Nothing of a run is sent to LangSmith, whatever the environment says: prompts and answers stay
        with the store.

        Raises:
            EpisodeFailure: An act failed, an edge cannot be decided, or a fan-out is empty.
            Exception: Whatever else an act raised, unchanged, after the turn's other acts were done.
        """
        walk = _Walk(self, actor)
        paths = walk.go_on(START, _Place())
        if paths:
            # LangGraph takes one superstep more than there are turns, to find that nothing is left to do.
            config: RunnableConfig = {"recursion_limit": self.bound + 1}
            try:
                with tracing_context(enabled=False):
                    await self.state_graph.ainvoke(
                        Command(goto=paths),
                        config,
                        context=walk,
                        stream_mode="updates",
                    )
            except GraphRecursionError:
                if not walk.stops:
                    return Outcome("limit", f"more than {self.bound} turns", walk.turns)
        return walk.outcome()


def compile_graph(graph: GraphSpec, *, limits: Mapping[str, int]) -> CompiledGraph:
    """Compile `graph` for a budget.

    Agents and acts are not checked here (see `check_graph`); everything else is, so that no graph that
    could run for ever is ever run.

    Args:
        graph: The graph.
        limits: Unit -> most that the runs may spend of it; units that are not limited are left out.

    Raises:
        ScenarioError: The graph breaks a rule of the language.
    """
    problems = check_graph(graph, units=limits)
    if problems:
        raise ScenarioError(problems)
    edges = {
        name: tuple(
            _Edge(edge, None if edge.when is None else compile_condition(edge.when))
            for edge in graph.edges
            if edge.from_ == name
        )
        for name in (START, *graph.nodes)
    }
    builder = StateGraph(_State, context_schema=_Walk)
    for name in graph.nodes:
        builder.add_node(name, _node(name))
    # A run's first paths come with its input; LangGraph asks for an entry point all the same.
    builder.add_edge(LG_START, LG_END)
    return CompiledGraph(graph, longest_path_bound(graph, limits), edges, builder.compile())


def _node(name: str) -> Any:
    """The LangGraph node `name`; its input is a `_Place`."""

    async def act(place: Any, runtime: Runtime[_Walk]) -> Command[Any]:
        return Command(goto=await runtime.context.step(name, place))

    return act
