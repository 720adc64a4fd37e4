"""An expert as tutor in a dialogue: which move it makes, and in which words.

The policy is plain. While nothing is known of the student, ask. Then hint, one step at a time, the step first
whose rule the student most probably lacks. Tell when every step has been hinted at or the last turn has come.
An answer that is right is met with encouragement. A move that is closed gives way to the next best one.

What the student lacks is judged by Bayes' rule (`believing`); what a diagnostician suspects takes precedence
over that, so a bad diagnostician misleads a good tutor. A critic's vetoes wear a move down: after the first
it is a hint, and after the second plain encouragement, which nobody can object to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from docendo.agents.moves import STOP, Menu
from docendo.agents.view import View
from docendo.runtime.minds.believing import rules_now
from docendo.runtime.minds.expertise import CONCLUSION_WORDS, Expertise
from docendo.runtime.minds.explaining import columns, first_sentences, sentences
from docendo.runtime.minds.listening import is_veto, suspected, told_of_student
from docendo.runtime.minds.mind import MindFault, Said, wrap_up
from docendo.runtime.minds.procedural import Rules, worked
from docendo.runtime.minds.reading import problem_of
from docendo.scenarios.arithmetic import BASE_SLOTS, BUGS, Problem
from docendo.scenarios.naming import names_answer
from docendo.scenarios.taxonomy import MoveSays

__all__ = ["Tutor"]

_ENCOURAGEMENT = "Take your time and look at it once more. You can do this."
_SPEAKING = frozenset({"say", "draft"})
_MADE = frozenset({"choose", "say", "send"})
"""Own acts with which an earlier move ends, or the present one begins."""

_PREFERENCES: dict[str, tuple[MoveSays, ...]] = {
    "it is right": ("feedback",),
    "nothing is known yet": ("question", "hint", "explanation", "feedback"),
    "nothing else is left": ("explanation", "hint", "question", "feedback"),
    "a step may help": ("hint", "explanation", "question", "feedback"),
}
"""Situation -> kinds of moves, the best first."""

_MEANINGS: dict[str, str] = {
    "question": r"ask|prob|question|elaborat|diagnos|find out",
    "hint": r"hint|focus|simplif|strateg|support|recall|next step",
    "explanation": r"tell|reveal|explain|worked|solution|correct|clarif",
    "feedback": r"encourag|generic|affirm|motivat|acknowledg|greet|signal",
    "a bug": r"misinterpret|misconce|misunderst|wrong rule|systematic",
    "a slip": r"careless|slip|right.?idea|imprecise",
    "unknown": r"not.?sure|unsure|unknown|guess|n.?a\b",
}
"""What a label that says nothing of its kind can be meant for -> how its name or description tells."""


class Tutor:
    """The acts of a dialogue: `choose`, and `say` or `draft`."""

    def __init__(self, expertise: Expertise) -> None:
        self.expertise = expertise

    # --- choosing -----------------------------------------------------------------------------------------

    def choose(self, view: View, room: int) -> Said:
        """A label for every slot; the end of the dialogue where the answer is right and no praise is open.

        Raises:
            MindFault: The view holds no moves.
        """
        if view.moves is None:
            raise MindFault(f"`{view.agent}` cannot choose: its view holds no moves")
        reason = self._situation(view)
        meant = self._error_of(view)
        labels = {slot: _label(view.moves, slot, _PREFERENCES[reason], meant) for slot in view.moves.slots}
        if reason == "it is right" and _kind_of(view.moves, labels) != "feedback":
            labels = dict.fromkeys(labels, STOP)
        return Said(text=f"{', '.join(labels.values())}: {reason}.", data={**labels, "reason": reason})

    def _situation(self, view: View) -> str:
        attempts = [h.answer for h in told_of_student(view) if h.answer is not None]
        if attempts and attempts[-1] == self.expertise.target(view):
            return "it is right"
        said = {m.kind for m in view.own}
        if not (view.evidence or "question" in said or any(m.kind == "diagnosis" for m in view.dialogue)):
            return "nothing is known yet"
        spent = all(_times_said(view, hint) for hint in self._hints(view))
        last = view.budget.get("turns") == 0
        # What was told once is not told again: the same words would do no better.
        return "nothing else is left" if (spent or last) and "explanation" not in said else "a step may help"

    def _error_of(self, view: View) -> str:
        """What sort of error the last answer seems to be: a bug, a slip, or not known."""
        attempts = [h.answer for h in told_of_student(view) if h.answer is not None]
        problem = problem_of(self.expertise.item(view).question)
        if not attempts or problem is None:
            return "unknown"
        believed = rules_now(view, problem).predict(problem)
        return "a bug" if next(iter(believed)) == attempts[-1] else "a slip"

    # --- speaking -----------------------------------------------------------------------------------------

    def say(self, view: View, room: int) -> Said:
        """Put the chosen move into words, weakened by the vetoes that it has met with."""
        chosen = view.moves.chosen if view.moves else None
        says = chosen.says if chosen else "feedback"
        vetoes = _vetoes(view)
        if vetoes:
            says = "hint" if vetoes == 1 and says in ("hint", "explanation") else "feedback"
        text = _ENCOURAGEMENT
        if says == "question":
            text = self._question(view)
        elif says == "hint":
            text = self._hint(view, room)
        elif says == "explanation":
            text = self._explanation(view, room, reveals=bool(chosen and chosen.reveals))
        return Said(text=text, data={"text": text, "says": chosen.says if chosen else "feedback"})

    def _question(self, view: View) -> str:
        """Ask about the column in which the student most probably goes wrong."""
        hints = self._hints(view) if problem_of(self.expertise.item(view).question) else []
        if not hints:
            return "How did you come to that? Please tell me step by step."
        place = hints[0].partition(":")[0].lower()
        return f"How did you work out the {place} column? Please tell me step by step."

    def _explanation(self, view: View, room: int, *, reveals: bool) -> str:
        wrongly = self.expertise.misleads(view)
        text = self.expertise.explanation(view, room - CONCLUSION_WORDS, wrongly=wrongly)
        return wrap_up(text, self.expertise.answer(view, wrongly=wrongly)) if reveals else text

    def _hint(self, view: View, room: int) -> str:
        """The most needed of the steps that were said least often, without the answer."""
        hints = self._hints(view)
        if not hints:
            return _ENCOURAGEMENT
        hint = min(hints, key=lambda text: _times_said(view, text))
        again = "Once more. " if _times_said(view, hint) else ""
        return first_sentences(again + hint, room=room) or _ENCOURAGEMENT

    def _hints(self, view: View) -> list[str]:
        """All that can be hinted at, the most needed first: columns with a rule, or sentences."""
        wrongly = self.expertise.misleads(view)
        public = self.expertise.item(view)
        problem = problem_of(public.question)
        answer = self.expertise.answer(view, wrongly=wrongly)
        withheld = {answer, self.expertise.target(view)}
        if problem is None:
            texts = sentences(self.expertise.words(view, answer, wrongly=wrongly))
        else:
            texts = self._columns(view, problem, self.expertise.rules(view, wrongly=wrongly))
        return [t for t in texts if not any(names_answer(t, public, a) for a in withheld)]

    def _columns(self, view: View, problem: Problem, rules: Rules) -> list[str]:
        """The columns in which more is done than a plain number fact, where there are such."""
        need = _need(view, problem)
        groups = columns(worked(problem, rules)[0])
        ruled = [g for g in groups if any(s.slot not in BASE_SLOTS for s in g)] or groups
        ruled.sort(key=lambda group: max(need.get(s.slot, (0.0, 0.0)) for s in group), reverse=True)
        return [" ".join(step.text for step in group) for group in ruled]


def _need(view: View, problem: Problem) -> dict[str, tuple[float, float]]:
    """Rule -> how much the student seems to need it: as the diagnostician has it, then as one believes."""
    hearsay = suspected(view)
    return {
        slot: (max((p for bug, p in hearsay.items() if BUGS[bug].slot == slot), default=0.0), 1 - correct)
        for slot, correct in rules_now(view, problem).slots().items()
    }


def _times_said(view: View, text: str) -> int:
    """How often one has said these words in this dialogue, or drafted them."""
    return sum(text in " ".join(m.text.split()) for m in view.own if m.act in _SPEAKING)


def _vetoes(view: View) -> int:
    """How often a critic has turned down the present move."""
    count = 0
    for message in reversed(view.messages):
        if message.sender == view.agent and message.act in _MADE:
            break
        count += message.sender != view.agent and is_veto(message)
    return count


# --- labels -----------------------------------------------------------------------------------------------


def _label(menu: Menu, slot: str, wanted: Sequence[MoveSays], meant: str) -> str:
    """The open label of `slot` that is best for the situation; the first one where none says anything."""
    open_ = menu.slots[slot]
    stated = {menu.says[name]: name for name in reversed(open_) if name in menu.says}
    if stated:
        return next((stated[kind] for kind in wanted if kind in stated), next(iter(open_)))
    named = (_meant_for(open_, purpose) for purpose in (meant, *wanted))
    return next((name for name in named if name), next(iter(open_)))


def _meant_for(labels: Mapping[str, str], purpose: str) -> str:
    """The first label whose name, else whose description, tells that it is meant for `purpose`."""
    pattern = re.compile(_MEANINGS[purpose], re.IGNORECASE)
    by_name = (name for name in labels if pattern.search(name))
    by_words = (name for name, words in labels.items() if pattern.search(words))
    return next(by_name, next(by_words, ""))


def _kind_of(menu: Menu, labels: Mapping[str, str]) -> str:
    """What kind of message the chosen labels make, as far as the menu says; feedback where it does not."""
    kinds = [menu.says[label] for label in labels.values() if label in menu.says]
    return kinds[-1] if kinds else "feedback"
