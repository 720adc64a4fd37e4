"""What every model of a scenario has: how its tokens are drawn, and how it may be asked."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from docendo.scenarios.spec import Number, Spec, Whole

__all__ = ["ModelBase", "SamplingSpec", "TemplatedModel"]


class SamplingSpec(Spec):
    """How a model's tokens are drawn. Unset fields keep the backend's default."""

    temperature: Number | None = Field(None, ge=0)
    top_p: Number | None = Field(None, gt=0, le=1)
    max_tokens: Whole | None = Field(None, gt=0)
    stop: tuple[str, ...] = ()


class ModelBase(Spec):
    """Keys that all models share."""

    sampling: SamplingSpec = SamplingSpec()
    max_concurrent: Whole = Field(64, gt=0, description="Most calls in flight to this model.")
    timeout: Number = Field(120.0, gt=0, description="Seconds that one attempt may take.")
    retries: Whole = Field(
        4, ge=0, description="Further attempts after one that failed for a passing reason."
    )


class TemplatedModel(ModelBase):
    """Keys of a model that reads its prompts through a chat template."""

    chat_template_kwargs: dict[str, Any] = Field(
        default_factory=dict,
        # Left out where there is none, so that scenarios without it keep their digest.
        exclude_if=lambda value: not value,
        description="Variables of the chat template, by its own names: `{enable_thinking: false}` of Qwen3.",
    )

    def for_template(self) -> dict[str, Any]:
        """The variables under their key, as requests and identities have them; empty where there are none."""
        return self.model_dump(mode="json", include={"chat_template_kwargs"})
