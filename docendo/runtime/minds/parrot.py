"""The control that has no mind: it repeats the answer of the last message that it saw, whoever wrote it.

Without a message it answers at random. It keeps nothing, so a measure on which it gains from teaching
measures repetition and not learning.
"""

from __future__ import annotations

from docendo.agents.view import View
from docendo.runtime.minds.mind import ActOfMind, Attempt, Said, item_of, wrap_up
from docendo.scenarios.grader import extract_answer, labels
from docendo.scenarios.item import PublicItem

__all__ = ["ParrotMind"]


class ParrotMind:
    """Repeats."""

    name = "parrot"

    def __init__(self) -> None:
        self.acts: dict[str, ActOfMind] = {
            "solve": self.solve,
            "explain": self.solve,
            "reflect": self.read,
            "read": self.read,
            "study": self.read,
        }

    def solve(self, view: View, room: int) -> Attempt:
        """The last message's answer, else any."""
        item = item_of(view, self.name)
        heard = next((m.text for m in reversed(view.dialogue) if m.sender != view.agent), "")
        said = extract_answer(heard, item.kind, item.options) if heard else None
        possible = (said,) if said is not None else _any(item)

        def say(answer: str) -> Said:
            return Said(text=wrap_up("", answer), data={"answer": answer})

        return Attempt(answers=dict.fromkeys(possible, 1 / len(possible)), say=say)

    def read(self, view: View, room: int) -> Said:
        """Repeat what was said."""
        text = view.dialogue[-1].text if view.dialogue else "I have read it."
        return Said(text=text, data={"note": text})


def _any(item: PublicItem) -> tuple[str, ...]:
    """The answers that the item admits; for numbers those of two digits or fewer; for text one."""
    if item.kind == "yes_no":
        return ("yes", "no")
    if item.kind == "choice" and item.options:
        return labels(item.options)
    return tuple(map(str, range(100))) if item.kind == "number" else ("anything",)
