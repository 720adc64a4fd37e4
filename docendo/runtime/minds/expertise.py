"""What an expert knows: its rules, its answers, its explanations, and where it is at fault.

It knows the procedures of column arithmetic and, as an expert does, the answers and solutions of other items.
With chance `error_rate` per rule or skill it holds a bug, or gives a wrong answer with a solution that leads
there; with chance `slip` per item it does so on that item alone, in one rule that it needs. Both are stable
draws of this expert. `doubt` is fresh: each sampled attempt goes wrong anew (`doubting`). What it has learned
from worked examples in its memory counts where it works an item itself, for that call only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from docendo.agents.view import View
from docendo.runtime.minds.draws import pick, unit
from docendo.runtime.minds.explaining import corrupted, first_sentences, spelled_out
from docendo.runtime.minds.hypotheses import posterior
from docendo.runtime.minds.mind import item_of
from docendo.runtime.minds.population import has_mastered
from docendo.runtime.minds.procedural import Rules, taught, worked
from docendo.runtime.minds.reading import problem_of, shown_to
from docendo.runtime.minds.skill import skills_of
from docendo.runtime.minds.world import World, harmful_explanations
from docendo.scenarios.arithmetic import BUGS, Problem, Step, exercised
from docendo.scenarios.item import PublicItem
from docendo.scenarios.model_spec import ExpertModel

__all__ = ["CONCLUSION_WORDS", "Expertise", "state_of"]

CONCLUSION_WORDS = 5
"""Room that "So the answer is N." takes."""


class Expertise:
    """The knowledge of the experts of one `ExpertModel`."""

    def __init__(self, spec: ExpertModel, world: World) -> None:
        self.spec = spec
        self.world = world

    def item(self, view: View) -> PublicItem:
        """The item at hand.

        Raises:
            MindFault: The view holds none.
        """
        return item_of(view, "expert")

    def misleads(self, view: View) -> bool:
        """Whether it is to explain wrongly, on purpose."""
        return self.spec.misleading or bool(view.params.get("misleading"))

    def target(self, view: View) -> str:
        """The answer that it takes to be right: the key's where it may read it, else its own."""
        return view.gold.answer if view.gold else self.answer(view)

    def answer(self, view: View, *, wrongly: bool = False) -> str:
        """What the expert holds, or wants others to hold, to be the answer."""
        public, state = self.item(view), state_of(view)
        problem = problem_of(public.question)
        if problem is not None:
            return str(worked(problem, self.rules(view, wrongly=wrongly))[0].answer)
        item = self.world.item(public)
        if wrongly and (harmful := harmful_explanations(item)):
            return harmful[0][1]
        known = all(has_mastered(state, skill) for skill in skills_of(item))
        if wrongly or not known or self._slips(view, item):
            return pick(self.world.wrong_answers(item, state["seed"]), state["seed"], "err", item.id)
        return self.world.gold(item)

    def words(self, view: View, answer: str, *, wrongly: bool = False) -> str:
        """The full explanation of an item that is no column problem: the one that leads to `answer`."""
        item = self.world.item(self.item(view))
        if answer == self.world.gold(item):
            return item.solution or f"Worked through, this comes to {answer}."  # a source without solutions
        harmful = harmful_explanations(item) if wrongly else []
        if harmful:
            return pick(harmful, state_of(view)["seed"], "harm", item.id)[0]
        return corrupted(item, answer, self.world)

    def explanation(self, view: View, room: int, *, wrongly: bool = False) -> str:
        """How to get to `answer`, without it, as far as `room` and `params.steps` allow."""
        problem = problem_of(self.item(view).question)
        if problem is None:
            return self.told(view, self.answer(view, wrongly=wrongly), room, wrongly=wrongly)
        return self.shown(view, problem, self.rules(view, wrongly=wrongly), room)

    def shown(self, view: View, problem: Problem, rules: Rules, room: int) -> str:
        """The steps of a column problem under `rules`."""
        steps = view.params.get("steps")
        return spelled_out(worked(problem, rules)[0], self.priority(view), room=room, steps=steps)

    def told(self, view: View, answer: str, room: int, *, wrongly: bool = False) -> str:
        """The first sentences of the explanation that leads to `answer`."""
        text = self.words(view, answer, wrongly=wrongly)
        return first_sentences(text, room=room, steps=view.params.get("steps"))

    def rules(self, view: View, *, wrongly: bool = False, studied: bool = False) -> Rules:
        """Its own rules; on purpose wrongly, bugs for all; where it slips, for one that the item needs.

        Args:
            view: Whose state and item.
            wrongly: Mislead.
            studied: Read the worked examples in memory first: each step that contradicts a rule replaces it
                with chance `comprehension`, as in a learner.
        """
        state, item = state_of(view), self.item(view)
        seed, rules = state["seed"], state["rules"]
        if wrongly:
            return tuple(sorted((slot, _bug_of(slot, seed, "mislead", slot)) for slot in rules))
        rules = self._after_examples(view, rules) if studied else rules
        if (problem := problem_of(item.question)) is not None and self._slips(view, item):
            needed = [slot for slot in exercised(problem) if slot in rules]
            slot = pick(needed, seed, "slip in", item.id) if needed else ""
            rules = {**rules, slot: _bug_of(slot, seed, "slip to", item.id)} if slot else rules
        return tuple(sorted(rules.items()))

    def studied(self, view: View) -> Mapping[str, str]:
        """Its rules with what the worked examples in its memory correct in them."""
        return self._after_examples(view, state_of(view)["rules"])

    def priority(self, view: View) -> Callable[[Step], float]:
        """How badly the student seems to need each step: the probability that its own rule there is wrong."""
        style = view.params.get("style", "personalised" if view.evidence else "plain")
        problem = problem_of(self.item(view).question)
        if style != "personalised" or problem is None:
            return lambda step: 0.0
        rectified: tuple[Problem, ...] = ()
        if not view.evidence:
            found = (problem_of(d.question) for d in view.demonstrations)
            rectified = tuple(p for p in found if p is not None)
        correct = posterior(problem.operation, view.evidence, rectified).slots()
        return lambda step: 1 - correct.get(step.slot, 1.0)

    def _slips(self, view: View, item: PublicItem) -> bool:
        """Whether this expert goes wrong on this item though it knows better (an error, not a bug)."""
        return unit(state_of(view)["seed"], "slip", item.id) < self.spec.slip

    def _after_examples(self, view: View, rules: Mapping[str, str]) -> Mapping[str, str]:
        seed = state_of(view)["seed"]
        for example in view.demonstrations:
            other = problem_of(example.question)
            shown = shown_to(example.explanation, other) if other else ()
            rules = taught(rules, shown, seed, example.explanation, self.spec.comprehension)
        return rules


def _bug_of(slot: str, *parts: object) -> str:
    """One of the bugs of a rule."""
    return pick([b.name for b in BUGS.values() if b.slot == slot], *parts)


def state_of(view: View) -> dict[str, Any]:
    """The expert's own state of mind."""
    assert view.mind is not None  # the backend sees to it
    return view.mind
