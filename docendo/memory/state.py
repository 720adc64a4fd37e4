"""What one agent remembers, as an immutable value.

An act that adds to memory makes a new `MemoryState`; nothing is changed in place. So an episode works on a
fork for free, a parallel phase merges its forks in item order, and `reset` is only a choice of which value
to go on with. The state of a simulated mind travels here too: it is the learner's own, and nobody else's
view ever contains it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from docendo.memory.record import Demonstration
from docendo.messages import Message

__all__ = ["MemoryState", "Slot", "merge"]

Slot = Literal["demonstrations", "notes", "transcript"]
T = TypeVar("T")


class MemoryState(BaseModel):
    """One agent's memory. `size` limits each list; the oldest entries give way."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["none", "transcript", "demonstrations", "notes"] = "none"
    size: int | None = None
    demonstrations: tuple[Demonstration, ...] = ()
    notes: tuple[str, ...] = ()
    transcript: tuple[Message, ...] = ()
    mind: dict[str, Any] | None = None

    def add_demonstration(self, entry: Demonstration) -> MemoryState:
        """Remember a worked example; a new one for the same item replaces the old."""
        kept = tuple(d for d in self.demonstrations if d.item != entry.item)
        return self.model_copy(update={"demonstrations": self._last((*kept, entry))})

    def add_note(self, text: str) -> MemoryState:
        """Remember a note or reflection."""
        return self.model_copy(update={"notes": self._last((*self.notes, text))})

    def add_transcript(self, messages: Iterable[Message]) -> MemoryState:
        """Remember a dialogue."""
        return self.model_copy(update={"transcript": self._last((*self.transcript, *messages))})

    def with_mind(self, mind: dict[str, Any] | None) -> MemoryState:
        """The same memory with another state of mind."""
        return self.model_copy(update={"mind": mind})

    def _last(self, entries: tuple[Any, ...]) -> tuple[Any, ...]:
        return entries if self.size is None else entries[max(0, len(entries) - self.size) :]


def merge(base: MemoryState, forks: Iterable[MemoryState]) -> MemoryState:
    """`base` with everything that the forks added to it, in the forks' order.

    Of a mind's state each fork contributes the entries that it changed; where several changed the same
    entry, the later fork wins.
    """
    state = base
    for fork in forks:
        for demonstration in fork.demonstrations:
            if demonstration not in base.demonstrations:
                state = state.add_demonstration(demonstration)
        for note in _added(base.notes, fork.notes):
            state = state.add_note(note)
        state = state.add_transcript(_added(base.transcript, fork.transcript))
        if fork.mind is not None and fork.mind != base.mind:
            state = state.with_mind(_merge_mind(base.mind or {}, state.mind or {}, fork.mind))
    return state


def _added(base: tuple[T, ...], fork: tuple[T, ...]) -> tuple[T, ...]:
    """What stands in `fork` behind what is left of `base`; saying the same again is saying more."""
    known = next(k for k in range(min(len(base), len(fork)), -1, -1) if fork[:k] == base[len(base) - k :])
    return fork[known:]


def _merge_mind(
    base: Mapping[str, Any], current: Mapping[str, Any], fork: Mapping[str, Any]
) -> dict[str, Any]:
    merged = dict(current)
    for key, value in fork.items():
        old = base.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            inner = current.get(key)
            merged[key] = _merge_mind(old, inner if isinstance(inner, Mapping) else {}, value)
        elif value != old:
            merged[key] = value
    return merged
