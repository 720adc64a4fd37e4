"""What an episode comes to: the row that lists show and filters read, made of its events.

Only the few fields that a row needs are looked at; beliefs alone are read in full, because holding them
against answers is the measures' business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from docendo.events import BeliefEvent, Event, GradeEvent, event_adapter
from docendo.messages import EVERYONE
from docendo.runtime.measures.beliefs import scored_beliefs
from docendo.runtime.measures.diagnoses import diagnoses_of, diagnosis_right
from docendo.runtime.measures.measure import EpisodeTrace, LessonTrace
from docendo.runtime.store.browse import RawEvent
from docendo.runtime.store.records import EpisodeRecord
from docendo.runtime.viewer.episode_models import EpisodeRow, PhaseResult, Turn

__all__ = [
    "alone", "move_name", "record_row", "recorded", "results_of", "row_of", "trace_of", "typed",
]  # fmt: skip


def typed(raw: RawEvent) -> Event:
    """The event in full."""
    columns = {
        "turn": raw.turn, "branch": raw.branch, "n": raw.n, "kind": raw.kind, "agent": raw.agent,
        "act": raw.act,
    }  # fmt: skip
    return event_adapter.validate_python({**columns, **raw.payload})


def recorded(raw: RawEvent) -> BeliefEvent | GradeEvent:
    """A belief or a grade in full, taken at its word: it was checked when it was written."""
    kind = BeliefEvent if raw.kind == "belief" else GradeEvent
    return kind.model_construct(
        turn=raw.turn, branch=raw.branch, n=raw.n, agent=raw.agent, act=raw.act, **raw.payload
    )


def trace_of(record: EpisodeRecord, events: Iterable[Event]) -> EpisodeTrace:
    """The episode as measures read it."""
    return EpisodeTrace(
        key=record.key,
        phase=record.phase,
        phase_kind=record.phase_kind,
        round=record.round,
        item=record.item,
        student=record.student,
        outcome=record.outcome,
        failure=record.failure,
        events=tuple(events),
    )


def alone(record: EpisodeRecord, trace: EpisodeTrace) -> LessonTrace:
    """A lesson of this episode alone, for measures that take lessons."""
    where = record.lesson
    return LessonTrace(condition=where.condition, replicate=where.replicate, episodes=(trace,))


def move_name(chosen: Any) -> str:
    """A decision's labels as one name; empty where it was not about a move."""
    if not isinstance(chosen, Mapping):
        return ""
    return " / ".join(str(v) for v in chosen.values())


@dataclass
class _Tally:
    """What the events of one episode add up to."""

    detail: str = ""
    message: str = ""
    grades: dict[str, list[bool]] = field(default_factory=dict)
    """Student (and branch) -> whether its judged answers were right, in order."""
    helped: bool = False
    leak: int = 0
    leaks: set[tuple[int, str]] = field(default_factory=set)
    """Turn and branch of messages that a flag was raised on."""
    vetoes: int = 0
    spent: dict[str, int] = field(default_factory=dict)
    tokens: int = 0
    calls: int = 0
    believes: bool = False
    moves: list[str] = field(default_factory=list)
    acting: dict[tuple[str, str], str] = field(default_factory=dict)
    """(agent, branch) -> the move it has chosen."""
    turns: list[dict[str, Any]] = field(default_factory=list)

    def add(self, index: int, event: RawEvent) -> None:
        match event.kind:
            case "message":
                self.said(index, event)
            case "call":
                self.calls += 1
            case "grade":
                self.graded(event)
            case "spend":
                unit = event.payload["unit"]
                self.spent[unit] = self.spent.get(unit, 0) + event.payload["amount"]
            case "decision":
                self.decided(event)
            case "flag" if event.payload["found"]:
                self.leak += 1
                self.leaks.add((event.payload["said"], event.branch))
            case "belief":
                self.believes = True
            case "stop":
                self.detail = event.payload["detail"]
            case "error":
                self.message = event.payload["message"]
            case _:
                pass

    def said(self, index: int, event: RawEvent) -> None:
        message = event.payload["message"]
        usage = message["usage"]
        self.tokens += usage["prompt_tokens"] + usage["completion_tokens"]
        self.turns.append(
            {
                "turn": event.turn,
                "branch": event.branch,
                "agent": event.agent,
                "act": event.act,
                "kind": message["kind"],
                "move": self.acting.get((event.agent, event.branch), ""),
                "public": EVERYONE in message["recipients"],
                "tokens": usage["completion_tokens"],
                "leak": False,
                "event": index,
                "text": message["text"],
            }
        )

    def graded(self, event: RawEvent) -> None:
        grade = event.payload
        if grade["role"] != "student":
            return
        self.helped = self.helped or grade["helped"]
        if grade["correct"] is not None:
            who = f"{grade['student']} {event.branch} {grade['item']}"
            self.grades.setdefault(who, []).append(grade["correct"])

    def decided(self, event: RawEvent) -> None:
        chosen = event.payload["chosen"]
        if event.payload["policy"] == "critic":
            self.vetoes += chosen is False
        elif move := move_name(chosen):
            self.moves.append(move)
            self.acting[event.agent, event.branch] = move
            if self.turns and self.turns[-1]["turn"] == event.turn:  # the act that chose it
                self.turns[-1]["move"] = move


def row_of(
    record: EpisodeRecord, events: Sequence[RawEvent], *, label: str = "", control: str = ""
) -> EpisodeRow:
    """The row of an episode; `events` are all of its events, by position."""
    tally = _Tally()
    for index, event in enumerate(events):
        tally.add(index, event)
    for turn in tally.turns:
        turn["leak"] = (turn["turn"], turn["branch"]) in tally.leaks
    gains = [float(right[-1]) - float(right[0]) for right in tally.grades.values() if len(right) > 1]
    p, brier, diagnosed = _believed(record, events) if tally.believes else (None, None, None)
    grades = tally.grades.values()
    return EpisodeRow.model_construct(
        **_recorded(record, label, control),
        detail=tally.detail,
        message=tally.message,
        events=len(events),
        answers=sum(map(len, grades)),
        first=all(right[0] for right in grades) if grades else None,
        right=all(right[-1] for right in grades) if grades else None,
        gain=fmean(gains) if gains else None,
        helped=tally.helped,
        leak=tally.leak,
        vetoes=tally.vetoes,
        spent=tally.spent,
        tokens=tally.tokens,
        calls=tally.calls,
        p=p,
        brier=brier,
        diagnosed=diagnosed,
        moves=tally.moves,
        turns=[Turn.model_construct(**turn) for turn in tally.turns],
    )


def record_row(record: EpisodeRecord, *, label: str = "", control: str = "") -> EpisodeRow:
    """A row with what the record says alone, for filters before events are read."""
    return EpisodeRow.model_construct(**_recorded(record, label, control))


def _recorded(record: EpisodeRecord, label: str, control: str) -> dict[str, Any]:
    return {
        "condition": record.lesson.condition,
        "label": label,
        "control": control,
        "replicate": record.lesson.replicate,
        "ordinal": record.ordinal,
        "key": record.key,
        "phase": record.phase,
        "phase_kind": record.phase_kind,
        "round": record.round,
        "item": record.item,
        "student": record.student,
        "outcome": record.outcome,
        "failure": record.failure,
        "wall_s": record.wall_s,
    }


def _believed(
    record: EpisodeRecord, events: Sequence[RawEvent]
) -> tuple[float | None, float | None, bool | None]:
    """First predicted probability, mean Brier score, and whether the last diagnosis was right."""
    trace = trace_of(record, (recorded(e) for e in events if e.kind in ("belief", "grade")))
    beliefs = [e.p_correct for e in trace.events if isinstance(e, BeliefEvent) and e.p_correct is not None]
    errors = [
        (s.belief.p_correct - float(s.correct)) ** 2
        for s in scored_beliefs(alone(record, trace))
        if s.belief.p_correct is not None and s.correct is not None
    ]
    diagnoses = [diagnosis_right(belief) for belief in diagnoses_of(trace)]
    return (
        beliefs[0] if beliefs else None,
        fmean(errors) if errors else None,
        diagnoses[-1] if diagnoses else None,
    )


def results_of(rows: Iterable[EpisodeRow], phases: Sequence[tuple[str, str]]) -> list[PhaseResult]:
    """What came of each phase (id, kind) of a lesson, in the order of the plan."""
    found: dict[str, dict[str, int]] = {}
    kinds = dict(phases)
    for row in rows:
        kinds.setdefault(row.phase, row.phase_kind)
        at = found.setdefault(
            row.phase, dict.fromkeys(("episodes", "failed", "graded", "right", "first_right"), 0)
        )
        at["episodes"] += 1
        at["failed"] += row.outcome == "failed"
        at["graded"] += row.right is not None
        at["right"] += bool(row.right)
        at["first_right"] += bool(row.first)
    empty = dict.fromkeys(("episodes", "failed", "graded", "right", "first_right"), 0)
    return [
        PhaseResult(phase=phase, kind=kind, index=index, **found.get(phase, empty))
        for index, (phase, kind) in enumerate(kinds.items())
    ]
