"""A plug-in: an act, a policy, a measure and an item source, registered when docendo imports this module."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from docendo.agents.act import ACTS, Act
from docendo.agents.payload import Explanation
from docendo.agents.policy import POLICIES, Policy, Rehearsal, Score
from docendo.agents.view import View
from docendo.events import MessageEvent
from docendo.runtime.measures.measure import LessonTrace, Observed, Place, measure
from docendo.scenarios.item import Item
from docendo.scenarios.items.source import SOURCES, SourceOptions
from docendo.scenarios.schema import PolicySpec


def _cheer(view: View) -> Explanation:
    assert view.item is not None
    return Explanation(explanation=f"You can do it! {view.params.get('words', '')} ({view.item.id})")


ACTS.add(
    "teacher.countdown/cheer",
    Act(
        role="teacher",
        name="countdown/cheer",
        says="hint",
        reads=frozenset({"item"}),
        output=Explanation,
        do=_cheer,
        description="Encourage, and say nothing of the item.",
    ),
)


async def _last_first(rehearsal: Rehearsal, spec: PolicySpec) -> Score:
    return Score(float(rehearsal.place), {"place": rehearsal.place})


POLICIES.add(
    "countdown/last_first",
    Policy(name="countdown/last_first", description="The last items first.", score=_last_first),
)


@measure("countdown/cheers", scale="count", better="none", description="Encouragements per lesson.")
def cheers(trace: LessonTrace) -> Iterable[Observed]:
    said = [e for t in trace.episodes for e in t.events if isinstance(e, MessageEvent)]
    yield Place(), float(sum("You can do it!" in e.message.text for e in said)), ""


class CountdownOptions(SourceOptions):
    """Options of `source: countdown/numbers`."""

    start: int = 100


class Countdown:
    """How many are left?"""

    options = CountdownOptions

    def load(self, options: Any, *, base: Path, size: int, seed: int) -> list[Item]:
        """`size` questions."""
        del base, seed
        return [
            Item(
                id=f"n{n}",
                question=f"{options.start} - {n} = ?",
                kind="number",
                answer=str(options.start - n),
                skills=("countdown",),
            )
            for n in range(size)
        ]


SOURCES.add("countdown/numbers", Countdown())
