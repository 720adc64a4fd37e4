"""`--set a.b=c` and `--role teacher=simulated/expert`: changes from the command line.

Both end in `set_path`, as matrix axes do. Setting what the matrix varies pins that axis: the grid keeps the
cells with this value only. Otherwise the matrix would quietly undo what was asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from docendo.errors import Problem, ScenarioError, UsageError, Where, did_you_mean
from docendo.scenarios.control import agents_of_role
from docendo.scenarios.paths import locate, set_path
from docendo.scenarios.positions import Mark, Positions, depth_in, read_yaml

__all__ = ["apply_overrides", "same_value"]

Raw = dict[str, Any]


def apply_overrides(
    raw: Raw, positions: Positions, overrides: Sequence[str], roles: Sequence[str]
) -> tuple[Raw, Positions, list[Problem]]:
    """`raw` (normal form) with `--role` and then `--set` applied, the new places, and what went wrong."""
    problems: list[Problem] = []
    for flag, texts, apply in (("--role", roles, _cast), ("--set", overrides, _set)):
        for text in texts:
            label = f"{flag} {text}"
            try:
                raw, positions = apply(raw, positions, text, label)
            except ScenarioError as error:
                problems += error.problems
            except UsageError as error:
                problem = Problem(message=error.message, suggestion=error.suggestion, where=Where(file=label))
                problems.append(problem)
    return _without_orphans(raw) if roles else raw, positions, problems


def same_value(one: Any, other: Any) -> bool:
    """Whether two plain values are written alike: `1`, `1.0` and `true` differ."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _set(raw: Raw, positions: Positions, text: str, label: str) -> tuple[Raw, Positions]:
    """Apply `--set path=value`."""
    path, sign, written = text.partition("=")
    path = path.strip()
    if not sign or not path:
        raise UsageError("expected `path=value`", suggestion="For example `--set budget.interventions=20%`.")
    value, _, problems = read_yaml(written, label)
    if problems:
        raise ScenarioError(problems)
    return _put(raw, positions, path, value, label)


def _put(raw: Raw, positions: Positions, path: str, value: Any, label: str) -> tuple[Raw, Positions]:
    changed = _pinned(set_path(raw, path, value), raw, path, value)
    return changed, positions.overlaid(locate(raw, path), Mark(label))


def _cast(raw: Raw, positions: Positions, text: str, label: str) -> tuple[Raw, Positions]:
    """Apply `--role role=backend/model` or `--role role=name`."""
    role, sign, wanted = (part.strip() for part in text.partition("="))
    agents, models = _table(raw, "agents"), _table(raw, "models")
    if not sign or not role or not wanted:
        raise UsageError("expected `role=model`", suggestion="For example `--role teacher=simulated/expert`.")
    names = [role] if role in agents else agents_of_role(raw, role)
    if not names:
        raise UsageError(f"no agent is called `{role}` or plays it", suggestion=did_you_mean(role, agents))
    if wanted not in models:
        old = agents[names[0]].get("model") if isinstance(agents[names[0]], dict) else None
        spec = _spec_of(wanted, models, models.get(old) if isinstance(old, str) else None)
        wanted = re.sub(r"[^A-Za-z0-9_\-]+", "-", wanted)
        raw = {**raw, "models": {**models, wanted: spec}}
        positions = positions.overlaid(("models", wanted), Mark(label))
    for name in names:
        raw, positions = _put(raw, positions, f"agents.{name}.model", wanted, label)
    return raw, positions


def _table(raw: Raw, key: str) -> Raw:
    table = raw.get(key)
    return table if isinstance(table, dict) else {}


def _spec_of(wanted: str, models: Raw, old: Any) -> Raw:
    """The entry of `models:` that `backend/model` stands for; a server's settings are kept from `old`."""
    backend, slash, model = wanted.partition("/")
    if not slash or not model:
        hint = f"{did_you_mean(wanted, models)} Or write `backend/model`."
        raise UsageError(f"no model is called `{wanted}`", suggestion=hint.strip())
    spec = {"backend": backend, {"simulated": "mind", "scripted": "file"}.get(backend, "model"): model}
    keep = old if isinstance(old, dict) and backend == old.get("backend") == "openai" else {}
    return {**keep, **spec}


def _pinned(raw: Raw, before: Raw, path: str, value: Any) -> Raw:
    """`raw` (just `before` plus `path`) with its grid narrowed to the cells where `path` is `value`."""
    matrix = raw.get("matrix")
    if not isinstance(matrix, dict):
        return raw
    for axis in matrix:
        inside = path.startswith(f"{axis}.")
        around = axis.startswith(f"{path}.") and not same_value(_value(before, axis), _value(raw, axis))
        if inside or around:
            hint = f"Set `{axis}` itself, or `matrix.{axis}=[...]`."
            raise UsageError(f"the matrix varies `{axis}`, which would undo this", suggestion=hint)
    if path not in matrix:
        return raw
    narrowed = {**matrix, path: [value]}
    for key in ("include", "exclude"):
        if isinstance(matrix.get(key), list):
            narrowed[key] = [entry for entry in matrix[key] if _agrees(entry, path, value)]
    raw = {**raw, "matrix": narrowed}
    if not _agrees(raw.get("baseline"), path, value):
        del raw["baseline"]
    return raw


def _value(raw: Raw, path: str) -> Any:
    """What stands at a dotted path, or `None`."""
    try:
        place = locate(raw, path)
    except UsageError:
        return None
    data: Any = raw
    if depth_in(raw, place) < len(place):
        return None
    for part in place:
        data = data[part]
    return data


def _agrees(entry: Any, path: str, value: Any) -> bool:
    return not isinstance(entry, dict) or path not in entry or same_value(entry[path], value)


def _without_orphans(raw: Raw) -> Raw:
    """`raw` without models that no agent uses, now that roles were given to others."""
    if not isinstance(raw.get("models"), dict) or not isinstance(raw.get("agents"), dict):
        return raw
    mentioned = json.dumps([raw["agents"], raw.get("matrix")])
    return {**raw, "models": {k: v for k, v in raw["models"].items() if json.dumps(k) in mentioned}}
