"""What an expert believes about a learner of column arithmetic: a posterior over rule sets.

The expert does not know which bugs a scenario uses. Its hypotheses are all combinations of the known variants
of an operation's slots. A priori each slot is correct with probability 1/2, else one of its bugs, all equally
likely; slots are independent. An observed answer that a hypothesis does not give has probability `NOISE`.
Worked steps of the student count as observations of its rules in the same way.

Help works as it does on a real learner (`procedural`): each step that contradicts a rule replaces it with
chance c. That moves probability from one rule set to another, slot by slot, so the effect of a text on the
whole posterior is a short product of linear maps. c is unknown: it has a uniform prior on a grid (mean 1/2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from docendo.memory.record import Evidence
from docendo.runtime.minds.reading import problem_of, shown_rules, shown_to
from docendo.scenarios.arithmetic import BASE_SLOTS, BUGS, CORRECT, SLOTS, Operation, Problem, solve
from docendo.scenarios.worked_steps import ReadStep

__all__ = ["NOISE", "RulePosterior", "posterior", "rule_answers"]

NOISE = 0.05
"""Chance, as an expert assumes it, that a learner's answer is not the one of its rules."""
_GRID = (0.1, 0.3, 0.5, 0.7, 0.9)
_ELSEWHERE = 1e-3
"""How likely one particular slip is: the noise spread over some fifty numbers near the answer."""


@dataclass(frozen=True)
class _Space:
    """All rule sets of one operation."""

    slots: tuple[str, ...]
    rules: tuple[tuple[str, ...], ...]
    """One variant per slot."""
    prior: tuple[float, ...]


@lru_cache(maxsize=2)
def _space(operation: Operation) -> _Space:
    slots = tuple(s for s, o in SLOTS.items() if o == operation and s not in BASE_SLOTS)
    variants = [(CORRECT, *(b.name for b in BUGS.values() if b.slot == slot)) for slot in slots]
    rules = tuple(product(*variants))
    prior = tuple(
        math.prod(0.5 if v == CORRECT else 0.5 / (len(vs) - 1) for v, vs in zip(r, variants, strict=True))
        for r in rules
    )
    return _Space(slots, rules, prior)


@lru_cache(maxsize=4096)
def _moves(operation: Operation, step: ReadStep) -> tuple[int, ...]:
    """Where each rule set goes when the step is grasped: its index, or that of the changed set."""
    space = _space(operation)
    if step.slot not in space.slots:
        return tuple(range(len(space.rules)))
    place = space.slots.index(step.slot)
    index = {r: i for i, r in enumerate(space.rules)}
    return tuple(
        index[(*r[:place], step.variant, *r[place + 1 :])] if step.contradicts(r[place]) else i
        for i, r in enumerate(space.rules)
    )


@lru_cache(maxsize=65536)
def rule_answers(problem: Problem) -> tuple[str, ...]:
    """The answer of every hypothesis to `problem`.

    An outcome depends only on the rules that come to be used, so each distinct course is worked once.
    """
    space = _space(problem.operation)
    courses: list[tuple[tuple[tuple[int, str], ...], str]] = []
    answers = []
    for rules in space.rules:
        known = next((a for used, a in courses if all(rules[i] == v for i, v in used)), None)
        if known is None:
            solution = solve(problem, dict(zip(space.slots, rules, strict=True)))
            known = str(solution.answer)
            courses.append((tuple((space.slots.index(s), v) for s, v in solution.used), known))
        answers.append(known)
    return tuple(answers)


@dataclass(frozen=True, eq=False)
class RulePosterior:
    """Weights of the hypotheses of one operation, for each assumed rate of comprehension."""

    operation: Operation
    weights: tuple[tuple[float, ...], ...]
    """One row per rate of the grid; all of them together sum to 1."""

    def predict(self, problem: Problem, help_: str = "") -> dict[str, float]:
        """Posterior predictive of what the learner's rules give, after help if any; likeliest first."""
        return dict(_predicted(self, problem, help_))

    def after(self, problem: Problem, help_: str) -> RulePosterior:
        """The belief when the learner, at work on `problem`, has read `help_`."""
        return _after(self, problem, help_)

    def given(self, seen: Evidence) -> RulePosterior:
        """The belief after one more answer of the learner, as it is now."""
        problem = problem_of(seen.question)
        if problem is None or problem.operation != self.operation:
            return self
        rows = zip(_GRID, self.weights, strict=True)
        space = _space(self.operation)
        return _normalised(self.operation, [_weighed(space, row, rate, seen, problem) for rate, row in rows])

    def slots(self) -> dict[str, float]:
        """Slot -> probability that the learner's rule is correct."""
        return {slot: self._mass(slot, CORRECT) for slot in _space(self.operation).slots}

    def bugs(self) -> dict[str, float]:
        """Bug -> probability that the learner holds it."""
        return {b.name: self._mass(b.slot, b.name) for b in BUGS.values() if b.operation == self.operation}

    def comprehension(self) -> float:
        """Posterior mean of the rate at which the learner grasps steps."""
        return sum(rate * sum(row) for rate, row in zip(_GRID, self.weights, strict=True))

    def _mass(self, slot: str, variant: str) -> float:
        space = _space(self.operation)
        place = space.slots.index(slot)
        held = [i for i, rules in enumerate(space.rules) if rules[place] == variant]
        return math.fsum(row[i] for row in self.weights for i in held)


@lru_cache(maxsize=4096)
def _predicted(belief: RulePosterior, problem: Problem, help_: str) -> tuple[tuple[str, float], ...]:
    answers = rule_answers(problem)
    p: dict[str, float] = {}
    for row in (belief.after(problem, help_) if help_ else belief).weights:
        for answer, weight in zip(answers, row, strict=True):
            p[answer] = p.get(answer, 0.0) + weight
    return tuple(sorted(p.items(), key=lambda pair: (-pair[1], pair[0])))


@lru_cache(maxsize=4096)
def _after(belief: RulePosterior, problem: Problem, help_: str) -> RulePosterior:
    rows = []
    for rate, weights in zip(_GRID, belief.weights, strict=True):
        row: Sequence[float] = weights
        for step in shown_to(help_, problem):
            row = _pushed(row, _moves(belief.operation, step), rate)
        rows.append(tuple(row))
    return RulePosterior(belief.operation, tuple(rows))


def _pushed(row: Sequence[float], moves: Sequence[int], rate: float) -> list[float]:
    """Weights after reading a step: a share `rate` of each goes where the step leads."""
    after = [0.0] * len(row)
    for i, (target, weight) in enumerate(zip(moves, row, strict=True)):
        after[target] += rate * weight
        after[i] += (1 - rate) * weight
    return after


@lru_cache(maxsize=4096)
def posterior(
    operation: Operation, evidence: tuple[Evidence, ...], wrong_on: tuple[Problem, ...] = ()
) -> RulePosterior:
    """The posterior after `evidence`; observations of other operations or item types are passed over.

    Args:
        operation: Whose rules.
        evidence: Answers of the learner, with or without help. Each is taken as given from the same state.
        wrong_on: Problems that the learner is known to have got wrong, where its answer is not known.
    """
    space = _space(operation)
    rows = [[w / len(_GRID) for w in space.prior] for _ in _GRID]
    for seen in evidence:
        problem = problem_of(seen.question)
        if problem is not None and problem.operation == operation:
            rows = [_weighed(space, row, rate, seen, problem) for rate, row in zip(_GRID, rows, strict=True)]
    for problem in wrong_on:
        if problem.operation == operation:
            right = str(problem.answer)
            factors = [NOISE if a == right else 1 - NOISE for a in rule_answers(problem)]
            rows = [[w * f for w, f in zip(row, factors, strict=True)] for row in rows]
    return _normalised(operation, rows)


def _normalised(operation: Operation, rows: Sequence[Sequence[float]]) -> RulePosterior:
    total = math.fsum(w for row in rows for w in row)
    return RulePosterior(operation, tuple(tuple(w / total for w in row) for row in rows))


def _weighed(
    space: _Space, row: Sequence[float], rate: float, seen: Evidence, problem: Problem
) -> list[float]:
    """`row` times the likelihood of one observation under each hypothesis."""
    given = [(1 - NOISE) if a == seen.student_answer else _ELSEWHERE for a in rule_answers(problem)]
    if seen.student_explanation:
        given = [g * f for g, f in zip(given, _shown_by_student(space, seen, problem), strict=True)]
    if seen.help:
        for step in reversed(shown_to(seen.help, problem)):
            moves = _moves(problem.operation, step)
            given = [(1 - rate) * given[i] + rate * given[target] for i, target in enumerate(moves)]
    return [w * g for w, g in zip(row, given, strict=True)]


def _shown_by_student(space: _Space, seen: Evidence, problem: Problem) -> list[float]:
    """Likelihood of the student's own worked steps: `NOISE` for each that contradicts the hypothesis."""
    steps = shown_rules(seen.student_explanation, problem)
    factors = []
    for rules in space.rules:
        held: Mapping[str, str] = dict(zip(space.slots, rules, strict=True))
        factors.append(math.prod(NOISE if s.contradicts(held.get(s.slot, s.variant)) else 1.0 for s in steps))
    return factors
