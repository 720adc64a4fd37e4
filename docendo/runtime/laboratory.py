"""What the episodes of a phase have in common: their names, and everything they share and may not change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from docendo.agents.port import ModelPort, Sampling
from docendo.scenarios.item import Item
from docendo.scenarios.plan import MovesSpec, PhaseKind
from docendo.scenarios.taxonomy import TaxonomySpec

__all__ = ["EpisodeKey", "Laboratory"]


@dataclass(frozen=True, kw_only=True)
class EpisodeKey:
    """Which episode of a lesson this is; its text is stable under changes elsewhere in the scenario."""

    index: int
    """Zero-based place of the phase in the plan."""
    phase: str
    round: int
    item: str
    student: str

    def __str__(self) -> str:
        return f"{self.index}:{self.phase}/{self.round}/{self.item}/{self.student}"


@dataclass(frozen=True, kw_only=True)
class Laboratory:
    """What all episodes of a lesson share and none may change."""

    port: ModelPort
    seed: int
    condition: str
    replicate: int
    sampling: Mapping[str, Sampling]
    """Agent group -> how its model draws."""
    kind: PhaseKind = "teach"
    """Of the phase."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of the phase."""
    moves: MovesSpec | None = None
    """Who decides on the moves of the phase's dialogues."""
    taxonomy: TaxonomySpec | None = None
    """What they are."""
    examines: bool = False
    """Whether answers are held against what the student's mind or profile lets expect."""
    members: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Axis -> names, for fan-out over others than items."""
    decoys: Mapping[str, Item] = field(default_factory=dict)
    """Item -> another item of the phase, whose explanation is irrelevant to it."""
