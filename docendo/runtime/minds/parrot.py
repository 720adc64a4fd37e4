"""The control that has no mind: it repeats the answer of the last message that it saw, whoever wrote it.

Without a message it answers at random. In a dialogue it repeats the last answer that was said, its own where
others named none, so it yields to any pressure. It keeps nothing, so a measure on which it gains from
teaching measures repetition and not learning.
"""

from __future__ import annotations

from collections.abc import Sequence

from docendo.agents.view import View
from docendo.messages import Message
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
            "sit": self.solve,
            "explain": self.solve,
            "reply": self.reply,
            "reflect": self.read,
            "read": self.read,
            "study": self.read,
        }

    def solve(self, view: View, room: int) -> Attempt:
        """The last message's answer, else any."""
        item = item_of(view, self.name)
        return _repeated(item, _answer_of(view.dialogue[-1:], item))

    def reply(self, view: View, room: int) -> Attempt:
        """The last message's answer, else the one that it gave itself, else any."""
        item = item_of(view, self.name)
        return _repeated(item, _answer_of(view.dialogue[-1:], item) or _answer_of(view.own[-1:], item))

    def read(self, view: View, room: int) -> Said:
        """Repeat what was said."""
        text = view.dialogue[-1].text if view.dialogue else "I have read it."
        return Said(text=text, data={"note": text})


def _answer_of(messages: Sequence[Message], item: PublicItem) -> str | None:
    return extract_answer(messages[0].text, item.kind, item.options) if messages else None


def _repeated(item: PublicItem, said: str | None) -> Attempt:
    possible = (said,) if said is not None else _any(item)

    def say(answer: str) -> Said:
        text = wrap_up("", answer)
        return Said(text=text, data={"answer": answer, "text": text})

    return Attempt(answers=dict.fromkeys(possible, 1 / len(possible)), say=say)


def _any(item: PublicItem) -> tuple[str, ...]:
    """The answers that the item admits; for numbers those of two digits or fewer; for text one."""
    if item.kind == "yes_no":
        return ("yes", "no")
    if item.kind == "choice" and item.options:
        return labels(item.options)
    return tuple(map(str, range(100))) if item.kind == "number" else ("anything",)
