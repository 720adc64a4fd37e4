"""An expert that revises its worked examples from what students got wrong.

It looks for the rules (or skills) that the failed questions share, and picks questions that exercise as many
of them as possible. It explains each by its own rules. Where these do not lead to the answer that is known to
be right, it looks for the one rule whose change would lead there, and explains by that: it rationalises from
the answer (Zelikman et al. 2022), and so may write down a rule that it does not hold. A question that no
single change explains is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from docendo.agents.exemplars import candidates
from docendo.agents.view import View
from docendo.memory.record import Demonstration
from docendo.runtime.minds.expertise import Expertise, state_of
from docendo.runtime.minds.explaining import first_sentences, spelled_out
from docendo.runtime.minds.mind import Said
from docendo.runtime.minds.population import has_mastered
from docendo.runtime.minds.procedural import Rules, worked
from docendo.runtime.minds.reading import problem_of
from docendo.runtime.minds.skill import skills_of
from docendo.scenarios.arithmetic import BUGS, CORRECT, Problem, exercised
from docendo.scenarios.item import Item

__all__ = ["Reviser"]


class Reviser:
    """The acts of a revision: `reflect` and `improve`."""

    def __init__(self, expertise: Expertise) -> None:
        self.expertise = expertise

    def reflect(self, view: View, room: int) -> Said:
        """Name what the failed questions have in common."""
        needs = (seen.skills or self._needs(seen.item, seen.question) for seen in view.evidence)
        counts = Counter(skill for skills in needs for skill in skills)
        most = max(counts.values(), default=0)
        common = ", ".join(skill.replace("_", " ") for skill, n in counts.items() if n == most)
        text = f"What students got wrong has this in common: {common}." if common else "Nothing failed."
        return Said(text=text, data={"note": text})

    def improve(self, view: View, room: int) -> Said:
        """At most `params.exemplars` questions, failed ones first, each explained to its right answer."""
        known = candidates(view)
        size = int(view.params.get("exemplars") or len(known) or 1)
        each = room // size
        examples: list[dict[str, object]] = []
        for number in self._preferred(view, known):
            explanation = self._explained(view, known[number - 1], each)
            if explanation is not None and len(examples) < size:
                examples.append({"number": number, "explanation": explanation})
        if not examples:  # what cannot be improved stays as it is
            kept = enumerate(known[:size], 1)
            examples = [{"number": n, "explanation": d.explanation} for n, d in kept]
        return Said(text=f"I choose {len(examples)} questions.", data={"examples": examples})

    # --- choosing -----------------------------------------------------------------------------------------

    def _needs(self, item: str, question: str) -> tuple[str, ...]:
        """The rules or skills that a question exercises."""
        problem = problem_of(question)
        if problem is not None:
            return exercised(problem)
        key = self.expertise.world.key
        return skills_of(key[item]) if item in key else ()

    def _preferred(self, view: View, known: tuple[Demonstration, ...]) -> list[int]:
        """Numbers of the candidates, best first: failed ones before others, what adds most rules first."""
        failed = {seen.item for seen in view.evidence}
        left = {n: set(self._needs(d.item, d.question)) for n, d in enumerate(known, 1)}
        covered: set[str] = set()
        order: list[int] = []
        while left:
            best = max(left, key=lambda n: (known[n - 1].item in failed, len(left[n] - covered), -n))
            covered |= left.pop(best)
            order.append(best)
        return order

    # --- explaining ---------------------------------------------------------------------------------------

    def _explained(self, view: View, example: Demonstration, room: int) -> str | None:
        """Words that lead to the answer that is known to be right; `None` where it finds none."""
        problem = problem_of(example.question)
        if problem is not None:
            rules = _leading_to(problem, example.answer, self.expertise.studied(view))
            if rules is None:
                return None
            return spelled_out(worked(problem, rules)[0], lambda step: 0.0, room=room)
        item = self.expertise.world.key.get(example.item)
        return None if item is None else self._rationalised(view, item, room)

    def _rationalised(self, view: View, item: Item, room: int) -> str | None:
        """The solution of an item of which the expert lacks one skill at most."""
        lacking = [skill for skill in skills_of(item) if not has_mastered(state_of(view), skill)]
        return first_sentences(item.solution, room=room) if len(lacking) <= 1 else None


def _leading_to(problem: Problem, answer: str, held: Mapping[str, str]) -> Rules | None:
    """The rules held, or those with one change, that give `answer`; a correct rule is tried first."""
    changes: list[dict[str, str]] = [{}]
    for slot in (s for s in exercised(problem) if s in held):
        changes += [{slot: v} for v in (CORRECT, *(b.name for b in BUGS.values() if b.slot == slot))]
    changes.sort(key=lambda change: CORRECT not in change.values() and bool(change))
    found = (tuple(sorted({**held, **change}.items())) for change in changes)
    return next((rules for rules in found if str(worked(problem, rules)[0].answer) == answer), None)
