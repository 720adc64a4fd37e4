"""What a listener takes from a dialogue about what its student knows, in order.

Two things tell: help that the student got, and answers that it announced. A third is hearsay: what a
diagnostician says it suspects, which a teacher believes.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from docendo.agents.view import HELP, View
from docendo.messages import Message
from docendo.scenarios.arithmetic import BUGS
from docendo.scenarios.grader import stated_answer

__all__ = ["Heard", "is_veto", "read_json", "suspected", "told_of_student"]

_SEPARATORS = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Heard:
    """Help, or the student's words with the answer that they announce."""

    text: str
    answer: str | None = None
    """`None`: this is help."""
    student: str = ""


def told_of_student(view: View) -> tuple[Heard, ...]:
    """Help and answers of the dialogue in `view`, in order."""
    found = []
    for message in view.messages:
        if message.kind in HELP:
            found.append(Heard(message.text))
        elif (answer := _announced(message, view)) is not None:
            found.append(Heard(message.text, answer, message.sender))
    return tuple(found)


def _announced(message: Message, view: View) -> str | None:
    item = view.item
    if message.kind != "attempt" or message.sender == view.agent or item is None:
        return None
    return stated_answer(message.text, item.kind, item.options)


def suspected(view: View) -> dict[str, float]:
    """Bug -> how strongly the latest diagnosis that was heard suspects it; empty where none was heard.

    A diagnosis is read as JSON with `misconceptions`, else as words that name bugs.
    """
    text = next((m.text for m in reversed(view.dialogue) if m.kind == "diagnosis"), "")
    named = read_json(text).get("misconceptions")
    if isinstance(named, dict):
        given = {_plain(str(name)): p for name, p in named.items() if isinstance(p, int | float)}
        return {bug: float(given[_plain(bug)]) for bug in BUGS if _plain(bug) in given}
    words = f" {_plain(text)} "
    return {bug: 1.0 for bug in BUGS if f" {_plain(bug)} " in words}


def is_veto(message: Message) -> bool:
    """Whether a critic's judgement lets something not pass."""
    return message.kind == "judgement" and read_json(message.text).get("accept") is not True


def read_json(text: str) -> dict[str, Any]:
    """The JSON object in a text; empty where there is none."""
    try:
        found = json.loads(text[text.find("{") : text.rfind("}") + 1])
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _plain(name: str) -> str:
    return _SEPARATORS.sub(" ", name.lower()).strip()
