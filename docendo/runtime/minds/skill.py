"""A learner of any tagged items: Bayesian knowledge tracing (Corbett & Anderson 1995).

Each skill is mastered or not. An item is answered right with the product over its skills of 1 - slip
(mastered) or guess (not), but never below guess: knowing less is no worse than not knowing. An item without
skills is a skill of its own. `World` reads texts; what becomes of a reading:

- *follow*: with chance `comprehension` (stable per learner, item and text) the learner takes over the
  conclusion of an explanation of the item at hand, right or wrong, and gives it except for slips.
- *learn*: a followed explanation with the right conclusion masters each unmastered skill of the item with
  chance `learn` times its coverage of the solution. One with a wrong conclusion undoes each mastered skill
  with the same chance: what is wrong is learned as readily as what is right.
- Worked examples in memory teach the skills of their own items in the same way, for the call only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from docendo.agents.view import View
from docendo.runtime.minds.draws import unit
from docendo.runtime.minds.mind import ActOfMind, Attempt, Said, item_of, wrap_up
from docendo.runtime.minds.population import has_mastered
from docendo.runtime.minds.replying import replied
from docendo.runtime.minds.world import Reading, World, chance_level
from docendo.scenarios.item import Item
from docendo.scenarios.model_spec import SkillModel

__all__ = ["SkillMind", "skills_of"]


def skills_of(item: Item) -> tuple[str, ...]:
    """The item's skills; where it has none, the item is its own."""
    return item.skills or (f"item:{item.id}",)


class SkillMind:
    """The learners of one `SkillModel`."""

    name = "skill"

    def __init__(self, spec: SkillModel, world: World) -> None:
        self.spec = spec
        self.world = world
        self.acts: dict[str, ActOfMind] = {
            "solve": self.solve,
            "sit": self.solve,
            "explain": self.solve,
            "reply": self.reply,
            "reflect": self.read,
            "read": self.read,
            "study": self.read,
        }

    def solve(self, view: View, room: int) -> Attempt:
        """Read the help, recall the worked examples, then answer."""
        answers, followed, changed = self._think(view)

        def say(answer: str) -> Said:
            why = _why(answer, followed)
            return Said(text=wrap_up(why, answer), data={"answer": answer, "explanation": why}, mind=changed)

        return Attempt(answers=answers, say=say)

    def reply(self, view: View, room: int) -> Attempt:
        """The same in a dialogue; to those who ask it says whether it follows what it was told."""
        answers, followed, changed = self._think(view)
        return Attempt(
            answers=answers, say=lambda answer: replied(view, answer, _why(answer, followed), changed)
        )

    def _think(self, view: View) -> tuple[dict[str, float], str | None, dict[str, Any] | None]:
        """Answers, the conclusion that was taken over, and the state of mind where the help changed it."""
        item = self.world.item(item_of(view, self.name))
        state, after, followed = self._after_help(view, item)
        known = after
        for example in view.demonstrations:
            if example.item in self.world.key:
                theirs = self.world.key[example.item]
                text = f"{example.explanation} So the answer is {example.answer}."
                if self._follows(state, theirs, text):
                    known = self._taught(known, theirs, self.world.read(text, theirs), text)
        return self._answers(known, item, followed), followed, after if after is not state else None

    def read(self, view: View, room: int) -> Said:
        """Read what was said, and acknowledge it."""
        state, after, followed = self._after_help(view, self.world.item(item_of(view, self.name)))
        text = "I have read it." if followed is None else f"I see: so the answer is {followed}."
        return Said(text=text, data={"note": text}, mind=after if after is not state else None)

    def _after_help(self, view: View, item: Item) -> tuple[dict[str, Any], dict[str, Any], str | None]:
        """The states before and after reading the help of others, and the conclusion taken over last."""
        state = after = view.mind or {}
        followed = None
        for message in view.help:
            reading = self.world.read(message.text, item)
            if message.sender == view.agent or reading.conclusion is None:
                continue
            if self._follows(state, item, message.text):
                followed = reading.conclusion
                after = self._taught(after, item, reading, message.text)
        return state, after, followed

    def _follows(self, state: Mapping[str, Any], item: Item, text: str) -> bool:
        return unit(state["seed"], "follow", item.id, text) < self.spec.comprehension

    def _taught(self, state: dict[str, Any], item: Item, reading: Reading, text: str) -> dict[str, Any]:
        """The state after an explanation that the learner followed."""
        right = reading.conclusion == self.world.gold(item)
        changed = {
            skill: right
            for skill in skills_of(item)
            if has_mastered(state, skill) != right
            and unit(state["seed"], "learn", skill, item.id, text) < self.spec.learn * reading.coverage
        }
        return {**state, "skills": {**state["skills"], **changed}} if changed else state

    def _answers(self, state: Mapping[str, Any], item: Item, followed: str | None) -> dict[str, float]:
        gold = self.world.gold(item)
        if followed is not None:
            return self._spread(followed, 1 - self.spec.slip, item, state["seed"])
        guess = chance_level(item) if self.spec.guess is None else self.spec.guess
        p = 1.0
        for skill in skills_of(item):
            p *= 1 - self.spec.slip if has_mastered(state, skill) else guess
        return self._spread(gold, max(p, guess), item, state["seed"])

    def _spread(self, answer: str, p: float, item: Item, seed: int) -> dict[str, float]:
        """`answer` with probability `p`, this mind's other answers sharing the rest."""
        others = [a for a in (self.world.gold(item), *self.world.wrong_answers(item, seed)) if a != answer]
        if not others:
            return {answer: 1.0}
        spread = {answer: p} | {other: (1 - p) / len(others) for other in others}
        return self.world.shuffled(spread, item, seed)


def _why(answer: str, followed: str | None) -> str:
    """Neutral words: a learner that named its skills would give its mind away."""
    return "As it was explained to me." if followed == answer else "As far as I can tell."
