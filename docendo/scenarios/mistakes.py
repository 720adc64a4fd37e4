"""What pydantic found wrong, in the words of the person who wrote the file.

Every error becomes a `Problem` with the place of the offending key or value, what was expected there, what
stands there, and the nearest known name where one is misspelt.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from docendo.errors import Problem, Where, did_you_mean
from docendo.scenarios.model_spec import MODEL_KINDS
from docendo.scenarios.paths import allowed_keys, phase_names
from docendo.scenarios.positions import Path, Positions, depth_in, dotted

__all__ = ["Place", "format_problem", "place_in", "problems_of"]

Place = Callable[[Path, bool], Where]
"""(path, at the key rather than the value) -> where that is written."""

_TAGS = frozenset(
    {
        *MODEL_KINDS, "mastery/one", "mastery/each", "graph/name", "graph/inline", "pool/size", "pool/own",
    }
)  # fmt: skip

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "`true` or `false`",
    "string_type": "text",
    "dict_type": "a mapping of `key: value`",
    "model_type": "a mapping of `key: value`",
    "model_attributes_type": "a mapping of `key: value`",
    "tuple_type": "a list",
}
_EITHER = re.compile("expected .*, got ")
_LIMITS = {
    "greater_than": ("gt", "must be above {}"),
    "greater_than_equal": ("ge", "must be {} or more"),
    "less_than": ("lt", "must be below {}"),
    "less_than_equal": ("le", "must be {} or less"),
}


def place_in(raw: dict[str, Any], positions: Positions) -> Place:
    """Places of a document that was read into `raw` (normal form)."""
    names = phase_names(raw)

    def place(path: Path, key: bool = False) -> Where:
        mark = positions.find(path, key=key)
        at = dotted(path, names) or None
        return Where(file=mark.file, line=mark.line, column=mark.column, path=at) if mark else Where(path=at)

    return place


def problems_of(
    error: ValidationError,
    raw: dict[str, Any],
    place: Place,
    *,
    under: Path = (),
    keys: Sequence[str] | None = None,
) -> list[Problem]:
    """One problem per mistake that pydantic found in `raw`, or in the part of it that lies `under` a path.

    `keys` are the keys that may stand there, where the scenario's own schema does not know them.
    """
    found: list[Problem] = []
    all_details = error.errors(include_url=False)
    for details in all_details:
        if details["type"] == "too_short" and any(_inside(d["loc"], details["loc"]) for d in all_details):
            continue  # the list is not short: its entries are wrong, and are reported themselves
        problem = _problem(details, raw, place, under, keys)
        before = found[-1] if found and found[-1].where == problem.where else None
        if before and _EITHER.match(before.message) and _EITHER.match(problem.message):  # members of a union
            wanted = before.message.split(", got ")[0]
            problem = replace(problem, message=problem.message.replace("expected", f"{wanted} or", 1))
            found.pop()
        found.append(problem)
    return list(dict.fromkeys(found))


def _inside(loc: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(loc) > len(outer) and loc[: len(outer)] == outer


def _problem(
    details: ErrorDetails, raw: dict[str, Any], place: Place, under: Path, keys: Sequence[str] | None
) -> Problem:
    path: Path = (*under, *(part for part in details["loc"] if part not in _TAGS))
    if path[-1:] != ("[key]",):  # pydantic adds the names of union members below what is there
        path = path[: depth_in(raw, path) + 1]
    kind, value = details["type"], details["input"]
    context = details.get("ctx", {})
    if path[-1:] == ("[key]",):
        path = path[:-1]
        return Problem(message=_bad_name(path[-1]), suggestion=_NAME_HINT, where=place(path, True))
    if kind == "extra_forbidden":
        hint = did_you_mean(str(path[-1]), allowed_keys(raw, path[:-1]) if keys is None else keys)
        return Problem(message=f"unknown key `{_cut(path[-1])}`", suggestion=hint, where=place(path, True))
    if kind == "missing":
        owner = dotted(path[:-1], phase_names(raw))
        hint = f"Add `{path[-1]}:`" + (f" under `{owner}`." if owner else " at the top level.")
        return Problem(message=f"`{path[-1]}` is missing", suggestion=hint, where=place(path[:-1], True))
    if kind == "mistake":
        key = context.get("key")
        inside = (*path, key) if key and key in value else path
        where = place(inside, bool(key) and value.get(key) is None)
        return Problem(message=context["message"], suggestion=context["suggestion"], where=where)
    message, hint = _wrong_value(kind, value, context, details["msg"], path)
    return Problem(message=message, suggestion=hint, where=place(path, False))


def _wrong_value(kind: str, value: Any, context: dict[str, Any], text: str, path: Path) -> tuple[str, str]:
    """Message and suggestion for a value that does not fit."""
    got = "" if path[-1:] == ("api_key",) else f", got {_show(value)}"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}{got}", _repair(kind, value)
    if kind == "literal_error":
        names = re.findall(r"'([^']*)'", context["expected"]) or [context["expected"]]
        if path == ("version",):
            return f"unknown version {_show(value)}", "This docendo reads `version: 1`."
        if isinstance(value, str):
            what = (
                "phase" if path[:1] == ("plan",) and len(path) == 3 and path[-1] == "kind" else str(path[-1])
            )
            return f"unknown {what} `{_cut(value)}`", did_you_mean(value, names)
        return f"expected one of {', '.join(f'`{n}`' for n in names)}{got}", ""
    if kind in _LIMITS:
        name, phrase = _LIMITS[kind]
        return f"{phrase.format(f'{context[name]:g}')}{got}", ""
    if kind == "string_pattern_mismatch":
        return _bad_name(value), _NAME_HINT
    if kind == "value_error":
        return str(context["error"]), ""
    if kind == "too_short":
        return "needs at least one entry", ""
    return f"{text[:1].lower()}{text[1:]}{got}", ""


_NAME_HINT = (
    "Use letters, digits, `-` and `_`, beginning with a letter (a scenario's name: small letters, `-`)."
)


def _bad_name(value: Any) -> str:
    return f"`{_cut(value)}` cannot be a name"


def _repair(kind: str, value: Any) -> str:
    """What to write instead of a value of the wrong type, where that is plain."""
    if kind == "tuple_type" and isinstance(value, str | int | float):
        return f"Write it as a list: `[{_cut(value)}]`."
    if kind == "string_type" and isinstance(value, int | float):
        return f"Put it in quotes: `'{_cut(str(value).lower())}'`."
    if kind in {"int_type", "float_type"} and isinstance(value, str) and re.fullmatch(r"-?[\d.]+", value):
        return "Remove the quotes."
    return ""


def _cut(value: Any) -> str:
    text = "".join(c if c.isprintable() else "?" for c in str(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def _show(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f"'{_cut(value)}'"
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list | tuple) else _cut(value)


_SECRET = re.compile(r"(api.?key|secret|password)(?!\W*\$\{env:)", re.IGNORECASE)


def format_problem(problem: Problem, source_text: str | None = None) -> str:
    """A problem for the terminal: place, message, the line itself with a caret, and what to do.

    `source_text` is the text of the file that the problem lies in; when it is not given, the file is read
    again if it can be. A line that may hold a secret is never shown.
    """
    where = problem.where
    place = ":".join(str(part) for part in (where.file, where.line, where.column) if part is not None)
    lines = [f"{place}: {problem.message}" if place else problem.message]
    if where.line is not None:
        text = source_text if source_text is not None else _text_of(where.file)
        source = re.split("\r\n|[\r\n\x85\u2028\u2029]", text)
        if 0 < where.line <= len(source) and not _SECRET.search(source[where.line - 1]):
            lines += _quote(source[where.line - 1], where.line, where.column or 1)
    if problem.suggestion:
        lines.append(f"  {problem.suggestion}")
    return "\n".join(lines)


def _text_of(file: str | None) -> str:
    try:
        return FilePath(file or "").read_text(encoding="utf-8-sig")
    except (OSError, ValueError):
        return ""


def _quote(line: str, number: int, column: int) -> list[str]:
    """The line, and below it a caret under `column`; long lines are cut around it."""
    line = "".join(c if c.isprintable() or c == "\t" else "?" for c in line).replace("\t", " ")
    start = max(0, column - 60)
    shown = line[start : start + 100]
    before = shown[: column - 1 - start]
    width = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in before)
    margin = f"{number:>5} | "
    return [f"{margin}{shown.rstrip()}", f"{' ' * (len(margin) - 2)}| {' ' * width}^"]
