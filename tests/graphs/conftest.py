from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from ruamel.yaml import YAML

from docendo.graphs.actor import Branch, Exhausted, Outcome
from docendo.graphs.compile import compile_graph
from docendo.scenarios.schema import GraphSpec, NodeSpec


@dataclass
class Recorder:
    """An actor that writes down what it is asked to do, and pays from a real account."""

    budget: dict[str, int] = field(default_factory=dict)
    axes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    """Scope, the same in every branch; a callable is called with (recorder, branch)."""
    awaits: random.Random | None = None
    """Draws how often each act yields to others."""
    during: Callable[[str, int, Branch], None] = lambda node, turn, branch: None
    acts: list[tuple[int, str, str]] = field(default_factory=list)
    """(turn, branch, node), in order of completion."""

    async def act(self, node: str, spec: NodeSpec, *, turn: int, branch: Branch) -> None:
        for unit, amount in spec.spends.items():
            if unit in self.budget:
                if self.budget[unit] < amount:
                    raise Exhausted(unit)
                self.budget[unit] -= amount
        for _ in range(self.awaits.randrange(6) if self.awaits else 1):
            await asyncio.sleep(0)
        self.during(node, turn, branch)
        self.acts.append((turn, str(branch), node))

    def scope(self, branch: Branch) -> Mapping[str, Any]:
        values = {"params": {}, **self.values}
        return {k: v(self, branch) if callable(v) else v for k, v in values.items()}

    def members(self, axis: str, branch: Branch) -> Sequence[str]:
        return self.axes[axis]

    def path(self, branch: str = "") -> list[str]:
        """Nodes of one branch, in order."""
        return [node for _, where, node in self.acts if where == branch]


@pytest.fixture
def graph() -> Callable[[str], GraphSpec]:
    return lambda text: GraphSpec.model_validate(YAML(typ="safe", pure=True).load(text))


@pytest.fixture
def recorder() -> type[Recorder]:
    return Recorder


@pytest.fixture
def run() -> Callable[[GraphSpec, Recorder], Outcome]:
    return lambda spec, actor: asyncio.run(compile_graph(spec, limits=dict(actor.budget)).run(actor))
