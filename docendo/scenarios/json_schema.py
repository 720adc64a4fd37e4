"""The JSON Schema of scenario files, for editors.

Pydantic writes the schema of the long forms; the short forms that the models accept are added here.
"""

from __future__ import annotations

from typing import Any

from docendo.scenarios.model_spec import MODEL_KINDS
from docendo.scenarios.schema import PHASE_KINDS, Scenario

__all__ = ["json_schema"]

_BARE_NAMES = ("MemorySpec", "StudentModelSpec", "PolicySpec", "ControlSpec")


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a scenario file, short forms included."""
    schema = Scenario.model_json_schema()
    parts = schema["$defs"]
    for name in _BARE_NAMES:
        parts[name] = {"anyOf": [{"type": "string"}, parts[name]]}
    control = parts["ControlSpec"]["anyOf"][1]
    parts["ControlSpec"]["anyOf"].append(_one_key(None, _body(control)))
    phase = parts["Phase"]
    named = {"enum": list(PHASE_KINDS), "type": "string"}
    bodies = {"anyOf": [{"type": "string", "description": "Pool of items"}, {"type": "null"}, _body(phase)]}
    parts["Phase"] = {"anyOf": [named, phase, _one_key(PHASE_KINDS, bodies)]}
    for model in MODEL_KINDS.values():  # the models have defaults in Python; a file names them
        part = parts[model.__name__]
        part["required"] = [
            *(k for k in ("backend", "mind") if k in part["properties"]),
            *part.get("required", []),
        ]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "docendo scenario", **schema}


def _body(long_form: dict[str, Any]) -> dict[str, Any]:
    """What stands under the kind when a part is written as `{kind: {...}}`."""
    properties = {key: value for key, value in long_form["properties"].items() if key != "kind"}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _one_key(keys: tuple[str, ...] | None, body: dict[str, Any]) -> dict[str, Any]:
    """A mapping with exactly one key, one of `keys` or any."""
    one = {"type": "object", "minProperties": 1, "maxProperties": 1}
    if keys is None:
        return {**one, "additionalProperties": body}
    return {**one, "properties": dict.fromkeys(keys, body), "additionalProperties": False}
