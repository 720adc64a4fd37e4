"""The error tree: what went wrong, where, and what to do next.

    DocendoError                      every error of this package
    ├── UsageError            exit 1  somebody wrote something wrong
    │   ├── ScenarioError             one or many problems of a scenario file
    │   ├── UnknownNameError          a name that no registry holds
    │   ├── ItemError                 an item file that cannot be used
    │   ├── PromptError               a template that does not compile or reads what it may not
    │   └── CapabilityError           a backend was asked for what it cannot do
    ├── InfrastructureError   exit 3  something outside broke
    │   ├── ModelError                a model or its server
    │   └── StoreError                the database or the disk
    ├── Interrupted         exit 130  somebody stopped it; what was recorded stays
    └── EpisodeFailure                one episode failed; recorded as data, never a crash

The command line is the only place that turns these into text and an exit code.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

__all__ = [
    "CapabilityError",
    "DocendoError",
    "EpisodeFailure",
    "FailureKind",
    "GateClosedError",
    "InfrastructureError",
    "Interrupted",
    "ItemError",
    "ModelError",
    "Problem",
    "PromptError",
    "ScenarioError",
    "StoreError",
    "UnknownNameError",
    "UsageError",
    "Where",
    "did_you_mean",
]


@dataclass(frozen=True, kw_only=True)
class Where:
    """A place: in a file, in a run, or both. Fields that are not known stay `None`."""

    file: str | None = None
    line: int | None = None
    """One-based."""
    column: int | None = None
    """One-based."""
    path: str | None = None
    """Dotted path inside the file, e.g. `plan.teach.policy`."""
    condition: str | None = None
    replicate: int | None = None
    episode: str | None = None
    agent: str | None = None
    act: str | None = None
    turn: int | None = None

    def __str__(self) -> str:
        place = self.file or ""
        if self.line is not None:
            place += f":{self.line}"
            if self.column is not None:
                place += f":{self.column}"
        parts = [place] if place else []
        for name in ("path", "condition", "replicate", "episode", "agent", "act", "turn"):
            value = getattr(self, name)
            if value is not None:
                parts.append(str(value) if name == "path" else f"{name} {value}")
        return ", ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """The fields that are known, for JSON."""
        return {k: v for k, v in self.__dict__.items() if v is not None}


class DocendoError(Exception):
    """Base of every error. `str()` gives the message alone; the CLI adds place and suggestion."""

    code = "error"
    exit_code = 1

    def __init__(self, message: str, *, suggestion: str = "", where: Where | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.suggestion = suggestion
        self.where = where or Where()

    def at(self, **place: Any) -> DocendoError:
        """The same error with more of its place filled in; what is already known is kept."""
        known = {k: v for k, v in place.items() if getattr(self.where, k) is None}
        self.where = replace(self.where, **known)
        return self


class UsageError(DocendoError):
    """Somebody wrote something wrong: a file, a flag, a name."""

    code = "usage"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One mistake in a scenario file."""

    message: str
    suggestion: str = ""
    where: Where = field(default_factory=Where)

    def __str__(self) -> str:
        place = f"{self.where}: " if str(self.where) else ""
        hint = f" {self.suggestion}" if self.suggestion else ""
        return f"{place}{self.message}{hint}"


class ScenarioError(UsageError):
    """All problems of a scenario, reported at once."""

    code = "scenario"

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        count = len(self.problems)
        message = first.message if count == 1 else f"{count} problems; the first: {first.message}"
        super().__init__(message, suggestion=first.suggestion, where=first.where)


class UnknownNameError(UsageError):
    """A name that nothing is registered under."""

    code = "unknown_name"


class ItemError(UsageError):
    """Items that cannot be read or used."""

    code = "items"


class PromptError(UsageError):
    """A prompt template or expression that does not compile, or reads outside its view."""

    code = "prompt"


class CapabilityError(UsageError):
    """A backend was asked, before the run, for something it cannot do."""

    code = "capability"


class InfrastructureError(DocendoError):
    """Something outside docendo broke. What was recorded stays recorded."""

    code = "infrastructure"
    exit_code = 3


class ModelError(InfrastructureError):
    """A model, or the server in front of it, cannot be used at all."""

    code = "model"


class StoreError(InfrastructureError):
    """The store cannot be opened, read or written."""

    code = "store"


class GateClosedError(DocendoError):
    """The students failed the check that their scenario asks for, so nothing was taught."""

    code = "fidelity"
    exit_code = 2


class Interrupted(DocendoError):
    """Somebody stopped the command."""

    code = "interrupted"
    exit_code = 130


FailureKind = Literal["model", "timeout", "parse", "budget", "context", "replay", "crash"]


class EpisodeFailure(DocendoError):
    """One episode failed. It is recorded as an `error` event and counted; the batch goes on.

    `kind` says at which boundary: `model` (refused, garbage, unreachable), `timeout`, `parse` (output
    did not fit its schema after one repair), `budget` (an act that the ledger refused with no way
    round it), `context` (prompt longer than the model's context), `replay` (the journal holds no
    answer for a call), `crash` (a bug; carries the traceback's last line). `call` is the journal's key of
    the call that failed, if it was one.
    """

    code = "episode"

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        suggestion: str = "",
        where: Where | None = None,
        call: str = "",
    ) -> None:
        super().__init__(message, suggestion=suggestion, where=where)
        self.kind: FailureKind = kind
        self.call = call


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name: the nearest known names, else the whole (short) list."""
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=2, cutoff=0.6)
    if close:
        return "Did you mean " + " or ".join(f"`{c}`" for c in close) + "?"
    if names and len(names) <= 24:
        return "Known: " + ", ".join(f"`{n}`" for n in names) + "."
    return ""
