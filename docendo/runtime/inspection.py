"""What the models of a scenario are, found without loading any weights: `docendo models FILE`.

For weights on this machine the files are looked at, for servers the server is asked what it is; neither is
sent a prompt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from docendo.errors import DocendoError
from docendo.runtime.backends.base import Backend
from docendo.runtime.backends.factory import build_backend
from docendo.runtime.backends.local_prompt import LocalPrompt
from docendo.runtime.backends.machine import installed
from docendo.runtime.backends.weights import Weights, resolve
from docendo.runtime.identity import Pools, digest_of, identify
from docendo.scenarios.loader import LoadedScenario
from docendo.scenarios.local_model_spec import LocalModel
from docendo.scenarios.schema import ModelSpec, OpenAIModel

__all__ = ["Configured", "ModelFacts", "configured", "inspect_models"]

LOOK_SECONDS = 10.0
"""What a server may take to say what it is."""

Template = Literal["own", "file", "plain", "server", "none"]


@dataclass(frozen=True, kw_only=True)
class Configured:
    """A model as a scenario has it: one for every way in which its matrix varies it."""

    name: str
    spec: ModelSpec
    pools: Pools
    """Items of the first condition that has it, for simulated minds."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What can be said of a model beforehand."""

    name: str
    backend: str
    model: str
    """Weights, or name at the server, or the mind."""
    status: Literal["ok", "fail"]
    message: str = ""
    """What is wrong."""
    advice: str = ""
    capabilities: tuple[str, ...] = ()
    context: int | None = None
    """Longest prompt with its completion, in tokens, where known."""
    template: Template = "none"
    """The chat template: the tokenizer's own, a file, none at all (`plain`), or the server's matter."""
    system_role: bool | None = None
    """Whether the template has a system role; `None` where that cannot be said from here."""
    fingerprint: str = ""
    detail: dict[str, Any] = field(default_factory=dict)
    """Size, number format and folder of weights; what a server says of itself."""


def configured(loaded: LoadedScenario) -> list[Configured]:
    """Every model of the scenario's conditions, each once.

    Raises:
        ScenarioError: The matrix cannot be expanded.
        ItemError: Items cannot be read.
    """
    identity = identify(loaded)
    found: dict[str, Configured] = {}
    for condition, pools in zip(identity.conditions, identity.pools, strict=True):
        for name, spec in condition.scenario.models.items():
            key = digest_of([name, spec.model_dump(mode="json")])
            found.setdefault(key, Configured(name=name, spec=spec, pools=pools))
    return sorted(found.values(), key=lambda c: c.name)


async def inspect_models(loaded: LoadedScenario) -> list[ModelFacts]:
    """Look at all models of a scenario at once.

    Raises:
        ScenarioError: The matrix cannot be expanded.
        ItemError: Items cannot be read.
    """
    return list(await asyncio.gather(*(_inspect(c, loaded) for c in configured(loaded))))


async def _inspect(what: Configured, loaded: LoadedScenario) -> ModelFacts:
    spec = what.spec
    facts: dict[str, Any] = {"name": what.name, "backend": spec.backend, "model": called(spec)}
    answer_key = {item.id: item for pool in what.pools.values() for item in pool}
    try:
        backend = build_backend(what.name, spec, answer_key=answer_key, base=loaded.base)
        facts["fingerprint"] = await asyncio.to_thread(getattr, backend, "fingerprint")
        facts["capabilities"] = _abilities(backend)
        if isinstance(spec, LocalModel):
            facts |= _weights(spec, loaded)
        elif isinstance(spec, OpenAIModel):
            facts |= await _server(backend, spec)
            facts["capabilities"] = _abilities(backend)
    except DocendoError as error:
        place = f" ({error.where.file})" if error.where.file else ""
        return ModelFacts(**facts, status="fail", message=error.message + place, advice=error.suggestion)
    except TimeoutError:
        return ModelFacts(
            **facts,
            status="fail",
            message=f"the server says nothing for {LOOK_SECONDS:g} s",
            advice="Is it still loading? `docendo doctor` waits longer, and asks for a token.",
        )
    return ModelFacts(**facts, status="ok")


def called(spec: ModelSpec) -> str:
    """What answers, as the scenario has it: weights, a name at a server, a mind."""
    if isinstance(spec, LocalModel):
        return f"{spec.model} + {spec.adapter}" if spec.adapter else spec.model
    if isinstance(spec, OpenAIModel):
        return spec.model
    return str(getattr(spec, "mind", "") or "replies")


def _abilities(backend: Backend) -> tuple[str, ...]:
    return tuple(name for name, has in asdict(backend.capabilities).items() if has)


def _weights(spec: LocalModel, loaded: LoadedScenario) -> dict[str, Any]:
    """What the files say."""
    weights = resolve(spec, loaded.base)
    template: Template = "plain" if weights.template is None else "file" if spec.chat_template else "own"
    return {
        "context": weights.context,
        "template": template,
        "system_role": _system_role(weights) if weights.template is not None else None,
        "detail": {
            "folder": str(weights.folder),
            "bytes": weights.size,
            "dtype": weights.config.get("dtype") or weights.config.get("torch_dtype"),
            "architecture": next(iter(weights.config.get("architectures") or ()), None),
            "adapter": str(weights.adapter.folder) if weights.adapter else None,
        },
    }


def _system_role(weights: Weights) -> bool | None:
    """Whether the template shows a system's message; unknown where transformers is not installed.

    Raises:
        BackendFault: Tokenizer or template cannot be used.
    """
    if installed("transformers") is None:
        return None
    return LocalPrompt(weights).system_role


async def _server(backend: Backend, spec: OpenAIModel) -> dict[str, Any]:
    """What the server says of itself."""
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            await backend.start()
        about = backend.about()
    finally:
        await backend.close()
    return {
        "template": "server" if about.get("template", True) else "none",
        "system_role": about.get("system"),
        "context": about.get("context") or spec.context,
        "detail": {k: v for k, v in about.items() if k not in ("template", "system", "context")},
    }


def failing(facts: Sequence[ModelFacts]) -> list[ModelFacts]:
    """Those that cannot be used."""
    return [f for f in facts if f.status == "fail"]
