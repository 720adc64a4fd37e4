"""One lesson: a condition and a replicate, carried through the plan.

Phases run in order. Inside a phase all episodes run at once (`order: parallel`), each on its own fork of
the agents' memories, and what they added is merged in item order afterwards; or one after the other
(`order: sequential`), each on what the one before left. A teach phase first lets its policy choose
(`choosing`); a refine phase is a race of its own (`refinement`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from docendo.agents.participant import Participant, as_heard
from docendo.errors import DocendoError, EpisodeFailure, InfrastructureError
from docendo.events import DecisionEvent, ErrorEvent, EventBase, MemoryEvent, StopEvent, StopReason
from docendo.graphs.compile import CompiledGraph
from docendo.memory.state import MemoryState, merge
from docendo.runtime.assignment import Assigned, Assignment
from docendo.runtime.choosing import choose
from docendo.runtime.consequences import note_failure
from docendo.runtime.episode import Episode
from docendo.runtime.laboratory import EpisodeKey, Laboratory
from docendo.runtime.ledger import Ledger
from docendo.runtime.measures.measure import EpisodeTrace, LessonTrace
from docendo.runtime.minds.population import describe_mind, rest
from docendo.runtime.observation import absorb
from docendo.runtime.refinement import Exam, refine
from docendo.runtime.roster import make_roster, new_models, sampling_of
from docendo.runtime.seed import derive_seed, uniform
from docendo.runtime.setting import SHARED_UNITS, LessonSetting
from docendo.runtime.together import grouped, together
from docendo.runtime.yoking import deranged, spoken_in
from docendo.scenarios.amount import amount_of
from docendo.scenarios.item import Item
from docendo.scenarios.items.allotment import Allotment
from docendo.scenarios.schema import Phase, Scenario
from docendo.scenarios.taxonomy import TaxonomySpec, load_taxonomy

__all__ = ["Lesson"]


@dataclass
class Lesson:
    """Runs one lesson; `run` gives its trace."""

    setting: LessonSetting
    agents: dict[str, Participant] = field(init=False)
    assignment: Assignment = field(init=False)
    traces: list[EpisodeTrace] = field(default_factory=list)
    _ordinal: int = 0
    _observed: dict[str, Assigned] = field(default_factory=dict)
    """Observe phase -> its items, for observing them again."""

    def __post_init__(self) -> None:
        s = self.setting
        allotment = Allotment(s.pools, derive_seed(s.scenario.seed, s.replicate, "allotment"))
        self.agents = make_roster(s.scenario, s.replicate, s.templates, allotment)
        self.assignment = Assignment(s, allotment, dict(self.agents))

    async def run(self) -> LessonTrace:
        """Carry the lesson through its plan.

        Raises:
            InfrastructureError: A model or the store cannot be used at all.
        """
        for index, phase in enumerate(self.setting.scenario.plan):
            before = {name: agent.memory for name, agent in self.agents.items()}
            if phase.kind == "rest":
                await self._rest(index, phase)
            elif phase.kind == "refine":
                await self._refine(index, phase)
            else:
                await self._phase(index, phase)
            self._reset(before, "phase")
        return LessonTrace(
            condition=self.setting.condition, replicate=self.setting.replicate, episodes=tuple(self.traces)
        )

    def allot(self) -> None:
        """Take the items of all phases and nothing more, to see whether there are enough.

        Raises:
            ItemError: A pool has too few.
        """
        for phase in self.setting.scenario.plan:
            if phase.kind != "rest":
                for pool in phase.pools:
                    self.assignment.items(phase, pool)
                if phase.exam is not None:
                    self.assignment.exam(phase, self.assignment.items(phase, phase.pool)[0])

    # --- phases -------------------------------------------------------------------------------------------

    async def _phase(self, index: int, phase: Phase) -> None:
        items = self.assignment.assigned(phase)
        shared = Ledger(self._limits(phase, sum(map(len, items.values())), shared=True))
        done: set[tuple[str, str]] = set()
        for number in range(phase.rounds):
            if number:
                await self._observe_anew(index, number)
            left = {s: [i for i in its if (i.id, s) not in done] for s, its in items.items()}
            episodes = self._episodes(index, phase, number, left, shared)
            await choose(phase, self.setting.graphs[phase.id], episodes, shared)
            done |= {
                (e.key.item, e.key.student) for e in episodes if e.choice is not None and e.choice.chosen
            }
            await self._run_all(phase, episodes)
            if phase.kind == "observe":
                self._observed[phase.id] = items
                self.agents = absorb(phase, episodes, self.agents)
            elif phase.kind == "teach" and phase.order == "parallel":
                self._merge(episodes)

    async def _observe_anew(self, index: int, number: int) -> None:
        """Before a further round, teachers that keep up to date see the same items done by today's student.

        Their student models start from nothing each time: what the student did before it learnt is no
        evidence of what it would do now.
        """
        keen = {
            name: replace(agent, student_models=new_models(self.setting.scenario, agent.spec))
            for name, agent in self.agents.items()
            if (model := agent.spec.student_model) is not None and model.update
        }
        earlier = self.setting.scenario.plan[:index]
        phase = next(
            (p for p in reversed(earlier) if p.params.get("keep") is None and p.id in self._observed), None
        )
        if keen and phase is not None:
            episodes = self._episodes(index, phase, number, self._observed[phase.id], Ledger({}))
            await self._run_all(phase, episodes)
            self.agents |= absorb(phase, episodes, keen)

    async def _refine(self, index: int, phase: Phase) -> None:
        """A teacher revises its exemplars; see `docendo.runtime.refinement`."""
        teacher = next(a for a in self.agents.values() if a.role == "teacher")
        bench = _LessonBench(self, index, phase)
        self.agents[teacher.name] = await refine(bench, phase, teacher, self.agents)

    async def _rest(self, index: int, phase: Phase) -> None:
        """Time passes: minds forget."""
        for name, agent in self.agents.items():
            if agent.memory.mind is None or not agent.memory.mind.get("forget"):
                continue
            mind = rest(agent.memory.mind)
            self.agents[name] = agent.remembering(agent.memory.with_mind(mind))
            event = MemoryEvent(agent=name, act="rest", slot="mind", change=describe_mind(mind))
            key = EpisodeKey(index=index, phase=phase.id, round=0, item="", student=name)
            await self._finish(key, phase, [event, StopEvent(n=1, reason="end")], "end", "", 0.0)

    def _limits(self, phase: Phase, n: int, *, shared: bool) -> dict[str, int]:
        budget = self.setting.scenario.budget if phase.kind == "teach" else {}
        return {u: amount_of(a, n) for u, a in budget.items() if (u in SHARED_UNITS) == shared}

    def _episodes(
        self, index: int, phase: Phase, number: int, assigned: Assigned, shared: Ledger
    ) -> list[Episode]:
        items = list({i.id: i for its in assigned.values() for i in its}.values())
        lab = self._laboratory(phase, items)
        limits, agents = self._limits(phase, len(items), shared=False), dict(self.agents)
        exams = {item.id: {i.id: i for i in self.assignment.exam(phase, item)} for item in items}
        return [
            Episode(
                lab=lab,
                item=item,
                exam=exams[item.id],
                agents=agents,
                shared=shared,
                key=EpisodeKey(index=index, phase=phase.id, round=number, item=item.id, student=student),
                ledger=Ledger(limits),
                policy=phase.policy.kind if phase.policy else "",
            )
            for item in items
            for student, its in assigned.items()
            if item in its
        ]

    def _laboratory(self, phase: Phase, items: Sequence[Item]) -> Laboratory:
        """What the episodes of a phase share."""
        s = self.setting
        return Laboratory(
            port=s.port,
            seed=s.scenario.seed,
            condition=s.condition,
            replicate=s.replicate,
            kind=phase.kind,
            params=phase.params,
            moves=phase.moves,
            taxonomy=taxonomy_of(s.scenario, phase),
            examines=s.examines,
            sampling={g: sampling_of(a, s.scenario.models[a.model]) for g, a in s.scenario.agents.items()},
            members={
                "students": self.assignment.students(),
                "samples": [str(n + 1) for n in range(phase.samples or 0)],
                "repeats": [str(n + 1) for n in range(phase.repeats or 1)],
            },
            decoys=self.assignment.decoys(phase, items),
        )

    # --- running ------------------------------------------------------------------------------------------

    async def _run_all(self, phase: Phase, episodes: Sequence[Episode]) -> None:
        first = self._ordinal
        self._ordinal += len(episodes)
        if phase.order == "parallel":
            work = [self._run_one(first + i, phase, e) for i, e in enumerate(episodes)]
            traces = await grouped(work, [e.key.student for e in episodes])
        else:
            traces = []
            for i, episode in enumerate(episodes):
                episode.agents = dict(self.agents)
                traces.append(await self._run_one(first + i, phase, episode))
                if phase.kind == "teach":
                    self._merge([episode])
        self.traces.extend(traces)

    async def _run_one(
        self, ordinal: int, phase: Phase, episode: Episode, graph: CompiledGraph | None = None
    ) -> EpisodeTrace:
        s = self.setting
        async with s.admission.episode(s.condition, s.replicate, str(episode.key)):
            return await self._run_now(ordinal, phase, episode, graph)

    async def _run_now(
        self, ordinal: int, phase: Phase, episode: Episode, graph: CompiledGraph | None
    ) -> EpisodeTrace:
        started = time.perf_counter()
        graph = graph or self.setting.graphs[phase.id]
        failure = next((e.failure for e in episode.recorder.events if isinstance(e, ErrorEvent)), "")
        reason: StopReason = "failed"
        detail, turns = "", 0
        if not failure:
            try:
                await self._yoke(episode, graph)
                outcome = await graph.run(episode)
                reason, detail, turns = outcome.reason, outcome.detail, outcome.turns
            except InfrastructureError:
                raise
            except EpisodeFailure as error:
                failure = note_failure(episode, error, len(episode.spoken))
            except DocendoError:
                raise
            except Exception as error:  # a bug is one episode's failure, not the batch's
                failure = note_failure(
                    episode, EpisodeFailure("crash", repr(error)), len(episode.spoken), error
                )
        episode.recorder.add(
            StopEvent, turn=max(turns, len(episode.spoken)) + 1, reason=reason, detail=detail
        )
        seconds = time.perf_counter() - started
        return await self._finish(
            episode.key, phase, episode.recorder.sorted(), reason, failure, seconds, ordinal
        )

    async def _yoke(self, episode: Episode, graph: CompiledGraph) -> None:
        """For the control `shuffled_dialogue`: hold the dialogue once, and shuffle its words."""
        distorted = [a for a in episode.agents.values() if a.spec.distort == "shuffled"]
        if distorted and episode.lab.kind == "teach":
            words = await spoken_in(episode, graph)
            lot = derive_seed(self.setting.scenario.seed, self.setting.replicate, "shuffle", str(episode.key))
            episode.yoked = deranged(words, lot)

    async def _finish(
        self,
        key: EpisodeKey,
        phase: Phase,
        events: Sequence[EventBase],
        outcome: StopReason,
        failure: str,
        seconds: float,
        ordinal: int | None = None,
    ) -> EpisodeTrace:
        trace = EpisodeTrace(
            key=str(key),
            phase=phase.id,
            phase_kind=phase.kind,
            round=key.round,
            item=key.item,
            student=key.student,
            outcome=outcome,
            failure=failure,
            events=tuple(events),  # type: ignore[arg-type]
        )
        if ordinal is None:
            ordinal = self._ordinal
            self._ordinal += 1
            self.traces.append(trace)
        await self.setting.finished(ordinal, trace, seconds)
        return trace

    # --- memory -------------------------------------------------------------------------------------------

    def _merge(self, episodes: Sequence[Episode]) -> None:
        """Keep what agents with a lasting memory have added, in item order."""
        for name, agent in self.agents.items():
            if agent.spec.memory.reset == "episode":
                continue
            forks = [
                _with_transcript(e, name)
                for e in episodes
                if e.key.student in ("", name) or agent.role != "student"
            ]
            self.agents[name] = agent.remembering(merge(agent.memory, forks))

    def _reset(self, before: Mapping[str, MemoryState], scope: str) -> None:
        for name, agent in self.agents.items():
            if agent.spec.memory.reset == scope and agent.role == "student":
                self.agents[name] = agent.remembering(before[name])


@dataclass
class _LessonBench:
    """Implements `docendo.runtime.refinement.Bench` with the episodes of a lesson."""

    lesson: Lesson
    index: int
    phase: Phase

    def draw(self, n: int | None, *purpose: object) -> tuple[Item, ...]:
        """`n` of the phase's items by lot; all of them in order for `None`."""
        setting = self.lesson.setting
        items = self.lesson.assignment.items(self.phase, self.phase.pool)
        seed = (setting.scenario.seed, setting.replicate, self.phase.id, *purpose)
        return items if n is None else tuple(sorted(items, key=lambda i: uniform(*seed, i.id))[:n])

    async def hold(self, exams: Sequence[Exam]) -> list[Episode | None]:
        """Hold exams at once, each an episode; `None` for one that failed."""
        lesson, phase = self.lesson, self.phase
        first, lesson._ordinal = lesson._ordinal, lesson._ordinal + len(exams)
        episodes = [self._episode(exam) for exam in exams]
        traces = await together(
            lesson._run_one(first + i, phase, episode, lesson.setting.graphs[f"{phase.id}/{exam.graph}"])
            for i, (episode, exam) in enumerate(zip(episodes, exams, strict=True))
        )
        lesson.traces.extend(traces)
        return [None if t.errored else e for t, e in zip(traces, episodes, strict=True)]

    def _episode(self, exam: Exam) -> Episode:
        return Episode(
            lab=self.lesson._laboratory(self.phase, exam.items),
            item=Item(id=exam.name, question="", kind="text", answer=""),
            exam={i.id: i for i in exam.items},
            agents=exam.agents,
            shared=Ledger({}),
            key=EpisodeKey(
                index=self.index, phase=self.phase.id, round=exam.round, item=exam.name, student=""
            ),
            ledger=Ledger({}),
        )

    async def conclude(self, round_: int, decision: DecisionEvent, memory: MemoryEvent) -> None:
        """Record which sets went on after a round."""
        key = EpisodeKey(index=self.index, phase=self.phase.id, round=round_, item="selection", student="")
        events = [decision, memory, StopEvent(n=2, reason="end")]
        await self.lesson._finish(key, self.phase, events, "end", "", 0.0)


def taxonomy_of(scenario: Scenario, phase: Phase) -> TaxonomySpec | None:
    """The taxonomy of the phase's moves: the scenario's own by name, or docendo's.

    Raises:
        UnknownNameError: There is none of that name.
    """
    if phase.moves is None:
        return None
    name = phase.moves.taxonomy
    return scenario.taxonomies[name] if name in scenario.taxonomies else load_taxonomy(name)


def _with_transcript(episode: Episode, name: str) -> MemoryState:
    memory = episode.remembers(name)
    if memory.kind != "transcript":
        return memory
    return memory.add_transcript(
        m if m.sender == name else as_heard(m) for m in episode.heard() if m.readable_by(name)
    )
