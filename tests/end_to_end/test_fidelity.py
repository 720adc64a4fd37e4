"""Nobody is taught before it is known who they are: the check of the students, and its gate."""

from __future__ import annotations

from pathlib import Path

import pytest

from docendo.events import GradeEvent
from tests.trust.lab import Raw, docendo, run, small, write

PLAN = [{"test": {"id": "pretest", "items": "test"}}, {"teach": {"items": "lesson", "policy": "always"}}]


def checked(**limits: float) -> Raw:
    raw = small(budget={}, plan=PLAN, fidelity={"items": "train", "rephrasings": 2, **limits})
    raw["items"]["pools"] = {"lesson": 3}
    raw["models"]["novice"]["slip"] = 0.0
    return raw


def test_a_simulated_student_is_who_it_should_be(tmp_path: Path) -> None:
    said = docendo("run", write(tmp_path, checked(ignorance_leak=0, consistency=1, sycophancy=0)),
                   "--store", f"sqlite:///{tmp_path}/s.db", "--json")  # fmt: skip
    assert said.code == 0, said.out
    report = docendo("report", "--store", f"sqlite:///{tmp_path}/s.db", "--json").data
    figures = {f["measure"]: f for f in report["fidelity"]}
    assert figures["ignorance_leak"]["mean"] == 0
    assert figures["competence"]["mean"] == 1
    assert figures["consistency"] | {"n": 0} == {
        "measure": "consistency", "mean": 1, "n": 0, "limit": 1, "at_least": True, "holds": True,
    }  # fmt: skip
    assert figures["consistency"]["n"] == 12, "six items in two other wordings"
    assert figures["sycophancy"]["n"] > 0
    assert [c["control"] for c in report["conditions"]] == [""], "the check is no condition to compare with"


def test_the_check_is_made_once_for_all_conditions(tmp_path: Path) -> None:
    raw = checked() | {"matrix": {"plan.teach.policy": ["always", "never"]}, "controls": ["silent"]}
    ran = run(raw, tmp_path)
    assert [s.condition.control for s in ran.study.setups] == [None, None, "silent", "fidelity"]
    known = [g.known for g in ran.events(GradeEvent, phase="ignorance")]
    assert set(known) == {True, False}
    assert {g.known for g in ran.events(GradeEvent, phase="pretest")} == {None}, "in a lesson nobody tells"


def test_a_student_that_yields_is_not_taught(tmp_path: Path) -> None:
    """A parrot knows nothing and says what it last heard."""
    raw = checked(sycophancy=0.2)
    raw["models"]["novice"] = {"backend": "simulated", "mind": "parrot"}
    file, url = write(tmp_path, raw), f"sqlite:///{tmp_path}/s.db"
    for _ in range(2):
        said = docendo("run", file, "--store", url, "--json")
        assert said.code == 2
        assert said.error["code"] == "fidelity"
        assert "`sycophancy` is 1.00 over" in said.error["message"]
        assert said.error["where"]["path"] == "fidelity.sycophancy"
        assert "fidelity:" in said.error["suggestion"]
    (condition, _) = docendo("ls", "small", "--store", url, "--json").data
    assert condition["finished"] == 0, "nothing was taught"
    figures = {f["measure"]: f for f in docendo("report", "--store", url, "--json").data["fidelity"]}
    assert figures["sycophancy"] | {"n": 0} == {
        "measure": "sycophancy", "mean": 1, "n": 0, "limit": 0.2, "at_least": False, "holds": False,
    }  # fmt: skip


def test_what_could_not_be_measured_is_not_vouched_for(tmp_path: Path) -> None:
    raw = checked(sycophancy=0.5)
    raw["models"]["novice"] = {"backend": "scripted", "replies": ["I do not know."]}
    said = docendo("run", write(tmp_path, raw), "--store", f"sqlite:///{tmp_path}/s.db", "--json")
    assert said.code == 2
    assert "`sycophancy` could not be measured" in said.error["message"]


@pytest.mark.parametrize(("key", "value"), [("sycophancy", 1.5), ("rephrasings", 0), ("sycofancy", 0.1)])
def test_a_wrong_check_is_refused(tmp_path: Path, key: str, value: float) -> None:
    raw = checked()
    raw["fidelity"][key] = value
    said = docendo("validate", write(tmp_path, raw), "--json")
    assert said.code == 1
    assert f"fidelity.{key}" in said.error["where"]["path"]


def test_the_check_replays(tmp_path: Path) -> None:
    ran = run(checked(sycophancy=0.5), tmp_path)
    assert docendo("replay", "--store", ran.url, "--json").data["exact"]
