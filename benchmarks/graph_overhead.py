"""What a graph costs per act: a plain asyncio loop, LangGraph by hand, and docendo's graph, side by side.

    python benchmarks/graph_overhead.py [--rounds 30] [--concurrency 1]

Acts do nothing, so all that is measured is the way from one to the next. The three take turns within a
round, and the ratio is the median over rounds of docendo's processor time by LangGraph's in the same
round, so that the machine's moods fall on both. Target: at most 1.2.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import operator
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send

from docendo.graphs.actor import Actor, Branch
from docendo.graphs.compile import compile_graph
from docendo.scenarios.schema import EdgeSpec, GraphSpec, NodeSpec

STEPS = 10
Run = Callable[[], Awaitable[Any]]


class State(TypedDict):
    """What a hand-written graph would keep: a counter, and a place where branches meet."""

    turn: int
    met: Annotated[int, operator.add]


class Idle:
    """An actor that does nothing."""

    turn = 0

    async def act(self, node: str, spec: NodeSpec, *, turn: int, branch: Branch) -> None:
        """Do nothing."""
        self.turn = turn + 1

    def scope(self, branch: Branch) -> Mapping[str, Any]:
        """Only what the loop's condition needs, which the graph supplies."""
        return {}

    def members(self, axis: str, branch: Branch) -> Sequence[str]:
        """Ten students."""
        return [str(i) for i in range(STEPS)]


def docendo_run(graph: GraphSpec) -> Run:
    """Run `graph` with an idle actor."""
    compiled = compile_graph(graph, limits={"turns": STEPS})
    actor: Actor = Idle()
    return lambda: compiled.run(actor)


def chain() -> tuple[Run, Run]:
    """Ten acts in a row."""

    def node(i: int) -> Any:
        async def act(state: State) -> Command[Any]:
            goto = f"n{i + 1}" if i + 1 < STEPS else END
            return Command(goto=goto, update={"turn": state["turn"] + 1})

        return act

    builder = StateGraph(State)
    for i in range(STEPS):
        builder.add_node(f"n{i}", node(i))
    builder.add_edge(START, "n0")
    by_hand = builder.compile()
    names = ["start", *(f"n{i}" for i in range(STEPS)), "end"]
    edges = tuple(EdgeSpec(from_=a, to=b) for a, b in itertools.pairwise(names))
    spec = GraphSpec(nodes={name: NodeSpec(do="student.solve") for name in names[1:-1]}, edges=edges)
    return lambda: by_hand.ainvoke({"turn": 0, "met": 0}), docendo_run(spec)


def loop() -> tuple[Run, Run]:
    """One act, ten times, with a condition to leave."""

    async def act(state: State) -> Command[Any]:
        turn = state["turn"] + 1
        return Command(goto="act" if turn < STEPS else END, update={"turn": turn})

    builder = StateGraph(State)
    builder.add_node("act", act)
    builder.add_edge(START, "act")
    by_hand = builder.compile()
    spec = GraphSpec(
        nodes={"act": NodeSpec(do="student.solve", spends={"turns": 1})},
        edges=(
            EdgeSpec(from_="start", to="act"),
            EdgeSpec(from_="act", to="act", when=f"turn < {STEPS}"),
            EdgeSpec(from_="act", to="end"),
        ),
    )
    return lambda: by_hand.ainvoke({"turn": 0, "met": 0}), docendo_run(spec)


def fan() -> tuple[Run, Run]:
    """One act, ten branches of it, and one act that joins them: twelve acts."""

    async def split(state: State) -> Command[Any]:
        return Command(goto=[Send("branch", {"turn": 1, "met": i}) for i in range(STEPS)])

    async def branch(state: State) -> Command[Any]:
        return Command(goto="meet", update={"met": 1})

    async def meet(state: State) -> Command[Any]:
        return Command(goto=END)

    builder = StateGraph(State)
    builder.add_node("split", split)
    builder.add_node("branch", branch)
    builder.add_node("meet", meet)
    builder.add_edge(START, "split")
    by_hand = builder.compile()
    spec = GraphSpec(
        nodes={name: NodeSpec(do="student.solve") for name in ("split", "branch", "meet")},
        edges=(
            EdgeSpec(from_="start", to="split"),
            EdgeSpec(from_="split", to="branch", each=("students",)),
            EdgeSpec(from_="branch", to="meet", join=True),
            EdgeSpec(from_="meet", to="end"),
        ),
    )
    return lambda: by_hand.ainvoke({"turn": 0, "met": 0}), docendo_run(spec)


async def plain() -> None:
    """The same ten acts without any graph."""
    actor = Idle()
    spec = NodeSpec(do="student.solve")
    for turn in range(STEPS):
        await actor.act("act", spec, turn=turn, branch=Branch())


async def timed(run: Run, concurrency: int, repeats: int) -> float:
    """Seconds of this process per episode; other processes do not count."""
    begin = time.process_time()
    for _ in range(repeats):
        await asyncio.gather(*(run() for _ in range(concurrency)))
    return (time.process_time() - begin) / repeats / concurrency


async def measure(rounds: int, concurrency: int) -> None:
    """Print the table."""
    repeats = max(1, 10 // concurrency)
    print(f"{'topology':10}{'acts':>6}{'plain':>10}{'LangGraph':>12}{'docendo':>10}{'ratio':>8}   us per act")
    for name, acts, (by_hand, ours) in (("chain", 10, chain()), ("loop", 10, loop()), ("fan-out", 12, fan())):
        times: dict[str, list[float]] = {"plain": [], "LangGraph": [], "docendo": []}
        for i in range(rounds + 2):
            runs = [("LangGraph", by_hand), ("docendo", ours)]
            for label, run in [("plain", plain), *(runs if i % 2 else reversed(runs))]:
                seconds = await timed(run, concurrency, repeats)
                if i >= 2:  # the first two warm up
                    times[label].append(seconds / acts * 1e6)
        ratio = statistics.median(
            ours / floor for ours, floor in zip(times["docendo"], times["LangGraph"], strict=True)
        )
        plain_us, floor_us, ours_us = (statistics.median(times[k]) for k in ("plain", "LangGraph", "docendo"))
        print(f"{name:10}{acts:6}{plain_us:10.1f}{floor_us:12.0f}{ours_us:10.0f}{ratio:8.2f}")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30, help="interleaved repetitions per topology")
    parser.add_argument("--concurrency", type=int, default=1, help="episodes at once")
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.rounds, arguments.concurrency))


if __name__ == "__main__":
    main()
