"""What an expert believes about a student: from its view only, by Bayes' rule.

The evidence that it is shown comes first, all of it from one state of the student's mind. Then the dialogue
is followed: help moves the belief as it would move the student (`hypotheses`, `estimates`), an announced
answer tells which state the student is in. So two moments differ: the student at its *last answer*, which a
diagnosis describes, and the student *now*, who has also heard what was said since and answers next.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import orjson

from docendo.agents.view import View
from docendo.memory.record import Evidence
from docendo.runtime.minds.estimates import SkillEstimate, estimate
from docendo.runtime.minds.expertise import Expertise
from docendo.runtime.minds.hypotheses import RulePosterior, posterior
from docendo.runtime.minds.listening import Heard, told_of_student
from docendo.runtime.minds.mind import Attempt, Said
from docendo.runtime.minds.reading import problem_of
from docendo.scenarios.arithmetic import Problem
from docendo.scenarios.item import Item

__all__ = ["Beliefs", "rules_now"]


class Beliefs:
    """The acts that state beliefs: `predict` and `diagnose`."""

    def __init__(self, expertise: Expertise) -> None:
        self.expertise = expertise
        world = expertise.world
        self._estimate: Callable[[tuple[Evidence, ...]], SkillEstimate] = lru_cache(maxsize=1024)(
            lambda evidence: estimate(evidence, world)
        )

    def predict(self, view: View, room: int) -> Attempt | Said:
        """Simulate the student. A diagnostician names its likeliest answer, a teacher any, as often as due.

        `params.helped` says whether the student has read the help in the view; by default it has.
        """
        helped = bool(view.params.get("helped", view.help))
        target = self.expertise.target(view)
        answers = self._next_answers(view, target, helped=helped)
        p_correct = min(1.0, answers.get(target, 0.0))

        def say(answer: str) -> Said:
            data = {"predicted_answer": answer, "p_correct": p_correct, "given_help": helped}
            return Said(text=f"AI Predicted Answer: {answer}", data=data)

        if view.role == "diagnostician":
            data = {"predicted_answer": next(iter(answers)), "p_correct": p_correct}
            return Said(text=orjson.dumps(data).decode(), data=data)
        return Attempt(answers=answers, say=say)

    def diagnose(self, view: View, room: int) -> Said:
        """State what the student masters and which bugs it has, and what it will answer next."""
        public = self.expertise.item(view)
        target = self.expertise.target(view)
        problem = problem_of(public.question)
        bugs: dict[str, float] = {}
        if problem is None:
            item = self.expertise.world.item(public)
            skills = self._skills_then(view, item).skills(item, self.expertise.world)
        else:
            held = _followed(problem, view.evidence, _until_last_answer(told_of_student(view)))
            skills, bugs = held.slots(), held.bugs()
        answers = self._next_answers(view, target, helped=True)
        data: dict[str, Any] = {
            "skills": {name: round(p, 6) for name, p in skills.items()},
            "misconceptions": {name: round(p, 6) for name, p in bugs.items()},
            "predicted_answer": next(iter(answers)),
            "p_correct": round(min(1.0, answers.get(target, 0.0)), 6),
        }
        suspected = max(bugs, key=bugs.__getitem__) if bugs else min(skills, key=skills.__getitem__)
        return Said(text=f"I suspect {suspected.replace('_', ' ')}.", data=data)

    def _next_answers(self, view: View, target: str, *, helped: bool) -> dict[str, float]:
        """Answer -> probability that the student gives it next, likeliest first."""
        public = self.expertise.item(view)
        heard = tuple(h for h in told_of_student(view) if helped or h.answer is not None)
        problem = problem_of(public.question)
        if problem is not None:
            return _followed(problem, view.evidence, heard).predict(problem)
        item = self.expertise.world.item(public)
        return self._follow(view.evidence, item, heard).answers(item, target, self.expertise.world)

    def _skills_then(self, view: View, item: Item) -> SkillEstimate:
        return self._follow(view.evidence, item, _until_last_answer(told_of_student(view)))

    def _follow(self, evidence: tuple[Evidence, ...], item: Item, heard: tuple[Heard, ...]) -> SkillEstimate:
        belief = self._estimate(evidence)
        for one in heard:
            belief = (
                belief.after(item, one.text, self.expertise.world)
                if one.answer is None
                else belief.given(item, one.answer, self.expertise.world)
            )
        return belief


def rules_now(view: View, problem: Problem) -> RulePosterior:
    """What a listener believes of the student's rules, everything in `view` taken into account."""
    return _followed(problem, view.evidence, told_of_student(view))


def _until_last_answer(heard: tuple[Heard, ...]) -> tuple[Heard, ...]:
    """Without the help that no answer has followed yet."""
    last = max((i for i, one in enumerate(heard) if one.answer is not None), default=-1)
    return heard[: last + 1]


@lru_cache(maxsize=4096)
def _followed(problem: Problem, evidence: tuple[Evidence, ...], heard: tuple[Heard, ...]) -> RulePosterior:
    belief = posterior(problem.operation, evidence)
    for one in heard:
        belief = belief.after(problem, one.text) if one.answer is None else _answered(belief, problem, one)
    return belief


def _answered(belief: RulePosterior, problem: Problem, said: Heard) -> RulePosterior:
    question = str(problem)
    seen = Evidence(
        item=question,
        question=question,
        correct_answer=str(problem.answer),
        student=said.student,
        student_answer=said.answer or "",
        student_explanation=said.text,
    )
    return belief.given(seen)
