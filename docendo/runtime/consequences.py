"""What follows from an act: its typed output decides what the laboratory does.

Answers are graded, beliefs recorded with the truth beside them, decisions kept for the edges to read,
memories changed, and what a teacher says to students is searched for the answer. Everything is an event; of a
rehearsal (`purpose: probe`), where the same state changes in a scratch copy, only calls and beliefs are.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docendo.agents.act import Act, Performed
from docendo.agents.participant import Participant
from docendo.agents.payload import (
    Answer,
    Belief,
    Decision,
    Diagnosis,
    Exemplars,
    Explanation,
    Judgement,
    Move,
    Payload,
    Remembered,
    Reply,
    Utterance,
    Verdict,
)  # fmt: skip
from docendo.agents.view import HELP, View
from docendo.errors import EpisodeFailure
from docendo.events import (
    BeliefEvent,
    DecisionEvent,
    ErrorEvent,
    FlagEvent,
    GradeEvent,
    MemoryEvent,
    MessageEvent,
)
from docendo.graphs.actor import Branch
from docendo.memory.record import Evidence
from docendo.messages import Message
from docendo.runtime.minds.population import describe_mind, should_know
from docendo.runtime.state import Draft, EpisodeState
from docendo.scenarios.grader import grade
from docendo.scenarios.item import Item
from docendo.scenarios.naming import names_answer, where_named

__all__ = ["follow", "note", "note_belief", "note_failure", "said"]


def note(
    state: EpisodeState, kind: Any, agent: Participant, act: Act, turn: int, branch: Branch, **fields: Any
) -> None:
    """Record an event of class `kind`, unless this is a rehearsal."""
    if state.purpose == "act":
        state.recorder.add(kind, turn=turn, branch=str(branch), agent=agent.name, act=act.name, **fields)


def said(
    state: EpisodeState, agent: Participant, act: Act, message: Message, turn: int, branch: Branch
) -> None:
    """A message was delivered. What a teacher says to students is searched for an answer not yet given."""
    before, item = state.heard(branch), state.item_of(branch)
    state.spoken.add(turn, branch, message)
    talk = message.act in _SPEAKING or message.act == "reply"
    names = names_answer(message.text, item, item.answer) if talk else None
    note(state, MessageEvent, agent, act, turn, branch, message=message, names_answer=names)
    if agent.role == "teacher" and message.act in _SPEAKING:
        _flag_leak(state, agent, act, message, before, turn, branch)


_SPEAKING = frozenset({"say", "send"})
"""Acts of a dialogue that students hear. What explains an item outside a dialogue may well conclude."""


def _flag_leak(
    state: EpisodeState,
    agent: Participant,
    act: Act,
    message: Message,
    before: tuple[Message, ...],
    turn: int,
    branch: Branch,
) -> None:
    """The rule: the answer stands in the message, and neither question nor student has named it before."""
    item, student = state.item_of(branch), state.participant_of_role("student", branch)
    if student is None or where_named(item.question, item, item.answer):
        return
    own = (m.text for m in before if m.sender == student.name)
    if any(where_named(text, item, item.answer) for text in own):
        return
    for start, end in where_named(message.text, item, item.answer)[:1]:
        words = message.text[start:end]
        found = {"by": "rule", "found": True, "words": words, "start": start, "said": turn}
        note(state, FlagEvent, agent, act, turn, branch, student=student.name, **found)


def follow(
    state: EpisodeState,
    agent: Participant,
    act: Act,
    view: View,
    done: Performed,
    turn: int,
    branch: Branch,
) -> None:
    """Let the payload of an act that was done have its effect."""
    payload = done.payload
    place = state.latest.setdefault(str(branch), {})
    match payload:
        case Explanation() if payload.answer is not None and branch.get("samples"):
            _grade(state, agent, act, view, payload.answer, turn, branch)
        case Answer() | Reply():
            place["answer"] = payload
            if isinstance(payload, Answer) or payload.answer is not None:
                _grade(state, agent, act, view, payload.answer, turn, branch)
        case Belief() | Diagnosis():
            place["belief"] = payload
            _believe(state, agent, act, payload, turn, branch)
        case Decision() | Move() | Verdict():
            place["verdict" if isinstance(payload, Verdict) else "decision"] = payload
            note(state, DecisionEvent, agent, act, turn, branch, **_decision(payload))
        case Utterance() if act.to == "critic":
            state.drafts[str(branch)] = Draft(act, view, done)
        case _:
            _keep(state, agent, act, payload, turn, branch)
    if done.mind is not None and done.mind != agent.memory.mind:
        state.remember(agent.name, branch, state.remembers(agent.name, branch).with_mind(done.mind))
        note(state, MemoryEvent, agent, act, turn, branch, slot="mind", change=describe_mind(done.mind))


def _keep(
    state: EpisodeState, agent: Participant, act: Act, payload: Payload, turn: int, branch: Branch
) -> None:
    """The effect of what leads to nothing but a record or a memory."""
    match payload:
        case Exemplars():
            state.revisions.append((branch.get("samples"), payload))
        case Judgement():
            _judge(state, agent, act, payload, turn, branch)
        case Remembered():
            _remember(state, agent, act, payload, turn, branch)
        case _:
            pass


def _decision(payload: Decision | Move | Verdict) -> dict[str, Any]:
    """A decision's fields in its event."""
    if isinstance(payload, Verdict):
        reasons = {"reason": payload.reason} | ({"words": payload.words} if payload.words else {})
        return {"chosen": payload.accept, "policy": "critic", "reasons": reasons}
    if isinstance(payload, Move):
        chosen: Any = "stop" if payload.stop else dict(payload.labels)
        return {"chosen": chosen, "policy": payload.source, "reasons": dict(payload.reasons)}
    return {
        "chosen": payload.move or payload.intervene,
        "policy": payload.policy,
        "score": payload.score,
        "rank": payload.rank,
        "reasons": payload.reasons,
    }


def _grade(
    state: EpisodeState,
    agent: Participant,
    act: Act,
    view: View,
    answer: str | None,
    turn: int,
    branch: Branch,
) -> None:
    """Judge an answer: a student's, and a teacher's where it sits an exam or samples what it might say."""
    examined = state.lab.kind in ("test", "refine") or bool(branch.get("samples"))
    if agent.role != "student" and not (agent.role == "teacher" and examined):
        return
    item = state.item_of(branch)
    verdict = grade(item, answer)
    event: dict[str, Any] = {
        "item": item.id,
        "student": agent.name,
        "role": agent.role,
        "answer": answer,
        "correct": verdict.correct,
        "attempt": state.attempts(agent.name, branch),
        "helped": any(m.sender != agent.name for m in view.help),
        "known": _expected(agent, item) if state.lab.examines else None,
        "reason": verdict.reason,
    }
    state.graded[str(branch), agent.name, item.id] += 1
    state.marks.append((agent.name, verdict.correct))
    if state.lab.kind == "refine" and agent.role == "student" and not verdict.correct:
        state.failures.append(_failure(agent, item, answer))
    state.latest[str(branch)]["grade"] = event
    p, mode = state.confidences.get(bool(event["helped"]), (None, ""))
    note(state, GradeEvent, agent, act, turn, branch, **event, confidence=p, confidence_mode=mode)


def _failure(agent: Participant, item: Item, answer: str | None) -> Evidence:
    """A wrong answer, for a teacher that revises its examples."""
    return Evidence(
        item=item.id,
        question=item.question,
        options=item.options,
        skills=item.skills,
        correct_answer=item.answer,
        student=agent.name,
        student_answer=answer or "",
        correct=False,
    )


def _expected(agent: Participant, item: Item) -> bool | None:
    return should_know(agent.memory.mind, agent.spec.misconceptions, item)


def _believe(
    state: EpisodeState,
    agent: Participant,
    act: Act,
    payload: Belief | Diagnosis,
    turn: int,
    branch: Branch,
) -> None:
    student = state.participant_of_role("student", branch)
    fields = payload.model_dump()
    if agent.role == "diagnostician" and student is not None:
        fields["attempt"] = state.attempts(student.name, branch)
        fields["given_help"] = any(
            m.kind in HELP and m.sender != student.name and m.readable_by(student.name)
            for m in state.heard(branch)
        )
    note_belief(state, agent, act.name, turn, branch, student, **fields)


def note_belief(
    state: EpisodeState,
    agent: Participant,
    act: str,
    turn: int,
    branch: Branch,
    student: Participant | None,
    **fields: Any,
) -> None:
    """Record a belief, with the truth beside it where the student's mind is known."""
    item = state.item_of(branch)
    mind = student.memory.mind if student else None
    state.recorder.add(
        BeliefEvent,
        turn=turn,
        branch=str(branch),
        agent=agent.name,
        act=act,
        item=item.id,
        student=student.name if student else "",
        truth=describe_mind(mind, item.skills) if mind else {},
        **fields,
    )


def _judge(
    state: EpisodeState, agent: Participant, act: Act, payload: Judgement, turn: int, branch: Branch
) -> None:
    """Flag the latest message of the teacher as the judge has it."""
    student = state.participant_of_role("student", branch)
    spoken = [m for m in state.heard(branch) if m.act in _SPEAKING]
    text = spoken[-1].text if spoken else ""
    start = text.find(payload.words) if payload.words else -1
    note(
        state,
        FlagEvent,
        agent,
        act,
        turn,
        branch,
        by="judge",
        found=payload.leaks,
        student=student.name if student else "",
        words=payload.words,
        start=start if start >= 0 else None,
        said=spoken[-1].turn if spoken else 0,
        reason=payload.reason,
    )


def _remember(
    state: EpisodeState, agent: Participant, act: Act, payload: Remembered, turn: int, branch: Branch
) -> None:
    memory = agent.memory
    change: Mapping[str, Any]
    if payload.demonstration is not None and memory.kind == "demonstrations":
        state.remember(agent.name, branch, memory.add_demonstration(payload.demonstration))
        change = payload.demonstration.model_dump(mode="json")
        note(state, MemoryEvent, agent, act, turn, branch, slot="demonstrations", change=change)
    elif payload.note is not None and memory.kind == "notes":
        state.remember(agent.name, branch, memory.add_note(payload.note))
        note(state, MemoryEvent, agent, act, turn, branch, slot="notes", change={"note": payload.note})


def note_failure(
    state: EpisodeState, failure: EpisodeFailure, turn: int, error: BaseException | None = None
) -> str:
    """Record why the episode failed; gives the kind of failure."""
    detail = failure.suggestion
    if error is not None:
        last = traceback.extract_tb(error.__traceback__)[-1]
        detail = f"{Path(last.filename).name}, line {last.lineno}, in {last.name}"
    state.recorder.add(
        ErrorEvent,
        turn=turn,
        agent=failure.where.agent or "",
        act=failure.where.act or "",
        failure=failure.kind,
        message=failure.message,
        detail=detail,
    )
    return failure.kind
