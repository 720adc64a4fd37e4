"""Learning by teaching, end to end: samples unknown to each other, exams from memory, revised sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docendo.events import CallEvent, DecisionEvent, GradeEvent, MemoryEvent, MessageEvent
from docendo.runtime.store.records import CallRecord
from tests.trust.lab import Ran, Raw, docendo, run

BUGS = ["smaller_from_larger", "borrow_no_decrement", "stops_borrow_at_zero"]


def voting(**phase: Any) -> Raw:
    return {
        "version": 1,
        "name": "voting",
        "models": {
            "expert": {"backend": "simulated", "mind": "expert", "doubt": 0.4},
            "novice": {"backend": "simulated", "mind": "procedural", "bugs": BUGS, "bugs_per_student": 1},
        },
        "agents": {
            "teacher": {"model": "expert"},
            "student": {"model": "novice", "count": 2, "memory": "demonstrations"},
        },
        "items": {"source": "subtraction", "digits": 3, "test": 3, "pools": {"exam": 8}},
        "plan": [{"teach": {"items": "test", "graph": "learning_by_teaching", "samples": 4,
                            "exam": {"pool": "exam", "count": 2}, **phase}}],
        "measures": ["vote_sum", "self_consistency", "one_sample", "exam_score"],
        "seed": 3,
    }  # fmt: skip


def prompts(ran: Ran, act: str) -> list[tuple[CallEvent, CallRecord]]:
    return [(event, call) for event, call in ran.calls() if event.act == act]


def test_every_sample_is_studied_and_sat_by_every_student(tmp_path: Path) -> None:
    ran = run(voting(), tmp_path)
    assert not [e for e in ran.episodes() if e.failure]
    grades = ran.events(GradeEvent)
    taught = [g for g in grades if g.role == "teacher"]
    sat = [g for g in grades if g.role == "student"]
    assert len(taught) == 3 * 4
    assert len(sat) == 3 * 4 * 2 * 2
    assert not {g.item for g in sat} & {g.item for g in taught}
    values = {o.measure: o for o in ran.store.observations(ran.study.run_id)}
    assert values.keys() == {"vote_sum", "self_consistency", "one_sample", "exam_score"}


def test_a_sample_knows_nothing_of_the_others(tmp_path: Path) -> None:
    """What a student studied in one sample is in its prompt there, and in no other."""
    ran = run(voting(), tmp_path)
    told = {
        (e.branch, record.item): e.message.payload["explanation"]
        for record in ran.episodes()
        for e in ran.store.events(record.id)
        if isinstance(e, MessageEvent) and e.message.act == "demonstrate"
    }
    assert len(set(told.values())) > 3, "samples differ"
    for record in ran.episodes():
        for event, call in ran.calls(item=record.item):
            if event.act != "sit":
                continue
            spans = [s for m in call.prompt for s in m.spans if s.source.startswith("memory.demonstrations")]
            explained = [s.text for s in spans if s.source.endswith("explanation")]
            sample = event.branch.split("/")[0]
            own = told[sample, record.item]
            assert [own.startswith(e) for e in explained] in ([True], []), "its own sample alone"
            assert {s.provenance for s in spans} <= {"memory"}


def test_an_exam_is_sat_from_memory_and_nothing_that_was_said(tmp_path: Path) -> None:
    ran = run(voting(), tmp_path)
    for _, call in prompts(ran, "sit"):
        assert not [s for m in call.prompt for s in m.spans if s.source.startswith("dialogue")]


def test_votings_share_their_samples(tmp_path: Path) -> None:
    """Sixteen samples cost what they cost; the votes over fewer of them cost nothing more."""
    alone = run(voting(samples=8), tmp_path).tally
    (tmp_path / "grid").mkdir()
    grid = voting() | {"matrix": {"plan.teach.samples": [1, 2, 4, 8]}}
    together = run(grid, tmp_path / "grid").tally
    assert together.sent == alone.sent
    assert together.calls > alone.calls


def test_votes_replay_and_do_not_depend_on_speed(tmp_path: Path) -> None:
    ran = run(voting(), tmp_path, concurrent=1)
    assert docendo("replay", "--store", ran.url, "--json").data["exact"]
    (tmp_path / "again").mkdir()
    assert run(voting(), tmp_path / "again", concurrent=8).digest == ran.digest


# --- revised sets of examples ---------------------------------------------------------------------------


def revising(**phase: Any) -> Raw:
    raw = voting()
    raw["models"]["expert"] = {"backend": "simulated", "mind": "expert", "error_rate": 0.3}
    raw["agents"]["teacher"]["memory"] = {
        "kind": "demonstrations",
        "size": 4,
        "initial": 0,
        "reset": "lesson",
    }
    raw["items"] = {"source": "subtraction", "digits": 3, "train": 20, "test": 10}
    raw["plan"] = [
        {"test": {"id": "pretest", "items": "test", "graph": "teacher_exam"}},
        {"refine": {"items": "train", "count": 8, "rounds": 2, "samples": 2, "beam": 2,
                    "params": {"exemplars": 3}, **phase}},
        {"test": {"id": "posttest", "items": "test", "graph": "teacher_exam"}},
    ]  # fmt: skip
    raw["measures"] = ["teacher_accuracy"]
    return raw


def test_the_best_set_on_training_items_is_kept(tmp_path: Path) -> None:
    ran = run(revising(), tmp_path)
    assert not [e for e in ran.episodes() if e.failure]
    rounds = [e for e in ran.events(DecisionEvent) if e.act == "refine"]
    assert len(rounds) == 2
    for decision in rounds:
        scores = decision.reasons["scores"]
        assert decision.score == max(scores.values())
        assert len(decision.chosen) == 2
        best = sorted(scores.values(), reverse=True)[:2]
        assert sorted((scores[name] for name in decision.chosen), reverse=True) == best
    assert rounds[1].score >= rounds[0].score, "the originals stay in the race"
    kept = [e for e in ran.events(MemoryEvent) if e.act == "refine"][-1].change["best"]
    assert 0 < len(kept) <= 3
    for _, call in [(e, c) for e, c in ran.calls(phase="posttest") if e.act == "solve"]:
        shown = {s.text for m in call.prompt for s in m.spans if s.source.endswith("question")}
        assert {d["question"] for d in kept} <= shown


def test_training_items_are_never_held_out_ones(tmp_path: Path) -> None:
    ran = run(revising(), tmp_path)
    practised = {g.item for g in ran.events(GradeEvent, phase="refine")}
    held_out = {g.item for g in ran.events(GradeEvent, phase="posttest")}
    assert practised
    assert not practised & held_out


def test_a_revision_replays(tmp_path: Path) -> None:
    ran = run(revising(), tmp_path)
    assert docendo("replay", "--store", ran.url, "--json").data["exact"]
