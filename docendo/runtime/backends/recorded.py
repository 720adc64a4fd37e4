"""A model of the past: who it was and what it could do, as a run's manifest has it, and nothing to ask.

Replays use it. The journal holds the answers, and what names them is the fingerprint and the capabilities,
so neither weights nor a server nor an engine's library is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from docendo.agents.port import GenerateReply, GenerateRequest, ScoreReply, ScoreRequest
from docendo.runtime.backends.base import Backend, BackendFault, Capabilities

__all__ = ["RecordedBackend", "recorded_backends"]


class RecordedBackend(Backend):
    """One model of a recorded run."""

    def __init__(self, fingerprint: str, capabilities: Capabilities) -> None:
        """Take both from the manifest."""
        self._fingerprint = fingerprint
        self.capabilities = capabilities

    @property
    def fingerprint(self) -> str:
        """Who answered then."""
        return self._fingerprint

    async def generate(self, request: GenerateRequest) -> GenerateReply:
        """Not offered.

        Raises:
            BackendFault: Always.
        """
        raise _past()

    async def score(self, request: ScoreRequest) -> ScoreReply:
        """Not offered.

        Raises:
            BackendFault: Always.
        """
        raise _past()

    async def close(self) -> None:
        """Nothing is held."""


def recorded_backends(manifest: Mapping[str, Any]) -> dict[str, dict[str, Backend]]:
    """World -> model -> what the run's manifest says of it; empty where it says nothing (older versions)."""
    can = manifest.get("capabilities", {})
    known = {f.name for f in fields(Capabilities)}
    return {
        world: {
            name: RecordedBackend(
                text, Capabilities(**{k: v for k, v in can[world][name].items() if k in known})
            )
            for name, text in models.items()
        }
        for world, models in manifest.get("fingerprints", {}).items()
        if world in can
    }


def _past() -> BackendFault:
    return BackendFault("a recorded model cannot be asked anew", retry=False, fatal=True)
