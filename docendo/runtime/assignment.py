"""Who works on what: the items of a phase, parallel forms, exams, and items that are irrelevant to others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from docendo.agents.participant import Participant
from docendo.runtime.setting import LessonSetting
from docendo.scenarios.item import Item
from docendo.scenarios.items.allotment import Allotment
from docendo.scenarios.items.exam import choose_exam
from docendo.scenarios.items.rephrase import rephrased
from docendo.scenarios.schema import Phase

__all__ = ["Assigned", "Assignment"]

Assigned = Mapping[str, Sequence[Item]]
"""Student -> what it works on; `""` stands for all of them where a graph fans out over students."""


@dataclass(frozen=True)
class Assignment:
    """Hands the items of one lesson out to its phases."""

    setting: LessonSetting
    allotment: Allotment
    agents: Mapping[str, Participant]
    """As they came into the lesson."""

    def assigned(self, phase: Phase) -> Assigned:
        """Who works on what. Parallel forms go round: over students, and over replicates for each of them."""
        students = self.students() if self._once_per_student(phase) else [""]
        pools = [phase.pools[(self.setting.replicate + n) % len(phase.pools)] for n in range(len(students))]
        items = {pool: self.items(phase, pool) for pool in dict.fromkeys(pools)}
        return {s: items[pool] for s, pool in zip(students, pools, strict=True)}

    def _once_per_student(self, phase: Phase) -> bool:
        """Whether each student has episodes of its own: students act, and no edge fans out over them."""
        graph = self.setting.graphs[phase.id].spec
        groups = {node.do.partition(".")[0] for node in graph.nodes.values()}
        acting = any(a.role == "student" and groups & {a.name, a.group, a.role} for a in self.agents.values())
        return acting and not any("students" in edge.each for edge in graph.edges)

    def items(self, phase: Phase, pool: str) -> tuple[Item, ...]:
        """What the phase takes of a pool.

        Raises:
            ItemError: The pool has too few, or another purpose holds some.
        """
        if phase.kind == "observe":
            return self.allotment.take(
                pool, phase.count or self._default_observations(), f"observe {phase.id}"
            )
        items = self.allotment.all(pool, "episodes")
        items = items[: phase.count] if phase.count and phase.kind != "refine" else items
        return items if phase.rephrase is None else tuple(rephrased(items, phase.rephrase))

    def exam(self, phase: Phase, item: Item) -> tuple[Item, ...]:
        """What students sit after they were taught `item`."""
        if phase.exam is None:
            return ()
        pool = self.allotment.all(phase.exam.pool, "episodes") if phase.exam.pool else ()
        return choose_exam(item, pool, phase.exam, source=self.setting.scenario.items)

    def _default_observations(self) -> int:
        """Twice what a prompt shows, so that balancing has something to choose from."""
        shown = [a.spec.student_model.demonstrations for a in self.agents.values() if a.spec.student_model]
        return max(2 * max(shown, default=4), 1)

    def students(self) -> list[str]:
        """Names of the students; one empty name where there are none."""
        return [a.name for a in self.agents.values() if a.role == "student"] or [""]

    def decoys(self, phase: Phase, items: Sequence[Item]) -> dict[str, Item]:
        """Item -> one whose explanation is irrelevant to it.

        One of another teach phase that has no skill in common, where there is one: a hint on the same topic
        may well help. Else the next item of the phase.
        """
        elsewhere = [
            item
            for other in self.setting.scenario.plan
            if other.kind == "teach" and other.id != phase.id
            for item in self.setting.pools.get(other.pool, ())
        ]
        decoys = {}
        for i, item in enumerate(items):
            far = [e for e in elsewhere if e.skills and not set(e.skills) & set(item.skills)]
            decoys[item.id] = far[i % len(far)] if far else items[(i + 1) % len(items)]
        return decoys
