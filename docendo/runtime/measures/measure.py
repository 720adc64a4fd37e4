"""What a measure is: a function from the record of one lesson to observations.

A measure never sees the database or a model. It reads a `LessonTrace` (the events of one condition and
replicate) and yields one `Observation` per unit that it can speak about: an item and a student, or a whole
lesson. `value=None` says *missing*, with the reason: a judge that could not be parsed, an episode that
failed. Where a measure does not apply it yields nothing. A condition's figure is the mean of its valid
observations; the mean with missing ones counted as 0 and the bounds stand beside it (`statistics`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from docendo.events import Event, GradeEvent, StopReason
from docendo.messages import Role
from docendo.registry import Family, NumberedRegistry

__all__ = [
    "ALPHA", "BOUNDS", "MEASURES", "Better", "EpisodeTrace", "LessonTrace", "Measure", "Observation",
    "Observed", "Place", "Row", "Scale", "measure", "measure_family", "observe_lesson",
]  # fmt: skip

Scale = Literal["probability", "share", "correlation", "difference", "ratio", "nats", "count", "tokens"]
Better = Literal["high", "low", "none"]

ALPHA = 0.05
"""Two-sided error of every interval and test."""

BOUNDS: dict[Scale, tuple[float, float] | None] = {
    "probability": (0.0, 1.0), "share": (0.0, 1.0), "correlation": (-1.0, 1.0), "difference": (-1.0, 1.0),
    "ratio": None, "nats": None, "count": None, "tokens": None,
}  # fmt: skip
"""Smallest and largest value on each scale; `None` where one of them does not exist. `difference` is of two
shares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeTrace:
    """One episode as it happened. `events` are in order of position."""

    key: str
    phase: str
    phase_kind: str
    """`observe`, `test`, `teach` or `rest`."""
    round: int = 0
    item: str = ""
    """Empty where the episode has no single item, such as an exam."""
    student: str = ""
    """Empty where the episode has several students."""
    outcome: StopReason = "end"
    """How it ended: `end`, `budget`, `limit` or `failed`."""
    failure: str = ""
    """Kind of the failure; empty for an episode that ran to its end."""
    events: tuple[Event, ...] = ()

    @property
    def errored(self) -> bool:
        """Whether the episode failed, so that nothing in it counts as a final answer."""
        return bool(self.failure) or self.outcome == "failed"

    @property
    def why(self) -> str:
        """Why its answers are missing, if it errored."""
        return f"episode failed ({self.failure or self.outcome})"

    @property
    def grades(self) -> tuple[GradeEvent, ...]:
        """The judged answers of students, in order."""
        return self._graded("student")

    @property
    def teacher_grades(self) -> tuple[GradeEvent, ...]:
        """The judged answers of teachers, in order: tests that they sit, samples of what they might teach."""
        return self._graded("teacher")

    def _graded(self, role: Role) -> tuple[GradeEvent, ...]:
        return tuple(e for e in self.events if isinstance(e, GradeEvent) and e.role == role)


@dataclass(frozen=True, slots=True, kw_only=True)
class LessonTrace:
    """One condition and replicate, its episodes in the order of the plan."""

    condition: str
    replicate: int
    episodes: tuple[EpisodeTrace, ...]

    def of_kind(self, *kinds: str) -> Iterator[EpisodeTrace]:
        """Episodes of phases of these kinds."""
        return (e for e in self.episodes if e.phase_kind in kinds)


@dataclass(frozen=True, slots=True)
class Observation:
    """One value of one measure. Empty `item`, `student` or `phase` mean that it spans all of them."""

    measure: str
    phase: str
    item: str
    student: str
    value: float | None
    """`None` is missing; `reason` says why."""
    reason: str = ""
    round: int = 0


class Place(NamedTuple):
    """What an observation is of. What it spans all of is left empty."""

    phase: str = ""
    round: int = 0
    item: str = ""
    student: str = ""


Row = tuple[float | None, str]
"""A value, and why it is missing."""
Observed = tuple[Place, float | None, str]
"""Where, the value, and why it is missing."""
Observe = Callable[[LessonTrace], Iterable[Observed]]
ObserveAt = Callable[[LessonTrace, int], Iterable[Observed]]
"""For a family: with its number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A named way to look at a lesson."""

    name: str
    scale: Scale
    better: Better
    binary: bool = False
    """Observations are 0 or 1, so that pairs can be compared with McNemar's test."""
    description: str
    """What it is, its formula and the source of that."""
    values: Observe

    def observe(self, trace: LessonTrace) -> Iterator[Observation]:
        """The observations that `trace` holds for this measure."""
        for place, value, reason in self.values(trace):
            yield Observation(self.name, place.phase, place.item, place.student, value, reason, place.round)

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Smallest and largest possible value; `None` where one of them does not exist."""
        return BOUNDS[self.scale]


MEASURES: NumberedRegistry[Measure] = NumberedRegistry("measure")
"""All measures, by the name that a scenario's `measures:` uses."""


def measure(
    name: str, *, scale: Scale, better: Better, binary: bool = False, description: str
) -> Callable[[Observe], Measure]:
    """Register the decorated function as the measure `name`; see `Measure` for the arguments."""

    def add(values: Observe) -> Measure:
        return MEASURES.add(
            name,
            Measure(
                name=name, scale=scale, better=better, binary=binary, description=description, values=values
            ),
        )

    return add


def measure_family(
    name: str, parameter: str, *, scale: Scale, better: Better, binary: bool = False, description: str
) -> Callable[[ObserveAt], Family[Measure]]:
    """Register the decorated function of a lesson and a number as the measures `NAME@1`, `NAME@2`, ...

    `parameter` is the number's letter in documentation; see `Measure` for the other arguments.
    """

    def add(values: ObserveAt) -> Family[Measure]:
        def member(number: int) -> Measure:
            return Measure(
                name=f"{name}@{number}", scale=scale, better=better, binary=binary, description=description,
                values=lambda trace: values(trace, number),
            )  # fmt: skip

        return MEASURES.add_family(name, Family(parameter, member))

    return add


def observe_lesson(trace: LessonTrace, names: Sequence[str]) -> list[Observation]:
    """Every observation of the measures `names` in one lesson.

    Raises:
        UnknownNameError: No measure has one of the names.
    """
    return [observation for name in names for observation in MEASURES.get(name).observe(trace)]
