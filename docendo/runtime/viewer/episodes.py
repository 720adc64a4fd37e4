"""An episode's page: events, ledger, beliefs against what happened, nodes, and the same episode elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from docendo.events import BeliefEvent, CallEvent, Event, SpendEvent
from docendo.runtime.measures.beliefs import scored_beliefs
from docendo.runtime.measures.diagnoses import diagnoses_of, diagnosis_right, named_misconception, truth_error
from docendo.runtime.measures.measure import EpisodeTrace
from docendo.runtime.store.records import EpisodeRecord, LessonKey
from docendo.runtime.viewer.episode_models import (
    BeliefPoint,
    CallFacts,
    EpisodePage,
    ItemFacts,
    LedgerEntry,
    Partner,
)
from docendo.runtime.viewer.facts import alone, row_of, trace_of, typed
from docendo.runtime.viewer.graphs import visits_of
from docendo.runtime.viewer.library import Design, Library

__all__ = ["beliefs_of", "episode_at", "episode_page"]

SOUGHT = 12
"""Calls whose prompts are searched for the item's question and answer."""
_AT_ONCE = 4


def episode_at(
    library: Library, reference: str, condition: str, replicate: int, ordinal: int
) -> tuple[Design, EpisodeRecord]:
    """The design of a run and one of its episodes.

    Raises:
        UnknownNameError: There is no such run, condition or episode.
    """
    design = library.design(reference)
    design.condition(condition)
    return design, library.store.browse.at(LessonKey(design.record.id, condition, replicate), ordinal)


def episode_page(
    library: Library, reference: str, condition: str, replicate: int, ordinal: int
) -> EpisodePage:
    """Everything that happened in an episode.

    Raises:
        UnknownNameError: There is no such episode.
    """
    design, record = episode_at(library, reference, condition, replicate, ordinal)
    browse = library.store.browse
    raw = browse.events([record.id])[record.id]
    events: list[Event] = [typed(event) for event in raw]
    label, control = design.label(condition), design.control(condition)
    trace = trace_of(record, events)
    keys = list(dict.fromkeys(e.key for e in events if isinstance(e, CallEvent)))
    costs = browse.costs(keys)
    models = {e.key: e.model for e in events if isinstance(e, CallEvent)}
    before, after = browse.around(record)
    ledger = _ledger(events)
    return EpisodePage(
        run=design.record.id,
        row=row_of(record, raw, label=label, control=control),
        label=label,
        control=control,
        coordinates=design.condition(condition).coordinates,
        phase_index=_phase_index(design, condition, record.phase),
        previous=before,
        next=after,
        digest=record.digest,
        item=_item(library, record, events),
        roles=design.roles(condition),
        limits=_limits(design, record, ledger),
        events=events,
        ledger=ledger,
        beliefs=beliefs_of(record, trace),
        diagnosed_at=_diagnosed_at(trace),
        calls={
            key: CallFacts(model=models[key], usage=cost.usage, latency_s=cost.latency_s, failed=cost.failed)
            for key, cost in costs.items()
        },
        nodes=visits_of(design, record, events),
        partners=[_partner(design, other) for other in browse.partners(record)],
    )


def _phase_index(design: Design, condition: str, phase: str) -> int:
    ids = [str(p.get("id") or p.get("kind")) for p in design.plan_of(condition)]
    return ids.index(phase) if phase in ids else len(ids)


def _partner(design: Design, record: EpisodeRecord) -> Partner:
    condition = record.lesson.condition
    return Partner(
        condition=condition,
        replicate=record.lesson.replicate,
        ordinal=record.ordinal,
        label=design.label(condition),
        control=design.control(condition),
        outcome=record.outcome,
    )


def _item(library: Library, record: EpisodeRecord, events: Sequence[Event]) -> ItemFacts:
    """What agents were shown of the item: items are files, and only what was shown is in a store.

    Branches over `items` are about others.
    """
    asked = (e.key for e in events if isinstance(e, CallEvent) and "items=" not in e.branch)
    keys = list(dict.fromkeys(asked))
    seen: dict[str, str] = {}
    for start in range(0, min(len(keys), SOUGHT), _AT_ONCE):
        for call in library.store.calls(keys[start : start + _AT_ONCE]).values():
            for message in call.prompt:
                for span in message.spans:
                    if span.source in ("item.question", "gold.answer"):
                        seen.setdefault(span.source, span.text)
        if len(seen) == 2:
            break
    question, answer = seen.get("item.question", ""), seen.get("gold.answer", "")
    return ItemFacts(id=record.item, question=question, answer=answer)


# --- money ----------------------------------------------------------------------------------------------


def _ledger(events: Iterable[Event]) -> list[LedgerEntry]:
    spent: dict[str, int] = {}
    entries = []
    for index, event in enumerate(events):
        if isinstance(event, SpendEvent):
            spent[event.unit] = spent.get(event.unit, 0) + event.amount
            entries.append(
                LedgerEntry(
                    event=index,
                    turn=event.turn,
                    branch=event.branch,
                    agent=event.agent,
                    unit=event.unit,
                    amount=event.amount,
                    bought=event.bought,
                    spent=spent[event.unit],
                    remaining=event.remaining,
                )
            )
    return entries


def _limits(design: Design, record: EpisodeRecord, ledger: Sequence[LedgerEntry]) -> dict[str, int]:
    """What the ledger shows of limits, and the counts in the budget that nothing was spent of."""
    limits = {e.unit: e.remaining + e.spent for e in reversed(ledger) if e.remaining is not None}
    spent = {entry.unit for entry in ledger}
    if record.phase_kind == "teach":
        budget: Mapping[str, Any] = design.condition(record.lesson.condition).scenario.get("budget") or {}
        for unit, amount in budget.items():
            if isinstance(amount, int) and unit not in spent and unit != "interventions":
                limits.setdefault(unit, amount)
    return limits


# --- beliefs --------------------------------------------------------------------------------------------


def beliefs_of(record: EpisodeRecord, trace: EpisodeTrace) -> list[BeliefPoint]:
    """Every belief of an episode, held against the answer that it was about and against the mind."""
    index = {id(event): place for place, event in enumerate(trace.events)}
    scored = {id(s.belief): s for s in scored_beliefs(alone(record, trace))}
    diagnoses = {id(belief) for belief in diagnoses_of(trace)}
    errors: list[float] = []
    points = []
    for event in trace.events:
        if not isinstance(event, BeliefEvent):
            continue
        found = scored.get(id(event))
        correct = found.correct if found else None
        error = None
        if event.p_correct is not None and correct is not None:
            error = (event.p_correct - float(correct)) ** 2
            errors.append(error)
        points.append(
            BeliefPoint(
                event=index[id(event)],
                turn=event.turn,
                branch=event.branch,
                agent=event.agent,
                act=event.act,
                student=event.student,
                item=event.item or record.item,
                p_correct=event.p_correct,
                predicted_answer=event.predicted_answer,
                given_help=event.given_help,
                answer=found.answer.answer if found and found.answer else None,
                outcome=correct,
                graded=index.get(id(found.answer)) if found and found.answer else None,
                brier=error,
                brier_so_far=fmean(errors) if errors else None,
                truth_brier=_finite(truth_error(event)) if event.truth else None,
                named=named_misconception(event.misconceptions),
                diagnosis_right=diagnosis_right(event) if id(event) in diagnoses else None,
            )
        )
    return points


def _diagnosed_at(trace: EpisodeTrace) -> int | None:
    """Turn of the first right diagnosis after which none was wrong."""
    at: int | None = None
    for belief in diagnoses_of(trace):
        if not diagnosis_right(belief):
            at = None
        elif at is None:
            at = belief.turn
    return at


def _finite(value: float | None) -> float | None:
    return value if value is None or math.isfinite(value) else None
