"""Measures, statistics and controls: pure functions of recorded lessons."""

from docendo.runtime.measures import beliefs, diagnoses, dialogues, fidelity, learning, outcomes, samples
from docendo.runtime.measures.measure import (
    MEASURES,
    EpisodeTrace,
    LessonTrace,
    Measure,
    Observation,
    measure,
    measure_family,
    observe_lesson,
)

BUILT_IN = (outcomes, beliefs, diagnoses, dialogues, learning, samples, fidelity)
"""Importing these registers their measures."""

__all__ = [
    "BUILT_IN", "MEASURES", "EpisodeTrace", "LessonTrace", "Measure", "Observation", "measure",
    "measure_family", "observe_lesson",
]  # fmt: skip
