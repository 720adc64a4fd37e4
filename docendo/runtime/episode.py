"""One episode: the actor that a graph hands its nodes to.

The graph says who acts next; the episode performs it. For each act it builds the view, charges the ledger,
performs the act, delivers the message (possibly distorted, in a control), and lets the typed payload have its
consequences (`docendo.runtime.consequences`). Everything is an event.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from docendo.agents.act import ACTS, Act, Ask, Performed, perform
from docendo.agents.moves import Menu, decided, menu_of, move_of
from docendo.agents.participant import Participant, Situation, build_view
from docendo.agents.payload import Move, Utterance
from docendo.agents.port import Origin
from docendo.agents.view import View
from docendo.events import CallEvent, SpendEvent
from docendo.graphs.actor import Branch
from docendo.memory.record import Evidence
from docendo.messages import Message
from docendo.runtime.acting import ActingPort
from docendo.runtime.consequences import follow, said
from docendo.runtime.consequences import note as note_event
from docendo.runtime.distortion import distort, spoken
from docendo.runtime.ledger import Ledger
from docendo.runtime.seed import derive_seed, uniform
from docendo.runtime.spoken import Spoken
from docendo.runtime.state import Draft, EpisodeState
from docendo.scenarios.items.dialogues import recorded_moves
from docendo.scenarios.schema import NodeSpec
from docendo.scenarios.taxonomy import TaxonomySpec

__all__ = ["Episode", "scratch"]


SOME_FAILURES = 4
"""How many failures one revision looks at where `params.failures` does not say, as in the published code."""


@dataclass
class Episode(EpisodeState):
    """The actor of one episode."""

    reserving: list[tuple[int, ActingPort]] = field(default_factory=list)
    """(turn, port) of acts that may still hold tokens."""
    yoked: tuple[str, ...] | None = None
    """Words that the teacher's turns deliver instead of their own, in turn (the control
    `shuffled_dialogue`)."""

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
        heard = self.heard(branch)
        return dict.fromkeys(("decision", "answer", "belief", "verdict", "grade")) | {
            **self.latest_on(branch),
            "message": heard[-1] if heard else None,
            "budget": self.balance(),
            "params": dict(self.lab.params),
        }

    def members(self, axis: str, branch: Branch) -> Sequence[str]:
        """Whom to fan out over."""
        return tuple(self.exam) if axis == "items" else self.lab.members.get(axis, ())

    # --- acting -------------------------------------------------------------------------------------------

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
        done = _completed(await perform(act, view, ask), self.lab.taxonomy)
        made = Draft(act, view, done)
        made = self.drafts.get(str(branch), made) if name == "send" else made
        uttered = done.payload if isinstance(done.payload, Utterance) and act.to == "all" else None
        message = Message(
            sender=agent.name,
            recipients=self._recipients(act),
            kind=uttered.says if uttered else act.says,
            act=name,
            text=await self._delivered(agent, act, made, turn, branch),
            thoughts=uttered.thoughts if uttered else "",
            payload=done.payload.model_dump(mode="json"),
            turn=turn,
            # What an engine had cached is no event.
            usage=made.done.usage.model_copy(update={"cached_tokens": 0}),
        )
        said(self, agent, act, message, turn, branch)
        follow(self, agent, act, view, done, turn, branch)
        return done, view

    def _recipients(self, act: Act) -> tuple[str, ...]:
        """Who may read what `act` says, beside the agent itself."""
        if act.to in ("all", "self"):
            return ("*",) if act.to == "all" else ()
        return tuple(a.name for a in self.agents.values() if a.role == act.to)

    async def _delivered(self, agent: Participant, act: Act, made: Draft, turn: int, branch: Branch) -> str:
        """The words that arrive: the agent's own, or in a control what takes their place."""
        words = spoken(made.done)
        if agent.role != "teacher" or act.to != "all" or agent.spec.distort == "none":
            return words
        if self.yoked is not None:
            turns = sum(m.sender == agent.name and m.act == act.name for m in self.heard(branch))
            return self.yoked[turns % len(self.yoked)] if self.yoked else words
        again = self.asking(agent, made.act, turn, branch, "probe")
        return await distort(agent.spec.distort, made, again, self.item_of(branch), self.lab.decoys)

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
        if self.lab.kind == "refine":
            shown = self._failures(agent, branch)
        elif not shown and agent.student_models:
            student = self.participant_of_role("student", branch)
            shown = agent.student_models[student.name].shown(helped=False) if student else ()
        return build_view(
            agent,
            act,
            Situation(
                item=self.item_of(branch),
                messages=self.heard(branch),
                budget=self.balance(),
                evidence=shown,
                belief=dict(belief) if belief is not None else self._decision(),
                moves=self._menu(agent, branch) if "moves" in act.reads else None,
                params={**self.lab.params, **params},
            ),
        )

    def asking(
        self, agent: Participant, act: Act, turn: int, branch: Branch, purpose: Literal["act", "probe"]
    ) -> Ask:
        """How `agent` asks its model for `act`: seed, sampling, and a port that records and charges."""

        def note(key: str, operation: str, what: str, error: str) -> None:
            self.recorder.add(
                CallEvent,
                turn=turn,
                branch=str(branch),
                agent=agent.name,
                act=act.name,
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
            note_event(self, SpendEvent, agent, act, turn, branch, **fields)

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

    # --- paying ------------------------------------------------------------------------------------------

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

    def _failures(self, agent: Participant, branch: Branch) -> tuple[Evidence, ...]:
        """What students got wrong, in a fixed order; a sample looks at a few of them, drawn for itself."""
        failed = sorted(self.failures, key=lambda e: (e.item, e.student))
        sample, some = branch.get("samples"), int(self.lab.params.get("failures") or SOME_FAILURES)
        if not sample:
            return tuple(failed)
        place = (self.lab.seed, self.lab.replicate, "failures", str(self.key), agent.name, sample)
        return tuple(sorted(failed, key=lambda e: uniform(*place, e.item, e.student))[:some])

    def _menu(self, agent: Participant, branch: Branch) -> Menu | None:
        """The teaching moves that are open to `agent`, and what somebody else decides about them."""
        spec, taxonomy = self.lab.moves, self.lab.taxonomy
        if spec is None or taxonomy is None:
            return None
        latest = self.latest_on(branch).get("decision")
        menu = menu_of(
            taxonomy, spec, balance=self.balance(), latest=latest if isinstance(latest, Move) else None
        )
        made = sum(m.sender == agent.name and m.act == "choose" for m in self.heard(branch))
        place = (self.lab.seed, self.lab.replicate, "move", self.key.item, self.key.student, branch, made)
        choice = decided(
            taxonomy,
            spec,
            menu,
            made=made,
            draw=lambda slot: uniform(*place, slot),
            recorded=recorded_moves(
                self.item_of(branch), replayed=(agent.memory.mind or {}).get("kind") == "recorded"
            ),
        )
        return menu.model_copy(update={"decided": choice})

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


def scratch(episode: Episode) -> Episode:
    """A copy of `episode` to try things out in: nothing has been said in it, and nothing is charged."""
    return replace(
        episode,
        ledger=Ledger({}),
        shared=Ledger({}),
        purpose="probe",
        spoken=Spoken(),
        graded=Counter(),
        latest={},
        drafts={},
        memories={},
        choice=None,
        reserving=[],
    )


def _completed(done: Performed, taxonomy: TaxonomySpec | None) -> Performed:
    """A model's move with what the taxonomy says of its labels: a price is not the model's to name."""
    move = done.payload
    if taxonomy is None or not isinstance(move, Move) or move.source != "self" or move.stop:
        return done
    return replace(done, payload=move_of(taxonomy, move.labels, "self", move.reasons))
