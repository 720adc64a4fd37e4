"""Controls: what a condition is compared with so that its effect means something.

A control changes the scenario as written in one known way; it works on the plain data (normal form), so
that what it made can be read, stored and exported like any scenario. Distortions happen at delivery: the
teacher still explains, and pays; only what arrives at the student differs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from docendo.messages import Role
from docendo.registry import Registry

__all__ = ["CONTROLS", "Control", "agents_of_role"]

Raw = dict[str, Any]


@dataclass(frozen=True)
class Control:
    """A named change to a scenario."""

    description: str
    change: Callable[[Raw], Raw]
    """Plain data in normal form -> the same with the change; the argument stays as it is."""
    needs_teacher: bool = True


CONTROLS: Registry[Control] = Registry("control")


def agents_of_role(raw: Raw, role: str) -> list[str]:
    """Names of the agents that play `role`, by `role:` or by name."""
    agents = raw.get("agents")
    found = []
    for name, spec in agents.items() if isinstance(agents, dict) else ():
        given = spec.get("role") if isinstance(spec, dict) else None
        if (given or (name if name in get_args(Role) else None)) == role:
            found.append(name)
    return found


def _no_teacher(raw: Raw) -> Raw:
    plan = [
        {**step, "policy": {"kind": "never"}} if step["kind"] == "teach" else step
        for step in raw["plan"]
        if step["kind"] != "refine"
    ]
    return {**raw, "plan": plan, "budget": dict.fromkeys(raw.get("budget") or {}, 0)}


def _distorted(how: str) -> Callable[[Raw], Raw]:
    def change(raw: Raw) -> Raw:
        agents = dict(raw["agents"])
        for name in agents_of_role(raw, "teacher"):
            agents[name] = {**agents[name], "distort": how}
        return {**raw, "agents": agents}

    return change


CONTROLS.add(
    "no_teacher",
    Control(
        "Nobody helps: teach phases never intervene, nothing is refined, every budget is 0.",
        _no_teacher,
        False,
    ),
)
CONTROLS.add(
    "irrelevant", Control("Students receive the explanation of another item.", _distorted("irrelevant"))
)
CONTROLS.add(
    "answer_only", Control("Students receive the answer without its explanation.", _distorted("answer_only"))
)
CONTROLS.add("wrong_teacher", Control("Students receive wrong explanations.", _distorted("wrong")))
CONTROLS.add(
    "shuffled_dialogue",
    Control(
        "Students receive the teacher's words of the same dialogue in another order.", _distorted("shuffled")
    ),
)
CONTROLS.add("silent", Control("The teacher's turn passes and nothing is delivered.", _distorted("silent")))
