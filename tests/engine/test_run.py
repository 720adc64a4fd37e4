"""Whole runs on real engines whose models know nothing: what they say is garbage, and the run is in order."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from docendo.events import BeliefEvent, CallEvent, GradeEvent, MessageEvent, StopEvent
from tests.engine.tiny_model import NO_SYSTEM
from tests.trust.lab import Ran, Raw, command, docendo, environment, run, write

WAIT = 120.0
"""Seconds that anything may take before the test gives up."""


@pytest.fixture
def raw(make: Any) -> Raw:
    """When to step in, with two models that transformers runs here."""
    teacher = {"backend": "transformers", "model": str(make()), "sampling": {"max_tokens": 24}}
    student = {
        "backend": "transformers",
        "model": str(make(cut="metaspace", template=NO_SYSTEM, architecture="llama")),
        "sampling": {"max_tokens": 24, "temperature": 0.8},
    }
    return {
        "version": 1,
        "name": "nobody-knows",
        "models": {"expert": teacher, "novice": student},
        "agents": {
            "teacher": {"model": "expert", "student_model": {"kind": "few_shot", "demonstrations": 2}},
            "student": {"model": "novice"},
        },
        "items": {"source": "strategyqa", "file": "builtin:yes_no.json", "train": 5, "test": 6},
        "plan": [
            {"observe": {"items": "train", "count": 3}},
            {"teach": {"items": "test", "graph": "intervention", "policy": "expected_utility"}},
        ],
        "budget": {"interventions": "50%"},
        "measures": ["accuracy", "rectified"],
        "seed": 7,
    }


def test_every_episode_ends_in_order(raw: Raw, tmp_path: Path) -> None:
    ran = run(raw, tmp_path, concurrent=32)
    episodes = ran.episodes()
    assert len(episodes) == 9
    assert {e.outcome for e in episodes} <= {"end", "failed"}
    assert all(e.failure in {"parse", "model", "context"} for e in episodes if e.outcome == "failed")
    assert len(ran.events(StopEvent)) == 9
    purposes = [event.purpose for event in ran.events(CallEvent)]
    assert purposes.count("repair") > 0, "garbage is asked about once more"
    assert ran.events(GradeEvent)
    beliefs = [event for event in ran.events(BeliefEvent) if event.confidence_mode]
    assert {event.confidence_mode for event in beliefs} == {"raw"}
    assert all(0 <= event.p_correct <= 1 for event in beliefs)
    for _, call in ran.calls():
        assert call.result.reply or call.result.error
        assert call.result.usage.prompt_tokens > 0


def test_interrupted_it_goes_on_and_ends_as_if_undisturbed(raw: Raw, tmp_path: Path) -> None:
    scenario = write(tmp_path, raw)
    calm, broken = (f"sqlite:///{tmp_path / name}" for name in ("calm.db", "broken.db"))
    process = subprocess.Popen(
        command("run", scenario, "--store", broken), env=environment(), stderr=subprocess.PIPE, text=True
    )
    wait_for_a_call(tmp_path / "broken.db", process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=WAIT)
    assert process.returncode == 130, err
    for store in (broken, calm):
        done = docendo("run", scenario, "--store", store, "-q")
        assert done.code == 0, done.err
    # What was said is the same; scores may differ in their last bits by what they were batched with.
    query = "select key, outcome, events_n from episode order by ordinal"
    assert rows(tmp_path / "broken.db", query) == rows(tmp_path / "calm.db", query) != []
    replayed = docendo("replay", "latest", "--store", broken)
    assert replayed.code == 0, replayed.err
    assert "every event is the same" in replayed.out


def test_one_episode_at_a_time_says_the_same(raw: Raw, tmp_path: Path) -> None:
    crowded = run(raw, tmp_path, concurrent=32, url=f"sqlite:///{tmp_path / 'crowded.db'}")
    single = run(raw, tmp_path, concurrent=1)
    assert said(single) == said(crowded) != []
    pairs = list(zip(single.events(BeliefEvent), crowded.events(BeliefEvent), strict=True))
    for one, other in pairs:
        assert one.p_correct == pytest.approx(other.p_correct, rel=1e-3)
    assert pairs


def test_a_prompt_that_does_not_fit_names_agent_and_turn(raw: Raw, tmp_path: Path) -> None:
    raw["models"]["novice"] = {**raw["models"]["novice"], "context": 120}
    ran = run(raw, tmp_path)
    failed = [e for e in ran.episodes() if e.outcome == "failed"]
    assert failed
    assert {e.failure for e in failed} == {"context"}
    errors = [str(event) for event in ran.events() if event.kind == "error"]
    assert any("student.solve (turn" in error and "the model holds 120" in error for error in errors)


def test_a_model_that_is_not_here_stops_before_the_run(raw: Raw, tmp_path: Path) -> None:
    raw["models"]["expert"] = {**raw["models"]["expert"], "model": "./nowhere"}
    told = docendo("run", write(tmp_path, raw), "--store", f"sqlite:///{tmp_path / 'store.db'}", "--json")
    assert told.code == 1
    assert "nowhere" in told.error["message"]
    assert "models.expert" in str(told.error)


def said(ran: Ran) -> list[str]:
    """What teacher and student said, in order."""
    messages = [event.message for event in ran.events(MessageEvent)]
    return [m.text for m in messages if m.kind in {"attempt", "explanation"}]


def rows(path: Path, query: str) -> list[Any]:
    with sqlite3.connect(path) as db:
        return list(db.execute(query))


def wait_for_a_call(path: Path, process: subprocess.Popen[str]) -> None:
    """Until the model has answered, or the process has ended."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()
        try:
            if path.exists() and rows(path, "select 1 from call limit 1"):
                return
        except sqlite3.OperationalError:  # The tables are being made.
            pass
        time.sleep(0.01)
    raise AssertionError("the model was not asked")
