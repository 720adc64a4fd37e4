"""A simulated teacher, critic or diagnostician: what an expert can do, act by act.

What it knows is in `expertise`, what it believes about a student in `believing`; how it teaches in a dialogue
is in `tutoring`, how it reviews in `reviewing`, how it revises worked examples in `revising`.

A *personalised* explanation spells out first what the student most probably lacks, judged from the evidence,
or (`params.style: personalised`) from its demonstrations as problems that help rectified. An unpersonalised
one (`params.style: plain`, or nothing known) goes in the order of working. They differ only where room is
short: the call's `max_tokens`, or `params.steps`, the most steps (or sentences) in full.
"""

from __future__ import annotations

from collections.abc import Callable

from docendo.agents.view import View
from docendo.runtime.minds.believing import Beliefs
from docendo.runtime.minds.doubting import courses, doubtful_answers
from docendo.runtime.minds.expertise import CONCLUSION_WORDS, Expertise, state_of
from docendo.runtime.minds.explaining import first_sentences
from docendo.runtime.minds.mind import ActOfMind, Attempt, Said, wrap_up
from docendo.runtime.minds.procedural import worked
from docendo.runtime.minds.reading import problem_of
from docendo.runtime.minds.reviewing import Critic
from docendo.runtime.minds.revising import Reviser
from docendo.runtime.minds.tutoring import Tutor
from docendo.runtime.minds.world import World
from docendo.scenarios.model_spec import ExpertModel

__all__ = ["ExpertMind"]


class ExpertMind:
    """The experts of one `ExpertModel`."""

    name = "expert"

    def __init__(self, spec: ExpertModel, world: World) -> None:
        self.spec = spec
        self.expertise = Expertise(spec, world)
        beliefs, tutor = Beliefs(self.expertise), Tutor(self.expertise)
        critic, reviser = Critic(self.expertise), Reviser(self.expertise)
        self.acts: dict[str, ActOfMind] = {
            "solve": self.solve,
            "sit": self.solve,
            "explain": self.explain,
            "demonstrate": self.demonstrate,
            "hint": self.hint,
            "predict": beliefs.predict,
            "diagnose": beliefs.diagnose,
            "choose": tutor.choose,
            "say": tutor.say,
            "draft": tutor.say,
            "review": critic.review,
            "judge": critic.judge,
            "reflect": reviser.reflect,
            "improve": reviser.improve,
        }

    def solve(self, view: View, room: int) -> Attempt:
        """Answer by its own rules and knowledge, of which it is sure unless it doubts."""
        answers, words = self._attempt(view, room)

        def say(answer: str) -> Said:
            text = words(answer)
            return Said(text=wrap_up(text, answer), data={"answer": answer, "explanation": text})

        return Attempt(answers=answers, say=say)

    def demonstrate(self, view: View, room: int) -> Attempt:
        """A worked example: explanation and answer."""
        answers, words = self._attempt(view, room, wrongly=self.expertise.misleads(view))

        def say(answer: str) -> Said:
            text = wrap_up(words(answer), answer)
            return Said(text=text, data={"explanation": text, "answer": answer})

        return Attempt(answers=answers, say=say)

    def explain(self, view: View, room: int) -> Said:
        """Explain; `params.reveal: false` leaves the final answer sentence out, and so does lack of room."""
        wrongly = self.expertise.misleads(view)
        text = self.expertise.explanation(view, room, wrongly=wrongly)
        answer = self.expertise.answer(view, wrongly=wrongly)
        if view.params.get("reveal") is False:
            return Said(text=text, data={"explanation": text})
        fits = len(text.split()) + CONCLUSION_WORDS <= room
        data = {"explanation": text, "answer": answer}
        return Said(text=wrap_up(text, answer) if fits else text, data=data)

    def hint(self, view: View, room: int) -> Said:
        """One step or sentence, the one that helps most where that is known, without the answer."""
        expertise, wrongly = self.expertise, self.expertise.misleads(view)
        problem = problem_of(expertise.item(view).question)
        if problem is None:
            whole = expertise.words(view, expertise.answer(view, wrongly=wrongly), wrongly=wrongly)
            text = first_sentences(whole, room=room, steps=1)
        else:
            steps = worked(problem, expertise.rules(view, wrongly=wrongly))[0].steps
            text = max(steps, key=expertise.priority(view)).text
        return Said(text=text, data={"explanation": text})

    def _attempt(
        self, view: View, room: int, *, wrongly: bool = False
    ) -> tuple[dict[str, float], Callable[[str], str]]:
        """Answer -> probability, and how each is explained."""
        expertise, room = self.expertise, room - CONCLUSION_WORDS
        public = expertise.item(view)
        if wrongly:
            text = expertise.explanation(view, room, wrongly=True)
            return {expertise.answer(view, wrongly=True): 1.0}, lambda _: text
        problem = problem_of(public.question)
        if problem is None:
            item, own = expertise.world.item(public), expertise.answer(view)
            seed = state_of(view)["seed"]
            answers = doubtful_answers(item, own, expertise.world, seed, self.spec.doubt)
            return answers, lambda answer: expertise.told(view, answer, room)
        taken = courses(problem, expertise.rules(view, studied=True), self.spec.doubt)
        found = {answer: p for answer, (p, _) in taken.items()}
        return found, lambda answer: expertise.shown(view, problem, taken[answer][1], room)
