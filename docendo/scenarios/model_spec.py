"""Models of a scenario: one closed mapping per backend, and per mind of the simulated backend."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, Tag, field_validator
from pydantic_core import PydanticKnownError

from docendo.errors import did_you_mean
from docendo.scenarios.local_model_spec import TransformersModel, VllmModel
from docendo.scenarios.model_base import ModelBase, SamplingSpec, TemplatedModel
from docendo.scenarios.spec import Flag, Number, Probability, Whole, mistake

__all__ = [
    "MODEL_KINDS", "AnyModel", "ExpertModel", "ModelSpec", "OpenAIModel", "ParrotModel", "ProceduralModel",
    "RecordedModel", "SamplingSpec", "ScriptedModel", "SkillModel", "TransformersModel", "VllmModel",
    "model_tag",
]  # fmt: skip


class ProceduralModel(ModelBase):
    """A simulated learner of column arithmetic whose knowledge is one rule variant per skill."""

    backend: Literal["simulated"] = "simulated"
    mind: Literal["procedural"] = "procedural"
    bugs: tuple[str, ...] = Field((), description="Rule variants that learners may hold; see docs.")
    bugs_per_student: Whole | None = Field(
        None, ge=0, description="How many of `bugs` each learner holds; all when unset."
    )
    slip: Probability = Field(0.0, description="Chance of a careless error in an answer.")
    comprehension: Probability = Field(
        0.8, description="Chance that a learner grasps a worked step that contradicts its rule."
    )
    forget: Probability = Field(
        0.0, description="Chance per rest phase that a rule which was learnt gives way to the one before."
    )


class SkillModel(ModelBase):
    """A simulated learner with a mastery per skill: Bayesian knowledge tracing, for any tagged items."""

    backend: Literal["simulated"] = "simulated"
    mind: Literal["skill"] = "skill"
    mastery: Annotated[
        Annotated[Probability, Tag("mastery/one")] | Annotated[dict[str, Probability], Tag("mastery/each")],
        Discriminator(lambda value: "mastery/each" if isinstance(value, dict) else "mastery/one"),
    ] = Field(0.5, description="Prior chance that a skill is mastered.")
    guess: Probability | None = Field(
        None, description="Chance of a right answer without mastery; by answer kind when unset."
    )
    slip: Probability = 0.05
    learn: Probability = Field(0.3, description="Chance that a helpful explanation leaves a skill mastered.")
    forget: Probability = Field(0.0, description="Chance per rest phase that a skill is lost.")
    comprehension: Probability = Field(
        0.8, description="Chance that the learner follows an explanation of the item at hand."
    )


class ExpertModel(ModelBase):
    """A simulated teacher: solves, explains in steps, predicts students."""

    backend: Literal["simulated"] = "simulated"
    mind: Literal["expert"] = "expert"
    error_rate: Probability = Field(
        0.0, description="Chance, per skill, that the expert itself uses a wrong rule there."
    )
    slip: Probability = Field(
        0.0, description="Chance, per item, that the expert goes wrong there in a rule that it knows."
    )
    doubt: Probability = Field(
        0.0, description="Chance, per rule or skill of every sampled demonstration, to go wrong there."
    )
    comprehension: Probability = Field(
        0.8, description="Chance that a worked example in its memory corrects a rule that it holds."
    )
    misleading: Flag = Field(False, description="Explain wrongly on purpose.")


class ParrotModel(ModelBase):
    """A control: repeats the answer of the last message it saw, and answers at random without one."""

    backend: Literal["simulated"] = "simulated"
    mind: Literal["parrot"] = "parrot"


class RecordedModel(ModelBase):
    """People: says what the item's recorded dialogue says, turn by turn (MathDial, Bridge)."""

    backend: Literal["simulated"] = "simulated"
    mind: Literal["recorded"] = "recorded"


class ScriptedModel(ModelBase):
    """Canned answers, for tests."""

    backend: Literal["scripted"] = "scripted"
    replies: tuple[str, ...] = Field((), description="Given in turn; the last one repeats.")
    file: str | None = Field(
        None, description="JSON lines: {match: regex on the prompt, reply: text}; first match wins."
    )


class OpenAIModel(TemplatedModel):
    """Any server that speaks the OpenAI chat-completions protocol."""

    backend: Literal["openai"] = "openai"
    model: str
    base_url: str = "http://localhost:8000/v1"
    api_key: str = Field("${env:OPENAI_API_KEY}", description="Only ever a reference to the environment.")
    seed: Flag = Field(True, description="The server obeys `seed`.")
    logprobs: Flag = Field(True, description="The server returns `top_logprobs`.")
    schema_: Flag = Field(
        True, alias="schema", description="The server obeys `response_format: json_schema`."
    )
    scoring: Flag | Literal["first_token"] = Field(
        False,
        description="How continuations are scored. `false`: in the best way that the server offers; "
        "`true`: whole, and a server that cannot is an error; `first_token`: by the likeliest first tokens.",
    )
    context: Whole | None = Field(
        None,
        gt=0,
        description="Context length in tokens, where the server does not say it.",
    )
    patience: Number = Field(
        300.0,
        ge=0,
        # Left out where it is the default, so that scenarios without it keep their digest.
        exclude_if=lambda value: value == 300.0,
        description="Seconds that calls wait for a server that has gone, or has no room.",
    )

    @field_validator("api_key")
    @classmethod
    def _only_a_reference(cls, value: str) -> str:
        if not re.fullmatch(r"\$\{env:[A-Za-z_][A-Za-z0-9_]*\}", value):
            raise mistake(
                "a key must not be written into a scenario, which is stored and shared",
                "Name an environment variable: `${env:OPENAI_API_KEY}`.",
            )
        return value


ModelSpec = (
    ProceduralModel | SkillModel | ExpertModel | ParrotModel | RecordedModel | ScriptedModel | OpenAIModel
    | TransformersModel | VllmModel
)  # fmt: skip

MODEL_KINDS: dict[str, type[ModelBase]] = {
    "simulated/procedural": ProceduralModel,
    "simulated/skill": SkillModel,
    "simulated/expert": ExpertModel,
    "simulated/parrot": ParrotModel,
    "simulated/recorded": RecordedModel,
    "scripted/": ScriptedModel,
    "openai/": OpenAIModel,
    "transformers/": TransformersModel,
    "vllm/": VllmModel,
}
"""`backend/mind` -> the model that describes it."""

_BACKENDS = ("simulated", "scripted", "openai", "vllm", "transformers")
_MINDS = ("procedural", "skill", "expert", "parrot", "recorded")
_ELSEWHERE = {
    "human": "This version has no seats for people. Known: `simulated`, `scripted`, `openai`, `vllm`, "
    "`transformers`.",
}


def model_tag(value: Any) -> str:
    """Key in `MODEL_KINDS` of a model, given as a mapping or as a `ModelSpec`; it may be unknown."""
    if isinstance(value, BaseModel):
        return f"{getattr(value, 'backend', '')}/{getattr(value, 'mind', '')}"
    backend, mind = (value.get("backend"), value.get("mind")) if isinstance(value, dict) else ("", "")
    return f"{backend}/{mind}" if backend == "simulated" else f"{backend}/"


def _known_model(value: Any) -> Any:
    """Refuse what no backend or mind is called, before the union is entered."""
    if isinstance(value, BaseModel) or model_tag(value) in MODEL_KINDS:
        return value
    if not isinstance(value, dict):
        raise PydanticKnownError("dict_type")
    key, names = ("mind", _MINDS) if value.get("backend") == "simulated" else ("backend", _BACKENDS)
    name = value.get(key)
    if name is None:
        raise mistake(f"this model needs a `{key}`", did_you_mean("", names), key)
    hint = _ELSEWHERE.get(str(name), "") if key == "backend" else ""
    raise mistake(f"unknown {key} `{str(name)[:60]}`", hint or did_you_mean(str(name), names), key)


AnyModel = Annotated[
    Annotated[ProceduralModel, Tag("simulated/procedural")]
    | Annotated[SkillModel, Tag("simulated/skill")]
    | Annotated[ExpertModel, Tag("simulated/expert")]
    | Annotated[ParrotModel, Tag("simulated/parrot")]
    | Annotated[RecordedModel, Tag("simulated/recorded")]
    | Annotated[ScriptedModel, Tag("scripted/")]
    | Annotated[OpenAIModel, Tag("openai/")]
    | Annotated[TransformersModel, Tag("transformers/")]
    | Annotated[VllmModel, Tag("vllm/")],
    Discriminator(model_tag),
    BeforeValidator(_known_model),
]
"""A `ModelSpec` as a field of a scenario: chosen by backend and mind, so that mistakes are named exactly."""
