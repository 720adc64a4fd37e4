"""Files that come with docendo: the gallery's scenarios, and the templates of `docendo init`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from docendo.errors import UnknownNameError, did_you_mean

__all__ = ["gallery_names", "gallery_path", "read_template", "template_names"]


def gallery_names() -> list[str]:
    """Names of the bundled scenarios, sorted."""
    return _names("gallery")


def gallery_path(name: str) -> Path:
    """File of a bundled scenario.

    Raises:
        UnknownNameError: There is none of that name.
    """
    return _path("gallery", "gallery scenario", name)


def template_names() -> list[str]:
    """Names of the scenarios that `docendo init` can begin with, sorted."""
    return _names("templates")


def read_template(name: str) -> str:
    """Text of a template.

    Raises:
        UnknownNameError: There is none of that name.
    """
    return _path("templates", "template", name).read_text(encoding="utf-8")


def _folder(folder: str) -> Path:
    return Path(str(files("docendo.scenarios"))) / folder


def _names(folder: str) -> list[str]:
    return sorted(path.stem for path in _folder(folder).glob("*.yaml"))


def _path(folder: str, kind: str, name: str) -> Path:
    if name not in _names(folder):
        raise UnknownNameError(f"unknown {kind} `{name[:60]}`", suggestion=did_you_mean(name, _names(folder)))
    return _folder(folder) / f"{name}.yaml"
