"""YAML text -> plain data, with the place of every key and value.

The text is composed into YAML nodes by ruamel.yaml (version 1.2 of the language: `yes` is a text) and
turned into dicts, lists and scalars here, so that nothing but plain data can come out: no tags, no
objects, no cycles, no aliases that unfold without end. Mistakes are collected, not raised, wherever
reading can go on.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import MaxDepthExceededError
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from docendo.errors import Problem, ScenarioError, Where

__all__ = ["Mark", "Path", "Positions", "depth_in", "dotted", "read_yaml"]

Path = tuple[str | int, ...]
"""Way to a value: keys of mappings, indices of lists."""

MAX_NODES = 20_000
MAX_DEPTH = 40
_STANDARD = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file; line and column are one-based."""

    file: str
    line: int | None = None
    column: int | None = None


@dataclass(frozen=True)
class Positions:
    """Where each key and each value of a document was written."""

    values: dict[Path, Mark] = field(default_factory=dict)
    keys: dict[Path, Mark] = field(default_factory=dict)

    def find(self, path: Path, *, key: bool = False) -> Mark | None:
        """Place of the value at `path` (or of its key), or of the nearest enclosing value."""
        if key and path in self.keys:
            return self.keys[path]
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path)

    def overlaid(self, path: Path, mark: Mark) -> Positions:
        """The same places, except that everything at and below `path` now lies at `mark`."""
        values, keys = (
            {p: m for p, m in table.items() if p[: len(path)] != path} for table in (self.values, self.keys)
        )
        return Positions({**values, path: mark}, {**keys, path: mark})

    def over(self, base: Positions, data: Any) -> Positions:
        """These places, and those of `base` for what only it has in the merged `data`."""
        values, keys = (
            {p: m for p, m in table.items() if depth_in(data, p) == len(p)}
            for table in (base.values, base.keys)
        )
        return Positions({**values, **self.values}, {**keys, **self.keys})

    def unfolded(self, entries: dict[Path, tuple[str, str]]) -> Positions:
        """Places after `{teach: {...}}` became `{kind: teach, ...}`.

        `entries`: place of each such entry -> (its only key, the key that a body without keys goes to).
        """

        def moved(path: Path) -> Path:
            name, bare = entries.get(path[:2], ("", ""))
            return (*path[:2], *(path[3:] or (bare or "kind",))) if path[2:3] == (name,) else path

        kinds = {(*at, "kind"): self.keys[*at, name] for at, (name, _) in entries.items()}
        values = {moved(path): mark for path, mark in self.values.items()}
        return Positions({**values, **kinds}, {**{moved(p): m for p, m in self.keys.items()}, **kinds})


def depth_in(data: Any, path: Path) -> int:
    """How many parts of `path` exist in `data`, from the front."""
    for depth, part in enumerate(path):
        inside = range(len(data)) if isinstance(data, list) else data if isinstance(data, dict) else ()
        if part not in inside:
            return depth
        data = data[part]
    return len(path)


def dotted(path: Path, names: dict[Path, str] | None = None) -> str:
    """`plan.teach.policy`, `measures[1]`: a path as people write it; `names` renames list entries."""
    text = ""
    for end in range(1, len(path) + 1):
        part, name = path[end - 1], (names or {}).get(path[:end])
        text += f"[{part}]" if isinstance(part, int) and name is None else f".{name or part}"
    return text.removeprefix(".")


def read_yaml(text: str, file: str) -> tuple[Any, Positions, list[Problem]]:
    """Plain data of one YAML document, its places, and the mistakes after which reading went on.

    Raises:
        ScenarioError: The text is not one YAML document at all.
    """
    reader = _Reader(file)
    node = _compose(text, file)
    data = reader.read(node, ()) if node is not None else None
    return data, reader.positions, list(dict.fromkeys(reader.problems))


def _compose(text: str, file: str) -> Node | None:
    yaml = YAML(typ="safe", pure=True)
    yaml.max_depth = MAX_DEPTH + 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            node: Node | None = yaml.compose(text)
            return node
    except MaxDepthExceededError as error:
        problem = _too_much(Mark(file, error.problem_mark.line + 1, error.problem_mark.column + 1))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Where(file=file, line=mark.line + 1, column=mark.column + 1) if mark else Where(file=file)
        problem = _explain_syntax(error, where)
    except ReaderError as error:
        before = text[: error.position]
        column = len(before) - (before.rfind("\n") + 1) + 1
        where = Where(file=file, line=before.count("\n") + 1, column=column)
        problem = Problem(
            message=f"character U+{ord(text[error.position]):04X} cannot stand in YAML", where=where
        )
    except RecursionError:
        problem = _too_much(Mark(file))
    except Exception as error:  # the parser's own failures on strange text, e.g. a bad escape
        problem = Problem(message=f"this cannot be read as YAML: {error}", where=Where(file=file))
    raise ScenarioError([problem])


def _too_much(mark: Mark) -> Problem:
    return Problem(
        message=f"nested deeper than {MAX_DEPTH} levels, or more than {MAX_NODES} values after aliases",
        suggestion="Scenarios are small; keep data in item files.",
        where=Where(file=mark.file, line=mark.line, column=mark.column),
    )


def _explain_syntax(error: MarkedYAMLError, where: Where) -> Problem:
    reason = str(error.problem or error.context or "not YAML")
    hint = ""
    if "another document" in reason:
        reason, hint = "a second document begins here", "One file is one scenario; remove the `---`."
    elif "\\t" in reason:
        reason, hint = "a tab cannot indent YAML", "Indent with spaces."
    elif "mapping values are not allowed" in reason:
        hint = "Put a text that contains `: ` in quotes, or check the indentation."
    elif "undefined alias" in reason:
        hint = "A text that begins with `*` stands in quotes."
    elif error.context and error.problem:
        reason = f"{reason} ({error.context})"
    return Problem(message=f"YAML syntax: {reason}", suggestion=hint, where=where)


class _Reader:
    """Turns the nodes of one file into plain data."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.positions = Positions()
        self.problems: list[Problem] = []
        self._scalars = YAML(typ="safe", pure=True).constructor
        self._open: set[int] = set()
        self._nodes = 0

    def read(self, node: Node, path: Path) -> Any:
        """Data of `node`, which lies at `path`."""
        self.positions.values[path] = self._mark(node)
        self._count(node, len(path))
        if id(node) in self._open:
            self._complain(node, path, "this alias stands inside what it stands for")
            return None
        self._check_tag(node, path)
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        self._open.add(id(node))
        data = self._mapping(node, path) if isinstance(node, MappingNode) else self._sequence(node, path)
        self._open.discard(id(node))
        return data

    def _count(self, node: Node, depth: int = 0) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            raise ScenarioError([_too_much(self._mark(node))])

    def _mark(self, node: Node) -> Mark:
        return Mark(self.file, node.start_mark.line + 1, node.start_mark.column + 1)

    def _complain(self, node: Node, path: Path, message: str, suggestion: str = "") -> None:
        mark = self._mark(node)
        where = Where(file=self.file, line=mark.line, column=mark.column, path=dotted(path) or None)
        self.problems.append(Problem(message=message, suggestion=suggestion, where=where))

    def _check_tag(self, node: Node, path: Path) -> None:
        tag = str(node.tag)
        if tag.removeprefix(_STANDARD) not in _PLAIN or not tag.startswith(_STANDARD):
            name = tag if tag.startswith("!") else f"!!{tag.removeprefix(_STANDARD)}"
            self._complain(
                node, path, f"tag `{name[:40]}` is not allowed", "Remove it; scenarios are plain data."
            )

    def _scalar(self, node: ScalarNode, path: Path) -> Any:
        kind, text = str(node.tag).removeprefix(_STANDARD), str(node.value)
        try:
            if kind == "null":
                return None
            if kind == "bool":
                return self._scalars.construct_yaml_bool(node)
            if kind == "int":
                whole = self._scalars.construct_yaml_int(node)
                if not -(2**63) <= whole < 2**63:
                    raise ValueError(text)
                return whole
            if kind == "float":
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    number = self._scalars.construct_yaml_float(node)
                if not isfinite(number):
                    raise ValueError(text)
                return number
        except (ValueError, KeyError, IndexError, OverflowError):
            self._complain(node, path, f"`{text[:40]}` is no number or truth value that can be used")
            return 0
        if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
            self._complain(node, path, "this text holds half of a surrogate pair, which is no character")
            return ""
        return text

    def _sequence(self, node: Node, path: Path) -> list[Any]:
        return [self.read(child, (*path, i)) for i, child in enumerate(node.value)]

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        data = {}
        for key, (key_node, value_node) in self._pairs(node, path).items():
            self.positions.keys[*path, key] = self._mark(key_node)
            data[key] = self.read(value_node, (*path, key))
        return data

    def _pairs(self, node: MappingNode, path: Path) -> dict[str, tuple[Node, Node]]:
        """Key -> (key node, value node); a mapping's own keys win over those that `<<` brings in."""
        self._count(node)
        pairs: dict[str, tuple[Node, Node]] = {}
        merged: list[Node] = []
        for key_node, value_node in node.value:
            if str(key_node.tag) == f"{_STANDARD}merge":
                merged.append(value_node)
            elif (key := self._key(key_node, path)) in pairs:
                first = f"It stands in line {pairs[key][0].start_mark.line + 1} already."
                self._complain(key_node, (*path, key), f"`{key[:60]}` is written twice", first)
            elif key is not None:
                pairs[key] = (key_node, value_node)
        for value_node in merged:
            for source in self._merge_sources(value_node, path):
                self._open.add(id(source))
                pairs = {**self._pairs(source, path), **pairs}
                self._open.discard(id(source))
        return pairs

    def _key(self, node: Node, path: Path) -> str | None:
        if isinstance(node, ScalarNode):
            if str(node.tag) == f"{_STANDARD}str" or str(node.tag) == f"{_STANDARD}value":
                key = self._scalar(node, path)
                return key if isinstance(key, str) else None
            self._complain(node, path, f"a key is a text, not `{node.value[:40]}`", "Put it in quotes.")
        else:
            self._complain(node, path, "a key is a text, not a list or a mapping")
        return None

    def _merge_sources(self, node: Node, path: Path) -> Iterator[MappingNode]:
        """The mappings that `<<: node` names."""
        for source in node.value if isinstance(node, SequenceNode) else [node]:
            if isinstance(source, MappingNode) and id(source) not in self._open:
                yield source
            else:
                self._complain(source, path, "`<<` merges other mappings only", "Write `<<: *anchor`.")


_PLAIN = frozenset({"str", "int", "float", "bool", "null", "map", "seq", "timestamp", "value", "merge"})
