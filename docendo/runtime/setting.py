"""What a lesson is given, ready to use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from docendo.agents.port import ModelPort
from docendo.agents.prompt import PromptTemplate
from docendo.graphs.compile import CompiledGraph
from docendo.runtime.admission import Admission
from docendo.runtime.measures.measure import EpisodeTrace
from docendo.scenarios.item import Item
from docendo.scenarios.schema import Scenario

__all__ = ["SHARED_UNITS", "Finished", "LessonSetting"]

SHARED_UNITS = ("interventions",)
"""Units whose limit holds for a whole phase; every other unit is limited per episode."""

Finished = Callable[[int, EpisodeTrace, float], Awaitable[None]]
"""Called with (ordinal, trace, seconds) when an episode has ended."""


@dataclass(frozen=True, kw_only=True)
class LessonSetting:
    """What a lesson is given, ready to use."""

    scenario: Scenario
    condition: str
    replicate: int
    pools: Mapping[str, tuple[Item, ...]]
    templates: dict[str, dict[str, PromptTemplate]]
    graphs: Mapping[str, CompiledGraph]
    """Phase id -> its graph."""
    port: ModelPort
    finished: Finished
    examines: bool = False
    """Whether this is the fidelity check: answers are held against what the students should know."""
    base: Path = Path()
    admission: Admission = field(default_factory=Admission)
    """When an episode may begin; shared by all lessons of a run."""
