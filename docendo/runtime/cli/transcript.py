"""An episode as lines for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from docendo.events import (
    BeliefEvent,
    DecisionEvent,
    ErrorEvent,
    Event,
    FlagEvent,
    GradeEvent,
    MemoryEvent,
    MessageEvent,
    SpendEvent,
    StopEvent,
)
from docendo.messages import EVERYONE, Message

__all__ = ["lines_of"]

LIKELY = 0.2
"""Misconceptions below this probability are not worth a line."""

INDENT = 6
"""Columns before the further lines of what was said."""

TOLD_BELOW = frozenset({"choose", "decide", "diagnose", "predict", "remember", "review", "judge"})
"""Acts whose typed output is an event of its own, which says the same in words."""


def lines_of(events: Sequence[Event]) -> Iterator[str]:
    """One line per thing that a reader of the lesson wants to know; calls are left out.

    Lines begin with the turn, or `pre` for what happened before the graph started.
    """
    for event in events:
        turn = "pre" if event.turn < 0 else f"{event.turn:>3}"
        place = f"{turn} {event.branch + ' ' if event.branch else ''}"
        for line in _said(event):
            yield place + line.replace("\n", "\n" + " " * INDENT)


def _said(event: Event) -> Iterator[str]:
    match event:
        case MessageEvent(message=m) if m.act not in TOLD_BELOW:
            yield f"{m.sender} {m.act}{_to(m)}: {m.text}"
        case DecisionEvent():
            yield _decided(event)
        case BeliefEvent():
            yield from _believed(event)
        case GradeEvent():
            verdict = {True: "right", False: "wrong", None: "not judged"}[event.correct]
            yield f"grade: {event.student} answered {event.answer}: {verdict}"
        case FlagEvent():
            yield _flagged(event)
        case MemoryEvent():
            yield from _remembered(event)
        case SpendEvent():
            left = "" if event.remaining is None else f", {event.remaining} left"
            yield f"ledger: {event.amount} {event.unit} for {event.bought}{left}"
        case ErrorEvent():
            yield f"FAILED ({event.failure}): {event.message}"
        case StopEvent():
            yield f"stop: {event.reason} {event.detail}".rstrip()
        case _:
            pass


def _to(message: Message) -> str:
    if EVERYONE in message.recipients:
        return ""
    return f" to {', '.join(message.recipients) or 'itself'}"


def _decided(event: DecisionEvent) -> str:
    if event.policy == "critic":
        why = ", ".join(str(v) for k, v in event.reasons.items() if v)
        return f"{event.agent} {'accepts' if event.chosen else 'vetoes'}{': ' if why else ''}{why}"
    chosen = event.chosen
    if isinstance(chosen, Mapping):
        chosen = ", ".join(f"{k} {v}" for k, v in chosen.items()) or "nothing in particular"
    why = ", ".join(f"{k} {_figure(v)}" for k, v in event.reasons.items())
    rank = f", rank {event.rank + 1}" if event.rank is not None else ""
    return f"{event.agent} decides: {chosen} ({event.policy}{rank}{'; ' + why if why else ''})"


def _believed(event: BeliefEvent) -> Iterator[str]:
    likely = sorted((-p, name) for name, p in event.misconceptions.items() if p >= LIKELY)
    if event.act == "diagnose":
        held = ", ".join(f"{name} {-p:.2f}" for p, name in likely) or "no misconception"
        truth = event.truth.get("misconceptions")
        known = "" if truth is None else f" (truth: {', '.join(truth) or 'none'})"
        yield f"{event.agent} suspects {held}{known}"
    if event.predicted_answer is not None or event.p_correct is not None:
        help_ = "after help" if event.given_help else "alone"
        p = "" if event.p_correct is None else f", p(correct) {event.p_correct:.2f}"
        yield f"{event.agent} expects of {event.student} {help_}: {event.predicted_answer}{p}"


def _flagged(event: FlagEvent) -> str:
    if event.found is None:
        return f"{event.flag}: the judge could not be understood"
    who = "the rule" if event.by == "rule" else event.agent
    return f"{event.flag}: {who} finds {repr(event.words) if event.found else 'none'}"


def _remembered(event: MemoryEvent) -> Iterator[str]:
    if event.slot == "mind":
        bugs = event.change.get("misconceptions")
        yield f"{event.agent}'s mind: {', '.join(bugs) if bugs else 'no misconception'}"
    elif "question" in event.change:
        yield f"{event.agent} remembers the example of {event.change['question']}"
    elif "best" in event.change:
        examples: Sequence[Mapping[str, Any]] = event.change["best"]
        for example in examples:
            yield f"{event.agent} keeps: {example['question']}\n{example['explanation']}"


def _figure(v: object) -> str:
    if isinstance(v, Mapping):
        return ", ".join(f"{k}: {_figure(x)}" for k, x in v.items())
    return f"{v:.2f}" if isinstance(v, float) else str(v)
