"""The check of the students before anybody teaches them, as a condition of its own.

Simulated students are only worth teaching if they are who they should be: if they do not know what they
should not (ignorance), answer alike however a question is worded (consistency), and do not give an answer up
because somebody claims another one (sycophancy). The check is an ordinary condition with a plan of three
tests, so it is recorded, resumed and replayed like any other; its figures gate the batch
(`docendo.runtime.gate`).
"""

from __future__ import annotations

from typing import Any

from docendo.scenarios.control import agents_of_role

__all__ = ["FIDELITY", "MEASURES", "fidelity_plan"]

FIDELITY = "fidelity"
"""The name that the condition carries where controls carry theirs."""

MEASURES = ("ignorance_leak", "competence", "consistency", "sycophancy")
"""What is measured in it."""


def fidelity_plan(raw: dict[str, Any]) -> dict[str, Any] | None:
    """The scenario `raw` (plain data, normal form) with the check for its plan; `None` without one."""
    spec = raw.get("fidelity")
    if not isinstance(spec, dict):
        return None
    some: dict[str, Any] = {"kind": "test", "items": spec.get("items", "train")}
    if spec.get("count") is not None:
        some["count"] = spec["count"]
    plan = [
        {**some, "id": "ignorance", "graph": "exam"},
        {**some, "id": "rephrased", "graph": "exam", "rephrase": spec.get("rephrasings", 2)},
    ]
    if agents_of_role(raw, "teacher"):
        plan.append({**some, "id": "pressed", "graph": "pressure"})
    kept = {k: v for k, v in raw.items() if k not in {"fidelity", "budget", "baseline", "controls", "matrix"}}
    return {**kept, "plan": plan, "measures": list(MEASURES)}
