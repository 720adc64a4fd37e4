"""Measures of diagnosis: what was believed about a student's mind, against the mind itself.

A simulated learner's skills and misconceptions are known, and the laboratory writes them beside every belief
as they were at that moment (`BeliefEvent.truth`). Without such a truth nothing is measured here.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from docendo.events import BeliefEvent
from docendo.runtime.measures.measure import EpisodeTrace, LessonTrace, Observed, Place, measure

__all__ = [
    "diagnoses_of", "diagnosis_accuracy", "diagnosis_right", "named_misconception", "truth_brier",
    "truth_error", "turns_to_diagnosis",
]  # fmt: skip

SURE = 0.5
"""A misconception that is believed less than this is not named."""


@measure(
    "truth_brier", scale="probability", better="low",
    description="Mean Brier score of believed skills and misconceptions against the simulated learner's "
    "mind.",
)  # fmt: skip
def truth_brier(trace: LessonTrace) -> Iterable[Observed]:
    """One mean per belief that shares a skill or a misconception with the truth."""
    for episode in trace.episodes:
        for event in episode.events:
            if isinstance(event, BeliefEvent) and (error := truth_error(event)) is not None:
                yield _place(episode, event), error, ""


def truth_error(belief: BeliefEvent) -> float | None:
    """Mean Brier score of a belief's skills and misconceptions; `None` where the truth has none of them."""
    errors = [*_errors(belief.skills, belief.truth.get("skills"))]
    errors += _errors(belief.misconceptions, belief.truth.get("misconceptions"))
    return math.fsum(errors) / len(errors) if errors else None


def _place(episode: EpisodeTrace, belief: BeliefEvent) -> Place:
    return Place(episode.phase, episode.round, belief.item or episode.item, belief.student)


def _errors(believed: Mapping[str, float], truth: Any) -> Iterator[float]:
    """Squared errors per name. The truth maps names to booleans, shares or rules, or lists what holds."""
    if isinstance(truth, list | tuple):
        truth = {name: name in truth for name in believed}
    for name, p in believed.items():
        if isinstance(truth, Mapping) and name in truth:
            held = truth[name]
            yield (p - (float(held == "correct") if isinstance(held, str) else float(held))) ** 2


# --- naming the misconception ---------------------------------------------------------------------------


def named_misconception(believed: Mapping[str, float]) -> str | None:
    """The most probable misconception, of equals the first by name; `None` where all are below 0.5."""
    sure = [(-p, name) for name, p in believed.items() if p >= SURE]
    return min(sure)[1] if sure else None


def diagnosis_right(belief: BeliefEvent) -> bool:
    """Whether the named misconception is one that the student has; or none is named, and it has none."""
    held: Collection[str] = belief.truth["misconceptions"]
    named = named_misconception(belief.misconceptions)
    return named in held if named is not None else not held


def diagnoses_of(episode: EpisodeTrace) -> Iterator[BeliefEvent]:
    """Beliefs that say what is wrong with the student, where that is known."""
    for event in episode.events:
        if not isinstance(event, BeliefEvent) or "misconceptions" not in event.truth:
            continue
        if event.misconceptions or event.act == "diagnose":
            yield event


@measure(
    "diagnosis_accuracy", scale="probability", better="high", binary=True,
    description="Share of diagnoses whose most probable misconception is one that the simulated learner has "
    "at that moment; where all are believed less than 0.5, right is to have none.",
)  # fmt: skip
def diagnosis_accuracy(trace: LessonTrace) -> Iterable[Observed]:
    """1 for a right diagnosis."""
    for episode in trace.episodes:
        for belief in diagnoses_of(episode):
            yield _place(episode, belief), float(diagnosis_right(belief)), ""


@measure(
    "turns_to_diagnosis", scale="count", better="low",
    description="Diagnoses of an episode up to the first right one after which none was wrong; missing where "
    "the last one was wrong.",
)  # fmt: skip
def turns_to_diagnosis(trace: LessonTrace) -> Iterable[Observed]:
    """One count per episode and student."""
    for episode in trace.episodes:
        streams: dict[Place, list[bool]] = {}
        for belief in diagnoses_of(episode):
            streams.setdefault(_place(episode, belief), []).append(diagnosis_right(belief))
        for place, right in streams.items():
            if episode.errored:
                yield place, None, episode.why
            elif not right[-1]:
                yield place, None, "the last diagnosis was wrong"
            else:
                wrong = [index for index, ok in enumerate(right) if not ok]
                yield place, float(wrong[-1] + 2 if wrong else 1), ""
