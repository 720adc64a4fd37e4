"""Where things are in a store, for tests that need a particular episode."""

from __future__ import annotations

from dataclasses import dataclass

from docendo.events import BeliefEvent, FlagEvent
from docendo.runtime.store import open_store
from docendo.runtime.store.records import EpisodeRecord

__all__ = ["Places", "find_places"]


@dataclass(frozen=True)
class Places:
    """Addresses in the viewer."""

    grid: str
    """The run of policies over budgets."""
    dialogues: str
    """The run of tutoring dialogues."""
    lesson: str
    """A lesson of dialogues."""
    leaky: str
    """An episode in which the answer was given away; `leak` are the very words, `turn` says where."""
    leak: str
    turn: int
    believing: str
    """An episode with a diagnostician's beliefs, in an ordinary condition."""
    first: str
    second: str
    """Conditions of `dialogues` that have `believing`'s item."""
    ordinal: int


def find_places(store: str) -> Places:
    """The first places of each kind."""
    with open_store(store, create=False, readonly=True) as reader:
        grid, dialogues = reader.run("when-to-step-in").id, reader.run("tutoring-dialogue").id
        plain = [c.id for c in reader.conditions(dialogues) if not c.control]
        taught = [e for e in reader.episodes(dialogues) if e.phase == "teach"]
        events = {e.id: reader.events(e.id) for e in taught}
        flags = {e.id: [f for f in events[e.id] if isinstance(f, FlagEvent) and f.found] for e in taught}
        leaky = next(e for e in taught if flags[e.id])
        believing = next(
            e for e in taught
            if e.lesson.condition == plain[0]
            and sum(isinstance(b, BeliefEvent) for b in events[e.id]) > 2
        )  # fmt: skip
    return Places(
        grid=f"/run/{grid}", dialogues=f"/run/{dialogues}", lesson=_place(leaky).rpartition("/episode/")[0],
        leaky=_place(leaky), leak=flags[leaky.id][0].words, turn=flags[leaky.id][0].said,
        believing=_place(believing), first=plain[0], second=plain[1], ordinal=believing.ordinal,
    )  # fmt: skip


def _place(episode: EpisodeRecord) -> str:
    key = episode.lesson
    return f"/run/{key.run}/lesson/{key.condition}/{key.replicate}/episode/{episode.ordinal}"
