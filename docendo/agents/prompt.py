"""Prompts: template files in, chat messages with provenance out.

A template is a text file of sections, each opened by a line `--- system ---`, `--- user ---` or
`--- assistant ---`, in sandboxed Jinja. Its variables are the artefacts of the view. Every value is handed
to Jinja wrapped in `Tracked`, which prints itself between private-use marker characters together with its
path; after rendering, the markers cut the text into spans. So provenance is a fact about each piece of
text, not an annotation that an author could forget. All sections are rendered in one go, and cut apart at a
fourth marker.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, cast

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel

from docendo.agents.view import ARTEFACTS, PROVENANCE, View
from docendo.errors import EpisodeFailure, PromptError, Where, did_you_mean
from docendo.messages import PromptMessage, Provenance, Span

__all__ = ["PromptTemplate", "Tracked", "load_prompt"]

_OPEN, _MIDDLE, _CLOSE, _BREAK = "\ue000", "\ue001", "\ue002", "\ue003"
_CLEAN = dict.fromkeys(map(ord, _OPEN + _MIDDLE + _CLOSE + _BREAK))
_MARKED = re.compile(f"{_OPEN}([^{_MIDDLE}]*){_MIDDLE}([^{_CLOSE}]*){_CLOSE}")
_SECTION = re.compile(r"^--- (system|user|assistant) ---\s*$", re.MULTILINE)
_FREE_NAMES = frozenset({"agent", "role", "act", "params", "loop", "labels"})
"""Names that carry no information about others: who I am, and the scenario's own parameters."""

_MADE_OF = {"help": ("dialogue",), "conversation": ("dialogue", "own")}
"""Names that stand for other artefacts: the help among the messages, and all of them in order."""

ChatRole = Literal["system", "user", "assistant"]


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, without its checks where a value makes its own."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if type(obj) is Tracked and attribute != "items" and not attribute.startswith("_"):
            return obj.__getattr__(attribute)  # at once, without looking for the attribute first
        return super().getattr(obj, attribute)


_environment = _Sandbox(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)


class Tracked:
    """A value of the view that knows its path, and prints with it."""

    __slots__ = ("_path", "_value")

    def __init__(self, value: Any, path: str) -> None:
        self._value = value
        self._path = path

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        value = self._value
        if name in _names(value.__class__):
            return _track(getattr(value, name), f"{self._path}.{name}")
        if isinstance(value, Mapping) and name in value:
            return _track(value[name], f"{self._path}.{name}")
        return _environment.undefined(f"`{self._path}` has no `{name}`")

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return self.__getattr__(key)
        value = self._value[key]
        if isinstance(key, slice):
            return _track(value, self._path)
        return _track(value, f"{self._path}[{key}]")

    def items(self) -> Iterator[tuple[Any, Any]]:
        """Pairs of a mapping, both tracked."""
        return ((_track(k, self._path), _track(v, f"{self._path}.{k}")) for k, v in self._value.items())

    def __iter__(self) -> Iterator[Any]:
        return (_track(v, f"{self._path}[{i}]") for i, v in enumerate(self._value))

    def __len__(self) -> int:
        return len(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return bool(self._value == (other._value if isinstance(other, Tracked) else other))

    def __hash__(self) -> int:
        return hash(self._value)

    def __contains__(self, key: object) -> bool:
        return key in self._value

    def __str__(self) -> str:
        text = str(self._value)
        return f"{_OPEN}{self._path}{_MIDDLE}{text if text.isascii() else text.translate(_CLEAN)}{_CLOSE}"


_PROPERTIES = frozenset({"help", "labels"})


@lru_cache(maxsize=256)
def _names(kind: type) -> frozenset[str]:
    """What templates may read by name of a value of this type; nothing, unless it is a model."""
    return _PROPERTIES.union(kind.model_fields) if issubclass(kind, BaseModel) else frozenset()


def _track(value: Any, path: str) -> Any:
    return value if value is None or isinstance(value, bool) else Tracked(value, path)


@dataclass(frozen=True)
class PromptTemplate:
    """One template file, compiled."""

    name: str
    digest: str
    """sha256 of the file's text; stored with every run."""
    roles: tuple[ChatRole, ...]
    """Whose words the sections are."""
    template: Template
    """All sections, with a marker between them."""
    reads: frozenset[str]
    """The artefacts that the template mentions."""

    def render(self, view: View) -> tuple[PromptMessage, ...]:
        """The prompt for `view`. Sections that come out blank are left out.

        Raises:
            EpisodeFailure: The template uses something that this view does not hold.
        """
        context = _context(view)
        try:
            texts = self.template.render(context).split(_BREAK)
        except TemplateError as error:
            raise EpisodeFailure(
                "crash",
                f"prompt `{self.name}` cannot be rendered: {error.message}",
                suggestion="The view of this act does not hold it; see `agents.NAME.view` in the scenario.",
                where=Where(agent=view.agent, act=view.act),
            ) from error
        messages = zip(self.roles, (_spans(text.strip()) for text in texts), strict=True)
        return tuple(PromptMessage(role, spans) for role, spans in messages if spans)


def _context(view: View) -> dict[str, Any]:
    """Artefact -> tracked value, for the artefacts that the view holds."""
    values: dict[str, Any] = {
        "item": view.item,
        "gold": view.gold,
        "dialogue": view.dialogue,
        "own": view.own,
        "memory": {
            "demonstrations": view.demonstrations,
            "notes": view.notes,
            "transcript": view.transcript,
        },
        "evidence": view.evidence,
        "belief": view.belief,
        "moves": view.moves,
        "budget": view.budget,
        "profile": view.profile,
    }
    context = {k: _track(v, k) for k, v in values.items() if v is not None}
    context["help"] = Tracked(view.help, "dialogue.help")
    context["conversation"] = tuple(
        Tracked(m, f"own[{i}]" if m.sender == view.agent else f"dialogue[{i}]")
        for i, m in enumerate(view.messages)
    )
    return context | {
        "agent": view.agent,
        "role": view.role,
        "act": view.act,
        "params": _Params(view.params),
        "labels": "ABCDEFGHIJ",
    }


class _Params(dict[str, Any]):
    """The scenario's own parameters; one that is not given is `None`, so that a template may ask for it."""

    def __missing__(self, key: str) -> None:
        return None


def _spans(text: str) -> tuple[Span, ...]:
    pieces = _MARKED.split(text)
    spans = [Span(pieces[0])] if pieces[0] else []
    for path, value, plain in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
        if value:
            spans.append(Span(value, _provenance(path), path))
        if plain:
            spans.append(Span(plain))
    return tuple(spans)


@lru_cache(maxsize=4096)
def _provenance(path: str) -> Provenance:
    """The colour of the artefact that a path begins with."""
    return PROVENANCE[path.partition(".")[0].partition("[")[0]]


def load_prompt(name: str, base: Path | None = None) -> PromptTemplate:
    """Read and compile a template: a file under `base`, or a built-in one such as `student/solve.md`.

    Raises:
        PromptError: It cannot be read, does not compile, or mentions an unknown artefact.
    """
    return _load(name, str(base) if base is not None else None)


@lru_cache(maxsize=256)
def _load(name: str, base: str | None) -> PromptTemplate:
    text = _read(name, base)
    parts = _SECTION.split(text.translate(_CLEAN))
    if len(parts) < 3 or parts[0].strip():
        raise PromptError(
            f"prompt `{name}` must begin with a section line such as `--- user ---`",
            suggestion="Copy a built-in template from docendo/agents/prompts/ and start from there.",
            where=Where(file=name, line=1),
        )
    roles, bodies = cast("list[ChatRole]", parts[1::2]), parts[2::2]
    reads: set[str] = set()
    line = 1
    for body in bodies:
        try:
            tree = _environment.parse(body)
            reads |= meta.find_undeclared_variables(tree)
            if list(meta.find_referenced_templates(tree)):
                raise TemplateSyntaxError("it names another file, and a prompt is one file", 1)
        except TemplateSyntaxError as error:
            raise PromptError(
                f"prompt `{name}` does not compile: {error.message}",
                where=Where(file=name, line=line + error.lineno - 1),
            ) from error
        line += 1 + body.count("\n")
    reads = {part for name in reads for part in _MADE_OF.get(name, (name,))} - _FREE_NAMES
    for unknown in sorted(reads - ARTEFACTS):
        raise PromptError(
            f"prompt `{name}` mentions `{unknown}`, which no view holds",
            suggestion=did_you_mean(unknown, ARTEFACTS),
            where=Where(file=name),
        )
    digest = hashlib.sha256(text.encode()).hexdigest()
    template = _environment.from_string(_BREAK.join(bodies))
    return PromptTemplate(name, digest, tuple(roles), template, frozenset(reads))


def _read(name: str, base: str | None) -> str:
    try:
        if base is not None:
            return (Path(base) / name).read_text(encoding="utf-8")
        return files("docendo.agents").joinpath("prompts", name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(
            f"prompt `{name}` cannot be read: {error}",
            suggestion="Paths in a scenario resolve from the scenario's own folder.",
            where=Where(file=name),
        ) from error
