"""An episode as lines for a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from docendo.events import (
    BeliefEvent,
    DecisionEvent,
    ErrorEvent,
    Event,
    GradeEvent,
    MessageEvent,
    SpendEvent,
    StopEvent,
)

__all__ = ["lines_of"]


def lines_of(events: Sequence[Event]) -> Iterator[str]:
    """One line per thing that a reader of the lesson wants to know; calls are left out.

    Lines begin with the turn, or `pre` for what happened before the graph started.
    """
    for event in events:
        turn = "pre" if event.turn < 0 else f"{event.turn:>3}"
        place = f"{turn} {event.branch + ' ' if event.branch else ''}"
        match event:
            case MessageEvent(message=m):
                if "intervene" in m.payload:
                    continue  # the decision that follows says it in words
                to = "to itself" if not m.recipients else ""
                text = m.text.replace("\n", "\n" + " " * (len(place) + 2))
                yield f"{place}{m.sender} {m.act} {to}".rstrip() + f": {text}"
            case DecisionEvent():
                why = ", ".join(f"{k} {_figure(v)}" for k, v in event.reasons.items())
                rank = f", rank {event.rank + 1}" if event.rank is not None else ""
                because = f"; {why}" if why else ""
                yield f"{place}{event.agent} decides: {event.chosen} ({event.policy}{rank}{because})"
            case BeliefEvent():
                help_ = "after help" if event.given_help else "alone"
                p = "" if event.p_correct is None else f", p(correct) {event.p_correct:.2f}"
                yield f"{place}{event.agent} expects of {event.student} {help_}: {event.predicted_answer}{p}"
            case GradeEvent():
                verdict = {True: "right", False: "wrong", None: "not judged"}[event.correct]
                yield f"{place}grade: {event.student} answered {event.answer}: {verdict}"
            case SpendEvent():
                yield f"{place}ledger: {event.amount} {event.unit} for {event.bought}"
            case ErrorEvent():
                yield f"{place}FAILED ({event.failure}): {event.message}"
            case StopEvent():
                yield f"{place}stop: {event.reason} {event.detail}".rstrip()
            case _:
                pass


def _figure(v: object) -> str:
    return f"{v:.2f}" if isinstance(v, float) else str(v)
