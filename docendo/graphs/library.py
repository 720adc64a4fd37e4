"""The graphs that scenarios may name: one YAML file each, in the folder `library` beside this module."""

from __future__ import annotations

import functools
from importlib.resources import files

from ruamel.yaml import YAML

from docendo.errors import UnknownNameError, did_you_mean
from docendo.scenarios.schema import GraphSpec

__all__ = ["library_names", "load_library"]

_FOLDER = files("docendo.graphs") / "library"


@functools.cache
def library_names() -> tuple[str, ...]:
    """Names of all library graphs, sorted."""
    return tuple(sorted(f.name.removesuffix(".yaml") for f in _FOLDER.iterdir() if f.name.endswith(".yaml")))


@functools.cache
def load_library(name: str) -> GraphSpec:
    """The library graph `name`.

    Raises:
        UnknownNameError: There is none; the message suggests the nearest names.
    """
    if name not in library_names():
        raise UnknownNameError(f"unknown graph `{name}`", suggestion=did_you_mean(name, library_names()))
    text = (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    return GraphSpec.model_validate(YAML(typ="safe", pure=True).load(text))
