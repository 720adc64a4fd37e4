"""A simulated teacher: solves, explains, predicts students, diagnoses, reviews.

It knows the procedures of column arithmetic and, as an expert does, the answers and solutions of other items,
except where it is at fault (stable draws of this expert): with chance `error_rate` per rule or skill it holds
a bug, or gives a wrong answer with a solution that leads there; with chance `slip` per item it does so on
that item alone, in one rule that it needs. What it believes about a student comes from its view only: the
evidence that it is shown, by Bayes' rule (`hypotheses`, `estimates`).

A *personalised* explanation spells out first what the student most probably lacks, judged from the evidence,
or (`params.style: personalised`) from its demonstrations as problems that help rectified. An unpersonalised
one (`params.style: plain`, or nothing known) goes in the order of working. They differ only where room is
short: the call's `max_tokens`, or `params.steps`, the most steps (or sentences) in full.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from docendo.agents.view import View
from docendo.memory.record import Evidence
from docendo.runtime.minds.draws import pick, unit
from docendo.runtime.minds.estimates import SkillEstimate, estimate
from docendo.runtime.minds.explaining import corrupted, first_sentences, spelled_out
from docendo.runtime.minds.hypotheses import posterior
from docendo.runtime.minds.mind import ActOfMind, Attempt, Said, item_of, wrap_up
from docendo.runtime.minds.population import has_mastered
from docendo.runtime.minds.procedural import worked
from docendo.runtime.minds.reading import problem_of, shown_to
from docendo.runtime.minds.skill import skills_of
from docendo.runtime.minds.world import World, concludes, harmful_explanations
from docendo.scenarios.arithmetic import BUGS, Step, exercised
from docendo.scenarios.grader import extract_answer
from docendo.scenarios.item import PublicItem
from docendo.scenarios.model_spec import ExpertModel

__all__ = ["ExpertMind"]

_CONCLUSION_WORDS = 5
"""Room that "So the answer is N." takes."""


class ExpertMind:
    """The teachers of one `ExpertModel`."""

    name = "expert"

    def __init__(self, spec: ExpertModel, world: World) -> None:
        self.spec = spec
        self.world = world
        self._estimate: Callable[[tuple[Evidence, ...]], SkillEstimate] = lru_cache(maxsize=1024)(
            lambda evidence: estimate(evidence, world)
        )
        self.acts: dict[str, ActOfMind] = {
            "solve": self.solve,
            "explain": self.explain,
            "demonstrate": self.demonstrate,
            "hint": self.hint,
            "predict": self.predict,
            "diagnose": self.diagnose,
            "review": self.review,
        }

    # --- solving and explaining ---------------------------------------------------------------------------

    def solve(self, view: View, room: int) -> Attempt:
        """Answer by its own rules and knowledge, of which it is sure."""
        text = self._explanation(view, room - _CONCLUSION_WORDS, wrongly=False)

        def say(answer: str) -> Said:
            return Said(text=wrap_up(text, answer), data={"answer": answer, "explanation": text})

        return Attempt(answers={self._answer(view, wrongly=False): 1.0}, say=say)

    def explain(self, view: View, room: int) -> Said:
        """Explain; `params.reveal: false` leaves the final answer sentence out, and so does lack of room."""
        wrongly = self._wrongly(view)
        text, answer = self._explanation(view, room, wrongly=wrongly), self._answer(view, wrongly=wrongly)
        if view.params.get("reveal") is False:
            return Said(text=text, data={"explanation": text})
        fits = len(text.split()) + _CONCLUSION_WORDS <= room
        data = {"explanation": text, "answer": answer}
        return Said(text=wrap_up(text, answer) if fits else text, data=data)

    def demonstrate(self, view: View, room: int) -> Said:
        """A worked example: explanation and answer."""
        wrongly = self._wrongly(view)
        answer = self._answer(view, wrongly=wrongly)
        text = wrap_up(self._explanation(view, room - _CONCLUSION_WORDS, wrongly=wrongly), answer)
        return Said(text=text, data={"explanation": text, "answer": answer})

    def hint(self, view: View, room: int) -> Said:
        """One step or sentence, the one that helps most where that is known, without the answer."""
        item, wrongly = item_of(view, self.name), self._wrongly(view)
        problem = problem_of(item.question)
        if problem is None:
            text = first_sentences(self._words(view, item, wrongly=wrongly), room=room, steps=1)
        else:
            steps = worked(problem, self._rules(view, wrongly=wrongly))[0].steps
            text = max(steps, key=self._priority(view)).text
        return Said(text=text, data={"explanation": text})

    def review(self, view: View, room: int) -> Said:
        """Accept the last message unless it gives the answer away or leads to another one."""
        item, text = item_of(view, self.name), view.dialogue[-1].text if view.dialogue else ""
        problem = problem_of(item.question)
        if problem is None:
            conclusion = self.world.read(text, self.world.item(item)).conclusion
            wrong = conclusion not in (
                None,
                view.gold.answer if view.gold else self._answer(view, wrongly=False),
            )
        else:
            rules = dict(self._rules(view, wrongly=False))
            wrong = any(s.contradicts(rules.get(s.slot, s.variant)) for s in shown_to(text, problem))
        reason = (
            "It leads to a wrong answer." if wrong else "It gives the answer away." if concludes(text) else ""
        )
        return Said(text=reason or "It is fine.", data={"accept": not reason, "reason": reason})

    def _wrongly(self, view: View) -> bool:
        return self.spec.misleading or bool(view.params.get("misleading"))

    def _explanation(self, view: View, room: int, *, wrongly: bool) -> str:
        item, steps = item_of(view, self.name), view.params.get("steps")
        problem = problem_of(item.question)
        if problem is None:
            return first_sentences(self._words(view, item, wrongly=wrongly), room=room, steps=steps)
        solution, _ = worked(problem, self._rules(view, wrongly=wrongly))
        return spelled_out(solution, self._priority(view), room=room, steps=steps)

    def _answer(self, view: View, *, wrongly: bool) -> str:
        """What the expert holds, or wants others to hold, to be the answer."""
        public = item_of(view, self.name)
        problem = problem_of(public.question)
        if problem is not None:
            return str(worked(problem, self._rules(view, wrongly=wrongly))[0].answer)
        item = self.world.item(public)
        if wrongly and (harmful := harmful_explanations(item)):
            return harmful[0][1]
        known = all(has_mastered(_mind(view), skill) for skill in skills_of(item))
        if wrongly or not known or self._slips(view, item):
            return pick(
                self.world.wrong_answers(item, _mind(view)["seed"]), _mind(view)["seed"], "err", item.id
            )
        return self.world.gold(item)

    def _words(self, view: View, public: PublicItem, *, wrongly: bool) -> str:
        """The full explanation of an item that is no column problem: the one that leads to `_answer`."""
        item, answer = self.world.item(public), self._answer(view, wrongly=wrongly)
        if answer == self.world.gold(item):
            return item.solution or f"Worked through, this comes to {answer}."  # a source without solutions
        harmful = harmful_explanations(item) if wrongly else []
        return (
            pick(harmful, _mind(view)["seed"], "harm", item.id)[0]
            if harmful
            else corrupted(item, answer, self.world)
        )

    def _rules(self, view: View, *, wrongly: bool) -> tuple[tuple[str, str], ...]:
        """Its own rules; on purpose wrongly, bugs for all; where it slips, for one that the item needs."""
        seed, rules, item = _mind(view)["seed"], _mind(view)["rules"], item_of(view, self.name)
        if wrongly:
            rules = {slot: _bug_of(slot, seed, "mislead", slot) for slot in rules}
        elif (problem := problem_of(item.question)) is not None and self._slips(view, item):
            needed = [slot for slot in exercised(problem) if slot in rules]
            slot = pick(needed, seed, "slip in", item.id) if needed else ""
            rules = {**rules, slot: _bug_of(slot, seed, "slip to", item.id)} if slot else rules
        return tuple(sorted(rules.items()))

    def _slips(self, view: View, item: PublicItem) -> bool:
        """Whether this expert goes wrong on this item though it knows better (an error, not a bug)."""
        return unit(_mind(view)["seed"], "slip", item.id) < self.spec.slip

    def _priority(self, view: View) -> Callable[[Step], float]:
        """How badly the student seems to need each step: the probability that its own rule there is wrong."""
        style = view.params.get("style", "personalised" if view.evidence else "plain")
        problem = problem_of(item_of(view, self.name).question)
        if style != "personalised" or problem is None:
            return lambda step: 0.0
        rectified = (
            ()
            if view.evidence
            else tuple(p for d in view.demonstrations if (p := problem_of(d.question)) is not None)
        )
        correct = posterior(problem.operation, view.evidence, rectified).slots()
        return lambda step: 1 - correct.get(step.slot, 1.0)

    # --- beliefs about a student --------------------------------------------------------------------------

    def predict(self, view: View, room: int) -> Attempt:
        """Simulate the student: `params.helped` says whether it has read the help in the view."""
        item = item_of(view, self.name)
        helped = bool(view.params.get("helped", view.help))
        told = "\n".join(message.text for message in view.help) if helped else ""
        target = view.gold.answer if view.gold else self._answer(view, wrongly=False)
        problem = problem_of(item.question)
        if problem is None:
            answers = self._estimate(view.evidence).answers(self.world.item(item), target, self.world, told)
        else:
            answers = posterior(problem.operation, view.evidence).predict(problem, told)
        p_correct = min(1.0, answers.get(target, 0.0))

        def say(answer: str) -> Said:
            data = {"predicted_answer": answer, "p_correct": p_correct, "given_help": helped}
            return Said(text=f"AI Predicted Answer: {answer}", data=data)

        return Attempt(answers=answers, say=say)

    def diagnose(self, view: View, room: int) -> Said:
        """State the belief that the evidence, and attempts in the dialogue, lead to."""
        evidence = (*view.evidence, *self._attempts(view))
        item = item_of(view, self.name)
        problem = problem_of(item.question)
        if problem is None:
            full, belief = self.world.item(item), self._estimate(evidence)
            skills = {s: belief.mastery.get(s, 0.5) for s in (*belief.mastery, *skills_of(full))}
            bugs: dict[str, float] = {}
            answers = belief.answers(full, self._answer(view, wrongly=False), self.world)
        else:
            held = posterior(problem.operation, evidence)
            skills, bugs, answers = held.slots(), held.bugs(), held.predict(problem)
        data: dict[str, Any] = {
            "skills": {name: round(p, 6) for name, p in skills.items()},
            "misconceptions": {name: round(p, 6) for name, p in bugs.items()},
            "predicted_answer": next(iter(answers)),
        }
        suspected = max(bugs, key=bugs.__getitem__) if bugs else min(skills, key=skills.__getitem__)
        return Said(text=f"I suspect {suspected.replace('_', ' ')}.", data=data)

    def _attempts(self, view: View) -> tuple[Evidence, ...]:
        """The attempts at this item that were said aloud, as evidence."""
        item = item_of(view, self.name)
        correct = self._answer(view, wrongly=False)
        found = []
        for message in view.dialogue:
            answer = (
                extract_answer(message.text, item.kind, item.options) if message.kind == "attempt" else None
            )
            if answer is not None:
                found.append(Evidence(
                    item=item.id, question=item.question, options=item.options, correct_answer=correct,
                    student=message.sender, student_answer=answer, student_explanation=message.text,
                ))  # fmt: skip
        return tuple(found)


def _bug_of(slot: str, *parts: object) -> str:
    """One of the bugs of a rule."""
    return pick([b.name for b in BUGS.values() if b.slot == slot], *parts)


def _mind(view: View) -> dict[str, Any]:
    assert view.mind is not None  # the backend sees to it
    return view.mind
