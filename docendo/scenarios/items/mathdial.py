"""Recorded tutoring dialogues in the format of MathDial (Macina et al. 2023): JSONL, one dialogue per line.

Fields: `qid`, `question`, `ground_truth`, `student_incorrect_solution`, `student_profile`, `conversation`,
and optionally `teacher_described_confusion` and `self-correctness`. The answer is the number with which the
ground truth ends, the solution what stands before it; skills are the operations of its equations, as for
`gsm8k`.

A conversation is a chain of turns between `|EOM|` (the data) or `<EOM>` (the published evaluation code), each
`Speaker: text`. The teacher's turns begin with their move, `(focus)`; the student goes by `Student` or by the
name with which the profile begins. `taxonomy` gets `wrong_solution`, `wrong_answer` (where the wrong solution
comes to a number that is wrong), `profile`, `confusion`, `outcome` and `dialogue`.

Several dialogues may be about one problem. They get the ids `QID-1`, `QID-2`, ...; `every: problem` keeps the
first one of each, `every: dialogue` makes every one an item of its own. Those of one problem then share
`taxonomy["problem"]`, by which they stay together in one pool and serve one purpose.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from docendo.errors import ItemError, did_you_mean
from docendo.scenarios.grader import extract_answer, read_number
from docendo.scenarios.item import Item
from docendo.scenarios.items.dialogues import Said
from docendo.scenarios.items.gsm8k import operations
from docendo.scenarios.items.source import SOURCES, FileOptions, FileSource, Maker, Record, make_item
from docendo.scenarios.taxonomy import load_taxonomy

__all__ = ["SOURCE", "MathDialOptions"]

_NEEDED = (
    "qid", "question", "ground_truth", "student_incorrect_solution", "student_profile", "conversation",
)  # fmt: skip
_BETWEEN_TURNS = re.compile(r"\|EOM\||<EOM>")
_TURN = re.compile(r"\s*([^:\n(]{1,40}?)\s*:\s*(.*)", re.DOTALL)
_MOVE = re.compile(r"\(\s*([A-Za-z][\w \-]*?)\s*\)\s*(.*)", re.DOTALL)
_SLOT = "move"


class MathDialOptions(FileOptions):
    """Options of `source: mathdial`."""

    every: Literal["problem", "dialogue"] = Field(
        "problem", description="One item per problem (its first dialogue), or one per dialogue."
    )


def _maker(options: MathDialOptions, base: Path) -> Maker:
    del base
    seen: Counter[str] = Counter()
    return lambda record: _make(record, seen, options.every == "dialogue")


def _make(record: Record, seen: Counter[str], every: bool) -> Item:
    fields = record.texts(*_NEEDED)
    answer, solution = _worked(fields["ground_truth"])
    dialogue, faults = _turns(fields["conversation"], fields["student_profile"])
    if answer is None:
        faults.insert(0, "`ground_truth` ends with no number")
    if faults:
        raise ItemError("; ".join(faults), suggestion=_hint(faults))
    problem = fields["qid"]
    seen[problem] += 1
    wrong, _ = _worked(fields["student_incorrect_solution"])
    taxonomy: dict[str, Any] = {
        "wrong_solution": fields["student_incorrect_solution"].strip(),
        "profile": fields["student_profile"].strip(),
        "confusion": str(record.take("teacher_described_confusion", required=False) or ""),
        "outcome": str(record.take("self-correctness", required=False) or ""),
        "dialogue": [said.model_dump() for said in dialogue],
    }
    if wrong is not None and read_number(wrong) != read_number(answer or ""):
        taxonomy["wrong_answer"] = wrong
    return make_item(
        id=f"{problem}-{seen[problem]}",
        question=fields["question"],
        kind="number",
        answer=answer,
        skills=operations(solution),
        solution=solution,
        taxonomy=taxonomy | ({"problem": problem} if every else {}),
    )


def _worked(text: str) -> tuple[str | None, str]:
    """The number that a solution comes to, and the solution without the line that only repeats it."""
    lines = text.strip().splitlines()
    last = lines[-1].replace("#", "").strip() if lines else ""
    if read_number(last) is not None:
        return extract_answer(last, "number"), "\n".join(lines[:-1]).strip() or last
    return extract_answer(text, "number"), text.strip()


def _turns(conversation: str, profile: str) -> tuple[list[Said], list[str]]:
    """What was said, and what is wrong with it."""
    said: list[Said] = []
    faults: list[str] = []
    name = (profile.split() or [""])[0]
    parts = [part for part in _BETWEEN_TURNS.split(conversation) if part.strip()]
    for number, part in enumerate(parts, start=1):
        turn = _TURN.match(part)
        if turn is None:
            faults.append(f"turn {number} of the conversation names no speaker")
        elif turn[1] == "Teacher":
            said.append(_of_teacher(turn[2], number, faults))
        elif turn[1] in ("Student", name):
            said.append(Said(role="student", text=turn[2].strip()))
        else:
            faults.append(f"turn {number} of the conversation has the unknown speaker `{turn[1]}`")
    if not parts:
        faults.append("the conversation has no turns")
    return said, faults


def _of_teacher(text: str, number: int, faults: list[str]) -> Said:
    """A turn of the teacher: its move, if it is tagged, and its words."""
    tagged = _MOVE.match(text)
    if tagged is None:
        return Said(role="teacher", text=text.strip())
    label = tagged[1].lower()
    if label not in load_taxonomy("mathdial").slots[_SLOT]:
        faults.append(f"turn {number} of the conversation has the unknown move `({tagged[1]})`")
    return Said(role="teacher", text=tagged[2].strip(), labels={_SLOT: label})


def _hint(faults: list[str]) -> str:
    """What to do about the first of them."""
    moves = load_taxonomy("mathdial").slots[_SLOT]
    if "move" in faults[0]:
        return did_you_mean(faults[0].split("(")[-1].split(")")[0].lower(), moves)
    if "number" in faults[0]:
        return "Let the last line be the answer, e.g. `42`."
    return "Write turns as `Teacher: (focus)What is asked?|EOM|Student: The price.`"


SOURCE = SOURCES.add("mathdial", FileSource(MathDialOptions, _maker))
