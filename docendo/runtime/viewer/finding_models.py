"""What the viewer's API answers about searches, filters, failures, running work and graphs."""

from __future__ import annotations

from typing import Literal

from docendo.messages import Usage
from docendo.runtime.viewer.episode_models import Place
from docendo.runtime.viewer.models import Part

__all__ = [
    "EdgeFacts", "Failures", "FilterName", "FilterPage", "GraphFacts", "GraphsPage", "Hit", "LivePage",
    "MissingValues", "ModelLoad", "NodeFacts", "ProblemsPage", "RunningLesson", "SearchPage",
]  # fmt: skip


# --- finding --------------------------------------------------------------------------------------------


class Hit(Place):
    """A message in which the words were found."""

    run: str
    label: str
    phase: str
    item: str
    event: int
    """Index in the episode's events."""
    turn: int
    agent: str
    act: str
    snippet: str
    """A piece of the text around the words."""
    marks: list[tuple[int, int]]
    """`[start, end)` of what matched, in characters of `snippet`."""


class SearchPage(Part):
    """Messages that hold the words, in the order of the store."""

    query: str
    hits: list[Hit]
    next: str | None
    total: int
    """Matches; counted up to 1000."""
    more: bool
    """Whether there are more than were counted."""


class FilterName(Part):
    """A name that a filter may use."""

    name: str
    of: Literal["episode", "turn", "function"]
    """`turn`: of the variable of a comprehension over `turns`, e.g. `t.move`."""
    type: str
    """`bool`, `int`, `float`, `str`, `list[turn]` ...; with `?` behind it where it can be missing."""
    description: str


class FilterPage(Part):
    """The language of filters."""

    names: list[FilterName]
    examples: list[str]
    grammar: str


# --- failures -------------------------------------------------------------------------------------------


class FailedCell(Place):
    """Where an episode failed."""

    label: str
    key: str
    phase: str
    item: str
    agent: str
    act: str
    turn: int


class Failures(Part):
    """Episodes that failed for one cause."""

    failure: str
    """At which boundary: `model`, `timeout`, `parse`, `budget`, `context`, `replay`, `crash`."""
    message: str
    """Of the first of them; what differs only in numbers is one cause."""
    n: int
    detail: str
    """What was recorded with the first one: what the model wrote, or the end of the traceback."""
    call: str | None
    """Key of the first one's failing call."""
    cells: list[FailedCell]
    """The first hundred."""


class MissingValues(Part):
    """Observations without a value, for one reason."""

    measure: str
    reason: str
    n: int
    conditions: dict[str, int]
    """Condition -> how many."""


class ProblemsPage(Part):
    """What failed and what is missing in a run."""

    failures: list[Failures]
    missing: list[MissingValues]
    unfinished: int
    """Lessons that are planned and not finished."""
    retry: str
    """The command that runs failed lessons again; empty where nothing failed."""
    resume: str
    """The command that goes on with the run; empty where it is finished."""
    warnings: list[str]


# --- running work ---------------------------------------------------------------------------------------


class ModelLoad(Part):
    """What a model is doing."""

    model: str
    in_flight: int
    """Calls that occupy it now."""
    queued: int
    """Calls that wait for it."""
    calls: int
    """Requests of agents since the command was issued."""
    sent: int
    """Of these, how many were asked of the model."""
    failures: int
    usage: Usage
    tokens_per_s: float | None
    """Completion tokens, over the last seconds."""
    latency_s: float | None
    """Mean of its attempts."""


class RunningLesson(Part):
    """A lesson that is being held."""

    condition: str
    label: str
    replicate: int
    episodes: int
    expected: int | None
    """Episodes of a finished lesson of this run."""
    idle_s: float | None
    """Seconds since it last recorded an episode; `None` until the viewer has seen it record one."""
    stalled: bool


class LivePage(Part):
    """How a run is getting on. Ask again every second; nothing changed while `version` is the same."""

    version: str
    run: str
    status: Literal["running", "finished", "interrupted"]
    lessons: int
    lessons_finished: int
    episodes: int
    failed: int
    episodes_expected: int | None
    """Once one lesson is finished."""
    elapsed_s: float | None
    """Since the command was issued; `None` where nobody works on the run."""
    eta_s: float | None
    tokens_per_s: float | None
    models: list[ModelLoad]
    running: list[RunningLesson]
    latest: list[Place]
    """The last episodes that were recorded, the newest first."""


# --- graphs ---------------------------------------------------------------------------------------------


class NodeFacts(Part):
    """A node of a graph and how often it acted."""

    id: str
    agent: str
    act: str
    spends: dict[str, int]
    count: int
    calls: int
    seconds: float
    """Latency of its calls, added up."""
    prompt_tokens: int
    completion_tokens: int


class EdgeFacts(Part):
    """An edge of a graph and how often it was taken."""

    source: str
    """`start`, or a node."""
    target: str
    """A node, or `end`."""
    when: str
    each: list[str]
    join: bool
    taken: int


class GraphFacts(Part):
    """The graph of a phase."""

    phase: str
    kind: str
    name: str
    nodes: list[NodeFacts]
    edges: list[EdgeFacts]
    mermaid: str
    episodes: int
    """Episodes counted."""


class GraphsPage(Part):
    """The graphs of a lesson, with what happened in them."""

    condition: str
    replicate: int
    phases: list[GraphFacts]
