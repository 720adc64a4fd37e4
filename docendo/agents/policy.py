"""Intervention policies: when to spend help.

A policy gives every item of a phase a score, or none where it would not intervene. The laboratory ranks the
scores over the whole phase (best first, ties in the items' order: Python's stable sort, as published) and
intervenes on as many items as the budget pays for. So the sets of a policy are nested over budgets, and all
policies that score every item agree at budgets 0 and 1.

A policy learns about an item by asking a `Rehearsal`: what would happen, or what the teacher expects. The
*true* quantities ask the real student and are upper bounds that no teacher could use; the *expected* ones
ask the teacher's student model only.

Names and formulas: Saha, Hase & Bansal 2023, section 4 (RQ2) and their code.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from docendo.registry import Registry
from docendo.scenarios.schema import PolicySpec

__all__ = ["POLICIES", "Choice", "Needs", "Policy", "Rehearsal", "Score", "rank"]

Needs = Literal["prediction", "confidence", "options", "teacher_confidence", "attempt"]


@dataclass(frozen=True, slots=True)
class Score:
    """What a policy makes of one item."""

    value: float | None
    """Higher is chosen earlier; `None` is never chosen."""
    reasons: Mapping[str, Any]
    """The quantities behind the value, for the record."""


class Rehearsal(Protocol):
    """What can be found out about one item before deciding. Each question is asked at most once."""

    @property
    def place(self) -> int:
        """The item's place in the phase, from 0."""
        ...

    def draw(self) -> float:
        """A uniform number in [0, 1) that belongs to this item and replicate."""
        ...

    async def correct(self) -> bool:
        """Whether the student's own answer is right (truth)."""
        ...

    async def confidence(self, *, helped: bool) -> float:
        """The student's probability of the target answer, before or after help (truth)."""
        ...

    async def least_option(self) -> float:
        """The smallest probability that the student gives to any option (truth)."""
        ...

    async def teacher_confidence(self) -> float:
        """The teacher's own probability of the target answer."""
        ...

    async def expected(self, *, helped: bool) -> float:
        """The student model's probability that the student answers correctly."""
        ...


ScoreFunction = Callable[[Rehearsal, PolicySpec], Awaitable[Score]]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """One way to choose items."""

    name: str
    description: str
    score: ScoreFunction
    needs: frozenset[Needs] = frozenset()
    """What the scenario must provide: a student model (`prediction`), a student whose answers can be scored
    (`confidence`), a teacher whose answers can be (`teacher_confidence`), items with options (`options`)."""
    ranks_all: bool = True
    """Every item gets a score, so that a full budget means all items."""


POLICIES: Registry[Policy] = Registry("policy")


@dataclass(frozen=True, slots=True)
class Choice:
    """The outcome of a ranking for one item."""

    chosen: bool
    score: float | None
    rank: int | None
    """Zero-based; `None` where the policy would not intervene."""


def rank(
    scores: Sequence[float | None], budget: int, order: Literal["best", "worst"] = "best"
) -> list[Choice]:
    """Choose the best `budget` items; `worst` turns the order round (a teacher that means harm)."""
    sign = -1.0 if order == "best" else 1.0
    eligible = [i for i, s in enumerate(scores) if s is not None]
    ranked = sorted(eligible, key=lambda i: sign * (scores[i] or 0.0))
    place = {item: position for position, item in enumerate(ranked)}
    return [Choice(i in place and place[i] < budget, scores[i], place.get(i)) for i in range(len(scores))]


def _add(
    name: str, description: str, *needs: Needs, ranks_all: bool = True
) -> Callable[[ScoreFunction], ScoreFunction]:
    def register(score: ScoreFunction) -> ScoreFunction:
        POLICIES.add(
            name,
            Policy(
                name=name, description=description, score=score, needs=frozenset(needs), ranks_all=ranks_all
            ),
        )
        return score

    return register


@_add("never", "No help at all.", ranks_all=False)
async def _never(rehearsal: Rehearsal, spec: PolicySpec) -> Score:
    return Score(None, {})


@_add("always", "Every item in order, while the budget lasts.")
async def _always(rehearsal: Rehearsal, spec: PolicySpec) -> Score:
    return Score(0.0, {})


@_add("random", "Items by lot.")
async def _random(rehearsal: Rehearsal, spec: PolicySpec) -> Score:
    draw = rehearsal.draw()
    return Score(draw, {"draw": draw})


@_add("on_failure", "Items that the student gets wrong alone (truth), in order.", "attempt", ranks_all=False)
async def _on_failure(rehearsal: Rehearsal, spec: PolicySpec) -> Score:
    correct = await rehearsal.correct()
    return Score(None if correct else 0.0, {"correct": correct})


@_add("oracle", "Items that the student gets wrong alone first (truth), then the others.", "attempt")
async def _oracle(rehearsal: Rehearsal, spec: PolicySpec) -> Score:
    correct = await rehearsal.correct()
    return Score(0.0 if correct else 1.0, {"correct": correct})


@_add("teacher_confidence", "Where the teacher is surest of the answer.", "teacher_confidence")
async def _teacher_confidence(rehearsal: Rehearsal, spec: PolicySpec) -> Score:
    p = await rehearsal.teacher_confidence()
    return Score(p, {"p_teacher": p})


@_add(
    "least_confidence",
    "Where the student's least likely option is least likely (truth).",
    "confidence",
    "options",
)
async def _least_confidence(rehearsal: Rehearsal, spec: PolicySpec) -> Score:
    p = await rehearsal.least_option()
    return Score(-p, {"p_least": p})


@_add("true_confidence_pre", "Where the student is least likely to be right alone (truth).", "confidence")
async def _true_pre(rehearsal: Rehearsal, spec: PolicySpec) -> Score:
    pre = await rehearsal.confidence(helped=False)
    return Score(-pre, {"p_pre": pre})


@_add("true_confidence_post", "Where the student is most likely to be right with help (truth).", "confidence")
async def _true_post(rehearsal: Rehearsal, spec: PolicySpec) -> Score:
    post = await rehearsal.confidence(helped=True)
    return Score(post, {"p_post": post})


@_add("true_utility", "Where help raises the student's chance most (truth).", "confidence")
async def _true_utility(rehearsal: Rehearsal, spec: PolicySpec) -> Score:
    pre, post = await rehearsal.confidence(helped=False), await rehearsal.confidence(helped=True)
    return Score(post - pre, {"p_pre": pre, "p_post": post})


@_add("expected_confidence_pre", "Where the teacher expects failure without help.", "prediction")
async def _expected_pre(rehearsal: Rehearsal, spec: PolicySpec) -> Score:
    pre = await rehearsal.expected(helped=False)
    return Score(-pre, {"expected_pre": pre})


@_add("expected_confidence_post", "Where the teacher expects success with help.", "prediction")
async def _expected_post(rehearsal: Rehearsal, spec: PolicySpec) -> Score:
    post = await rehearsal.expected(helped=True)
    return Score(post, {"expected_post": post})


@_add("expected_utility", "Where the teacher expects help to raise the student's chance most.", "prediction")
async def _expected_utility(rehearsal: Rehearsal, spec: PolicySpec) -> Score:
    pre, post = await rehearsal.expected(helped=False), await rehearsal.expected(helped=True)
    return Score(post - pre, {"expected_pre": pre, "expected_post": post})


@_add(
    "threshold",
    "Where the teacher expects a chance below `threshold` without help.",
    "prediction",
    ranks_all=False,
)
async def _threshold(rehearsal: Rehearsal, spec: PolicySpec) -> Score:
    pre = await rehearsal.expected(helped=False)
    limit = 0.5 if spec.threshold is None else spec.threshold
    return Score(limit - pre if pre < limit else None, {"expected_pre": pre})
