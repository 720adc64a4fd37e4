"""Who acts next, as data: the nodes and edges of a scenario's graphs."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, field_validator

from docendo.scenarios.spec import Flag, Name, Spec, Whole

__all__ = ["EdgeSpec", "GraphSpec", "NodeSpec"]


class NodeSpec(Spec):
    """One act of one agent."""

    do: str = Field(description="`agent.act`, e.g. `teacher.explain`.")
    spends: dict[str, Annotated[Whole, Field(ge=0)]] = Field(
        default_factory=dict, description="Budget units that this act costs."
    )
    params: dict[str, Any] = Field(default_factory=dict)


class EdgeSpec(Spec):
    """Who may act next, and when."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    from_: str = Field(alias="from")
    to: str
    when: str | None = Field(
        None, description="A sandboxed Jinja expression; the first edge that holds is taken."
    )
    each: tuple[str, ...] = Field(
        (), description="Fan out: one branch per student, sample or item of these lists' product."
    )
    join: Flag = Field(
        False, description="Close the innermost fan-out: `to` acts once, after every branch has arrived."
    )

    @field_validator("each", mode="before")
    @classmethod
    def _one_name(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class GraphSpec(Spec):
    """Who acts next: nodes, and edges between them from `start` to `end`."""

    nodes: dict[Name, NodeSpec]
    edges: tuple[EdgeSpec, ...]
    description: str = ""
