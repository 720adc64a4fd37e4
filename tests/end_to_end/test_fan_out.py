"""Fan-out over samples, students and items in a real run: the shape of learning by teaching."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from docendo.errors import ScenarioError
from docendo.runtime.runner import begin, run_study, todo
from docendo.runtime.store import open_store
from docendo.runtime.study import prepare
from docendo.scenarios.loader import load_scenario

SCENARIO = """
version: 1
name: fan
models:
  expert: {backend: simulated, mind: expert, error_rate: 0.3}
  novice: {backend: simulated, mind: procedural, bugs: [smaller_from_larger], slip: 0.2}
agents:
  teacher: {model: expert}
  student: {model: novice, count: 2}
items: {source: subtraction, digits: 3, train: 4, test: 2, pools: {exam: 3}}
plan:
  - teach:
      items: test
      samples: 4
      exam: exam
      graph:
        nodes:
          lecture: {do: teacher.demonstrate}
          sit: {do: student.solve}
          read_marks: {do: teacher.solve}
          conclude: {do: teacher.solve}
        edges:
          - {from: start, to: lecture, each: samples}
          - {from: lecture, to: sit, each: [students, items]}
          - {from: sit, to: read_marks, join: true}
          - {from: read_marks, to: conclude, join: true}
          - {from: conclude, to: end}
measures: [accuracy]
"""


def run(folder: Path, concurrent: int) -> tuple[str, list[list[object]]]:
    file = folder / "fan.yaml"
    file.write_text(SCENARIO, encoding="utf-8")
    study = prepare(load_scenario(file))
    with open_store(f"sqlite:///{folder}/{concurrent}.db") as store:
        begin(study, store)
        asyncio.run(run_study(study, store, lessons=todo(study, store), concurrent=concurrent))
        store.finish_run(study.run_id)
        episodes = [store.events(e.id) for e in store.episodes(study.run_id)]
        return store.run_digest(study.run_id), episodes  # type: ignore[return-value]


def test_every_sample_is_sat_by_every_student_on_every_exam_item(tmp_path: Path) -> None:
    _, episodes = run(tmp_path, 1)
    assert len(episodes) == 2
    for events in episodes:
        grades = [e for e in events if e.kind == "grade" and e.role == "student"]  # type: ignore[attr-defined]
        assert len(grades) == 4 * 2 * 3
        assert Counter(g.student for g in grades) == {"student-1": 12, "student-2": 12}  # type: ignore[attr-defined]
        assert set(Counter(g.item for g in grades).values()) == {8}  # type: ignore[attr-defined]
        assert {g.attempt for g in grades} == {0}  # type: ignore[attr-defined]
        assert len({g.branch for g in grades}) == 24  # type: ignore[attr-defined]
        assert [e.act for e in events if e.kind == "message" and not e.branch] == ["solve"]  # type: ignore[attr-defined]


def test_samples_draw_for_themselves(tmp_path: Path) -> None:
    """With a slip rate, the same student on the same item does not answer the same in all four samples."""
    _, episodes = run(tmp_path, 1)
    answers: dict[tuple[str, str], set[str]] = {}
    for event in (e for events in episodes for e in events):
        if event.kind == "grade" and event.role == "student":  # type: ignore[attr-defined]
            answers.setdefault((event.student, event.item), set()).add(event.answer)  # type: ignore[attr-defined]
    assert any(len(given) > 1 for given in answers.values())


def test_interleaving_changes_nothing(tmp_path: Path) -> None:
    assert run(tmp_path, 1)[0] == run(tmp_path, 8)[0]


@pytest.mark.parametrize(
    ("param", "axis"), [("      samples: 4\n", "samples"), ("      exam: exam\n", "items")]
)
def test_a_phase_must_say_what_its_graph_fans_out_over(param: str, axis: str, tmp_path: Path) -> None:
    file = tmp_path / "fan.yaml"
    file.write_text(SCENARIO.replace(param, ""), encoding="utf-8")
    with pytest.raises(ScenarioError, match=f"fans out over `{axis}`") as caught:
        prepare(load_scenario(file))
    assert caught.value.problems[0].where.line is not None
