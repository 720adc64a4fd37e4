"""Collects the events of one episode, each at its position."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from docendo.events import EventBase

__all__ = ["Recorder"]


@dataclass
class Recorder:
    """Events in order of arrival; `sorted` gives the order that counts."""

    events: list[EventBase] = field(default_factory=list)
    _next: dict[tuple[int, str], int] = field(default_factory=dict)

    def add(self, kind: type[EventBase], *, turn: int, branch: str = "", **fields: Any) -> None:
        """Append an event of class `kind` at the next free place of (`turn`, `branch`)."""
        n = self._next.get((turn, branch), 0)
        self._next[turn, branch] = n + 1
        self.events.append(kind(turn=turn, branch=branch, n=n, **fields))

    def sorted(self) -> list[EventBase]:
        """All events by position."""
        return sorted(self.events, key=lambda e: e.position)
