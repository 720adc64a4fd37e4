"""An expert as critic: what it objects to in what a teacher is about to say, or has said.

Two things are wrong with a message. It *leaks* if it names the right answer, by the rule that flags leaks,
unless the question or the student has named it before; that a move was meant to reveal it is no excuse. It is
*in error* if it shows a step that contradicts the critic's own rules, or leads to another answer. So a critic
with a bug lets that bug pass, and objects to what is right.
"""

from __future__ import annotations

import re

import orjson

from docendo.agents.view import View
from docendo.runtime.minds.expertise import Expertise
from docendo.runtime.minds.mind import Said
from docendo.runtime.minds.reading import problem_of, shown_to
from docendo.runtime.minds.world import concludes
from docendo.scenarios.arithmetic import Problem
from docendo.scenarios.grader import stated_answer
from docendo.scenarios.naming import names_answer, where_named

__all__ = ["Critic"]

_LINE = re.compile(r"[^\n]+")


class Critic:
    """The acts that judge messages: `review` and `judge`."""

    def __init__(self, expertise: Expertise) -> None:
        self.expertise = expertise

    def review(self, view: View, room: int) -> Said:
        """Accept the last message unless it is in error or gives the answer away."""
        wrong = self._wrong_words(view)
        words = wrong or self._leaking_words(view)
        reason = "It leads to a wrong answer." if wrong else "It gives the answer away." if words else ""
        data = {"accept": not reason, "reason": reason, "words": words}
        return Said(text=reason or "It is fine.", data=data)

    def judge(self, view: View, room: int) -> Said:
        """Whether the last message gives the answer away."""
        words = self._leaking_words(view)
        reason = "It names the answer." if words else "It does not name the answer."
        data = {"leaks": bool(words), "words": words, "reason": reason}
        return Said(text=orjson.dumps(data).decode(), data=data)

    def _leaking_words(self, view: View) -> str:
        """The words that give the answer away; empty where none do."""
        item, text, gold = self.expertise.item(view), _last(view), self.expertise.target(view)
        known = (item.question, *(m.text for m in view.dialogue[:-1] if m.kind == "attempt"))
        if any(names_answer(words, item, gold) for words in known):
            return ""
        for start, end in where_named(text, item, gold):
            return text[start:end]
        return ""

    def _wrong_words(self, view: View) -> str:
        """The words that are in error; empty where none are."""
        item, text = self.expertise.item(view), _last(view)
        gold = self.expertise.target(view)
        problem = problem_of(item.question)
        if problem is not None:
            rules = dict(self.expertise.rules(view))
            wrong = _wrong_step(text, problem, rules)
        else:
            conclusion = self.expertise.world.read(text, self.expertise.world.item(item)).conclusion
            wrong = text if conclusion not in (None, gold) else ""
        stated = stated_answer(text, item.kind, item.options) if concludes(text) else None
        return wrong or (text if stated not in (None, gold) else "")


def _wrong_step(text: str, problem: Problem, rules: dict[str, str]) -> str:
    """The first line that shows a wrong step by itself; where the step takes several, all of the text."""

    def is_wrong(words: str) -> bool:
        return any(s.contradicts(rules.get(s.slot, s.variant)) for s in shown_to(words, problem))

    if not is_wrong(text):
        return ""
    return next((line[0] for line in _LINE.finditer(text) if is_wrong(line[0])), text)


def _last(view: View) -> str:
    return view.dialogue[-1].text if view.dialogue else ""
