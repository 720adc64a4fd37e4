"""The scenario language: the pydantic models behind the YAML.

A scenario says who teaches whom (`models`, `agents`), what (`items`), in which steps (`plan`), for what
price (`budget`), how learning is measured (`measures`, `controls`) and over which grid (`matrix`,
`replicates`, `seed`). Every model is closed: an unknown key is an error. Short forms (a bare name where a
mapping may stand) are normalised here, so the rest of docendo sees one shape only.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from docendo.messages import Role

__all__ = [
    "AgentSpec", "Amount", "ConfidenceSpec", "EdgeSpec", "ExpertModel", "GraphSpec", "ItemsSpec", "Matrix",
    "MemorySpec", "ModelSpec", "NodeSpec", "OpenAIModel", "Phase", "PhaseKind", "PolicySpec", "ProceduralModel",
    "SamplingSpec", "Scenario", "ScriptedModel", "SkillModel", "StudentModelSpec",
]  # fmt: skip

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_\-]*$")]
Probability = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[int | str, Field(description="A count, or a share of the phase's items such as `20%`.")]


class Spec(BaseModel):
    """A closed, immutable part of a scenario."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --- models ---------------------------------------------------------------------------------------------


class SamplingSpec(Spec):
    """How a model's tokens are drawn. Unset fields keep the backend's default."""

    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, gt=0)
    stop: tuple[str, ...] = ()


class _Model(Spec):
    sampling: SamplingSpec = SamplingSpec()
    max_concurrent: int = Field(64, gt=0, description="Most calls in flight to this model.")
    timeout: float = Field(120.0, gt=0, description="Seconds that one attempt may take.")
    retries: int = Field(4, ge=0, description="Further attempts after one that failed for a passing reason.")


class ProceduralModel(_Model):
    """A simulated learner of column arithmetic whose knowledge is one rule variant per skill."""

    backend: Literal["simulated"] = "simulated"
    mind: Literal["procedural"] = "procedural"
    bugs: tuple[str, ...] = Field((), description="Rule variants that learners may hold; see docs.")
    bugs_per_student: int | None = Field(None, ge=0, description="How many of `bugs` each learner holds; all when unset.")
    slip: Probability = Field(0.0, description="Chance of a careless error in an answer.")
    comprehension: Probability = Field(0.8, description="Chance that a learner grasps a worked step that contradicts its rule.")


class SkillModel(_Model):
    """A simulated learner with a mastery per skill: Bayesian knowledge tracing, for any tagged items."""

    backend: Literal["simulated"] = "simulated"
    mind: Literal["skill"] = "skill"
    mastery: Probability | dict[str, Probability] = Field(0.5, description="Prior chance that a skill is mastered.")
    guess: Probability | None = Field(None, description="Chance of a right answer without mastery; by answer kind when unset.")
    slip: Probability = 0.05
    learn: Probability = Field(0.3, description="Chance that a helpful explanation leaves a skill mastered.")
    forget: Probability = Field(0.0, description="Chance per rest phase that a skill is lost.")
    comprehension: Probability = Field(0.8, description="Chance that the learner follows an explanation of the item at hand.")


class ExpertModel(_Model):
    """A simulated teacher: solves, explains in steps, predicts students."""

    backend: Literal["simulated"] = "simulated"
    mind: Literal["expert"] = "expert"
    error_rate: Probability = Field(0.0, description="Chance, per skill, that the expert itself uses a wrong rule there.")
    misleading: bool = Field(False, description="Explain wrongly on purpose.")


class ScriptedModel(_Model):
    """Canned answers, for tests."""

    backend: Literal["scripted"] = "scripted"
    replies: tuple[str, ...] = Field((), description="Given in turn; the last one repeats.")
    file: str | None = Field(None, description="JSON lines: {match: regex on the prompt, reply: text}; first match wins.")


class OpenAIModel(_Model):
    """Any server that speaks the OpenAI chat-completions protocol."""

    backend: Literal["openai"] = "openai"
    model: str
    base_url: str = "http://localhost:8000/v1"
    api_key: str = Field("${env:OPENAI_API_KEY}", description="Only ever a reference to the environment.")
    seed: bool = Field(True, description="The server obeys `seed`.")
    logprobs: bool = Field(True, description="The server returns `top_logprobs`.")
    schema_: bool = Field(True, alias="schema", description="The server obeys `response_format: json_schema`.")
    scoring: bool = Field(False, description="The server scores prompts (`echo` with `logprobs` on /completions).")
    context: int | None = Field(None, gt=0, description="Context length in tokens, where known.")


ModelSpec = ProceduralModel | SkillModel | ExpertModel | ScriptedModel | OpenAIModel

# --- agents ---------------------------------------------------------------------------------------------


class MemorySpec(Spec):
    """What an agent keeps, and how long."""

    kind: Literal["none", "transcript", "demonstrations", "notes"] = "none"
    size: int | None = Field(None, ge=0, description="Most entries; `demonstrations` starts with this many.")
    reset: Literal["episode", "phase", "lesson"] = Field("episode", description="When what was added is forgotten.")


class StudentModelSpec(Spec):
    """The teacher's theory of mind."""

    kind: str = "few_shot"
    demonstrations: int = Field(4, ge=0, description="Observations shown per prompt (`ic_num` in Saha et al.).")
    template: Literal["code", "figure"] = Field("code", description="Which published variant of the pre-intervention prompt.")
    p_correct: Probability | None = Field(None, description="For `constant`; the observed base rate when unset.")


class ConfidenceSpec(Spec):
    """How the probability of an answer is measured."""

    mode: Literal["raw", "renormalised", "frequency"] = "raw"
    samples: int = Field(8, gt=0, description="Completions for `frequency`.")


class AgentSpec(Spec):
    """One participant, or several of one kind."""

    model: str
    role: Role | None = Field(None, description="Needed only when the agent's name is not a role.")
    count: int = Field(1, gt=0, description="How many such agents; they are named `student-1`, `student-2`, ...")
    view: dict[str, tuple[str, ...]] = Field(default_factory=dict, description="Act -> artefacts it may read, replacing the default.")
    memory: MemorySpec = MemorySpec()
    student_model: StudentModelSpec | None = None
    confidence: ConfidenceSpec = ConfidenceSpec()
    profile: str = Field("", description="Hidden description of who this agent plays.")
    prompts: dict[str, str] = Field(default_factory=dict, description="Act -> template file, replacing the built-in one.")
    sampling: SamplingSpec = SamplingSpec()
    distort: Literal["none", "irrelevant", "answer_only", "wrong", "silent"] = Field(
        "none", description="What happens to this agent's explanations before they are delivered (set by controls)."
    )

    @field_validator("memory", mode="before")
    @classmethod
    def _memory_name(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @field_validator("student_model", mode="before")
    @classmethod
    def _student_model_name(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value


# --- graphs ---------------------------------------------------------------------------------------------


class NodeSpec(Spec):
    """One act of one agent."""

    do: str = Field(description="`agent.act`, e.g. `teacher.explain`.")
    spends: dict[str, int] = Field(default_factory=dict, description="Budget units that this act costs.")
    params: dict[str, Any] = Field(default_factory=dict)


class EdgeSpec(Spec):
    """Who may act next, and when."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    from_: str = Field(alias="from")
    to: str
    when: str | None = Field(None, description="A sandboxed Jinja expression; the first edge that holds is taken.")
    each: tuple[str, ...] = Field((), description="Fan out: one branch per student, sample or item of these lists' product.")

    @field_validator("each", mode="before")
    @classmethod
    def _one_name(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class GraphSpec(Spec):
    """Who acts next: nodes, and edges between them from `start` to `end`."""

    nodes: dict[Name, NodeSpec]
    edges: tuple[EdgeSpec, ...]
    description: str = ""


# --- items, plan ----------------------------------------------------------------------------------------


class ItemsSpec(BaseModel):
    """Where items come from, and how many go into each pool. Other keys are the source's own options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    source: str
    train: int | None = Field(None, ge=0)
    test: int | None = Field(None, ge=0)
    pools: dict[Name, int] = Field(default_factory=dict, description="Further pools and their sizes.")

    @property
    def sizes(self) -> dict[str, int | None]:
        """Pool name -> wanted size; `None` takes what is left."""
        sizes: dict[str, int | None] = {"train": self.train, "test": self.test}
        return {k: v for k, v in sizes.items() if v is not None} | dict(self.pools)

    @property
    def options(self) -> dict[str, Any]:
        """The source's own options."""
        return dict(self.model_extra or {})


PhaseKind = Literal["observe", "test", "teach", "rest"]


class PolicySpec(Spec):
    """When to spend help."""

    kind: str
    order: Literal["best", "worst"] = Field("best", description="`worst` spends on the most damaging items first.")
    threshold: float | None = None
    target: Literal["gold", "teacher"] = Field("gold", description="Whose answer confidences and utilities refer to.")


class Phase(Spec):
    """One step of a lesson's plan."""

    kind: PhaseKind
    id: str = Field("", description="Name in matrix paths and results; the kind by default.")
    items: str | None = Field(None, description="Pool that the step works on.")
    count: int | None = Field(None, gt=0, description="Take only so many items of the pool.")
    graph: str | GraphSpec | None = None
    policy: PolicySpec | None = None
    order: Literal["parallel", "sequential"] = "parallel"
    rounds: int = Field(1, gt=0, description="Repetitions; memory carries over between them.")
    per_round: int | None = Field(None, gt=0, description="Interventions that one round may spend.")
    params: dict[str, Any] = Field(default_factory=dict, description="Parameters that the graph and its acts read.")

    @field_validator("policy", mode="before")
    @classmethod
    def _policy_name(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _one_key(cls, value: Any) -> Any:
        """`{teach: {...}}` and `{test: pool}` -> `{kind: teach, ...}`."""
        if isinstance(value, dict) and len(value) == 1:
            (kind, body), *_ = value.items()
            if kind in {"observe", "test", "teach", "rest"}:
                body = {"items": body} if isinstance(body, str) else (body or {})
                return {"kind": kind, **body} if isinstance(body, dict) else value
        return value


class Matrix(BaseModel):
    """Axes of the grid: dotted path -> values. `exclude` drops points, `include` adds some."""

    model_config = ConfigDict(extra="allow", frozen=True)

    include: tuple[dict[str, Any], ...] = ()
    exclude: tuple[dict[str, Any], ...] = ()

    @property
    def axes(self) -> dict[str, list[Any]]:
        """Path -> values, in file order."""
        return {k: list(v) for k, v in (self.model_extra or {}).items()}


class ControlSpec(Spec):
    """A control condition: the scenario as written, changed in one known way."""

    kind: str
    over: tuple[str, ...] = Field((), description="Matrix axes that the control is crossed with; none by default.")


class Scenario(Spec):
    """One YAML file."""

    version: Literal[1]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9\-]*$")]
    description: str = ""
    extends: str | None = Field(None, description="Another scenario file whose keys this one overrides; one level deep.")
    models: dict[Name, ModelSpec]
    agents: dict[Name, AgentSpec]
    items: ItemsSpec
    plan: tuple[Phase, ...] = Field(min_length=1)
    graphs: dict[Name, GraphSpec] = Field(default_factory=dict)
    budget: dict[Name, Amount] = Field(default_factory=dict)
    measures: tuple[str, ...] = ("accuracy",)
    baseline: dict[str, Any] | None = Field(None, description="Matrix coordinates that others are compared with; the first condition when unset.")
    controls: tuple[ControlSpec, ...] = ()
    matrix: Matrix = Matrix()
    replicates: int = Field(1, gt=0)
    seed: int = 0
    fail_on_error: float = Field(0.0, ge=0, description="Share (below 1) or count (1 and above) of episodes that may fail before the exit code is 2.")

    @field_validator("controls", mode="before")
    @classmethod
    def _control_names(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        return [
            {"kind": v} if isinstance(v, str)
            else {"kind": next(iter(v)), **(next(iter(v.values())) or {})} if isinstance(v, dict) and len(v) == 1 and "kind" not in v
            else v
            for v in value
        ]  # fmt: skip

    @field_validator("plan")
    @classmethod
    def _phase_ids(cls, value: tuple[Phase, ...]) -> tuple[Phase, ...]:
        """Give every phase a unique id: its kind, then `teach-2`, ..."""
        seen: dict[str, int] = {}
        named = []
        for phase in value:
            base = phase.id or phase.kind
            seen[base] = seen.get(base, 0) + 1
            named.append(phase.model_copy(update={"id": base if seen[base] == 1 else f"{base}-{seen[base]}"}))
        return tuple(named)
