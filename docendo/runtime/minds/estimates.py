"""What an expert believes about a learner of tagged items: mastery per skill, and how it follows help.

Mastery starts at 1/2 and is updated by Bayes' rule after each unaided answer, with the guess rate of the
answer's kind and `SLIP` (Corbett & Anderson 1995, without the learning step: all evidence is taken as given
from one state). Of an item with several skills each is updated with the others at their means. Answers after
help tell at what rate the learner adopts the conclusion that the help leads to; a uniform grid is the prior.

In a dialogue about one item the learner either has adopted a conclusion or has not. Help moves probability to
its conclusion, at the rate of adoption; an answer then tells by Bayes' rule which of them it was. Whoever
adopted an explanation has also learnt from it, at the rate `LEARN` times what it shows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from docendo.memory.record import Evidence
from docendo.runtime.minds.skill import skills_of
from docendo.runtime.minds.world import Reading, World, chance_level
from docendo.scenarios.item import Item

__all__ = ["LEARN", "SLIP", "SkillEstimate", "estimate"]

SLIP = 0.1
"""The slip rate that experts assume: the upper bound that is usual in knowledge tracing."""
LEARN = 0.3
"""The learning rate that experts assume: what is usual in knowledge tracing."""
_PRIOR = 0.5
_ELSEWHERE = 1e-3
"""How likely an answer is that nobody would expect."""
_GRID = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class SkillEstimate:
    """A belief about one learner."""

    mastery: Mapping[str, float]
    """Skill -> probability that it is mastered; 1/2 where absent."""
    follows: float
    """Believed chance that the learner adopts the conclusion of help that is about the item."""
    adopted: tuple[tuple[Reading, float], ...] = ()
    """Help on the item at hand -> probability that the learner goes by it now."""

    def answers(self, item: Item, target: str, world: World) -> dict[str, float]:
        """Answer -> believed probability; likeliest first, the target first among equals.

        Args:
            item: What the learner is asked.
            target: The answer that the expert holds to be right.
            world: How texts are read.
        """
        alone = 1 - math.fsum(weight for _, weight in self.adopted)
        p = {a: alone * q for a, q in _spread(target, self.p_correct(item), item, world).items()}
        for reading, weight in self.adopted:
            conclusion = reading.conclusion or ""
            p[conclusion] = p.get(conclusion, 0.0) + weight
        return dict(sorted(p.items(), key=lambda pair: -pair[1]))

    def p_correct(self, item: Item) -> float:
        """Believed chance that the learner answers correctly without help."""
        guess = chance_level(item)
        p = math.prod(_given(self.mastery.get(skill, _PRIOR), guess) for skill in skills_of(item))
        return max(p, guess)

    def skills(self, item: Item, world: World) -> dict[str, float]:
        """Skill -> probability of mastery, with what adopted help on `item` has taught or undone."""
        found = {s: self.mastery.get(s, _PRIOR) for s in (*self.mastery, *skills_of(item))}
        for skill in skills_of(item):
            for reading, weight in self.adopted:
                right = reading.conclusion == world.gold(item)
                open_to_change = 1 - found[skill] if right else -found[skill]
                found[skill] += weight * LEARN * reading.coverage * open_to_change
        return found

    def after(self, item: Item, help_: str, world: World) -> SkillEstimate:
        """The belief when the learner, at work on `item`, has read `help_`."""
        reading = world.read(help_, item) if help_ else None
        if reading is None or reading.conclusion is None:
            return self
        kept = tuple((r, weight * (1 - self.follows)) for r, weight in self.adopted)
        return replace(self, adopted=(*kept, (reading, self.follows)))

    def given(self, item: Item, answer: str, world: World) -> SkillEstimate:
        """The belief after the learner's answer to the item at hand."""
        unaided = replace(self, adopted=()).answers(item, world.gold(item), world)
        alone = 1 - math.fsum(weight for _, weight in self.adopted)
        alone *= unaided.get(answer, _ELSEWHERE)
        weights = [w * ((1 - SLIP) if r.conclusion == answer else SLIP) for r, w in self.adopted]
        total = alone + math.fsum(weights)
        mastery = dict(self.mastery)
        _observe(mastery, item, answer == world.gold(item))
        before = {s: self.mastery.get(s, _PRIOR) for s in mastery}
        share = alone / total  # what a learner says that goes by help tells nothing of what it has mastered
        mixed = {s: share * m + (1 - share) * before[s] for s, m in mastery.items()}
        adopted = tuple((r, w / total) for (r, _), w in zip(self.adopted, weights, strict=True))
        return SkillEstimate(mixed, self.follows, adopted)


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
