"""Identity: the digest of a scenario, and the id of a condition.

Both hash canonical JSON (sorted keys, defaults filled in), so comments, key order and short forms do not
matter, while every setting does. A condition's id covers what decides what happens in it, and not the study
around it: adding axes, values, controls or replicates renumbers nothing.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from docendo.scenarios.schema import Scenario

__all__ = ["condition_id", "scenario_digest"]

_SCHEMA = 1
"""Raised when equal settings begin to mean something else."""

_AROUND = frozenset(
    {
        "name",
        "description",
        "extends",
        "matrix",
        "controls",
        "replicates",
        "baseline",
        "measures",
        "fail_on_error",
        "fidelity",
    }
)
"""Parts of a scenario that do not decide what happens in one condition."""


def scenario_digest(scenario: Scenario) -> str:
    """SHA-256 of the whole scenario, in hexadecimal."""
    return _sha256({"schema": _SCHEMA, "scenario": scenario.model_dump(mode="json", by_alias=True)})


def condition_id(scenario: Scenario, control: str | None = None) -> str:
    """The first 12 hexadecimal digits of the hash of what happens in a condition."""
    content = scenario.model_dump(mode="json", by_alias=True, exclude=set(_AROUND))
    return _sha256({"schema": _SCHEMA, "scenario": content, "control": control})[:12]


def _sha256(data: Any) -> str:
    text = json.dumps(data, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()
