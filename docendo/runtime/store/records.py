"""What goes into the store and what comes out of it: plain frozen records.

Callers see these and never a database class, so the tables can change without anybody noticing.
Times are seconds since the epoch (UTC), durations are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from docendo.events import StopReason
from docendo.messages import PromptMessage, Usage

__all__ = [
    "CallRecord", "CallResult", "ConditionCounts", "ConditionRecord", "EngineRecord", "EpisodeRecord",
    "LessonKey", "LessonRecord", "LessonStatus", "ObservationRow", "RunRecord", "RunStatus",
]  # fmt: skip

RunStatus = Literal["running", "finished", "interrupted"]
LessonStatus = Literal["planned", "running", "finished"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run of a scenario."""

    id: str
    """Chosen by the caller from the digests, so that issuing a run again finds it."""
    name: str
    digest: str
    """Of the resolved scenario."""
    items_digest: str = ""
    scenario: dict[str, Any] = field(default_factory=dict)
    """The resolved scenario."""
    scenario_yaml: str = ""
    """The file as its author wrote it."""
    manifest: dict[str, Any] = field(default_factory=dict)
    """Versions, platform and prompt hashes that the run was made with."""
    created_at: float = 0.0
    """Set by the store when the run is new."""
    status: RunStatus = "running"
    """A run whose process died reads as `interrupted`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionRecord:
    """One point of the matrix."""

    run: str
    id: str
    ordinal: int
    coordinates: dict[str, Any] = field(default_factory=dict)
    """Matrix path -> value, as written in the YAML."""
    control: str = ""
    """The control that this condition is; empty for an ordinary one."""
    scenario: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class LessonKey:
    """Which lesson: one condition x one replicate of a run."""

    run: str
    condition: str
    replicate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LessonRecord:
    """How far a lesson has come. Digest and counts are set when it finishes."""

    key: LessonKey
    status: LessonStatus = "planned"
    digest: str = ""
    n_episodes: int = 0
    n_failed: int = 0
    wall_s: float = 0.0
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeRecord:
    """One execution of a graph. Its events are stored beside it, in the same transaction."""

    lesson: LessonKey
    key: str
    """Unique inside the lesson, e.g. `1:teach/0/item-17/student`."""
    ordinal: int
    """Place in the lesson; episodes are read in this order."""
    phase: str
    phase_kind: str
    round: int = 0
    item: str = ""
    student: str = ""
    outcome: StopReason
    failure: str = ""
    """A `FailureKind` where the outcome is `failed`."""
    digest: str
    """`digest_events` of its events."""
    wall_s: float = 0.0
    events_n: int = 0
    """Counted by the store."""
    id: int = 0
    """Given by the store; 0 before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallResult:
    """What came of a call: a reply, or a typed failure. Shared between readers: do not change it."""

    reply: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    """Recorded like a reply, so that a replay fails where the run did."""
    usage: Usage = field(default_factory=Usage)
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """One entry of the journal."""

    key: str
    """Hash of everything that the answer may depend on, as 64 hexadecimal digits."""
    fingerprint: str
    """Which model, exactly."""
    operation: Literal["generate", "score"]
    prompt: tuple[PromptMessage, ...]
    request: dict[str, Any] = field(default_factory=dict)
    """The rest of the request: sampling, seed, schema, choices, continuations."""
    result: CallResult
    created_at: float = 0.0
    """Set by the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservationRow:
    """One measured value: the unit that statistics are made of."""

    lesson: LessonKey
    phase: str
    measure: str
    item: str = ""
    student: str = ""
    round: int = 0
    value: float | None
    """`None`: missing, which is not a score."""
    reason: str = ""
    """Why it is missing."""
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecord:
    """What answered for a model from one start on. Simulated minds have none."""

    run: str
    model: str
    """The model's name in the scenario."""
    fingerprint: str
    about: dict[str, Any] = field(default_factory=dict)
    """Engine, versions, device, flags: what the backend says of itself."""
    self_test: dict[str, Any] | None = None
    """How often duplicated requests were answered differently; `None` where that was not tried."""
    started_at: float = 0.0
    """Set by the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionCounts:
    """How much of a condition there is. Printed beside every mean."""

    condition: str
    lessons_planned: int
    lessons_finished: int
    episodes: int
    """Episodes that ran, failed ones included."""
    failed: int
    """Episodes that failed."""
    observations: int
    missing: int
    """Observations without a value."""
