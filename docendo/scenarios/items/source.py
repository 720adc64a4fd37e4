"""Where items come from: the contract of an item source, and what all sources that read files share.

A source has a closed pydantic model of options (the keys beside `source`, `train`, `test` and `pools` in a
scenario's `items:` block) and makes items from them. File sources read JSONL, a JSON array, or CSV, one
record per item, and say of every bad record where it stands and what is wrong, all at once.
`file: builtin:NAME` names one of the small sample sets that come with docendo. `file: {train: A, test: B}`
keeps pools apart by file: an item's `taxonomy["pool"]` is then the only pool that it may go to.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from docendo.errors import ItemError, Where, did_you_mean
from docendo.registry import Registry
from docendo.scenarios.grader import label_of, labels, normalise_text, read_choice, read_number, read_yes_no
from docendo.scenarios.item import AnswerKind, Item

__all__ = [
    "BUILTIN", "SOURCES", "FileOptions", "FileSource", "ItemSource", "Maker", "Record", "SourceOptions",
    "check_item", "make_item", "raise_all", "read_records", "resolve",
]  # fmt: skip


class SourceOptions(BaseModel):
    """Options of an item source; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ItemSource(Protocol):
    """Makes items."""

    @property
    def options(self) -> type[SourceOptions]:
        """The model of the options."""
        ...

    def load(self, options: Any, *, base: Path, size: int, seed: int) -> list[Item]:
        """All items of a file, or `size` generated ones.

        Args:
            options: An instance of `self.options`.
            base: Folder that relative paths start from.
            size: How many items the pools want together. Only sources that generate items look at it.
            seed: Seed of a generator. The same seed gives the same items on every machine.

        Raises:
            ItemError: Items that cannot be read, used, or made.
        """
        ...


SOURCES: Registry[ItemSource] = Registry("item source")


# --- files ----------------------------------------------------------------------------------------------

BUILTIN = "builtin:"


class FileOptions(SourceOptions):
    """Options of every source that reads files."""

    file: str | dict[str, str] = Field(
        description="A path, `builtin:NAME`, or pool names with one of these for each."
    )


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file: its fields, and where it stands."""

    fields: dict[str, Any]
    number: int
    """One-based count of records in the file."""
    stem: str
    """The file's name without its ending."""
    where: Where

    def take(self, *names: str, required: bool = True) -> Any:
        """The first of the named fields that holds something; `None` if none does and it may be absent.

        Raises:
            ItemError: None holds anything and one is required.
        """
        for name in names:
            if (value := self.fields.get(name)) not in (None, ""):
                return value
        if not required:
            return None
        extra = sorted(set(map(str, self.fields)) - set(names))
        raise ItemError(
            f"`{names[0]}` is missing", suggestion=did_you_mean(names[0], extra) or f"Add `{names[0]}`."
        )

    def texts(self, *names: str, beside: tuple[str, ...] = ()) -> dict[str, str]:
        """The named fields as texts; those of `beside` need only be there.

        Raises:
            ItemError: Names every field that holds nothing, or is no text.
        """
        gone = [name for name in (*names, *beside) if self.fields.get(name) in (None, "", [], {})]
        amiss = [n for n in names if n not in gone and not isinstance(self.fields[n], str | int | float)]
        faults = [f"`{name}` is missing" for name in gone] + [f"`{name}` is no text" for name in amiss]
        if faults:
            extra = sorted(set(map(str, self.fields)) - {*names, *beside})
            hint = did_you_mean(gone[0], extra) if gone and extra else ""
            unhelpful = not hint or hint.startswith("Known")
            first = (gone or amiss)[0]
            raise ItemError("; ".join(faults), suggestion=f"Give `{first}`." if unhelpful else hint)
        return {name: str(self.fields[name]) for name in names}

    @property
    def id(self) -> str:
        """The record's own id, else `file-number`."""
        own = self.take("id", required=False)
        return f"{self.stem}-{self.number}" if own is None else str(own)


Maker = Callable[[Record], Item]
"""Makes an item of a record, or raises an `ItemError` without its place."""

OptionsT = TypeVar("OptionsT", bound=FileOptions)


@dataclass(frozen=True)
class FileSource(Generic[OptionsT]):
    """A source that makes one item of each record of its file or files."""

    options: type[OptionsT]
    maker: Callable[[OptionsT, Path], Maker]
    """(options, base folder) -> what turns a record into an item; called once per load."""

    def load(self, options: OptionsT, *, base: Path, size: int, seed: int) -> list[Item]:
        """Every item of the files. Size and seed play no part.

        Raises:
            ItemError: With the file and line of everything that is wrong.
        """
        del size, seed
        named = options.file if isinstance(options.file, dict) else {"": options.file}
        make = self.maker(options, base)
        items: list[Item] = []
        for pool, file in named.items():
            taken = _items(resolve(file, base), make)
            items += [_in_pool(item, pool) for item in taken] if pool else taken
        return items


def _items(path: Path, make: Maker) -> list[Item]:
    items, errors, first = [], [], dict[str, int]()
    records = list(read_records(path))
    for record in records:
        try:
            item = check_item(make(record))
            if item.id in first:
                raise ItemError(
                    f"id `{item.id}` is taken by record {first[item.id]}",
                    suggestion="Give each item its own id.",
                )
            first[item.id] = record.number
            items.append(item)
        except ItemError as error:
            error.where = record.where
            errors.append(error)
    raise_all(errors, path, len(records))
    if not items:
        raise ItemError(
            f"{path.name} holds no items", suggestion="Give one record per item.", where=_in(path)
        )
    return items


def _in_pool(item: Item, pool: str) -> Item:
    return item.model_copy(update={"taxonomy": {**item.taxonomy, "pool": pool}})


def resolve(file: str, base: Path) -> Path:
    """The path behind `file`: a built-in sample, or a file seen from `base`.

    Raises:
        ItemError: There is no such file.
    """
    samples = Path(str(files("docendo.scenarios").joinpath("data")))
    path = (
        samples / file.removeprefix(BUILTIN) if file.startswith(BUILTIN) else base / Path(file).expanduser()
    )
    if path.is_file():
        return path
    here = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    if file.startswith(BUILTIN):
        hint = did_you_mean(path.name, here)
    else:
        hint = did_you_mean(path.name, [n for n in here if not n.startswith(".")][:24])
        hint = hint or f"Paths start from {base.absolute()}."
    raise ItemError(f"there is no file {file}", suggestion=hint, where=Where(file=str(path)))


def raise_all(errors: list[ItemError], path: Path, total: int) -> None:
    """Raise the collected errors as one, if there are any; the first ten are told in full."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        lines = [f"  {error.where}: {error.message}" for error in errors[:10]]
        lines += [f"  ... and {len(errors) - 10} more"] if len(errors) > 10 else []
        message = "\n".join([f"{len(errors)} of {total} items of {path.name} cannot be used:", *lines])
        raise ItemError(message, suggestion=errors[0].suggestion, where=errors[0].where)


def _in(path: Path, line: int | None = None, entry: str | None = None) -> Where:
    return Where(file=str(path), line=line, path=entry)


def read_records(path: Path) -> Iterator[Record]:
    """The records of a JSONL, JSON or CSV file.

    Raises:
        ItemError: Another kind of file, one that cannot be read, or malformed records, with their lines.
    """
    readers = {".jsonl": _jsonl, ".json": _json, ".csv": _csv}
    if path.suffix.lower() not in readers:
        raise ItemError(
            f"cannot read items from a `{path.suffix}` file",
            suggestion="Use .jsonl (one record per line), .json (a list of records) or .csv.",
            where=_in(path),
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise ItemError(
            f"cannot read {path.name}: {reason}", suggestion="Save it as UTF-8.", where=_in(path)
        ) from None
    for number, (fields, where) in enumerate(readers[path.suffix.lower()](text, path), start=1):
        yield Record(fields, number, path.stem, where)


def _jsonl(text: str, path: Path) -> Iterator[tuple[dict[str, Any], Where]]:
    errors: list[ItemError] = []
    lines = [(n, line) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]
    for n, line in lines:
        try:
            fields = _parsed(line, path, n)
            yield _mapping(fields, _in(path, n)), _in(path, n)
        except ItemError as error:
            errors.append(error)
    raise_all(errors, path, len(lines))


def _json(text: str, path: Path) -> Iterator[tuple[dict[str, Any], Where]]:
    records = _parsed(text, path, 1)
    if not isinstance(records, list):
        raise ItemError(
            f"{path.name} must hold a list of records", suggestion="Write `[{...}, {...}]`.", where=_in(path)
        )
    for i, fields in enumerate(records):
        where = _in(path, entry=f"[{i}]")
        yield _mapping(fields, where), where


def _csv(text: str, path: Path) -> Iterator[tuple[dict[str, Any], Where]]:
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(lines, [])
        start = lines.line_num + 1
        for row in lines:
            where, start = _in(path, start), lines.line_num + 1
            if not any(row):
                continue
            if len(row) > len(header):
                raise ItemError(
                    f"{len(row)} columns where the header has {len(header)}",
                    suggestion="Put texts that contain commas in double quotes.",
                    where=where,
                )
            yield {name.strip(): value.strip() for name, value in zip(header, row, strict=False)}, where
    except csv.Error as error:
        raise ItemError(
            f"malformed CSV: {error}",
            suggestion="Check the quotes of this line.",
            where=_in(path, lines.line_num),
        ) from None


def _parsed(text: str, path: Path, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = Where(file=str(path), line=line + error.lineno - 1, column=error.colno)
        raise ItemError(
            f"malformed JSON: {error.msg[:1].lower()}{error.msg[1:]}",
            suggestion="Each line must be one JSON object." if path.suffix == ".jsonl" else "",
            where=where,
        ) from None
    except RecursionError:
        raise ItemError("malformed JSON: nested too deeply", where=_in(path, line)) from None


def _mapping(fields: Any, where: Where) -> dict[str, Any]:
    if isinstance(fields, dict):
        return fields
    raise ItemError("a record must be an object `{...}`", suggestion="Name its fields.", where=where)


# --- items ----------------------------------------------------------------------------------------------


def make_item(**fields: Any) -> Item:
    """An item whose texts must be texts.

    Raises:
        ItemError: A field of the wrong type.
    """
    try:
        return Item(**fields)
    except ValidationError as error:
        names = ", ".join(f"`{'.'.join(map(str, d['loc']))}`" for d in error.errors())
        raise ItemError(f"wrong type of {names}", suggestion="Texts must be in quotes.") from None


_READ: dict[AnswerKind, str] = {
    "number": "a number such as `1234.5`",
    "choice": "the label or text of one option",
    "yes_no": "`yes` or `no`",
    "text": "a text",
}


def check_item(item: Item) -> Item:
    """The item with its gold answer in normal form (a label, `yes`/`no`), if it can be used.

    Raises:
        ItemError: No question, no answer, an answer that its kind does not know, or options amiss.
    """
    if not item.question.strip():
        raise ItemError("the question is empty", suggestion="Give every item a question.")
    if not item.answer.strip():
        raise ItemError("the answer is empty", suggestion="Give every item its right answer.")
    if item.kind == "choice":
        _check_options(item)
    answer = _gold(item)
    if answer is None:
        known = f"; options are {', '.join(labels(item.options))}" if item.options else ""
        raise ItemError(
            f"answer `{item.answer}` cannot be read as {item.kind}{known}",
            suggestion=f"Give {_READ[item.kind]}, or change `kind`.",
        )
    return item if answer == item.answer else item.model_copy(update={"answer": answer})


def _gold(item: Item) -> str | None:
    if item.kind == "choice":
        return read_choice(item.answer, item.options)
    if item.kind == "yes_no":
        return read_yes_no(item.answer)
    if (
        item.kind == "number"
        and read_number(item.answer) is None
        and not any(c in item.answer for c in "\\^")
    ):
        return None
    return item.answer


def _check_options(item: Item) -> None:
    texts = [normalise_text(option) for option in item.options]
    if not 2 <= len(texts) <= 26:
        raise ItemError(f"{len(texts)} options", suggestion="Give between 2 and 26 options.")
    for i, text in enumerate(texts):
        if not text or text in texts[:i]:
            what = "is empty" if not text else f"repeats option {label_of(texts.index(text))}"
            raise ItemError(f"option {label_of(i)} {what}", suggestion="Options must differ.")
