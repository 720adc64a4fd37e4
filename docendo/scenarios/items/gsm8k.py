"""Grade-school word problems in the format of GSM8K (Cobbe et al. 2021): JSONL with `question`, `answer`.

The answer field is a solution with calculator annotations `<<48/2=24>>` and a last line `#### 72`. The
solution is the text without both; each annotation is removed by itself (a greedy pattern would eat what
stands between two). Skills are the operations in the annotations (`addition`, `subtraction`,
`multiplication`, `division`) and `two_step` or `multi_step` (three and more annotated steps). A solution
without annotations is searched for worked equations instead.
"""

from __future__ import annotations

import re

from docendo.errors import ItemError
from docendo.scenarios.item import Item
from docendo.scenarios.items.source import SOURCES, FileOptions, FileSource, Record, make_item

__all__ = ["SOURCE", "operations"]

_ANNOTATION = re.compile(r"<<([^<>]*)>>")
_EQUATION = re.compile(r"\$?\d[\d.,$%]*(?:\s*[-+*/x\u00d7\u00f7]\s*\$?\d[\d.,$%]*)+(?=\s*=)")
_FINAL = re.compile(r"^\s*####(.*)$", re.MULTILINE)
_OPERATIONS = {
    "+": "addition", "-": "subtraction", "*": "multiplication", "x": "multiplication",
    "\u00d7": "multiplication", "/": "division", "\u00f7": "division",
}  # fmt: skip


def operations(solution: str) -> tuple[str, ...]:
    """The skills of an annotated solution, each once, in order of first use."""
    steps = _ANNOTATION.findall(solution) or _EQUATION.findall(_FINAL.sub("", solution))
    found = []
    for step in steps:
        expression = step.split("=")[0]
        found += [
            _OPERATIONS[sign] for sign in re.findall(r"(?<=[\d).%])\s*([-+*/x\u00d7\u00f7])", expression)
        ]
    length = {0: [], 1: [], 2: ["two_step"]}.get(len(steps), ["multi_step"])
    return tuple(dict.fromkeys([*found, *length]))


def _make(record: Record) -> Item:
    question, solution = record.take("question"), record.take("answer")
    finals = _FINAL.findall(solution) if isinstance(solution, str) else []
    if not finals:
        raise ItemError("the answer has no line `#### number`", suggestion="End the solution with `#### 42`.")
    text = _ANNOTATION.sub("", _FINAL.sub("", solution)).strip()
    return make_item(
        id=record.id,
        question=question,
        kind="number",
        answer=finals[-1].strip().replace(",", ""),
        skills=operations(solution),
        solution=text,
        taxonomy={"steps": len(_ANNOTATION.findall(solution))},
    )


SOURCE = SOURCES.add("gsm8k", FileSource(FileOptions, lambda options, base: _make))
