"""One episode: the actor that a graph hands its nodes to.

The graph says who acts next; the episode performs it. For each act it builds the view, charges the ledger,
performs the act, delivers the message (possibly distorted, in a control), and lets the typed payload decide
what the laboratory does: answers are graded, beliefs recorded, memories changed, decisions kept for the
edges to read. Everything is an event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from docendo.agents.act import ACTS, Act, Ask, Performed, perform
from docendo.agents.participant import Participant, Situation, build_view
from docendo.agents.payload import Answer, Belief, Decision, Diagnosis, Remembered, Verdict
from docendo.agents.policy import Choice
from docendo.agents.port import Origin
from docendo.agents.view import View
from docendo.events import (
    BeliefEvent,
    CallEvent,
    DecisionEvent,
    GradeEvent,
    MemoryEvent,
    MessageEvent,
    SpendEvent,
)
from docendo.graphs.actor import ROOT, Branch
from docendo.memory.record import Evidence
from docendo.messages import Message
from docendo.runtime.acting import ActingPort
from docendo.runtime.distortion import distort, spoken
from docendo.runtime.laboratory import EpisodeKey, Laboratory
from docendo.runtime.ledger import Ledger
from docendo.runtime.minds.population import describe_mind
from docendo.runtime.recorder import Recorder
from docendo.runtime.seed import derive_seed
from docendo.scenarios.grader import grade
from docendo.scenarios.item import Item
from docendo.scenarios.schema import NodeSpec

__all__ = ["Episode", "scratch"]


@dataclass
class Episode:
    """State of one episode while it runs."""

    lab: Laboratory
    key: EpisodeKey
    item: Item
    agents: dict[str, Participant]
    """By name; replaced here as memories change."""
    ledger: Ledger
    shared: Ledger
    """The phase's account, for units that all its episodes share."""
    recorder: Recorder = field(default_factory=Recorder)
    choice: Choice | None = None
    """What the phase's policy decided about this item."""
    policy: str = ""
    reasons: Mapping[str, Any] = field(default_factory=dict)
    purpose: Literal["act", "probe"] = "act"
    spoken: list[tuple[int, Branch, Message]] = field(default_factory=list)
    """(turn, branch, message) in order of arrival."""
    latest: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Branch -> scope name -> the latest of its kind."""
    reserving: list[tuple[int, ActingPort]] = field(default_factory=list)
    """(turn, port) of acts that may still hold tokens."""
    confidences: dict[bool, tuple[float, str]] = field(default_factory=dict)
    """Helped? -> the student's measured (probability of the target, mode), where a policy asked for it."""

    # --- the graph's side ---------------------------------------------------------------------------------

    async def act(self, node: str, spec: NodeSpec, *, turn: int, branch: Branch) -> None:
        """Perform one node; see `docendo.graphs.actor.Actor`."""
        group, _, name = spec.do.partition(".")
        agent = self.participant(group, branch)
        self._settle(before=turn)
        self._charge(spec, turn, str(branch), agent.name, name)
        try:
            await self.perform(agent, name, params=spec.params, turn=turn, branch=branch)
        finally:
            if not branch.axes:
                self._settle(before=turn + 1)

    def scope(self, branch: Branch) -> Mapping[str, Any]:
        """What edge conditions can read."""
        found: dict[str, Any] = dict.fromkeys(("decision", "answer", "belief", "verdict", "message", "grade"))
        text = str(branch)
        for place, payloads in self.latest.items():
            if _leads_to(place, text):
                found |= payloads
        heard = self.heard(branch)
        balance = self.ledger.balance() | self.shared.balance()
        return found | {
            "message": heard[-1] if heard else None,
            "turn": len({t for t, _, _ in self.spoken}),
            "budget": balance,
            "params": dict(self.lab.params),
        }

    def members(self, axis: str, branch: Branch) -> Sequence[str]:
        """Whom to fan out over."""
        return self.lab.members.get(axis, ())

    # --- acting -------------------------------------------------------------------------------------------

    def participant(self, group: str, branch: Branch) -> Participant:
        """Who acts here for `group` (name or role): the branch's student, the episode's, or the only one."""
        for name in (branch.get("students"), self.key.student):
            if name in self.agents and group in (self.agents[name].group, self.agents[name].role):
                return self.agents[name]
        named = [a for a in self.agents.values() if a.group == group]
        return (named or [a for a in self.agents.values() if a.role == group])[0]

    def heard(self, branch: Branch = ROOT) -> tuple[Message, ...]:
        """Messages that were said on the way to `branch`, in order; after a join, those of all branches."""
        text = str(branch)
        on_path = [s for s in self.spoken if _leads_to(str(s[1]), text) or _leads_to(text, str(s[1]))]
        return tuple(m for _, _, m in sorted(on_path, key=lambda s: (s[0], str(s[1]))))

    def item_of(self, branch: Branch) -> Item:
        """What `branch` works on: its own item where it fans out over items, else the episode's."""
        return self.lab.items.get(branch.get("items"), self.item)

    async def perform(
        self,
        agent: Participant,
        name: str,
        *,
        params: Mapping[str, Any],
        turn: int,
        branch: Branch,
        belief: Mapping[str, Any] | None = None,
        evidence: Sequence[Evidence] = (),
    ) -> tuple[Performed, View]:
        """Let `agent` do the act `name`, and record all that follows from it."""
        act = ACTS.get(f"{agent.role}.{name}")
        view = self.view(agent, act, branch, params=params, belief=belief, evidence=evidence)
        ask = self.asking(agent, act, turn, branch, self.purpose)
        done = await perform(act, view, ask)
        said = spoken(done)
        if agent.role == "teacher" and agent.spec.distort != "none":
            again = self.asking(agent, act, turn, branch, "probe")
            said = await distort(
                agent.spec.distort, act, view, done, again, self.item_of(branch), self.lab.decoys
            )
        message = Message(
            sender=agent.name,
            recipients=() if act.to == "self" else ("*",),
            kind=act.says,
            act=name,
            text=said,
            payload=done.payload.model_dump(mode="json"),
            turn=turn,
            usage=done.usage.model_copy(update={"cached_tokens": 0}),  # what an engine cached is no event
        )
        self.spoken.append((turn, branch, message))
        if self.purpose == "act":
            self._note(MessageEvent, agent, act, turn, branch, message=message)
        self._follow(agent, act, view, done, turn, branch)
        return done, view

    def view(
        self,
        agent: Participant,
        act: Act,
        branch: Branch,
        *,
        params: Mapping[str, Any],
        belief: Mapping[str, Any] | None = None,
        evidence: Sequence[Evidence] = (),
    ) -> View:
        """What `agent` may read now."""
        shown = tuple(evidence)
        if not shown and agent.student_models:
            student = self.participant_of_role("student", branch)
            shown = agent.student_models[student.name].shown(helped=False) if student else ()
        return build_view(
            agent,
            act,
            Situation(
                item=self.item_of(branch),
                messages=self.heard(branch),
                budget=self.ledger.balance() | self.shared.balance(),
                evidence=shown,
                belief=dict(belief) if belief is not None else self._decision(),
                params={**self.lab.params, **params},
            ),
        )

    def asking(
        self, agent: Participant, act: Act, turn: int, branch: Branch, purpose: Literal["act", "probe"]
    ) -> Ask:
        """How `agent` asks its model for `act`: seed, sampling, and a port that records and charges."""

        def note(key: str, operation: str, what: str, error: str) -> None:
            self._note(
                CallEvent,
                agent,
                act,
                turn,
                branch,
                key=key,
                model=agent.spec.model,
                operation=operation,
                purpose=what,
                error=error,
            )

        def pay(unit: str, amount: int, left: int) -> None:
            bought = f"{agent.group}.{act.name}"
            known = None if branch.axes else left
            fields = {"unit": unit, "amount": amount, "bought": bought, "remaining": known}
            self._note(SpendEvent, agent, act, turn, branch, **fields)

        limited = ("tokens", f"{agent.group}_tokens") if purpose == "act" else ()
        units = [u for u in limited if u in self.ledger.limits]
        port = ActingPort(self.lab.port, self.ledger, note, pay, units, purpose)
        if units:
            self.reserving.append((turn, port))
        occurrence = sum(m.sender == agent.name and m.act == act.name for m in self.heard(branch))
        material: list[object] = [
            self.lab.seed,
            self.lab.replicate,
            agent.name,
            act.name,
            self.item_of(branch).id,
            occurrence,
        ]
        if branch.axes:
            material.append(branch)
        return Ask(
            port=port,
            model=agent.spec.model,
            sampling=self.lab.sampling[agent.group],
            seed=derive_seed(*material),
            template=agent.templates.get(act.name),
            origin=Origin(
                condition=self.lab.condition,
                replicate=self.lab.replicate,
                episode=str(self.key),
                agent=agent.name,
                act=act.name,
                item=self.item_of(branch).id,
                turn=turn,
            ),
        )

    # --- what follows from an act ---------------------------------------------------------------------------

    def _follow(
        self, agent: Participant, act: Act, view: View, done: Performed, turn: int, branch: Branch
    ) -> None:
        payload = done.payload
        place = self.latest.setdefault(str(branch), {})
        match payload:
            case Answer():
                place["answer"] = payload
                if agent.role == "student":
                    self._grade(agent, act, view, payload, turn, branch)
            case Belief() | Diagnosis():
                place["belief"] = payload
                self._believe(agent, act, payload, turn, branch)
            case Decision():
                place["decision"] = payload
                self._note(
                    DecisionEvent,
                    agent,
                    act,
                    turn,
                    branch,
                    chosen=payload.move or payload.intervene,
                    policy=payload.policy,
                    score=payload.score,
                    rank=payload.rank,
                    reasons=payload.reasons,
                )
            case Verdict():
                place["verdict"] = payload
                self._note(
                    DecisionEvent,
                    agent,
                    act,
                    turn,
                    branch,
                    chosen=payload.accept,
                    policy="critic",
                    reasons={"reason": payload.reason},
                )
            case Remembered():
                self._remember(agent, act, payload, turn, branch)
            case _:
                pass
        if done.mind is not None and done.mind != agent.memory.mind:
            self._replace(agent.name, mind=done.mind)
            self._note(MemoryEvent, agent, act, turn, branch, slot="mind", change=describe_mind(done.mind))

    def _grade(
        self, agent: Participant, act: Act, view: View, payload: Answer, turn: int, branch: Branch
    ) -> None:
        item = self.item_of(branch)
        verdict = grade(item, payload.answer)
        attempt = sum(
            m.sender == agent.name and m.kind == "attempt" and place.get("items") == branch.get("items")
            for _, place, m in self.spoken
            if _leads_to(str(place), str(branch))
        )
        event = {
            "item": item.id,
            "student": agent.name,
            "answer": payload.answer,
            "correct": verdict.correct,
            "attempt": attempt - 1,
            "helped": bool([m for m in view.help if m.sender != agent.name]),
            "reason": verdict.reason,
        }
        self.latest[str(branch)]["grade"] = event
        if self.purpose == "act":
            p, mode = self.confidences.get(bool(event["helped"]), (None, ""))
            self._note(GradeEvent, agent, act, turn, branch, **event, confidence=p, confidence_mode=mode)

    def _believe(
        self, agent: Participant, act: Act, payload: Belief | Diagnosis, turn: int, branch: Branch
    ) -> None:
        student = self.participant_of_role("student", branch)
        self.note_belief(agent, act.name, turn, branch, student, **payload.model_dump())

    def note_belief(
        self,
        agent: Participant,
        act: str,
        turn: int,
        branch: Branch,
        student: Participant | None,
        **fields: Any,
    ) -> None:
        """Record a belief, with the truth beside it where the student's mind is known."""
        mind = student.memory.mind if student else None
        self.recorder.add(
            BeliefEvent,
            turn=turn,
            branch=str(branch),
            agent=agent.name,
            act=act,
            item=self.item_of(branch).id,
            student=student.name if student else "",
            truth=describe_mind(mind, self.item_of(branch).skills) if mind else {},
            **fields,
        )

    def participant_of_role(self, role: str, branch: Branch) -> Participant | None:
        """The agent of `role` that the branch is about, if there is one."""
        return self.participant(role, branch) if any(a.role == role for a in self.agents.values()) else None

    def _remember(self, agent: Participant, act: Act, payload: Remembered, turn: int, branch: Branch) -> None:
        memory = agent.memory
        if payload.demonstration is not None and memory.kind == "demonstrations":
            self._replace(agent.name, memory=memory.add_demonstration(payload.demonstration))
            change = payload.demonstration.model_dump(mode="json")
            self._note(MemoryEvent, agent, act, turn, branch, slot="demonstrations", change=change)
        elif payload.note is not None and memory.kind == "notes":
            self._replace(agent.name, memory=memory.add_note(payload.note))
            self._note(MemoryEvent, agent, act, turn, branch, slot="notes", change={"note": payload.note})

    def _replace(self, name: str, *, memory: Any = None, mind: dict[str, Any] | None = None) -> None:
        agent = self.agents[name]
        memory = memory if memory is not None else agent.memory.with_mind(mind)
        self.agents[name] = agent.remembering(memory)

    def _charge(self, spec: NodeSpec, turn: int, branch: str, agent: str, act: str) -> None:
        for unit, amount in spec.spends.items():
            account = self.shared if unit in self.shared.limits else self.ledger
            left = account.spend(unit, amount)
            self.recorder.add(
                SpendEvent,
                turn=turn,
                branch=branch,
                agent=agent,
                act=act,
                unit=unit,
                amount=amount,
                bought=spec.do,
                remaining=left if account is self.ledger else None,
            )

    def _settle(self, *, before: int) -> None:
        """Give back what acts of turns `before` this one reserved and did not use."""
        for turn, port in self.reserving:
            if turn < before:
                port.settle()
        self.reserving = [(turn, port) for turn, port in self.reserving if turn >= before]

    def _decision(self) -> dict[str, Any]:
        if self.choice is None:
            return {}
        chosen = self.choice
        return {
            "intervene": chosen.chosen,
            "policy": self.policy,
            "score": chosen.score,
            "rank": chosen.rank,
            "reasons": dict(self.reasons),
        }

    def _note(
        self, kind: Any, agent: Participant, act: Act, turn: int, branch: Branch, **fields: Any
    ) -> None:
        self.recorder.add(kind, turn=turn, branch=str(branch), agent=agent.name, act=act.name, **fields)


def _leads_to(place: str, branch: str) -> bool:
    """Whether the branch called `branch` goes through `place`."""
    return not place or branch == place or branch.startswith(place + "/")


def scratch(episode: Episode) -> Episode:
    """A copy of `episode` to try things out in: nothing has been said in it, and nothing is charged."""
    return replace(
        episode,
        agents=dict(episode.agents),
        ledger=Ledger({}),
        shared=Ledger({}),
        purpose="probe",
        spoken=[],
        latest={},
        choice=None,
        reserving=[],
    )
