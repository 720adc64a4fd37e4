"""Tutoring conversations with experts' decisions, in the format of Bridge (Wang et al. 2024): a JSON list.

Fields: `c_id`, `lesson_topic`, `c_h` (the last turns before a student's mistake is answered), `c_r_` (what an
expert would say next), and the expert's decision: `e` (error), `z_what` (strategy), `z_why` (intention).

The data record how an expert answers a student, and neither the problem nor its right answer: the problem
often stood on a whiteboard. So the question is the conversation as far as it went, the solution is the
expert's words, and the answer is not known: the item names the grader `unknown`, which leaves every outcome
missing instead of counting it as wrong. Such items serve to study decisions and words, not learning.

`taxonomy["moves"]` holds the decision (slots `error`, `strategy`, `intention`), `taxonomy["dialogue"]` the
conversation with the expert's words as its last turn; consecutive turns of one speaker are one. A decision in
an expert's own words is `other`, and the words are kept in `taxonomy["notes"]`.

Several experts answered some conversations. They get the ids `C_ID-1`, `C_ID-2`, ...; `every: conversation`
keeps the first one of each, `every: expert` makes every answer an item of its own, kept together like
MathDial's dialogues about one problem.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from docendo.errors import ItemError, did_you_mean
from docendo.scenarios.grader import GRADERS, Verdict
from docendo.scenarios.item import Item
from docendo.scenarios.items.dialogues import Said
from docendo.scenarios.items.source import SOURCES, FileOptions, FileSource, Maker, Record, make_item
from docendo.scenarios.taxonomy import load_taxonomy

__all__ = ["NOT_RECORDED", "SOURCE", "BridgeOptions"]

NOT_RECORDED = "(not recorded)"
"""The answer of items whose answer nobody noted. In brackets, so that no text names it by chance."""

_SLOTS = {"e": "error", "z_what": "strategy", "z_why": "intention"}
"""Field -> slot of the taxonomy `bridge`."""
_LABEL = re.compile(r"[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*")
_CODE = re.compile(r"^\s*\d+\.\d+[A-Z]?\.\s*|\s*(?:\(Review\))?\s*(?:-\s*\d+)?\s*$")
"""What surrounds a topic: `3.4A.Two-Step Word Problems (Review) - 1`."""
_ROLES: dict[str, Literal["teacher", "student"]] = {"tutor": "teacher", "student": "student"}


class BridgeOptions(FileOptions):
    """Options of `source: bridge`."""

    every: Literal["conversation", "expert"] = Field(
        "conversation",
        description="One item per conversation (its first expert), or one per expert's answer.",
    )


@GRADERS.register("unknown")
def _grade(item: Item, answer: str) -> Verdict:
    """Nobody can say whether an answer is right where the right one was never noted."""
    return Verdict(None, f"the right answer to item {item.id} is not known", answer)


def _maker(options: BridgeOptions, base: Path) -> Maker:
    del base
    seen: Counter[str] = Counter()
    return lambda record: _make(record, seen, options.every == "expert")


def _make(record: Record, seen: Counter[str], every: bool) -> Item:
    fields = record.texts("c_id", "lesson_topic", *_SLOTS, beside=("c_h", "c_r_"))
    faults: list[str] = []
    history = _said(record.fields["c_h"], "c_h", faults)
    reply = _said(record.fields["c_r_"], "c_r_", faults)
    if any(said.role == "student" for said in reply):
        faults.append("`c_r_` has turns of the student; it holds what the expert says next")
    labels, notes, hint = _decision(fields, faults)
    if faults:
        raise ItemError("; ".join(faults), suggestion=hint or _TURNS_HINT)
    conversation, topic = fields["c_id"], _CODE.sub("", fields["lesson_topic"]).strip()
    seen[conversation] += 1
    words = reply[-1].model_copy(update={"labels": labels})
    taxonomy: dict[str, Any] = {
        "grader": "unknown",
        "topic": fields["lesson_topic"].strip(),
        "moves": [labels],
        "dialogue": [said.model_dump() for said in (*history, words)],
    }
    taxonomy |= ({"notes": notes} if notes else {}) | ({"problem": conversation} if every else {})
    return make_item(
        id=f"{conversation}-{seen[conversation]}",
        question=_shown(topic, history),
        kind="text",
        answer=NOT_RECORDED,
        skills=(topic,) if topic else (),
        solution=words.text,
        taxonomy=taxonomy,
    )


_TURNS_HINT = 'Write turns as `[{"user": "tutor", "text": "..."}, {"user": "student", "text": "..."}]`.'


def _said(turns: Any, field: str, faults: list[str]) -> list[Said]:
    """The turns of a field, those of one speaker in a row joined."""
    said: list[Said] = []
    for number, turn in enumerate(turns if isinstance(turns, list) else (), start=1):
        user, text = (turn.get("user"), turn.get("text")) if isinstance(turn, dict) else (None, None)
        if user not in _ROLES or not isinstance(text, str):
            faults.append(f"turn {number} of `{field}` needs a `user` (`tutor` or `student`) and a `text`")
        elif said and said[-1].role == _ROLES[user]:
            said[-1] = Said(role=_ROLES[user], text=f"{said[-1].text} {text.strip()}".strip())
        else:
            said.append(Said(role=_ROLES[user], text=text.strip()))
    if not faults and not any(one.text for one in said):
        faults.append(f"`{field}` has no turns")
    return said


def _decision(fields: dict[str, str], faults: list[str]) -> tuple[dict[str, str], dict[str, str], str]:
    """The decision as labels, what was said instead of a label, and a hint about what is wrong."""
    labels, notes, hint = {}, {}, ""
    for field, slot in _SLOTS.items():
        known = load_taxonomy("bridge").slots[slot]
        said = fields[field].strip()
        if said in known:
            labels[slot] = said
        elif _LABEL.fullmatch(said):  # one word in small letters is a label, misspelt
            faults.append(f"`{field}` has the unknown {slot} `{said}`")
            hint = hint or did_you_mean(said, known)
        else:
            labels[slot], notes[slot] = "other", said
    return labels, notes, hint


def _shown(topic: str, history: Sequence[Said]) -> str:
    speakers = {"teacher": "Tutor", "student": "Student"}
    lines = [f"Lesson: {topic}"] if topic else []
    return "\n".join([*lines, *(f"{speakers[said.role]}: {said.text}" for said in history)])


SOURCE = SOURCES.add("bridge", FileSource(BridgeOptions, _maker))
