"""From a scenario's `models:` block to backends.

Builders import their backend when they are called, so a scenario pays only for what it uses: neither
openai nor torch is imported for a simulated class.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from docendo.errors import UsageError
from docendo.registry import Registry
from docendo.runtime.backends.base import Backend
from docendo.scenarios.model_spec import ModelSpec, OpenAIModel, ScriptedModel, TransformersModel, VllmModel

__all__ = ["BACKENDS", "Builder", "build_backend"]


class Builder(Protocol):
    """Makes a backend from its part of a scenario."""

    def __call__(self, spec: Any, *, answer_key: Mapping[str, Any], base: Path) -> Backend:
        """Make it.

        Args:
            spec: The model's part of the scenario.
            answer_key: Item id -> item with its answer, for simulated minds. No other backend sees it.
            base: Folder of the scenario file.
        """
        ...


BACKENDS: Registry[Builder] = Registry("backend")


def build_backend(name: str, spec: ModelSpec, *, answer_key: Mapping[str, Any], base: Path) -> Backend:
    """The backend of the model called `name`.

    Args:
        name: The model's name in the scenario, for error messages.
        spec: Its part of the scenario.
        answer_key: Item id -> item with its answer, for simulated minds.
        base: Folder of the scenario file.

    Raises:
        UsageError: The model is described wrongly, or no such backend is installed.
    """
    try:
        return BACKENDS.get(spec.backend)(spec, answer_key=answer_key, base=base)
    except UsageError as error:
        raise error.at(path=f"models.{name}") from None


@BACKENDS.register("simulated")
def _simulated(spec: Any, *, answer_key: Mapping[str, Any], base: Path) -> Backend:
    from docendo.runtime.backends.simulated import SimulatedBackend

    return SimulatedBackend(spec, answer_key)


@BACKENDS.register("scripted")
def _scripted(spec: ScriptedModel, *, answer_key: Mapping[str, Any], base: Path) -> Backend:
    from docendo.runtime.backends.scripted import ScriptedBackend

    return ScriptedBackend(spec, base)


@BACKENDS.register("openai")
def _openai(spec: OpenAIModel, *, answer_key: Mapping[str, Any], base: Path) -> Backend:
    from docendo.runtime.backends.openai_compatible import OpenAIBackend

    return OpenAIBackend(spec)


@BACKENDS.register("transformers")
def _transformers(spec: TransformersModel, *, answer_key: Mapping[str, Any], base: Path) -> Backend:
    from docendo.runtime.backends.transformers_backend import TransformersBackend

    return TransformersBackend(spec, base)


@BACKENDS.register("vllm")
def _vllm(spec: VllmModel, *, answer_key: Mapping[str, Any], base: Path) -> Backend:
    from docendo.runtime.backends.vllm_backend import VllmBackend

    return VllmBackend(spec, base)
