"""The control `shuffled_dialogue`: the same words in another order.

Of a dialogue, content and order could each have done the work. So the dialogue is held once in a scratch
copy, as it is without the control (the same calls with the same seeds, which the journal shares with that
condition); then it is held again, and the teacher's turns say the words of the first in a shuffled order.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from docendo.events import CallEvent
from docendo.graphs.compile import CompiledGraph
from docendo.runtime.episode import Episode, scratch
from docendo.runtime.ledger import Ledger
from docendo.runtime.recorder import Recorder

__all__ = ["deranged", "spoken_in"]

BEFORE = -1
"""The turn of everything that happens before an episode's graph starts."""


async def spoken_in(episode: Episode, graph: CompiledGraph) -> tuple[str, ...]:
    """What the teacher says to students in `episode`, undisturbed; its calls are recorded as rehearsed.

    Raises:
        EpisodeFailure: An act of the rehearsal failed.
    """
    rehearsal = replace(
        scratch(episode),
        ledger=Ledger(episode.ledger.limits),
        shared=Ledger(episode.shared.limits),
        recorder=Recorder(),
        choice=episode.choice,
        yoked=(),
    )
    await graph.run(rehearsal)
    for event in rehearsal.recorder.sorted():
        if isinstance(event, CallEvent):
            fields = event.model_dump(exclude={"turn", "branch", "n", "kind", "purpose"})
            episode.recorder.add(CallEvent, turn=BEFORE, branch=event.branch, purpose="probe", **fields)
    teachers = {a.name for a in episode.agents.values() if a.role == "teacher"}
    return tuple(m.text for m in rehearsal.heard() if m.sender in teachers and "*" in m.recipients)


def deranged(words: tuple[str, ...], seed: int) -> tuple[str, ...]:
    """`words` in an order in which none keeps its place (Sattolo's algorithm); one alone stays."""
    order, random = list(words), Random(seed)
    for i in range(len(order) - 1, 0, -1):
        j = random.randrange(i)
        order[i], order[j] = order[j], order[i]
    return tuple(order)
