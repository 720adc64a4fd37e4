"""The plan of a lesson: its phases, and what each of them can be told.

A phase observes, tests, teaches, refines a teacher's exemplars, or lets time pass. What it works on are pools
of items; who acts is its graph's business. Short forms (`teach: pool`, `moves: bridge`, `exam: pool`) are
normalised here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from docendo.scenarios.graph_spec import GraphSpec
from docendo.scenarios.spec import Named, Number, Spec, Whole, mistake

__all__ = [
    "PHASE_KINDS", "ExamSpec", "MovesSpec", "Phase", "PhaseKind", "PolicySpec", "phase_ids", "unfold_phase",
]  # fmt: skip

PhaseKind = Literal["observe", "test", "teach", "refine", "rest"]
PHASE_KINDS: tuple[str, ...] = get_args(PhaseKind)


class PolicySpec(Named):
    """When to spend help."""

    kind: str
    order: Literal["best", "worst"] = Field(
        "best", description="`worst` spends on the most damaging items first."
    )
    threshold: Number | None = None
    target: Literal["gold", "teacher"] = Field(
        "gold", description="Whose answer confidences and utilities refer to."
    )


class MovesSpec(Spec):
    """Which moves a teacher may make in a dialogue, and who decides on them."""

    taxonomy: str = Field("mathdial", description="A taxonomy of docendo's, or of `taxonomies:`.")
    source: Literal["self", "expert", "random", "fixed"] = Field(
        "self",
        description="Who decides: the teacher's model, the item's recorded expert, the lot, or `fixed`.",
    )
    fixed: tuple[str | dict[str, str], ...] = Field(
        (), description="For `fixed`: the moves in turn (a label, or slot -> label); the last one repeats."
    )
    save: dict[str, Annotated[Whole, Field(ge=0)]] = Field(
        default_factory=dict,
        description="Unit -> turns: moves that cost it stay closed while more than so many turns are left.",
    )

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"taxonomy": value} if isinstance(value, str) else value

    @field_validator("fixed", mode="before")
    @classmethod
    def _one_move(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str | dict) else value

    @model_validator(mode="after")
    def _moves_given(self) -> MovesSpec:
        if self.source == "fixed" and not self.fixed:
            raise mistake(
                "`source: fixed` needs the moves in `fixed`",
                "Write `moves: {taxonomy: mathdial, source: fixed, fixed: [probing, focus, telling]}`.",
            )
        return self


class ExamSpec(Spec):
    """What students sit after they were taught an item: the members of the axis `items`."""

    pool: str | None = Field(None, description="Where exam items come from; none for generated variants.")
    choose: Literal["given", "same_skill", "nearest", "variants"] = Field(
        "given",
        description="All items of the pool in order, those with most skills in common, those with the most "
        "similar words, or functional variants of the taught item (the pool's, else generated ones).",
    )
    count: Whole | None = Field(None, gt=0, description="How many items; all when unset.")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"pool": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _has_pool(self) -> ExamSpec:
        if self.pool is None and self.choose != "variants":
            raise mistake("this exam needs a `pool` of items", "Write `exam: {pool: exam, count: 3}`.")
        return self


class Phase(Spec):
    """One step of a lesson's plan."""

    kind: PhaseKind
    id: str = Field(
        "",
        pattern=r"^([A-Za-z][A-Za-z0-9_\-]*)?$",
        description="Name in matrix paths and results; the kind by default.",
    )
    items: str | None = Field(None, description="Pool that the step works on.")
    forms: tuple[str, ...] = Field(
        (),
        description="Pools of parallel forms instead of `items`: students and replicates take them in turn.",
    )
    count: Whole | None = Field(None, gt=0, description="Take only so many items of the pool.")
    rephrase: Whole | None = Field(
        None, gt=0, description="Ask every item in so many other words instead of its own."
    )
    graph: (
        Annotated[
            Annotated[str, Tag("graph/name")] | Annotated[GraphSpec, Tag("graph/inline")],
            Discriminator(lambda value: "graph/name" if isinstance(value, str) else "graph/inline"),
        ]
        | None
    ) = None
    policy: PolicySpec | None = None
    moves: MovesSpec | None = Field(None, description="The moves of a dialogue.")
    exam: ExamSpec | None = Field(None, description="What `each: items` fans out over.")
    samples: Whole | None = Field(None, gt=0, description="How many branches `each: samples` opens.")
    repeats: Whole | None = Field(None, gt=0, description="How many branches `each: repeats` opens.")
    order: Literal["parallel", "sequential"] = "parallel"
    rounds: Whole = Field(1, gt=0, description="Repetitions; memory carries over between them.")
    beam: Whole = Field(1, gt=0, description="`refine`: sets of exemplars that go on to the next round.")
    scored: Whole | None = Field(
        None, gt=0, description="`refine`: items on which a set of exemplars is scored; all when unset."
    )
    per_round: Whole | None = Field(None, gt=0, description="Interventions that one round may spend.")
    params: dict[str, Any] = Field(
        default_factory=dict, description="Parameters that the graph and its acts read."
    )

    @property
    def pools(self) -> tuple[str, ...]:
        """Pools that the step works on: `forms`, else `items`, else `train` or `test` by the kind."""
        return self.forms or (self.items or ("train" if self.kind in ("observe", "refine") else "test"),)

    @property
    def pool(self) -> str:
        """The pool that the step works on; the first of several forms."""
        return self.pools[0]

    @model_validator(mode="after")
    def _forms_or_items(self) -> Phase:
        if self.forms and self.items:
            raise mistake("a phase has `items` or `forms`, not both", "Keep `forms`.", "items")
        return self

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        step = unfold_phase(value)
        if isinstance(step, dict) and "kind" not in step and (kinds := [k for k in step if k in PHASE_KINDS]):
            others = ", ".join(f"`{k}`" for k in step if k != kinds[0])
            raise mistake(
                f"the keys of a phase stand under its kind, `{kinds[0]}`",
                f"Indent {others} so that it belongs to `{kinds[0]}:`." if others
                else f"Write `{kinds[0]}: {{items: train}}`.",
                kinds[0],
            )  # fmt: skip
        return step


def unfold_phase(step: Any) -> Any:
    """`{teach: {...}}`, `{test: pool}` and `rest` -> `{kind: ..., ...}`; anything else unchanged."""
    if isinstance(step, str):
        return {"kind": step}
    if not isinstance(step, dict) or len(step) != 1 or "kind" in step:
        return step
    ((kind, body),) = step.items()
    body = {"items": body} if isinstance(body, str) else {} if body is None else body
    return {"kind": kind, **body} if isinstance(body, dict) and "kind" not in body else step


def phase_ids(names: list[str]) -> list[str]:
    """Unique ids for phases that ask for `names`: the name itself, then `teach-2`, `teach-3`, ..."""
    ids: list[str] = []
    for name in names:
        number, found = 1, name
        while found in ids or (number > 1 and found in names):
            number += 1
            found = f"{name}-{number}"
        ids.append(found)
    return ids
