"""Acts by which a teacher revises its worked examples from what students got wrong (Ning et al. 2024, M3).

A model picks questions by number and writes explanations; the questions and their right answers are the
laboratory's, so that a revised example can be badly explained but not wrongly keyed.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from docendo.agents.act import ACTS, Act, Unreadable
from docendo.agents.payload import Exemplars, Payload, Remembered
from docendo.agents.view import View
from docendo.memory.record import Demonstration

__all__ = ["candidates"]


class _Example(BaseModel):
    model_config = ConfigDict(extra="ignore")

    number: int
    explanation: str


class _Examples(BaseModel):
    model_config = ConfigDict(extra="ignore")

    examples: tuple[_Example, ...]


def candidates(view: View) -> tuple[Demonstration, ...]:
    """The questions that a revised set may show: the present exemplars, then what students got wrong."""
    found = {d.item: d for d in view.demonstrations}
    for e in view.evidence:
        failed = Demonstration(item=e.item, question=e.question, options=e.options, answer=e.correct_answer)
        found.setdefault(e.item, failed)
    return tuple(found.values())


def _read_exemplars(text: str, view: View) -> Payload:
    """A revised set: the picked questions with new explanations and the answers that they have."""
    wanted = 'Answer with {"examples": [{"number": 1, "explanation": "..."}, ...]} and nothing else.'
    start, end = text.find("{"), text.rfind("}")
    try:
        given = _Examples.model_validate(json.loads(text[start : end + 1]))
    except (json.JSONDecodeError, ValidationError) as error:
        raise Unreadable(wanted) from error
    known = candidates(view)
    picked: dict[str, Demonstration] = {}
    for example in given.examples:
        if not 1 <= example.number <= len(known):
            raise Unreadable(f"There is no question {example.number}: use numbers from 1 to {len(known)}.")
        chosen = known[example.number - 1]
        picked[chosen.item] = chosen.model_copy(update={"explanation": example.explanation.strip()})
    if not picked:
        raise Unreadable(wanted)
    size = int(view.params.get("exemplars") or len(picked))
    return Exemplars(examples=tuple(picked.values())[:size])


def _schema(view: View) -> dict[str, Any]:
    """JSON schema of a revised set."""
    example = {
        "type": "object",
        "properties": {
            "number": {"type": "integer", "minimum": 1, "maximum": max(len(candidates(view)), 1)},
            "explanation": {"type": "string"},
        },
        "required": ["number", "explanation"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"examples": {"type": "array", "items": example}},
        "required": ["examples"],
        "additionalProperties": False,
    }


for _act in (
    Act(
        role="teacher",
        name="reflect",
        says="plan",
        reads=frozenset({"memory", "evidence"}),
        to="self",
        output=Remembered,
        template="teacher/reflect.md",
        read=lambda text, view: Remembered(note=text.strip()),
        description="Say what the students' failures have in common, and what the worked examples lack.",
    ),
    Act(
        role="teacher",
        name="improve",
        says="plan",
        reads=frozenset({"memory", "evidence", "own"}),
        to="self",
        output=Exemplars,
        do=lambda view: None if candidates(view) else Exemplars(examples=()),  # nothing to revise
        template="teacher/improve.md",
        read=_read_exemplars,
        schema=_schema,
        description="Revise the worked examples in the light of the failures and the reflection.",
    ),
):
    ACTS.add(_act.key, _act)
