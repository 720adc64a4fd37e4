"""Multiple-choice questions from CSV, JSONL or JSON.

Columns: `question`; the options, either one column each (`A`, `B`, `C`, ... or any names given in
`columns.options`) or, in JSON, one field `options` (a list, or a mapping of labels to texts); `answer` (a
label or an option's text); and optionally `id`, `solution`, `skills` (a list, or names separated by `;`) and
`form`. `columns:` renames them, e.g. for ECQA `{id: q_no, question: q_text, answer: q_ans, solution: taskB,
options: [q_op1, q_op2, q_op3, q_op4, q_op5]}`. Further columns are kept in `taxonomy`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from docendo.errors import ItemError
from docendo.scenarios.grader import label_of
from docendo.scenarios.item import Item
from docendo.scenarios.items.source import (
    SOURCES,
    FileOptions,
    FileSource,
    Maker,
    Record,
    SourceOptions,
    make_item,
)

__all__ = ["SOURCE", "Columns", "MultipleChoiceOptions", "names_of"]


class Columns(SourceOptions):
    """What the columns of a file are called."""

    id: str = "id"
    question: str = "question"
    answer: str = "answer"
    solution: str = "solution"
    skills: str = "skills"
    form: str = "form"
    options: str | tuple[str, ...] = Field(
        "options", description="The field that holds all options, or one column per option."
    )


class MultipleChoiceOptions(FileOptions):
    """Options of `source: multiple_choice`."""

    columns: Columns = Columns()


def names_of(value: Any, field: str = "skills") -> tuple[str, ...]:
    """Names from a list, or from one text with `;` between them.

    Raises:
        ItemError: Anything else.
    """
    if value is None:
        return ()
    names = value.split(";") if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ItemError(f"`{field}` is neither a list of texts nor a text", suggestion="Write `one; two`.")
    return tuple(name.strip() for name in names if name.strip())


def _maker(options: MultipleChoiceOptions, base: Path) -> Maker:
    del base
    return lambda record: _make(record, options.columns)


def _make(record: Record, columns: Columns) -> Item:
    texts, used = _options(record, columns)
    identifier = record.take(columns.id, required=False)
    used |= {columns.id, columns.question, columns.answer, columns.solution, columns.skills, columns.form}
    return make_item(
        id=record.id if identifier is None else str(identifier),
        question=record.take(columns.question),
        kind="choice",
        options=texts,
        answer=str(record.take(columns.answer)),
        skills=names_of(record.take(columns.skills, required=False)),
        solution=record.take(columns.solution, required=False) or "",
        form=str(record.take(columns.form, required=False) or ""),
        taxonomy={name: value for name, value in record.fields.items() if name not in used and value != ""},
    )


def _options(record: Record, columns: Columns) -> tuple[tuple[str, ...], set[str]]:
    """The option texts in the order of their labels, and the columns that they came from."""
    if not isinstance(columns.options, str):
        return tuple(str(record.take(name)) for name in columns.options), set(columns.options)
    value = record.take(columns.options, required=False)
    if isinstance(value, list):
        return tuple(str(text) for text in value), {columns.options}
    used = {columns.options}
    if value is None:
        value, used = record.fields, used | {label_of(i) for i in range(26)}
    if not isinstance(value, dict):
        raise ItemError("`options` is not a list", suggestion='Write `"options": ["...", "..."]`.')
    texts: list[str] = []
    while (text := value.get(label_of(len(texts)))) not in (None, "") and len(texts) < 26:
        texts.append(str(text))
    if not texts:
        raise ItemError(
            "there are no options", suggestion="Add columns A, B, ..., or say `columns: {options: [...]}`."
        )
    return tuple(texts), used


SOURCE = SOURCES.add("multiple_choice", FileSource(MultipleChoiceOptions, _maker))
