"""What an expert believes about a learner of tagged items: mastery per skill, and how it follows help.

Mastery starts at 1/2 and is updated by Bayes' rule after each unaided answer, with the guess rate of the
answer's kind and `SLIP` (Corbett & Anderson 1995, without the learning step: all evidence is taken as given
from one state). Of an item with several skills each is updated with the others at their means. Answers after
help tell at what rate the learner adopts the conclusion that the help leads to; a uniform grid is the prior.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from docendo.memory.record import Evidence
from docendo.runtime.minds.skill import skills_of
from docendo.runtime.minds.world import World, chance_level
from docendo.scenarios.item import Item

__all__ = ["SLIP", "SkillEstimate", "estimate"]

SLIP = 0.1
"""The slip rate that experts assume: the upper bound that is usual in knowledge tracing."""
_PRIOR = 0.5
_GRID = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class SkillEstimate:
    """A belief about one learner."""

    mastery: Mapping[str, float]
    """Skill -> probability that it is mastered; 1/2 where absent."""
    follows: float
    """Believed chance that the learner adopts the conclusion of help that is about the item."""

    def answers(self, item: Item, target: str, world: World, help_: str = "") -> dict[str, float]:
        """Answer -> believed probability; likeliest first, the target first among equals.

        Args:
            item: What the learner is asked.
            target: The answer that the expert holds to be right.
            world: How texts are read.
            help_: Help that the learner would read first.
        """
        p = _spread(target, self.p_correct(item), item, world)
        conclusion = world.read(help_, item).conclusion if help_ else None
        if conclusion is not None:
            p = {answer: (1 - self.follows) * q for answer, q in p.items()}
            p[conclusion] = p.get(conclusion, 0.0) + self.follows
        return dict(sorted(p.items(), key=lambda pair: -pair[1]))

    def p_correct(self, item: Item) -> float:
        """Believed chance that the learner answers correctly without help."""
        guess = chance_level(item)
        p = math.prod(_given(self.mastery.get(skill, _PRIOR), guess) for skill in skills_of(item))
        return max(p, guess)


def estimate(evidence: tuple[Evidence, ...], world: World) -> SkillEstimate:
    """The belief after `evidence`; observations of items that are not in the answer key are passed over."""
    seen = [(e, world.key[e.item]) for e in evidence if e.item in world.key]
    mastery: dict[str, float] = {}
    for one, item in seen:
        if not one.help:
            _observe(mastery, item, one.student_answer == world.gold(item))
    unaided = SkillEstimate(mastery, 0.0)
    rates = [1.0 / len(_GRID)] * len(_GRID)
    for one, item in seen:
        conclusion = world.read(one.help, item).conclusion if one.help else None
        if conclusion is not None:
            p = unaided.answers(item, world.gold(item), world).get(one.student_answer, 0.0)
            followed = (1 - SLIP) if one.student_answer == conclusion else SLIP
            rates = [w * (rate * followed + (1 - rate) * p) for w, rate in zip(rates, _GRID, strict=True)]
    total = math.fsum(rates)
    follows = math.fsum(w * r for w, r in zip(rates, _GRID, strict=True)) / total if total else 0.5
    return SkillEstimate(mastery, follows)


def _observe(mastery: dict[str, float], item: Item, correct: bool) -> None:
    guess, skills = chance_level(item), skills_of(item)
    before = {skill: mastery.get(skill, _PRIOR) for skill in skills}
    for skill, known in before.items():
        others = math.prod(_given(m, guess) for s, m in before.items() if s != skill)
        if_known, if_not = others * (1 - SLIP), others * guess
        if not correct:
            if_known, if_not = 1 - if_known, 1 - if_not
        mastery[skill] = known * if_known / (known * if_known + (1 - known) * if_not)


def _given(known: float, guess: float) -> float:
    return known * (1 - SLIP) + (1 - known) * guess


def _spread(target: str, p: float, item: Item, world: World) -> dict[str, float]:
    others = [a for a in (world.gold(item), *world.wrong_answers(item, 0)) if a != target]
    return {target: p} | {other: (1 - p) / len(others) for other in others}
