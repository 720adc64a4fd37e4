"""Dotted paths into a scenario: what they name, and how a value is put there.

One walk over the schema and the data at once serves everything that speaks of places: matrix axes,
`--set`, `--role`, and the list of keys that a misspelt one is compared with. Phases are named by id
(`plan.teach.policy`), entries of other lists by number. Data is plain and in normal form: phases and
controls unfolded to `{kind: ..., ...}`.
"""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from docendo.errors import UsageError, did_you_mean
from docendo.scenarios.model_spec import MODEL_KINDS, ModelSpec, model_tag
from docendo.scenarios.positions import Path, dotted
from docendo.scenarios.schema import Matrix, Scenario, phase_ids, unfold_control, unfold_phase
from docendo.scenarios.spec import BARE_NAMES

__all__ = ["allowed_keys", "locate", "normal_form", "phase_names", "set_path"]

_OPEN_TABLES = frozenset({"prompts", "view"})
"""Tables keyed by act, where a path may name a key that the file does not have."""


def normal_form(raw: dict[str, Any]) -> dict[str, Any]:
    """`raw` with its phases and controls unfolded to `{kind: ..., ...}`."""
    raw = dict(raw)
    for key, unfold in (("plan", unfold_phase), ("controls", unfold_control)):
        if isinstance(raw.get(key), list):
            raw[key] = [unfold(entry) for entry in raw[key]]
    return raw


def phase_names(raw: dict[str, Any]) -> dict[Path, str]:
    """Place of each phase -> its id; empty where the plan is no list."""
    plan = raw.get("plan")
    if not isinstance(plan, list):
        return {}
    steps = [step if isinstance(step, dict) else {} for step in plan]
    names = [str(step.get("id") or step.get("kind") or "phase") for step in steps]
    return {("plan", i): name for i, name in enumerate(phase_ids(names))}


def allowed_keys(raw: dict[str, Any], path: Path) -> list[str]:
    """Keys that the schema knows at `path`; empty where any key may stand."""
    kind: Any = Scenario
    data: Any = raw
    for part in path:
        kind, data = _child(kind, part), _entry(data, part)
        kind = _chosen(kind, data)
    return list(_fields(kind)) if _is_model(kind) else []


def locate(raw: dict[str, Any], path: str) -> Path:
    """The place that a dotted path names in `raw` (normal form). The place itself may be empty yet.

    Raises:
        UsageError: It names nothing that a scenario has; the suggestion lists what there is.
    """
    parts = path.split(".")
    if parts[0] == "matrix" and len(parts) > 1:
        return ("matrix", path.removeprefix("matrix."))
    ids = {name: place[-1] for place, name in phase_names(raw).items()}
    kind: Any = Scenario
    data: Any = raw
    found: Path = ()
    for part in parts:
        names, may_add = _names(kind, data, found, ids)
        if part not in names and not (may_add and part):
            raise _nothing_there(path, found, part, names, phase_names(raw))
        key: str | int = part
        if isinstance(data, list):
            key = ids[part] if found == ("plan",) else int(part)
        kind, data = _child(kind, key), _entry(data, key)
        kind = _chosen(kind, data)
        found = (*found, key)
    return found


def set_path(raw: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of `raw` (normal form) with `value` at the dotted `path`.

    Raises:
        UsageError: The path names nothing that a scenario has.
    """
    return normal_form(_with(raw, locate(raw, path), value))


def _with(data: Any, path: Path, value: Any, owner: str | int = "") -> Any:
    """`data`, which stands under the key `owner`, with `value` at `path`."""
    if not path:
        return value
    key = path[0]
    if isinstance(data, list) and isinstance(key, int):
        return [_with(entry, path[1:], value, i) if i == key else entry for i, entry in enumerate(data)]
    table = _unfolded(data, owner) if isinstance(data, str) else dict(data) if isinstance(data, dict) else {}
    return {**table, key: _with(table.get(str(key)), path[1:], value, key)}


def _unfolded(name: str, owner: str | int) -> dict[str, Any]:
    """What a bare name under the key `owner` stands for."""
    return {BARE_NAMES.get(str(owner), "kind"): name}


def _names(kind: Any, data: Any, path: Path, ids: dict[str, Any]) -> tuple[list[str], bool]:
    """Names that may follow `path`, and whether others may, too."""
    if _is_model(kind):
        return list(_fields(kind)), kind.model_config.get("extra") == "allow"
    if path == ("plan",) and isinstance(data, list):
        return list(ids), False
    if isinstance(data, list):
        return [str(i) for i in range(len(data))], False
    return list(data) if isinstance(data, dict) else [], bool(path) and path[-1] in _OPEN_TABLES


def _nothing_there(
    path: str, found: Path, part: str, names: list[str], phases: dict[Path, str]
) -> UsageError:
    owner = f"`{dotted(found, phases)}`" if found else "a scenario"
    if not names:
        return UsageError(f"no path `{path[:80]}`: {owner} has nothing inside")
    what = "phase" if found == ("plan",) else f"`{part[:60]}`"
    what += f" `{part[:60]}`" if what == "phase" else ""
    return UsageError(f"no path `{path[:80]}`: {owner} has no {what}", suggestion=did_you_mean(part, names))


# --- the schema's types ---------------------------------------------------------------------------------


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _fields(kind: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field.annotation for name, field in kind.model_fields.items()}


def _entry(data: Any, key: str | int) -> Any:
    """`data[key]`, or `None` where there is none; a bare name counts as `{kind: name}`."""
    data = {"kind": data} if isinstance(data, str) else data
    if isinstance(data, list):
        return data[key] if isinstance(key, int) and key < len(data) else None
    return data.get(key) if isinstance(data, dict) else None


def _alternatives(kind: Any) -> list[Any]:
    """Members of a union, `Annotated` and `None` taken away."""
    if get_origin(kind) is Annotated:
        return _alternatives(get_args(kind)[0])
    if get_origin(kind) in {Union, UnionType}:
        return [found for member in get_args(kind) for found in _alternatives(member)]
    return [] if kind is type(None) else [kind]


def _chosen(kind: Any, data: Any) -> Any:
    """The member of a union that `data` is meant for."""
    members = _alternatives(kind)
    if set(members) == set(get_args(ModelSpec)):
        return MODEL_KINDS.get(model_tag(data), Any)
    tables = [member for member in members if _is_model(member) or get_origin(member) is dict]
    plain = [member for member in members if member not in tables]
    ordered = [*tables, *plain] if isinstance(data, dict) else [*plain, *tables]
    return ordered[0] if ordered else Any


def _child(kind: Any, key: str | int) -> Any:
    """Type of what stands under `key` in a `kind`."""
    if _is_model(kind):
        return Any if kind is Matrix and key not in Matrix.model_fields else _fields(kind).get(str(key), Any)
    args = get_args(kind)
    if get_origin(kind) is dict:
        return args[1]
    return args[0] if get_origin(kind) is tuple else Any
