"""Items of any kind in docendo's own words: JSONL, JSON or CSV, one record per item.

Fields: `question`, `answer`, and optionally `id`, `kind`, `options`, `skills`, `solution`, `form`,
`taxonomy`, `pool` (the only pool that the item may go to), `rephrasings` (the question in other words) and
`variant_of` (the id of the item that this one varies); the last three end up in `taxonomy`.

Without a `kind` the source's `kind:` option decides, else the record itself: options make it `choice`; true,
false, yes or no `yes_no`; a number `number`; anything else `text`. A field of another name is an error, so
that a slip of the pen is not lost.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from pydantic import Field

from docendo.errors import ItemError, did_you_mean
from docendo.scenarios.grader import read_number
from docendo.scenarios.item import AnswerKind, Item
from docendo.scenarios.items.multiple_choice import names_of
from docendo.scenarios.items.source import SOURCES, FileOptions, FileSource, Maker, Record, make_item

__all__ = ["SOURCE", "JsonlOptions"]

_FIELDS = (
    "id", "question", "answer", "kind", "options", "skills", "solution", "form", "taxonomy", "pool",
    "rephrasings", "variant_of",
)  # fmt: skip


class JsonlOptions(FileOptions):
    """Options of `source: jsonl`."""

    kind: AnswerKind | None = Field(None, description="Answer kind of records that name none.")


def _maker(options: JsonlOptions, base: Path) -> Maker:
    del base
    return lambda record: _make(record, options.kind)


def _make(record: Record, default: AnswerKind | None) -> Item:
    for name in record.fields:
        if name not in _FIELDS:
            raise ItemError(f"unknown field `{name}`", suggestion=did_you_mean(str(name), _FIELDS))
    raw = record.take("answer")
    answer = ("yes" if raw else "no") if isinstance(raw, bool) else str(raw)
    options = record.take("options", required=False)
    kind = record.take("kind", required=False) or default or _guess(options, answer)
    if kind not in get_args(AnswerKind):
        raise ItemError(f"unknown kind `{kind}`", suggestion=did_you_mean(str(kind), get_args(AnswerKind)))
    taxonomy = record.take("taxonomy", required=False) or {}
    if not isinstance(taxonomy, dict):
        raise ItemError("`taxonomy` is not an object", suggestion='Write `"taxonomy": {...}`.')
    return make_item(
        id=record.id,
        question=record.take("question"),
        kind=kind,
        options=names_of(options, "options"),
        answer=answer,
        skills=names_of(record.take("skills", required=False)),
        solution=record.take("solution", required=False) or "",
        form=str(record.take("form", required=False) or ""),
        taxonomy={**taxonomy, **_notes(record)},
    )


def _notes(record: Record) -> dict[str, Any]:
    """The fields that are kept in `taxonomy`."""
    notes: dict[str, Any] = {
        name: str(value)
        for name in ("pool", "variant_of")
        if (value := record.take(name, required=False)) is not None
    }
    wordings = names_of(record.take("rephrasings", required=False), "rephrasings")
    return notes | ({"rephrasings": list(wordings)} if wordings else {})


def _guess(options: Any, answer: str) -> AnswerKind:
    if options:
        return "choice"
    if answer.strip().casefold() in ("yes", "no", "true", "false"):
        return "yes_no"
    return "text" if read_number(answer) is None else "number"


SOURCE = SOURCES.add("jsonl", FileSource(JsonlOptions, _maker))
