"""Several students, what they remember and for how long, and what a teacher believes about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from docendo.agents.port import GenerateRequest
from docendo.events import BeliefEvent, CallEvent, GradeEvent, MemoryEvent, MessageEvent
from docendo.runtime.backends.scripted import FunctionBackend
from tests.trust.lab import Raw, docendo, run, small, subtractions, texts, write

# --- several students -----------------------------------------------------------------------------------


def test_every_student_has_a_mind_of_its_own(tmp_path: Path) -> None:
    raw = small(budget={}, plan=[{"test": "test"}])
    raw["models"]["novice"]["bugs"] = ["smaller_from_larger", "borrow_no_decrement", "stops_borrow_at_zero"]
    raw["agents"]["student"]["count"] = 5
    ran = run(raw, tmp_path)
    names = [f"student-{i}" for i in range(1, 6)]
    answers = {name: tuple(g.answer for g in ran.events(GradeEvent, student=name)) for name in names}
    assert all(len(a) == 8 for a in answers.values())
    assert len(set(answers.values())) > 1, "they err in different ways"
    assert {e.student for e in ran.episodes()} == set(names)
    assert {e.agent for e in ran.events(CallEvent, student="student-3")} == {"student-3"}


def test_what_one_student_learns_the_others_do_not(tmp_path: Path) -> None:
    raw = small(
        budget={}, agents__student__memory={"kind": "demonstrations", "reset": "lesson", "initial": 0}
    )
    raw["agents"]["student"]["count"] = 2
    raw["models"]["novice"] |= {"bugs": ["smaller_from_larger"], "comprehension": 0.5}
    raw["plan"] = [
        {"teach": {"items": "train", "graph": "demonstration", "policy": "always", "order": "sequential"}},
        {"test": "test"},
    ]
    raw["plan"][0]["teach"]["params"] = {"explanation": "teacher"}
    ran = run(raw, tmp_path)
    for name in ("student-1", "student-2"):
        kept = ran.events(MemoryEvent, student=name, phase="teach")
        assert {e.agent for e in kept} == {name}
        assert len([e for e in kept if e.slot == "demonstrations"]) == 6
        shown = [texts(call.prompt) for _, call in ran.calls("test", student=name)]
        assert all(text.count("Q: ") == 7 for text in shown)


def test_sequential_episodes_see_what_went_before(tmp_path: Path) -> None:
    """In parallel nobody knows of the others; one after the other, each knows all before it."""
    for order, expected in (("parallel", [0, 0, 0, 0]), ("sequential", [0, 1, 2, 3])):
        folder = tmp_path / order
        folder.mkdir()
        raw = small(items=subtractions(folder, 4), budget={})
        raw["agents"]["student"]["memory"] = {"kind": "notes", "reset": "lesson"}
        raw["models"]["novice"] = {"backend": "scripted", "replies": ["I did it. So the answer is 5."]}
        raw["plan"] = [{"teach": {"items": "test", "order": order, "graph": NOTED}}]
        ran = run(raw, folder)
        prompts = [texts(call.prompt) for event, call in ran.calls() if event.act == "solve"]
        assert [text.count("Note to myself:") for text in prompts] == expected


NOTED: Raw = {
    "nodes": {"solve": {"do": "student.solve"}, "note": {"do": "student.reflect"}},
    "edges": [
        {"from": "start", "to": "solve"},
        {"from": "solve", "to": "note"},
        {"from": "note", "to": "end"},
    ],
}

# --- memories -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reset", "within", "after"), [("episode", 0, 0), ("phase", 2, 0), ("lesson", 2, 4)])
@pytest.mark.parametrize("kind", ["notes", "transcript", "demonstrations"])
def test_memory_lasts_as_long_as_the_scenario_says(
    tmp_path: Path, kind: str, reset: str, within: int, after: int
) -> None:
    """Two rounds of two items; what is before the student's eyes in the second round, and in a test."""
    raw = small(items=subtractions(tmp_path, 1, train=2), budget={})
    raw["agents"]["student"]["memory"] = {"kind": kind, "reset": reset, "initial": 0}
    raw["models"] = {
        "expert": {"backend": "scripted", "replies": ["TAUGHT. So the answer is 5."]},
        "novice": {"backend": "scripted", "replies": ["TRIED. So the answer is 5."]},
    }
    del raw["agents"]["teacher"]["student_model"]
    graph: Raw = {
        "nodes": {
            "solve": {"do": "student.solve"},
            "show": {"do": "teacher.demonstrate"},
            "keep": {"do": "student.remember" if kind == "demonstrations" else "student.reflect"},
        },
        "edges": [
            {"from": "start", "to": "solve"},
            {"from": "solve", "to": "show"},
            {"from": "show", "to": "keep"},
            {"from": "keep", "to": "end"},
        ],
    }
    raw["plan"] = [{"teach": {"items": "train", "graph": graph, "rounds": 2}}, {"test": "test"}]
    ran = run(raw, tmp_path)
    marks = {"notes": "Note to myself:", "transcript": "said: TAUGHT", "demonstrations": "A: TAUGHT."}

    def counted(phase: str, number: int) -> list[int]:
        prompts = [
            texts(call.prompt)
            for record in ran.episodes(phase)
            if record.round == number
            for call in ran.store.episode_calls(record.id)
            if "You are a student. Answer" in texts(call.prompt)
        ]
        return [text.count(marks[kind]) for text in prompts]

    items = 2 if reset != "episode" else 0
    own_left_out = (
        1 if kind == "demonstrations" and within else 0
    )  # the item at hand is no example for itself
    assert counted("teach", 0) == [0, 0]
    assert counted("teach", 1) == [within - own_left_out] * 2
    in_test = min(after, items) if kind == "demonstrations" else after
    assert counted("test", 0) == [in_test]


def test_rest_forgets_and_tests_do_not_teach(tmp_path: Path) -> None:
    raw = small(
        items={"source": "strategyqa", "file": "builtin:yes_no.json", "test": 12},
        models__novice={
            "backend": "simulated",
            "mind": "skill",
            "mastery": 1.0,
            "slip": 0.0,
            "forget": 1.0,
            "guess": 0.0,
        },
        budget={},
    )
    raw["agents"] = {"student": {"model": "novice", "memory": {"kind": "none", "reset": "lesson"}}}
    raw["plan"] = [
        {"test": {"items": "test", "id": "before"}},
        "rest",
        {"test": {"items": "test", "id": "after"}},
    ]
    ran = run(raw, tmp_path)
    right = {p: [g.correct for g in ran.events(GradeEvent, phase=p)] for p in ("before", "after")}
    assert right == {"before": [True] * 12, "after": [False] * 12}
    (rest,) = ran.episodes("rest")
    assert [e.slot for e in ran.store.events(rest.id) if isinstance(e, MemoryEvent)] == ["mind"]
    assert not ran.events(MemoryEvent, phase="before")


def test_help_that_rectified_becomes_the_demonstrations(tmp_path: Path) -> None:
    """Personalised explaining: D is replaced by the items on which help put the student right."""
    answers = {"i3": ["999", "377"], "i4": ["376", "376"], "i5": ["999", "888"], "i6": ["998", "374"]}
    turn: dict[str, int] = {}

    def student(request: GenerateRequest) -> str:
        item = request.view.item
        assert item is not None
        said = answers.get(item.id, ["1", "1"])
        helped = bool(request.view.help)
        turn[item.id] = turn.get(item.id, 0) + 1
        return f"So the answer is {said[helped]}."

    raw = small(items=subtractions(tmp_path, 3, train=4), budget={})
    raw["agents"]["teacher"] |= {"memory": {"kind": "demonstrations", "size": 4, "initial": 0}}
    raw["models"]["expert"] = {"backend": "scripted", "replies": ["PERSONAL. So the answer is 7."]}
    raw["plan"] = [
        {"observe": {"items": "train", "count": 4, "params": {"keep": "rectified"}}},
        {"teach": {"items": "test", "policy": "always"}},
    ]
    ran = run(raw, tmp_path, backends={"novice": FunctionBackend(student)})
    sources = [
        {s.text for m in call.prompt for s in m.spans if s.provenance == "memory" and "question" in s.source}
        for event, call in ran.calls("teach")
        if event.agent == "teacher"
    ]
    questions = {i.id: i.question for i in ran.study.setups[0].pools["train"]}
    assert len(sources) == 3
    assert all(found == {questions["i3"], questions["i6"]} for found in sources)
    assert not [e for e, _ in ran.calls("observe") if e.agent == "teacher" and "PERSONAL" in str(e)]


@pytest.mark.parametrize("size", [1, 3, 4])
def test_first_demonstrations_are_as_many_as_asked_for_and_the_same_for_all(
    tmp_path: Path, size: int
) -> None:
    raw = small(items=subtractions(tmp_path, 3, train=6), budget={})
    raw["agents"]["teacher"] |= {"memory": {"kind": "demonstrations", "size": size}}
    raw["plan"] = [{"teach": {"items": "test", "policy": "always"}}]
    ran = run(raw, tmp_path)
    shown = [
        [
            s.text
            for m in call.prompt
            for s in m.spans
            if s.source.startswith("memory") and "question" in s.source
        ]
        for event, call in ran.calls()
        if event.agent == "teacher"
    ]
    assert len(shown) == 3
    assert [len(questions) for questions in shown] == [size] * 3
    assert shown[0] == shown[1] == shown[2]


# --- beliefs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("bkt", "choice"),
        ("misconceptions", "subtraction"),
        ("constant", "subtraction"),
        ("oracle", "subtraction"),
        ("few_shot", "subtraction"),
    ],
)
def test_every_student_model_predicts_before_the_fact(tmp_path: Path, kind: str, source: str) -> None:
    raw = small(agents__teacher__student_model={"kind": kind}, measures=["accuracy", "calibration"])
    if source == "choice":
        raw["items"] = {"source": "strategyqa", "file": "builtin:yes_no.json", "train": 6, "test": 8}
        raw["models"]["novice"] = {"backend": "simulated", "mind": "skill", "mastery": 0.5}
    ran = run(raw, tmp_path)
    beliefs = ran.events(BeliefEvent, phase="teach")
    assert len([b for b in beliefs if not b.given_help]) == 8
    assert all(b.turn < 0 and 0 <= b.p_correct <= 1 for b in beliefs)
    brier = [o for o in ran.store.observations(ran.study.run_id, ["calibration"]) if o.value is not None]
    assert brier
    if kind == "oracle":
        assert {o.value for o in brier} == {0.0}
    if kind == "misconceptions":
        assert all(0 <= p <= 1 for b in beliefs for p in b.misconceptions.values())
        assert beliefs[0].misconceptions


def test_constant_prior_scores_the_base_rate_and_oracle_nothing(tmp_path: Path) -> None:
    """By hand: a belief of p about a student that is right with rate r scores r(1-p)^2 + (1-r)p^2."""
    raw = small(measures=["calibration"], budget={"interventions": "100%"})
    raw["items"]["test"] = 12
    raw["models"]["expert"]["error_rate"] = 0.0
    raw["matrix"] = {
        "agents.teacher.student_model": [
            {"kind": "constant"},
            {"kind": "constant", "p_correct": 0.5},
            {"kind": "oracle"},
        ]
    }
    raw["plan"][1]["teach"]["policy"] = "expected_confidence_pre"
    scenario, store = write(tmp_path, raw), f"sqlite:///{tmp_path / 'store.db'}"
    assert docendo("run", scenario, "--store", store, "--processes", 1, "-q").code == 0
    ran = run(raw, tmp_path)
    alone: dict[str, float] = {
        g.item: float(g.correct) for g in ran.events(GradeEvent, phase="teach") if g.attempt == 0
    }
    seen = [g.correct for g in ran.events(GradeEvent, phase="observe") if g.attempt == 0]
    right, prior = sum(alone.values()) / len(alone), sum(seen) / len(seen)
    assert 0 < right < 1
    report = docendo("report", "--store", store, "--json").data
    means = [c["measures"]["calibration"]["mean"] for c in report["conditions"]]
    assert means[0] == pytest.approx(right * (1 - prior) ** 2 + (1 - right) * prior**2)
    assert means[1] == pytest.approx(0.25)
    assert means[2] == 0


def test_a_message_to_oneself_is_nobody_elses(tmp_path: Path) -> None:
    raw = small(items=subtractions(tmp_path, 2), budget={})
    raw["models"]["expert"] = {"backend": "scripted", "replies": ["PRIVATE thought. So the answer is 7."]}
    del raw["agents"]["teacher"]["student_model"]
    raw["plan"] = [
        {
            "teach": {
                "items": "test",
                "graph": {
                    "nodes": {"solve": {"do": "teacher.solve"}, "try": {"do": "student.solve"}},
                    "edges": [
                        {"from": "start", "to": "solve"},
                        {"from": "solve", "to": "try"},
                        {"from": "try", "to": "end"},
                    ],
                },
            }
        }
    ]
    ran = run(raw, tmp_path)
    private = [e.message for e in ran.events(MessageEvent) if e.agent == "teacher"]
    assert [m.recipients for m in private] == [()] * 2
    shown: list[Any] = [texts(c.prompt) for e, c in ran.calls() if e.agent == "student"]
    assert len(shown) == 2
    assert not any("PRIVATE" in text for text in shown)
