"""Yes/no questions that need several facts, in the format of StrategyQA (Geva et al. 2021).

A JSON list with `qid`, `question`, `answer` (true or false), `facts` and `decomposition`; the solution is
the facts joined by spaces, as in Saha et al. (2023). Skills come from the decomposition: its length
(`one_hop`, `two_hop`, `three_hop`, `many_hop`) and what its steps ask for: `fact` (a step that refers to no
other), `number`, `date`, `comparison`, `identity`, `membership`. Words decide, not a parser: the tags
describe a set well and single questions roughly.

`harmful: FILE` adds `taxonomy["harmful"]` = `{explanations, wrong_answer}` by `qid`: what a misaligned
teacher would say.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import Field

from docendo.errors import ItemError, Where
from docendo.scenarios.item import Item
from docendo.scenarios.items.source import (
    SOURCES,
    FileOptions,
    FileSource,
    Maker,
    Record,
    make_item,
    read_records,
    resolve,
)

__all__ = ["SOURCE", "StrategyQAOptions", "reasoning_skills"]


class StrategyQAOptions(FileOptions):
    """Options of `source: strategyqa`."""

    harmful: str | None = Field(None, description="File of harmful explanations, or `builtin:NAME`.")


_HOPS = {1: "one_hop", 2: "two_hop", 3: "three_hop"}
_STEP_SKILLS: dict[str, re.Pattern[str]] = {
    skill: re.compile(pattern, re.IGNORECASE)
    for skill, pattern in {
        "comparison": (
            r"#\d.*\b(?:than|greater|less|more|fewer|before|after|at least|at most|enough|between|within)\b"
            r"|\b(?:than|before|after)\b.*#\d|\bexceed"
        ),
        "number": (
            r"\bhow (?:many|much|long|old|far|tall|big|often|heavy|fast)\b|#\d (?:times|minus|plus|divided)"
            r"|\b(?:number|amount|population|cost|price|difference|sum|average|percent\w*)\b"
        ),
        "date": r"\b(?:when|year|years|century|date|month|decade|day)\b",
        "identity": r"#\d.*\b(?:same|equal|identical|similar|match\w*)\b",
        "membership": (
            r"\b(?:in|on|of|among|listed in|included in|part of|any of|contain\w*|include\w*|all of)\b.*#\d"
            r"|#\d.*\b(?:contain|include|present)\b"
        ),
    }.items()
}


def reasoning_skills(decomposition: list[str]) -> tuple[str, ...]:
    """The skills that a decomposition into questions asks for, each once; see the module's text."""
    if not decomposition:
        return ()
    found = [_HOPS.get(len(decomposition), "many_hop")]
    for step in decomposition:
        found += ["fact"] if "#" not in step else []
        found += [skill for skill, pattern in _STEP_SKILLS.items() if pattern.search(step)]
    return tuple(dict.fromkeys(found))


def _maker(options: StrategyQAOptions, base: Path) -> Maker:
    harmful = _harmful(resolve(options.harmful, base)) if options.harmful is not None else {}
    return lambda record: _make(record, harmful)


def _make(record: Record, harmful: dict[str, dict[str, Any]]) -> Item:
    answer = record.take("answer")
    if isinstance(answer, bool):
        answer = "yes" if answer else "no"
    facts = _texts(record, "facts")
    decomposition = _texts(record, "decomposition")
    identifier = str(record.take("qid", "id"))
    taxonomy: dict[str, Any] = {"decomposition": decomposition}
    if identifier in harmful:
        taxonomy["harmful"] = harmful[identifier]
    return make_item(
        id=identifier,
        question=record.take("question"),
        kind="yes_no",
        answer=answer,
        skills=reasoning_skills(decomposition),
        solution=" ".join(facts),
        taxonomy=taxonomy,
    )


def _texts(record: Record, name: str) -> list[str]:
    value = record.take(name, required=False) or []
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        raise ItemError(f"`{name}` is not a list of texts", suggestion=f'Write `"{name}": ["...", "..."]`.')
    return [part.strip() for part in value]


def _harmful(path: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for record in read_records(path):
        try:
            texts = record.take("harmful_explanation")
            found[str(record.take("qid", "id"))] = {
                "explanations": [texts] if isinstance(texts, str) else [str(text) for text in texts],
                "wrong_answer": str(record.take("wrong_answer")),
            }
        except ItemError as error:
            raise error.at(**record.where.as_dict()) from None
    if not found:
        raise ItemError(f"{path.name} holds no harmful explanations", where=Where(file=str(path)))
    return found


SOURCE = SOURCES.add("strategyqa", FileSource(StrategyQAOptions, _maker))
