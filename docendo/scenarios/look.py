"""What a check of a scenario is given: the sound sections, the plain data, places, and known names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from docendo.scenarios.mistakes import Place
from docendo.scenarios.schema import Scenario

__all__ = ["Known", "Look"]

Known = Mapping[str, Collection[str]]
"""Names that upper layers define: policy, measure, student_model, graph, act, artefact, bug, unit."""


@dataclass(frozen=True)
class Look:
    """One look at a scenario: sound sections, plain data, places, names."""

    scenario: Scenario
    raw: dict[str, Any]
    place: Place
    known: Known
    broken: set[str]
    """Sections whose shape is wrong; `scenario` has stand-ins for them."""
