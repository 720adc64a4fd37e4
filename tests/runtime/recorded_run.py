"""A small study, written into a real store without any model, for tests of measures, reports and exports."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

from docendo.events import BeliefEvent, CallEvent, Event, GradeEvent, MessageEvent, SpendEvent, digest_events
from docendo.messages import Message, PromptMessage, Span, Usage
from docendo.runtime.measures import EpisodeTrace, LessonTrace, observe_lesson
from docendo.runtime.store import (
    CallRecord,
    CallResult,
    ConditionRecord,
    EpisodeRecord,
    LessonKey,
    ObservationRow,
    RunRecord,
    Store,
)

STUDENT = "student"
MEASURES = ("accuracy", "rectified", "broken", "calibration", "interventions")


def grade(item: str, correct: bool | None, attempt: int = 0, **fields: Any) -> GradeEvent:
    about = {"turn": 2 * attempt, "helped": attempt > 0, "answer": "1", "agent": STUDENT, "student": STUDENT}
    return GradeEvent(item=item, correct=correct, attempt=attempt, **(about | fields))


def belief(item: str, p: float | None, *, helped: bool = False, **fields: Any) -> BeliefEvent:
    about = {"turn": -1, "n": int(helped), "agent": "teacher", "student": STUDENT}
    return BeliefEvent(item=item, p_correct=p, given_help=helped, **(about | fields))


def episode(item: str, *events: Event, kind: str = "teach", phase: str = "", **fields: Any) -> EpisodeTrace:
    return EpisodeTrace(
        key=f"{phase or kind}/{item}",
        phase=phase or kind,
        phase_kind=kind,
        item=item,
        student=STUDENT,
        events=tuple(sorted(events, key=lambda e: e.position)),
        **fields,
    )


def lesson(*episodes: EpisodeTrace, condition: str = "c", replicate: int = 0) -> LessonTrace:
    return LessonTrace(condition=condition, replicate=replicate, episodes=episodes)


def values(trace: LessonTrace, measure: str) -> list[float | None]:
    return [o.value for o in observe_lesson(trace, [measure])]


def mean(found: Iterable[float | None]) -> float:
    there = [v for v in found if v is not None]
    return sum(there) / len(there)


def spoken(item: str, text: str, turn: int, **fields: Any) -> MessageEvent:
    message = Message(
        sender="teacher",
        kind="explanation",
        text=text,
        turn=turn,
        usage=Usage(completion_tokens=7),
        act="explain",
    )
    return MessageEvent(turn=turn, n=2, agent="teacher", act="explain", message=message, **fields)


def helped_episode(item: str, before: bool, after: bool | None) -> EpisodeTrace:
    """Attempt, explanation, retry. `after=None`: not helped."""
    events: list[Event] = [belief(item, 0.5), grade(item, before)]
    if after is not None:
        spend = SpendEvent(turn=1, agent="teacher", unit="interventions", amount=1, bought="teacher.explain")
        events += [belief(item, 0.75, helped=True), spend, spoken(item, "because", 1), grade(item, after, 1)]
    return episode(item, *events)


Exam = dict[str, list[bool | None]]
"""Student -> its answers."""


def demonstration(branch: str, text: str = "words") -> MessageEvent:
    message = Message(sender="teacher", kind="explanation", act="demonstrate", text=text)
    return MessageEvent(branch=branch, agent="teacher", act="demonstrate", message=message)


def sampled(*samples: tuple[str | None, Exam], item: str = "i", **fields: Any) -> EpisodeTrace:
    """An episode of learning by teaching: (answer, student -> exam) of each sample; `R` is right."""
    events: list[Event] = []
    for number, (answer, exam) in enumerate(samples, 1):
        branch = f"samples={number}"
        events.append(demonstration(branch))
        if answer is not None:
            about = {"branch": branch, "agent": "teacher", "student": "teacher", "role": "teacher"}
            right = None if answer == "?" else answer == "R"
            events.append(grade(item, right, answer=answer, turn=0, n=1, **about))
        for student, answers in exam.items():
            for place, right in enumerate(answers):
                below = f"{branch}/students={student}/items=e{place}/repeats=1"
                about = {"branch": below, "agent": student, "student": student}
                events.append(grade(f"e{place}", right, turn=2, **about))
    return episode(item, *events, **fields)


def write_lesson(store: Store, run: str, trace: LessonTrace, measures: Sequence[str] = MEASURES) -> None:
    key = LessonKey(run, trace.condition, trace.replicate)
    store.put_lessons([key])
    store.start_lesson(key)
    for ordinal, e in enumerate(trace.episodes):
        record = EpisodeRecord(
            lesson=key,
            key=e.key,
            ordinal=ordinal,
            phase=e.phase,
            phase_kind=e.phase_kind,
            round=e.round,
            item=e.item,
            student=e.student,
            outcome=e.outcome,
            failure=e.failure,
            digest=digest_events(e.events),
        )
        store.write_episode(record, e.events)
    rows = [
        ObservationRow(
            lesson=key,
            phase=o.phase,
            measure=o.measure,
            item=o.item,
            student=o.student,
            round=o.round,
            value=o.value,
            reason=o.reason,
        )
        for o in observe_lesson(trace, measures)
    ]
    store.write_observations(key, rows)
    store.finish_lesson(key)


def begin(
    store: Store, conditions: Iterable[tuple[dict[str, Any], str]], run: str = "r1", **scenario: Any
) -> RunRecord:
    """Register a run; conditions are (coordinates, control) and get the ids c0, c1, ..."""
    scenario = {"measures": list(MEASURES), **scenario}
    record = store.begin_run(RunRecord(id=run, name="study", digest="d" * 64, scenario=scenario))
    store.put_conditions(
        [
            ConditionRecord(run=run, id=f"c{i}", ordinal=i, coordinates=where, control=control)
            for i, (where, control) in enumerate(conditions)
        ]
    )
    return record


POLICY, BUDGET = "plan.teach.policy", "budget.interventions"
BUDGETS = ("0%", "50%", "100%")


def write_grid(store: Store, *, items: int = 40, replicates: int = 2, fail: Iterable[str] = ()) -> None:
    """Two policies by three budgets and a control. Help always puts right; `best` helps where it is needed.

    Episodes of the items `fail` fail in the condition best, 50%.
    """
    grid = [({POLICY: p, BUDGET: b}, "") for p in ("random", "best") for b in BUDGETS]
    begin(store, [*grid, ({}, "no_teacher")], baseline={POLICY: "random"})
    for index, (where, control) in enumerate([*grid, ({}, "no_teacher")]):
        for replicate in range(replicates):
            rng = random.Random(replicate)
            before = {f"i{i}": rng.random() < 0.5 for i in range(items)}
            share = 0.0 if control else float(where[BUDGET].rstrip("%")) / 100
            order = sorted(before, key=lambda i: before[i]) if where.get(POLICY) == "best" else list(before)
            chosen = set(order[: int(share * items)])
            episodes = [helped_episode(i, ok, True if i in chosen else None) for i, ok in before.items()]
            if where == {POLICY: "best", BUDGET: "50%"}:
                episodes = [_failed(e) if e.item in set(fail) else e for e in episodes]
            write_lesson(store, "r1", lesson(*episodes, condition=f"c{index}", replicate=replicate))
    store.finish_run("r1")


def _failed(e: EpisodeTrace) -> EpisodeTrace:
    return EpisodeTrace(
        key=e.key,
        phase=e.phase,
        phase_kind=e.phase_kind,
        item=e.item,
        student=e.student,
        outcome="failed",
        failure="timeout",
        events=e.events[:1],
    )


def put_call(store: Store, key: str, question: str, text: str, *, begun: str = "") -> str:
    """Journal one call and return its key."""
    prompt = (
        PromptMessage("system", (Span("You teach."),)),
        PromptMessage(
            "user", (Span(question, "public", "item.question"), Span(" Key: 5", "gold", "gold.answer"))
        ),
    )
    if begun:
        prompt += (PromptMessage("assistant", (Span(begun, "own", "own"),)),)
    reply = {"completions": [{"text": text, "finish": "stop"}], "usage": {"completion_tokens": 3}}
    store.put_call(
        CallRecord(
            key=key,
            fingerprint="model",
            operation="generate",
            prompt=prompt,
            result=CallResult(reply=reply, usage=Usage(prompt_tokens=9, completion_tokens=3)),
        )
    )
    return key


def taught(
    store: Store, item: str, text: str, *, before: bool, after: bool, tag: str, repaired: bool = False
) -> EpisodeTrace:
    """One helped episode whose calls are in the journal."""
    explain = put_call(store, f"e-{item}-{tag}", f"Explain {item}.", text)
    answer = put_call(store, f"a-{item}-{tag}", f"Answer {item}: {text}", " is 5.", begun="The answer")

    def called(key: str, turn: int, n: int, agent: str, act: str, purpose: str = "act") -> CallEvent:
        return CallEvent(
            turn=turn, n=n, agent=agent, act=act, key=key, model="m", operation="generate", purpose=purpose
        )

    events: list[Event] = [
        grade(item, before),
        called(explain, 1, 0, "teacher", "explain"),
        spoken(item, text, 1),
        called(answer, 2, 0, STUDENT, "solve"),
        grade(item, after, 1, n=1),
    ]
    if repaired:
        events.append(called(explain, 1, 1, "teacher", "explain", "repair"))
    return episode(item, *events)
