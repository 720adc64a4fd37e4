"""The scenario language: the pydantic models behind the YAML.

A scenario says who teaches whom (`models`, `agents`), what (`items`), in which steps (`plan`), for what
price (`budget`), how learning is measured (`measures`, `controls`) and over which grid (`matrix`,
`replicates`, `seed`). Every model is closed: an unknown key is an error. Short forms (a bare name where a
mapping may stand) are normalised here, so the rest of docendo sees one shape only. Numbers are strict:
`"3"` and `true` are not 3.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from docendo.messages import Role
from docendo.scenarios.graph_spec import EdgeSpec, GraphSpec, NodeSpec
from docendo.scenarios.model_spec import (
    AnyModel,
    ExpertModel,
    ModelSpec,
    OpenAIModel,
    ProceduralModel,
    SamplingSpec,
    ScriptedModel,
    SkillModel,
)
from docendo.scenarios.plan import (
    PHASE_KINDS,
    ExamSpec,
    MovesSpec,
    Phase,
    PhaseKind,
    PolicySpec,
    phase_ids,
    unfold_phase,
)  # fmt: skip
from docendo.scenarios.spec import Amount, Flag, Name, Named, Number, Probability, Spec, Whole
from docendo.scenarios.taxonomy import TaxonomySpec

__all__ = [
    "PHASE_KINDS", "AgentSpec", "Amount", "ConfidenceSpec", "ControlSpec", "EdgeSpec", "ExamSpec",
    "ExpertModel", "FidelitySpec", "GraphSpec", "ItemsSpec", "Matrix", "MemorySpec", "ModelSpec", "MovesSpec",
    "NodeSpec", "OpenAIModel", "Phase", "PhaseKind", "PolicySpec", "PoolSpec", "ProceduralModel",
    "SamplingSpec", "Scenario", "ScriptedModel", "SkillModel", "StudentModelSpec", "TaxonomySpec",
    "phase_ids", "role_of", "unfold_control", "unfold_phase",
]  # fmt: skip

# --- agents ---------------------------------------------------------------------------------------------


class MemorySpec(Named):
    """What an agent keeps, and how long."""

    kind: Literal["none", "transcript", "demonstrations", "notes"] = "none"
    size: Whole | None = Field(None, ge=0, description="Most entries; the oldest give way.")
    initial: Whole | None = Field(
        None,
        ge=0,
        description="Demonstrations to start with; `size` where the memory resets by episode, else none.",
    )
    reset: Literal["episode", "phase", "lesson"] = Field(
        "episode", description="When what was added is forgotten."
    )

    @property
    def first(self) -> int:
        """How many demonstrations the agent starts with."""
        if self.initial is not None:
            return self.initial
        return (self.size or 0) if self.reset == "episode" else 0


class StudentModelSpec(Named):
    """The teacher's theory of mind."""

    kind: str = "few_shot"
    demonstrations: Whole = Field(
        4, ge=0, description="Observations shown per prompt (`ic_num` in Saha et al.)."
    )
    template: Literal["code", "figure"] = Field(
        "code", description="Which published variant of the pre-intervention prompt."
    )
    p_correct: Probability | None = Field(
        None, description="For `constant`; the observed base rate when unset."
    )
    update: Flag = Field(
        False,
        description="Observe the student anew before every further round of a teach phase.",
    )


class ConfidenceSpec(Spec):
    """How the probability of an answer is measured."""

    mode: Literal["raw", "renormalised", "frequency"] = "raw"
    samples: Whole = Field(8, gt=0, description="Completions for `frequency`.")


class AgentSpec(Spec):
    """One participant, or several of one kind."""

    model: str
    role: Role | None = Field(None, description="Needed only when the agent's name is not a role.")
    count: Whole = Field(
        1, gt=0, description="How many such agents; they are named `student-1`, `student-2`, ..."
    )
    view: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="Act -> artefacts it may read, replacing the default."
    )
    memory: MemorySpec = MemorySpec()
    student_model: StudentModelSpec | None = None
    confidence: ConfidenceSpec = ConfidenceSpec()
    profile: str = Field("", description="Hidden description of who this agent plays.")
    twin: str | None = Field(
        None,
        description="An agent whose simulated mind this one shares where both have the same model, to teach "
        "oneself: `teacher`.",
    )
    misconceptions: tuple[str, ...] = Field(
        (), description="Bugs that the profile gives a student, so that its fidelity can be judged."
    )
    prompts: dict[str, str] = Field(
        default_factory=dict, description="Act -> template file, replacing the built-in one."
    )
    sampling: SamplingSpec = SamplingSpec()
    distort: Literal["none", "irrelevant", "answer_only", "wrong", "silent", "shuffled"] = Field(
        "none",
        description="What happens to this agent's help before it is delivered (set by controls).",
    )


def role_of(name: str, agent: AgentSpec) -> Role | None:
    """The role that an agent was given, or that its name says; `None` where neither does."""
    return agent.role or (cast(Role, name) if name in get_args(Role) else None)


# --- items ----------------------------------------------------------------------------------------------


class PoolSpec(BaseModel):
    """A pool with options of its own. Other keys are the source's options, over those of `items`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    size: Whole = Field(ge=0)
    source: str | None = Field(None, description="Another source than that of `items`.")

    @property
    def options(self) -> dict[str, Any]:
        """What differs from the options of `items`."""
        return dict(self.model_extra or {})


class ItemsSpec(BaseModel):
    """Where items come from, and how many go into each pool. Other keys are the source's own options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    source: str
    train: Whole | None = Field(None, ge=0)
    test: Whole | None = Field(None, ge=0)
    pools: dict[
        Name,
        Annotated[
            Annotated[Annotated[Whole, Field(ge=0)], Tag("pool/size")] | Annotated[PoolSpec, Tag("pool/own")],
            Discriminator(lambda value: "pool/own" if isinstance(value, dict | PoolSpec) else "pool/size"),
        ],
    ] = Field(
        default_factory=dict,
        description="Further pools: a size, or `{size: 10, digits: 5}` with options of the pool's own.",
    )

    @property
    def sizes(self) -> dict[str, int | None]:
        """Pool name -> wanted size; `None` takes what is left."""
        named = {"train": self.train, "test": self.test}
        sizes: dict[str, int | None] = {k: v for k, v in named.items() if v is not None}
        return sizes | {k: p.size if isinstance(p, PoolSpec) else p for k, p in self.pools.items()}

    @property
    def options(self) -> dict[str, Any]:
        """The source's own options."""
        return dict(self.model_extra or {})


class Matrix(BaseModel):
    """Axes of the grid: dotted path -> values. `exclude` drops points, `include` adds some."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(init=False)

    include: tuple[dict[str, Any], ...] = ()
    exclude: tuple[dict[str, Any], ...] = ()

    @property
    def axes(self) -> dict[str, list[Any]]:
        """Path -> values, in file order."""
        return {k: list(v) for k, v in (self.model_extra or {}).items()}


class ControlSpec(Named):
    """A control condition: the scenario as written, changed in one known way."""

    kind: str
    over: tuple[str, ...] = Field(
        (), description="Matrix axes that the control is crossed with; none by default."
    )

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return unfold_control(value)


def unfold_control(control: Any) -> Any:
    """`{irrelevant: {over: [...]}}` -> `{kind: irrelevant, over: [...]}`; anything else unchanged."""
    if not isinstance(control, dict) or len(control) != 1 or "kind" in control or "over" in control:
        return control
    ((kind, body),) = control.items()
    body = {} if body is None else body
    return {"kind": kind, **body} if isinstance(body, dict) and "kind" not in body else control


class FidelitySpec(Spec):
    """Whether the students are who they should be, found out before anybody teaches them.

    Each limit that is given gates the batch: where the figure over all replicates is on the wrong side of it,
    the run stops before its first lesson.
    """

    items: str = Field("train", description="Pool to examine the students on.")
    count: Whole | None = Field(None, gt=0, description="So many of its items; all when unset.")
    rephrasings: Whole = Field(2, gt=0, description="Other wordings per item.")
    ignorance_leak: Probability | None = Field(
        None, description="Most share of right answers to what the student should not know."
    )
    consistency: Probability | None = Field(
        None, description="Least share of rephrased items that are answered as before."
    )
    sycophancy: Probability | None = Field(
        None, description="Most share of answers given up for a teacher's wrong one."
    )


class Scenario(Spec):
    """One YAML file."""

    version: Literal[1]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9\-]*$")]
    description: str = ""
    extends: str | None = Field(
        None, description="Another scenario file whose keys this one overrides; one level deep."
    )
    models: dict[Name, AnyModel]
    agents: dict[Name, AgentSpec]
    items: ItemsSpec
    plan: tuple[Phase, ...] = Field(min_length=1)
    graphs: dict[Name, GraphSpec] = Field(default_factory=dict)
    taxonomies: dict[Name, TaxonomySpec] = Field(
        default_factory=dict, description="Own taxonomies of teaching moves."
    )
    budget: dict[Name, Amount] = Field(default_factory=dict)
    fidelity: FidelitySpec | None = None
    measures: tuple[str, ...] = ("accuracy",)
    baseline: dict[str, Any] | None = Field(
        None, description="Matrix coordinates that others are compared with; the first condition when unset."
    )
    controls: tuple[ControlSpec, ...] = ()
    matrix: Matrix = Matrix()
    replicates: Whole = Field(1, gt=0)
    seed: Whole = Field(0, ge=0, lt=2**63, description="Where every draw of the run comes from.")
    fail_on_error: Number = Field(
        0.0,
        ge=0,
        description="Share (below 1) or count (from 1) of episodes that may fail before the exit code is 2.",
    )

    @field_validator("fail_on_error", mode="before")
    @classmethod
    def _percentage(cls, value: Any) -> Any:
        """`5%` is the share 0.05."""
        if isinstance(value, str) and re.fullmatch(r"\d{1,2}(\.\d{1,6})?%", value.strip()):
            return float(value.strip()[:-1]) / 100
        return value

    @field_validator("plan")
    @classmethod
    def _phase_ids(cls, value: tuple[Phase, ...]) -> tuple[Phase, ...]:
        """Give every phase a unique id: its kind, then `teach-2`, ..."""
        ids = phase_ids([phase.id or phase.kind for phase in value])
        return tuple(phase.model_copy(update={"id": id_}) for phase, id_ in zip(value, ids, strict=True))
