"""State of one episode while it runs, and what can be asked of it.

Who acts is found by name or role, and by the branch of a fan-out; what was said is kept in order; memories
are kept by branch (`memories`). Nothing here acts or records: see `episode` and `consequences`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from docendo.agents.act import Act, Performed
from docendo.agents.participant import Participant
from docendo.agents.payload import Exemplars
from docendo.agents.policy import Choice
from docendo.agents.view import View
from docendo.graphs.actor import ROOT, Branch
from docendo.memory.record import Evidence
from docendo.memory.state import MemoryState
from docendo.messages import Message
from docendo.runtime.laboratory import EpisodeKey, Laboratory
from docendo.runtime.ledger import Ledger
from docendo.runtime.memories import Memories
from docendo.runtime.recorder import Recorder
from docendo.runtime.spoken import Spoken, way_to
from docendo.scenarios.item import Item

__all__ = ["Draft", "EpisodeState"]


@dataclass(frozen=True, slots=True)
class Draft:
    """What a teacher is about to say, and out of what it came."""

    act: Act
    view: View
    done: Performed


@dataclass
class EpisodeState:
    """One episode."""

    lab: Laboratory
    key: EpisodeKey
    item: Item
    agents: Mapping[str, Participant]
    """By name, as they came into the episode."""
    ledger: Ledger
    shared: Ledger
    """The phase's account, for units that all its episodes share."""
    exam: Mapping[str, Item] = field(default_factory=dict)
    """The members of the axis `items`."""
    recorder: Recorder = field(default_factory=Recorder)
    choice: Choice | None = None
    """What the phase's policy decided about this item."""
    policy: str = ""
    reasons: Mapping[str, Any] = field(default_factory=dict)
    purpose: Literal["act", "probe"] = "act"
    spoken: Spoken = field(default_factory=Spoken)
    latest: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Branch -> scope name -> the latest of its kind."""
    graded: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(branch, student, item) -> how many answers were graded there."""
    marks: list[tuple[str, bool | None]] = field(default_factory=list)
    """(agent, right?) of every graded answer, in order of arrival."""
    revisions: list[tuple[str, Exemplars]] = field(default_factory=list)
    """(sample, set) of every revised set of exemplars."""
    failures: list[Evidence] = field(default_factory=list)
    """`refine`: what students got wrong in this episode, for the teacher to read."""
    drafts: dict[str, Draft] = field(default_factory=dict)
    """Branch -> the latest draft."""
    memories: dict[str, Memories] = field(default_factory=dict)
    """Agent -> its memory, where something was added to it."""
    confidences: dict[bool, tuple[float, str]] = field(default_factory=dict)
    """Helped? -> the student's measured (probability of the target, mode), where a policy asked for it."""

    # --- who ------------------------------------------------------------------------------------------------

    def participant(self, group: str, branch: Branch) -> Participant:
        """Who acts here for `group` (name or role): the branch's student, the episode's, or the only one."""
        return self._with_memory(self._named(group, branch), branch)

    def participant_of_role(self, role: str, branch: Branch) -> Participant | None:
        """The agent of `role` that the branch is about, if there is one."""
        return self.participant(role, branch) if any(a.role == role for a in self.agents.values()) else None

    def remembers(self, name: str, branch: Branch = ROOT) -> MemoryState:
        """What the agent `name` remembers in `branch`."""
        kept = self.memories.get(name)
        return self.agents[name].memory if kept is None else kept.at(branch)

    def remember(self, name: str, branch: Branch, memory: MemoryState) -> None:
        """From now on, the agent `name` remembers `memory` in `branch`."""
        self.memories.setdefault(name, Memories(self.agents[name].memory)).write(branch, memory)

    def _named(self, group: str, branch: Branch) -> Participant:
        for name in (branch.get("students"), self.key.student):
            if name in self.agents and group in (self.agents[name].group, self.agents[name].role):
                return self.agents[name]
        named = [a for a in self.agents.values() if a.group == group]
        return (named or [a for a in self.agents.values() if a.role == group])[0]

    def _with_memory(self, agent: Participant, branch: Branch) -> Participant:
        return agent.remembering(self.remembers(agent.name, branch)) if self.memories else agent

    # --- what -----------------------------------------------------------------------------------------------

    def item_of(self, branch: Branch) -> Item:
        """What `branch` works on: its own item where it fans out over items, else the episode's."""
        return self.exam.get(branch.get("items"), self.item)

    def heard(self, branch: Branch = ROOT) -> tuple[Message, ...]:
        """Messages that were said on the way to `branch`, in order; after a join, those of all branches."""
        return self.spoken.heard(branch)

    def latest_on(self, branch: Branch) -> dict[str, Any]:
        """The latest `decision`, `answer`, `grade`, `belief` and `verdict` on the way to `branch`."""
        found: dict[str, Any] = {}
        for place in way_to(branch):
            found |= self.latest.get(place, {})
        return found

    def attempts(self, student: str, branch: Branch) -> int:
        """How many answers to the branch's item `student` has given on the way to `branch`."""
        item = self.item_of(branch).id
        return sum(self.graded[place, student, item] for place in way_to(branch))

    def balance(self) -> dict[str, int]:
        """What is left of every limited unit."""
        return self.ledger.balance() | self.shared.balance()
