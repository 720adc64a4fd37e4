"""What a run is made with, written down when it begins and compared when it goes on.

Versions, prompts, and of every model its fingerprint and what it can do. With these a replay needs no model:
not its weights, not its server, not even its library.
"""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from docendo import __version__
from docendo.errors import UsageError, Where
from docendo.events import SCHEMA_VERSION
from docendo.runtime.store.records import RunRecord
from docendo.runtime.study import Study

__all__ = ["manifest", "prompts_of", "refuse_changes"]

_LIBRARIES = ("langgraph", "pydantic", "sqlmodel", "sqlalchemy", "networkx", "scipy", "numpy", "jinja2")


def manifest(study: Study) -> dict[str, Any]:
    """What the run was made with."""
    return {
        "docendo": __version__,
        "events": SCHEMA_VERSION,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "prompts": prompts_of(study),
        "base": str(study.loaded.base),
        "file": study.loaded.file,
        "fingerprints": _fingerprints(study),
        "capabilities": {
            world: {name: asdict(backend.capabilities) for name, backend in backends.items()}
            for world, backends in study.backends.items()
        },
    }


def prompts_of(study: Study) -> dict[str, str]:
    """`agent.act` -> digest of its template."""
    return {
        f"{group}.{act}": template.digest
        for setup in study.setups
        for group, templates in setup.templates.items()
        for act, template in templates.items()
    }


def refuse_changes(study: Study, record: RunRecord) -> None:
    """Refuse to go on with a run whose prompts or models have changed: its halves would not belong together.

    Raises:
        UsageError: One has; the message names it.
    """
    stored = record.manifest.get("prompts", {})
    changed = [name for name, digest in prompts_of(study).items() if stored.get(name, digest) != digest]
    if changed:
        raise UsageError(
            f"the prompt of `{changed[0]}` has changed since run {record.id} began",
            suggestion="Put the old prompt back, or give the scenario another `name` to run the new one.",
        )
    began = record.manifest.get("fingerprints", {})
    for world, models in _fingerprints(study).items():
        for name, fingerprint in models.items():
            if began.get(world, {}).get(name, fingerprint) != fingerprint:
                raise UsageError(
                    f"the model `{name}` is not the one that run {record.id} began with",
                    suggestion="Put its weights, adapter, chat template or version of docendo back, or give "
                    "the scenario another `name` to run the new one.",
                    where=Where(path=f"models.{name}"),
                )


def _fingerprints(study: Study) -> dict[str, dict[str, str]]:
    """World -> model -> who answers."""
    return {
        world: {name: backend.fingerprint for name, backend in backends.items()}
        for world, backends in study.backends.items()
    }
