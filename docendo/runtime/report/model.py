"""What a report says, as data: the shape of `docendo report --json`.

Every number is rounded to six decimals, so that the last bits of a sum, which differ between processors, do
not make two equal reports differ. `None` stands where the data cannot say.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from docendo.runtime.measures.measure import Better, Scale
from docendo.runtime.measures.verdict import Conclusion

__all__ = [
    "Compared", "Comparison", "ConditionReport", "Counts", "Curve", "FidelityFigure", "Interval",
    "MeasureFacts", "Measured", "Number", "Paired", "Point", "Report", "RunFacts", "Side", "label_of",
]  # fmt: skip

Number = Annotated[float, AfterValidator(lambda value: round(value, 6) + 0.0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Interval(_Part):
    """A mean with its clustered 95 % interval."""

    mean: Number | None
    low: Number | None
    high: Number | None
    n: int
    """Valid observations behind it."""


class Paired(_Part):
    """A paired difference to another condition: this one minus that one."""

    to: str
    """Id of the other condition."""
    mean: Number | None
    low: Number | None
    high: Number | None
    p: Number | None
    """Two-sided, by sign flips of item clusters."""
    p_adjusted: Number | None
    """After Holm, over this measure's comparisons in the run."""
    mcnemar: Number | None = None
    """Exact, for 0/1 measures."""
    n_pairs: int
    missing: int
    """Pairs without a value on one side or both."""
    unmatched: int
    """Observations that only one of the two conditions has."""
    mde: Number | None
    """Smallest true difference found with 80 % power at a two-sided 5 %."""
    lowest: Number | None
    highest: Number | None
    """Bounds with missing values at the ends of the scale."""
    conclusion: Conclusion


class Measured(Interval):
    """One measure in one condition."""

    missing: int
    """Observations without a value."""
    raw_mean: Number | None
    """The mean with missing observations counted as 0."""
    worst: Number | None
    best: Number | None
    """The mean with missing observations at the bottom, or the top, of the scale."""
    difference: Paired | None = None
    """To the baseline; `None` for the baseline itself."""
    phases: dict[str, Interval] = Field(default_factory=dict)
    """By phase, where there is more than one."""


class Counts(_Part):
    """How many episodes there should be, and what became of them."""

    planned: int
    ran: int
    """Ran to their end."""
    errored: int
    missing: int
    """Planned, and neither ran nor errored; or ran, and something in them could not be measured."""


class ConditionReport(_Part):
    """One point of the matrix, or a control."""

    id: str
    label: str
    coordinates: dict[str, Any]
    """Matrix path -> value, as written in the scenario."""
    control: str
    """Name of the control; empty for an ordinary condition."""
    n: Counts
    measures: dict[str, Measured]
    verdicts: list[str]


class Point(_Part):
    """A place on a curve."""

    x: Number
    condition: str


class Curve(_Part):
    """A measure over a numeric axis of the matrix, with everything else held."""

    measure: str
    axis: str
    held: dict[str, Any]
    points: list[Point]
    auc: Interval
    """Area under the curve by trapezoids, divided by the axis's length: the mean height."""


class FidelityFigure(_Part):
    """One figure of the check of the students, before anybody taught them."""

    measure: str
    mean: Number | None
    n: int
    """Answers behind it."""
    limit: Number | None
    """What the scenario asks for; `None` where it asks for nothing."""
    at_least: bool
    holds: bool


class MeasureFacts(_Part):
    """What a measure is."""

    scale: Scale
    better: Better
    description: str


class RunFacts(_Part):
    """Which run this is about."""

    id: str
    name: str
    scenario_digest: str
    """Of the resolved scenario."""
    items_digest: str
    status: str
    baseline: str
    """Id of the condition that others are compared with, or the coordinates that make it."""
    engines: list[str] = Field(default_factory=list)
    """What answered for each model that is not simulated, in words."""


class Report(_Part):
    """Everything that `docendo report` prints."""

    run: RunFacts
    digest: str
    """Of the event streams of all finished lessons."""
    measures: dict[str, MeasureFacts]
    conditions: list[ConditionReport]
    curves: list[Curve]
    fidelity: list[FidelityFigure] = Field(default_factory=list)
    findings: list[str]
    warnings: list[str]


class Side(_Part):
    """One of the two."""

    run: str
    run_name: str
    condition: str
    label: str


class Compared(_Part):
    """One measure of both."""

    first: Interval
    second: Interval
    difference: Paired
    """First minus second."""
    verdict: str


class Comparison(_Part):
    """Two conditions against each other: the data of `docendo compare --json`."""

    first: Side
    second: Side
    measures: dict[str, Compared]
    warnings: list[str]


def label_of(coordinates: dict[str, Any], control: str = "") -> str:
    """A condition in words: its values, joined."""
    values = ", ".join(str(v) for v in coordinates.values())
    if control:
        return f"control {control}, {values}" if values else f"control {control}"
    return values or "as written"
