"""From a file, or a gallery name, to a checked scenario.

Order: read (with places), `extends`, `--role`, `--set`, schema, checks. Every step hands its mistakes on, so
that one `ScenarioError` names them all, sorted by place. What comes out is the scenario and its plain data
in normal form; paths inside it start from the folder of the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docendo.errors import Problem, ScenarioError, UnknownNameError, Where, did_you_mean
from docendo.scenarios.bundled import gallery_names, gallery_path
from docendo.scenarios.check import Known, find_problems
from docendo.scenarios.loaded import LoadedScenario
from docendo.scenarios.mistakes import place_in
from docendo.scenarios.overrides import apply_overrides
from docendo.scenarios.paths import normal_form
from docendo.scenarios.positions import Path as Spot
from docendo.scenarios.positions import Positions, read_yaml
from docendo.scenarios.schema import unfold_control, unfold_phase

__all__ = ["LoadedScenario", "load_raw", "load_scenario"]

MAX_BYTES = 1_000_000

_CHOOSERS = ("backend", "mind", "kind", "source")
"""Keys that say what a mapping is: where they differ, a mapping replaces its base instead of joining it."""


@dataclass(frozen=True)
class _Document:
    """One file, read."""

    raw: dict[str, Any]
    positions: Positions
    problems: list[Problem]
    path: Path
    text: str


def load_scenario(
    path: Path | str, *, overrides: Sequence[str] = (), roles: Sequence[str] = (), known: Known | None = None
) -> LoadedScenario:
    """Read and check a scenario.

    Args:
        path: A file, or the bare name of a gallery scenario.
        overrides: `a.b=c` each, as given to `--set`.
        roles: `role=backend/model` or `role=name` each, as given to `--role`.
        known: Names that upper layers register, by kind; kinds that are absent are not checked.

    Raises:
        ScenarioError: Everything that is wrong with it, sorted by place.
    """
    document = _read(_find(path, Path()))
    raw, positions, problems = document.raw, document.positions, list(document.problems)
    if "extends" in raw:
        raw, positions, more = _extended(document)
        problems += more
    raw, positions, more = apply_overrides(raw, positions, overrides, roles)
    problems += more
    scenario, more = find_problems(raw, place_in(raw, positions), known)
    problems += more
    if scenario is None or problems:
        raise ScenarioError(_sorted(problems, str(document.path)))
    return LoadedScenario(
        scenario, raw, document.path.resolve().parent, str(document.path), positions, document.text
    )


def load_raw(
    raw: Mapping[str, Any], *, base: Path, file: str = "", known: Known | None = None
) -> LoadedScenario:
    """A scenario from plain data, such as the `raw` of another one or of a stored run.

    Raises:
        ScenarioError: Everything that is wrong with it; places are paths only.
    """
    data = normal_form(dict(raw))
    scenario, problems = find_problems(data, place_in(data, Positions()), known)
    if scenario is None or problems:
        raise ScenarioError(problems)
    return LoadedScenario(scenario, data, base, file)


def _sorted(problems: list[Problem], file: str) -> list[Problem]:
    """By place, the main file's first."""

    def order(problem: Problem) -> tuple[bool, str, int, int]:
        where = problem.where
        return where.file != file, where.file or "", where.line or 0, where.column or 0

    return sorted(dict.fromkeys(problems), key=order)


# --- files ----------------------------------------------------------------------------------------------


def _refuse(
    message: str, suggestion: str, file: str, line: int | None = None, column: int | None = None
) -> ScenarioError:
    where = Where(file=file, line=line, column=column)
    return ScenarioError([Problem(message=message, suggestion=suggestion, where=where)])


def _find(path: Path | str, folder: Path) -> Path:
    """The file that a path or a gallery name stands for."""
    text = str(path)
    bare = text and not any(mark in text for mark in ("/", "\\", os.sep, "."))
    if bare:
        try:
            return gallery_path(text)
        except UnknownNameError as error:
            if not _is(folder / text, "file"):
                hint = f"{error.suggestion} A file is named with its ending: `{text[:60]}.yaml`."
                raise _refuse(error.message, hint.strip(), text) from None
    return folder / path


def _is(path: Path, kind: str) -> bool:
    try:
        return path.is_dir() if kind == "folder" else path.is_file()
    except (OSError, ValueError):  # a name that the system cannot have
        return False


def _read(path: Path) -> _Document:
    """Read one file of YAML whose top level is a mapping."""
    file = str(path)
    text = _text(path, file)
    data, positions, problems = read_yaml(text, file)
    if data is None and not problems:
        raise _refuse("the file is empty", "Begin with `docendo init`.", file)
    if not isinstance(data, dict):
        raise _refuse(
            "a scenario is a mapping of `key: value`", "Begin with `version: 1`.", file, line=1, column=1
        )
    return _Document(normal_form(data), positions.unfolded(_short_forms(data)), problems, path, text)


def _text(path: Path, file: str) -> str:
    if _is(path, "folder"):
        inside = sorted(entry.name for entry in path.glob("*.y*ml"))[:5]
        hint = "Name a file in it" + (
            ": " + ", ".join(f"`{name}`" for name in inside) + "." if inside else "."
        )
        raise _refuse("this is a folder", hint, file)
    if not _is(path, "file"):
        beside = [str(p) for p in path.parent.glob("*.y*ml")] if _is(path.parent, "folder") else []
        hint = did_you_mean(file, beside) or f"In the gallery: {', '.join(gallery_names())}."
        raise _refuse("there is no such file", hint, file)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _refuse(f"the file cannot be read: {error.strerror}", "Check its permissions.", file) from None
    if len(data) > MAX_BYTES:
        raise _refuse(f"the file is larger than {MAX_BYTES} bytes", "Keep data in item files.", file)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise _refuse(
            "this is not UTF-8 text", "Save the file as UTF-8.", file, line=line, column=column
        ) from None


def _short_forms(data: dict[str, Any]) -> dict[Spot, tuple[str, str]]:
    """Entries that `normal_form` unfolds: place -> (their only key, the key that a bare body goes to)."""
    found: dict[Spot, tuple[str, str]] = {}
    for key, unfold in (("plan", unfold_phase), ("controls", unfold_control)):
        for i, entry in enumerate(data[key] if isinstance(data.get(key), list) else ()):
            if isinstance(entry, dict) and unfold(entry) is not entry:
                name, body = next(iter(entry.items()))
                found[key, i] = (name, "items" if isinstance(body, str) else "")
    return found


# --- extends --------------------------------------------------------------------------------------------


def _extended(document: _Document) -> tuple[dict[str, Any], Positions, list[Problem]]:
    """The file on top of the one that it extends."""
    own = {key: value for key, value in document.raw.items() if key != "extends"}
    name = document.raw["extends"]
    place = place_in(document.raw, document.positions)(("extends",), False)
    if not isinstance(name, str):
        return own, document.positions, [Problem(message="`extends` names a file", where=place)]
    try:
        base = _read(_find(name, document.path.parent))
    except ScenarioError as error:
        first = error.problems[0]
        if first.where.line is not None:
            return own, document.positions, list(error.problems)
        problem = Problem(
            message=f"`extends: {name[:60]}`: {first.message}", suggestion=first.suggestion, where=place
        )
        return own, document.positions, [problem]
    problems = list(base.problems)
    if "extends" in base.raw:
        where = place_in(base.raw, base.positions)(("extends",), True)
        message = "a scenario that others extend cannot extend a third"
        problems.append(Problem(message=message, suggestion="Join the two files.", where=where))
    folder = Path(os.path.relpath(base.path.parent, document.path.parent))
    inherited = _rebased({key: value for key, value in base.raw.items() if key != "extends"}, folder)
    merged = _merged(inherited, own)
    return merged, document.positions.over(base.positions, merged), problems


def _merged(base: Any, own: Any) -> Any:
    """`own` over `base`: mappings join key by key, everything else is replaced."""
    if not isinstance(base, dict) or not isinstance(own, dict):
        return own
    if any(key in own and own[key] != base.get(key, own[key]) for key in _CHOOSERS):
        return own
    return {
        **base,
        **{key: _merged(base[key], value) if key in base else value for key, value in own.items()},
    }


def _rebased(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """`raw` with relative file names made to start from the folder of the file that extends it."""
    if folder == Path():
        return raw

    def moved(data: Any, path: Spot) -> Any:
        if isinstance(data, dict):
            return {key: moved(value, (*path, key)) for key, value in data.items()}
        option = path[3:4] if path[:2] == ("items", "pools") else path[1:2] if path[0] == "items" else ()
        names_a_file = (
            option in {("file",), ("harmful",)}
            or path[2:3] == ("prompts",)
            or path[::2] == ("models", "file")
        )
        relative = isinstance(data, str) and names_a_file and ":" not in data and not Path(data).is_absolute()
        return str(folder / data) if relative else data

    return {key: moved(value, (key,)) for key, value in raw.items()}
