"""What the viewer's API answers about stores, runs and studies; `docendo.runtime.viewer` lists the routes.

Words are those of the rest of docendo. `None` stands where the data cannot say. Texts of agents and files are
plain strings: whoever shows them must never read them as markup. A **place** names an episode for good:
(run, condition, replicate, ordinal), where the ordinal is its place in the lesson; the number that a store
gives an episode changes when it is run again.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from docendo.messages import Role
from docendo.runtime.report.model import Report

__all__ = [
    "AgentFacts", "AxisFacts", "CalibrationBin", "CalibrationCurve", "CalibrationPage", "ConditionRow",
    "CurvePoint", "Fault", "FaultBody", "LearningCurve", "LearningPage", "ModelFacts", "Part", "PhaseFacts",
    "ReportPage", "RunPage", "RunRow", "StorePage",
]  # fmt: skip


class Part(BaseModel):
    """What all answers are: plain, immutable data."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# --- what goes wrong ------------------------------------------------------------------------------------


class FaultBody(Part):
    """One thing that went wrong, for the person who reads it."""

    code: str
    """`store`, `unknown_name`, `usage`, `expression` ..., as in `docendo --json`."""
    message: str
    suggestion: str = ""
    column: int | None = None
    """`expression`: one-based place of the mistake in the text."""


class Fault(Part):
    """The body of every answer whose status is not 200."""

    error: FaultBody


# --- store and runs -------------------------------------------------------------------------------------


class RunRow(Part):
    """A run in the list of a store."""

    id: str
    name: str
    status: Literal["running", "finished", "interrupted"]
    created_at: float
    """Seconds since 1970."""
    description: str
    conditions: int
    lessons: int
    """Planned."""
    lessons_finished: int
    episodes: int
    """Recorded so far."""
    failed: int


class StorePage(Part):
    """What is in the store, or why that cannot be said."""

    name: str
    """Its path, or its URL without the password."""
    docendo: str
    """Version of this docendo."""
    state: Literal["ready", "empty", "unusable"]
    """`empty`: a store without runs. `unusable`: missing, damaged, too new, or not a store."""
    problem: FaultBody | None = None
    """Why it is empty or unusable, and what to do."""
    runs: list[RunRow] = Field(default_factory=list)
    """Newest first."""
    exported: bool = False
    """Whether this is an export, which holds one run and computes nothing."""


class PhaseFacts(Part):
    """One step of the plan."""

    id: str
    kind: str
    """`observe`, `test`, `teach`, `refine` or `rest`."""
    index: int
    items: str
    """Pool that it works on; several forms are joined by commas."""
    graph: str
    """Name of its graph; `inline` where the scenario writes it out."""
    policy: str = ""
    rounds: int = 1


class AxisFacts(Part):
    """One axis of the matrix."""

    path: str
    name: str
    values: list[Any]
    numbers: list[float] | None
    """The values as numbers (percentages as shares), where all of them are."""


class ConditionRow(Part):
    """A condition with how much of it there is."""

    id: str
    label: str
    coordinates: dict[str, Any]
    control: str
    """Name of the control; empty for an ordinary condition."""
    baseline: str | None
    """Id of the condition that it is compared with."""
    lessons: int
    lessons_finished: int
    episodes: int
    failed: int


class AgentFacts(Part):
    """Who takes part, as the scenario has it."""

    name: str
    role: Role
    model: str
    count: int = 1


class ModelFacts(Part):
    """What a model of the scenario is."""

    name: str
    backend: str
    model: str = ""
    """Weights, where the backend has any."""
    base_url: str = ""
    fingerprint: str = ""


class RunPage(Part):
    """A run: its design and how far it has come. Cheap: nothing is computed from events."""

    run: RunRow
    digest: str
    """Of the event streams of all finished lessons."""
    scenario_digest: str
    scenario_yaml: str
    """The file as its author wrote it."""
    replicates: list[int]
    phases: list[PhaseFacts]
    axes: list[AxisFacts]
    agents: list[AgentFacts]
    models: list[ModelFacts]
    measures: list[str]
    """The first is the primary one."""
    budget: dict[str, Any]
    """Unit -> amount as written in the scenario."""
    conditions: list[ConditionRow]
    manifest: dict[str, Any]
    """Versions and platform that the run was made with."""
    note: str = ""
    """What a reader must know, e.g. that it was made by another version."""


class CurvePoint(Part):
    """A phase on a learning curve."""

    phase: str
    mean: float | None
    low: float | None
    high: float | None
    n: int


class LearningCurve(Part):
    """A measure over the phases of the plan, in one condition."""

    measure: str
    condition: str
    points: list[CurvePoint]


class LearningPage(Part):
    """Learning over the plan."""

    curves: list[LearningCurve]
    """Accuracy in one test after another, by condition."""


class ReportPage(Part):
    """The report with what the study page draws beside it."""

    report: Report
    learning: list[LearningCurve]
    """Of measures that are taken in more than one phase."""
    replicates: dict[str, dict[str, list[float | None]]]
    """Measure -> condition -> mean per replicate, in the order of `RunPage.replicates`."""


class CalibrationBin(Part):
    """Beliefs of one tenth of the probabilities."""

    p: float
    """Mean of what was believed."""
    observed: float
    """Share that came true."""
    low: float
    high: float
    """Wilson's 95 % interval of `observed`."""
    n: int


class CalibrationCurve(Part):
    """How well an agent's predictions of a student's answers are calibrated."""

    condition: str
    agent: str
    help: Literal["alone", "helped"]
    n: int
    brier: float
    ece: float
    bins: list[CalibrationBin]


class CalibrationPage(Part):
    """Calibration of student models by condition."""

    curves: list[CalibrationCurve]
    beliefs: int
    """Beliefs with a probability."""
    scored: int
    """Those of them whose answer came and could be judged."""
