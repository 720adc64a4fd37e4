"""A learner of column arithmetic: one rule variant per slot, correct or a bug (see `scenarios.arithmetic`).

It works an item step by step and answers what its rules give; a `slip` puts one column off by one. It
*reads*: a step in an explanation of the item at hand, or in a worked example, that contradicts its own rule
replaces that rule with probability `comprehension`, a stable draw per learner, slot and text. So a text
teaches what it shows and nothing else: the right rule, a wrong one, or none. It never copies an answer.

What help taught is a change of mind (`Completion.mind`), which lasts as long as the agent's memory does, and
as long as no rest phase undoes it (`population.rest`). Worked examples in memory are read anew at each call,
and change nothing that lasts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from docendo.agents.view import View
from docendo.runtime.minds.draws import unit
from docendo.runtime.minds.mind import ActOfMind, Attempt, MindFault, Said, item_of, wrap_up
from docendo.runtime.minds.reading import problem_of, shown_to
from docendo.runtime.minds.replying import replied
from docendo.scenarios.arithmetic import Problem, Solution, solve
from docendo.scenarios.model_spec import ProceduralModel
from docendo.scenarios.worked_steps import ReadStep, render_steps

__all__ = ["ProceduralMind", "Rules", "problem_in", "taught", "worked"]


Rules = tuple[tuple[str, str], ...]
"""(slot, variant) pairs, sorted."""


@lru_cache(maxsize=65536)
def worked(problem: Problem, rules: Rules) -> tuple[Solution, str]:
    """The solution under `rules` and its steps in words."""
    solution = solve(problem, dict(rules))
    return solution, render_steps(solution)


def problem_in(view: View, mind: str) -> Problem:
    """The column problem of the item at hand.

    Raises:
        MindFault: The view holds no item, or one that is no column subtraction or addition.
    """
    item = item_of(view, mind)
    problem = problem_of(item.question)
    if problem is None:
        raise MindFault(
            f"the simulated mind `{mind}` only works column subtraction and addition, and item `{item.id}` "
            "is neither",
            suggestion="Use `mind: skill` for other items.",
        )
    return problem


class ProceduralMind:
    """The learners of one `ProceduralModel`."""

    name = "procedural"

    def __init__(self, spec: ProceduralModel) -> None:
        self.spec = spec
        self.acts: dict[str, ActOfMind] = {
            "solve": self.solve,
            "sit": self.solve,
            "explain": self.solve,
            "reply": self.reply,
            "reflect": self.reflect,
            "read": self.read,
            "study": self.read,
        }

    def solve(self, view: View, room: int) -> Attempt:
        """Read the help and the worked examples, then work the item under the rules that result."""
        solution, steps, changed = self._work(view)

        def say(answer: str) -> Said:
            text = wrap_up(steps + "\n", answer)
            return Said(text=text, data={"answer": answer, "explanation": steps}, mind=changed)

        return Attempt(answers=_with_slips(solution, self.spec.slip), say=say)

    def reply(self, view: View, room: int) -> Attempt:
        """The same in a dialogue, where the steps are said to those who ask."""
        solution, steps, changed = self._work(view)
        return Attempt(
            answers=_with_slips(solution, self.spec.slip),
            say=lambda answer: replied(view, answer, steps, changed),
        )

    def _work(self, view: View) -> tuple[Solution, str, dict[str, Any] | None]:
        """The solution, its steps in words, and the state of mind after the help where that changed it."""
        problem = problem_in(view, self.name)
        state, after = self._after_help(view, problem)
        rules = after
        for example in view.demonstrations:
            other = problem_of(example.question)
            shown = shown_to(example.explanation, other) if other else ()
            rules = self._read(state["seed"], rules, shown, example.explanation)
        solution, steps = worked(problem, tuple(sorted(rules.items())))
        return solution, steps, {**state, "rules": dict(after)} if after != state["rules"] else None

    def read(self, view: View, room: int) -> Said:
        """Read what was said, and acknowledge it."""
        state, after = self._after_help(view, problem_in(view, self.name))
        changed = {**state, "rules": dict(after)} if after != state["rules"] else None
        text = "I see, I will do it that way." if changed else "I have read it."
        return Said(text=text, data={"note": text}, mind=changed)

    def reflect(self, view: View, room: int) -> Said:
        """Say how one would now work the item."""
        problem = problem_in(view, self.name)
        state, after = self._after_help(view, problem)
        _, steps = worked(problem, tuple(sorted(after.items())))
        text = f"This is how I work such questions now.\n{steps}"
        changed = {**state, "rules": dict(after)} if after != state["rules"] else None
        return Said(text=text, data={"note": text}, mind=changed)

    def _after_help(self, view: View, problem: Problem) -> tuple[dict[str, Any], Mapping[str, str]]:
        """The state before, and the rules after reading the help that others gave in this episode."""
        state = view.mind or {}
        rules: Mapping[str, str] = state["rules"]
        for message in view.help:
            if message.sender != view.agent:
                rules = self._read(state["seed"], rules, shown_to(message.text, problem), message.text)
        return state, rules

    def _read(
        self, seed: int, rules: Mapping[str, str], shown: Iterable[ReadStep], text: str
    ) -> Mapping[str, str]:
        return taught(rules, shown, seed, text, self.spec.comprehension)


def taught(
    rules: Mapping[str, str], shown: Iterable[ReadStep], seed: int, text: str, comprehension: float
) -> Mapping[str, str]:
    """`rules` with those replaced that the shown steps contradict, where this mind grasps them.

    Args:
        rules: Slot -> variant.
        shown: What is read out of `text`.
        seed: Whose mind: each step of each text is grasped or not, once and for all.
        text: What was read.
        comprehension: Chance to grasp a step.
    """
    replaced = {
        step.slot: step.variant
        for step in shown
        if step.contradicts(rules[step.slot]) and unit(seed, "grasp", step.slot, text) < comprehension
    }
    return {**rules, **replaced} if replaced else rules


def _with_slips(solution: Solution, slip: float) -> dict[str, float]:
    """The answer of the rules; with chance `slip` one column, each equally likely, is off by one."""
    answer = solution.answer
    answers = {str(answer): 1.0 - slip}
    if slip:
        columns = len(str(answer))
        wrong = [answer + d * 10**i for i in range(columns) for d in (1, -1) if answer + d * 10**i >= 0]
        for other in wrong:
            answers[str(other)] = slip / len(wrong)
    return answers
