"""A teacher revises its worked examples from students' failures (Ning et al. 2024, M3; after ProTeGi).

Every round, each set of exemplars of the beam is studied by the students, who sit a fresh minibatch of
training items; the teacher reflects on what they got wrong and writes revised sets. Every set, old or new, is
scored once by how well the *teacher* does with it on training items; the best go on. The originals stay in
the race, as in the published code, so the best score never falls. The teacher keeps the best set; what it is
worth shows on held-out items, in a later test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from docendo.agents.participant import Participant
from docendo.events import DecisionEvent, MemoryEvent
from docendo.memory.record import Demonstration
from docendo.runtime.episode import Episode
from docendo.scenarios.item import Item
from docendo.scenarios.schema import Phase

__all__ = ["Bench", "Exam", "ExemplarSet", "refine"]


@dataclass
class ExemplarSet:
    """A set of worked examples in the race."""

    name: str
    """Where it comes from: `start`, or `ROUND.SET.SAMPLE`."""
    examples: tuple[Demonstration, ...]
    score: float | None = None
    """Share of the scored items that the teacher gets right with it; `None` before it was scored, and where
    an episode failed."""

    @property
    def content(self) -> tuple[tuple[str, str], ...]:
        """What makes two sets the same."""
        return tuple((d.item, d.explanation) for d in self.examples)


@dataclass(frozen=True, kw_only=True)
class Exam:
    """One episode that a refinement wants held."""

    name: str
    round: int
    graph: str
    items: Sequence[Item]
    agents: Mapping[str, Participant]


class Bench(Protocol):
    """What a refinement asks of the lesson that it is part of."""

    def draw(self, n: int | None, *purpose: object) -> tuple[Item, ...]:
        """`n` of the phase's items by lot (all of them, in order, for `None`)."""
        ...

    async def hold(self, exams: Sequence[Exam]) -> list[Episode | None]:
        """Hold exams at once, each an episode, and record them; `None` for one that failed."""
        ...

    async def conclude(self, round_: int, decision: DecisionEvent, memory: MemoryEvent) -> None:
        """Record which sets went on after a round."""
        ...


@dataclass
class _Race:
    bench: Bench
    phase: Phase
    teacher: Participant
    agents: Mapping[str, Participant]
    sets: list[ExemplarSet] = field(default_factory=list)

    async def score(self, round_: int) -> None:
        """Score the sets that have no score yet, by the teacher's answers with them in mind."""
        new = [s for s in self.sets if s.score is None]
        items = self.bench.draw(self.phase.scored, "scored")
        held = await self.bench.hold(
            [self._exam(f"{s.name} score", round_, "teacher_score", items, s) for s in new]
        )
        for candidate, episode in zip(new, held, strict=True):
            marks = episode.marks if episode is not None else []
            right = [bool(correct) for who, correct in marks if who == self.teacher.name]
            candidate.score = sum(right) / len(right) if right else None

    async def revise(self, round_: int) -> None:
        """Let the students sit a minibatch with each set, and add what the teacher makes of it."""
        parents, known = tuple(self.sets), {s.content for s in self.sets}
        items = self.bench.draw(self.phase.count, "minibatch", round_)
        held = await self.bench.hold([self._exam(p.name, round_, "refinement", items, p) for p in parents])
        for parent, episode in zip(parents, held, strict=True):
            revisions = episode.revisions if episode is not None else []
            for sample, revised in sorted(revisions, key=lambda r: r[0]):
                made = ExemplarSet(f"{parent.name}>{round_}.{sample}", revised.examples)
                if made.content not in known:
                    known.add(made.content)
                    self.sets.append(made)

    def _exam(self, name: str, round_: int, graph: str, items: Sequence[Item], of: ExemplarSet) -> Exam:
        equipped = {
            name: agent.remembering(agent.memory.model_copy(update={"demonstrations": of.examples}))
            for name, agent in self.agents.items()
        }
        return Exam(name=name, round=round_, graph=graph, items=items, agents=equipped)


async def refine(
    bench: Bench, phase: Phase, teacher: Participant, agents: Mapping[str, Participant]
) -> Participant:
    """The teacher with the best set of exemplars that `phase.rounds` rounds came to.

    Raises:
        InfrastructureError: A model or the store cannot be used at all.
    """
    race = _Race(bench, phase, teacher, agents)
    race.sets = [ExemplarSet("start", teacher.memory.demonstrations)]
    await race.score(0)
    for round_ in range(1, phase.rounds + 1):
        await race.revise(round_)
        await race.score(round_)
        scores = {s.name: s.score for s in race.sets}
        race.sets = sorted(race.sets, key=lambda s: -(-1.0 if s.score is None else s.score))[: phase.beam]
        await bench.conclude(round_, _decision(race.sets, scores, teacher), _memory(race.sets[0], teacher))
    best = race.sets[0].examples
    return replace(teacher, memory=teacher.memory.model_copy(update={"demonstrations": best}))


def _decision(
    kept: Sequence[ExemplarSet], scores: Mapping[str, float | None], who: Participant
) -> DecisionEvent:
    return DecisionEvent(
        agent=who.name,
        act="refine",
        chosen=[s.name for s in kept],
        policy="teacher_score",
        score=kept[0].score,
        reasons={"scores": dict(scores)},
    )


def _memory(best: ExemplarSet, who: Participant) -> MemoryEvent:
    examples = [d.model_dump(mode="json") for d in best.examples]
    return MemoryEvent(agent=who.name, act="refine", slot="demonstrations", n=1, change={"best": examples})
