"""Taxonomies of teaching moves: data, not code.

A taxonomy has one or more *slots*, decided in order (Bridge: error, then strategy, then intention), each with
its labels. A label of the last slot that has them says what the words that follow it are (`says`) and which
unit of the budget they cost (`spends`): a hint costs a hint, an answer told costs a tell. Taxonomies come
with docendo as files in the folder `taxonomies`, or are written into the scenario.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib.resources import files
from typing import Annotated, Literal

from pydantic import Field
from ruamel.yaml import YAML

from docendo.errors import UnknownNameError, did_you_mean
from docendo.scenarios.spec import Spec

__all__ = ["LabelSpec", "MoveSays", "TaxonomySpec", "load_taxonomy", "taxonomy_names"]

MoveSays = Literal["question", "hint", "explanation", "feedback"]
"""What kind of message a move makes."""

Label = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_\-]*$")]

_FOLDER = files("docendo.scenarios") / "taxonomies"


class LabelSpec(Spec):
    """One move, or one value of an earlier slot."""

    description: str = Field("", description="Shown to the model that chooses.")
    says: MoveSays | None = Field(None, description="What kind of message the move makes.")
    spends: str | None = Field(None, description="Unit of the budget that the move costs one of.")
    reveals: bool = Field(False, description="Whether the move gives the answer itself.")


class TaxonomySpec(Spec):
    """A set of moves that a teacher chooses from."""

    description: str = ""
    source: str = Field("", description="Where the labels come from.")
    slots: dict[Label, dict[Label, LabelSpec]] = Field(
        min_length=1, description="Slot -> label -> what it means; slots are decided in this order."
    )

    def says(self, labels: Mapping[str, str]) -> MoveSays:
        """What kind of message the move `labels` (slot -> label) makes; `feedback` where no label says."""
        found = [spec.says for spec in self._chosen(labels) if spec.says is not None]
        return found[-1] if found else "feedback"

    def spends(self, labels: Mapping[str, str]) -> str:
        """The unit that the move costs one of; empty where it is free."""
        found = [spec.spends for spec in self._chosen(labels) if spec.spends is not None]
        return found[-1] if found else ""

    def reveals(self, labels: Mapping[str, str]) -> bool:
        """Whether the move gives the answer itself."""
        return any(spec.reveals for spec in self._chosen(labels))

    def _chosen(self, labels: Mapping[str, str]) -> list[LabelSpec]:
        return [known[labels[slot]] for slot, known in self.slots.items() if labels.get(slot) in known]


@functools.cache
def taxonomy_names() -> tuple[str, ...]:
    """Names of the taxonomies that come with docendo, sorted."""
    return tuple(sorted(f.name.removesuffix(".yaml") for f in _FOLDER.iterdir() if f.name.endswith(".yaml")))


@functools.cache
def load_taxonomy(name: str) -> TaxonomySpec:
    """The taxonomy `name` that comes with docendo.

    Raises:
        UnknownNameError: There is none; the message suggests the nearest names.
    """
    if name not in taxonomy_names():
        raise UnknownNameError(f"unknown taxonomy `{name}`", suggestion=did_you_mean(name, taxonomy_names()))
    text = (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    return TaxonomySpec.model_validate(YAML(typ="safe", pure=True).load(text))
