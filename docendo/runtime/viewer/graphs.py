"""The graphs of a lesson's phases, and which node acted when.

Events name agents and acts, a graph names nodes, and two nodes may do the same act. So the path is found
again: an act belongs to the node that does it and that an edge leads to from the node before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from docendo.events import CallEvent, ErrorEvent, Event, EventBase, SpendEvent, StopEvent
from docendo.runtime.phase_graphs import graphs_of
from docendo.runtime.store.browse import CallCost
from docendo.runtime.store.records import EpisodeRecord
from docendo.runtime.viewer.episode_models import NodeVisit
from docendo.runtime.viewer.facts import typed
from docendo.runtime.viewer.finding_models import EdgeFacts, GraphFacts, GraphsPage, NodeFacts
from docendo.runtime.viewer.library import Design, Library, names_of
from docendo.scenarios.schema import GraphSpec

__all__ = ["graphs_page", "visits_of"]

START, END = "start", "end"
_BATCH = 100


@dataclass
class _Act:
    """What somebody did at a turn."""

    agent: str
    act: str
    paid: set[str] = field(default_factory=set)
    """Units that it cost, tokens left out: those are paid by what is said."""


@dataclass
class _Phase:
    """A graph that a phase runs, and what happened in it."""

    phase: str
    kind: str
    name: str
    graph: GraphSpec
    groups: Mapping[str, str]
    """Agent -> the name under which the graph knows it."""
    counts: dict[str, int] = field(default_factory=dict)
    costs: dict[str, list[CallCost]] = field(default_factory=dict)
    taken: dict[tuple[str, str], int] = field(default_factory=dict)
    episodes: int = 0

    def doing(self, act: _Act) -> list[str]:
        """Nodes that do this act for this price, else those that do it."""
        wanted = f"{self.groups.get(act.agent, act.agent)}.{act.act}"
        nodes = {name: spec for name, spec in self.graph.nodes.items() if spec.do == wanted}
        priced = [name for name, spec in nodes.items() if set(spec.spends) == act.paid]
        return priced or list(nodes)

    def follows(self, node: str) -> set[str]:
        """Where edges lead from a node."""
        return {edge.to for edge in self.graph.edges if edge.from_ == node}


def graphs_page(library: Library, reference: str, condition: str, replicate: int) -> GraphsPage:
    """The graphs of a lesson with how often, how long and for how many tokens each node acted.

    Raises:
        UnknownNameError: There is no such lesson.
    """
    design = library.design(reference)
    key = library.lesson(design.record.id, condition, replicate).key
    phases = _phases(design, condition)
    after: tuple[int, str] | None = None
    browse = library.store.browse
    while page := browse.page(key, after=after, limit=_BATCH):
        after = (page[-1].ordinal, page[-1].key)
        events = browse.events([record.id for record in page])
        costs = browse.costs(
            raw.payload["key"] for found in events.values() for raw in found if raw.kind == "call"
        )
        for record in page:
            _count([typed(raw) for raw in events[record.id]], phases.get(record.phase, ()), costs)
    return GraphsPage(
        condition=condition,
        replicate=replicate,
        phases=[_facts(phase) for found in phases.values() for phase in found],
    )


def visits_of(design: Design, record: EpisodeRecord, events: Sequence[Event]) -> list[NodeVisit]:
    """Which node acted at which turn of an episode."""
    phases = _phases(design, record.lesson.condition).get(record.phase, [])
    phase = _fitting(events, phases)
    return [visit for visit, _ in _walk(events, phase)] if phase else []


def _phases(design: Design, condition: str) -> dict[str, list[_Phase]]:
    """Phase -> its graphs; empty where this version cannot read the scenario."""
    scenario = design.scenario(condition)
    if scenario is None:
        return {}
    groups = {name: group for group, spec in scenario.agents.items() for name in names_of(group, spec.count)}
    return {
        phase.id: [
            _Phase(phase.id, phase.kind, name.rpartition("/")[2], graph, groups)
            for name, graph in graphs_of(scenario, phase).items()
        ]
        for phase in scenario.plan
    }


def _acts(events: Iterable[EventBase]) -> dict[tuple[int, str], _Act]:
    """(turn, branch) -> who acted, and how; what happened before the graph started is left out."""
    found: dict[tuple[int, str], _Act] = {}
    for event in events:
        if event.turn >= 0 and event.act and not isinstance(event, StopEvent | ErrorEvent):
            act = found.setdefault((event.turn, event.branch), _Act(event.agent, event.act))
            if isinstance(event, SpendEvent) and not event.unit.endswith("tokens"):
                act.paid.add(event.unit)
    return found


def _fitting(events: Sequence[EventBase], phases: Sequence[_Phase]) -> _Phase | None:
    """The graph that knows most of the acts."""
    acts = list(_acts(events).values())
    best = max(phases, key=lambda p: sum(bool(p.doing(act)) for act in acts), default=None)
    return best if best and any(best.doing(act) for act in acts) else None


def _walk(events: Sequence[EventBase], phase: _Phase) -> list[tuple[NodeVisit, str]]:
    """Visits in order, each with the node before it."""
    last: dict[str, str] = {}
    """Branch -> the node that acted last on it."""
    visits = []
    for (turn, branch), act in sorted(_acts(events).items(), key=lambda found: found[0]):
        before = _before(branch, last)
        nodes = phase.doing(act)
        reached = [node for node in nodes if node in phase.follows(before)]
        if nodes:
            node = (reached or nodes)[0]
            visits.append((NodeVisit(turn=turn, branch=branch, node=node), before))
            last.pop(branch, None)
            last[branch] = node
    return visits


def _before(branch: str, last: Mapping[str, str]) -> str:
    """The node before a visit: the latest on its branch, on one that it forked from, or on one that it joins.

    `last` is in the order of the latest visits.
    """
    for other in reversed(list(last)):
        short, long = sorted((branch, other), key=len)
        if not short or long == short or long.startswith(short + "/"):
            return last[other]
    return START


def _count(events: Sequence[Event], phases: Sequence[_Phase], costs: Mapping[str, CallCost]) -> None:
    """Add an episode to the graph that it ran."""
    phase = _fitting(events, phases)
    if phase is None:
        return
    phase.episodes += 1
    walked = _walk(events, phase)
    at = {(visit.turn, visit.branch): visit.node for visit, _ in walked}
    for visit, before in walked:
        phase.counts[visit.node] = phase.counts.get(visit.node, 0) + 1
        phase.taken[before, visit.node] = phase.taken.get((before, visit.node), 0) + 1
    ended = any(isinstance(event, StopEvent) and event.reason == "end" for event in events)
    if ended and walked and END in phase.follows(walked[-1][0].node):
        edge = (walked[-1][0].node, END)
        phase.taken[edge] = phase.taken.get(edge, 0) + 1
    for event in events:
        node = at.get((event.turn, event.branch))
        if isinstance(event, CallEvent) and node and event.key in costs:
            phase.costs.setdefault(node, []).append(costs[event.key])


def _facts(phase: _Phase) -> GraphFacts:
    from docendo.graphs.mermaid import to_mermaid  # noqa: PLC0415 - networkx, a quarter of a second

    return GraphFacts(
        phase=phase.phase,
        kind=phase.kind,
        name=phase.name,
        nodes=[_node(phase, name, spec) for name, spec in phase.graph.nodes.items()],
        edges=[
            EdgeFacts(
                source=edge.from_,
                target=edge.to,
                when=edge.when or "",
                each=list(edge.each),
                join=edge.join,
                taken=phase.taken.get((edge.from_, edge.to), 0),
            )
            for edge in phase.graph.edges
        ],
        mermaid=to_mermaid(phase.graph),
        episodes=phase.episodes,
    )


def _node(phase: _Phase, name: str, spec: Any) -> NodeFacts:
    costs = phase.costs.get(name, [])
    group, _, act = spec.do.partition(".")
    return NodeFacts(
        id=name,
        agent=group,
        act=act,
        spends=dict(spec.spends),
        count=phase.counts.get(name, 0),
        calls=len(costs),
        seconds=round(sum(c.latency_s for c in costs), 6),
        prompt_tokens=sum(c.usage.prompt_tokens for c in costs),
        completion_tokens=sum(c.usage.completion_tokens for c in costs),
    )
