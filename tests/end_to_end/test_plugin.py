"""A package that somebody else installs adds an act, a policy, a measure and an item source."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from docendo.events import DecisionEvent, MessageEvent
from docendo.runtime.store import open_store
from tests.trust.lab import ROOT, Raw, docendo, docendo_process, small, write

PACKAGE = ROOT / "tests" / "plugin_package"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has put it: beside the environment, so that no other test sees it."""
    source, target = tmp_path_factory.mktemp("source") / "package", tmp_path_factory.mktemp("site")
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--no-index",
            "--no-build-isolation",
            "--no-cache-dir",
            "--root-user-action=ignore",
            "--target",
            str(target),
            str(source),
        ],
        check=True,
        timeout=120,
    )
    return target


def cheered() -> Raw:
    graph = {
        "nodes": {
            "attempt": {"do": "student.solve"},
            "decide": {"do": "teacher.decide"},
            "cheer": {
                "do": "teacher.countdown/cheer",
                "spends": {"interventions": 1},
                "params": {"words": "Go!"},
            },
            "retry": {"do": "student.solve"},
        },
        "edges": [
            {"from": "start", "to": "attempt"},
            {"from": "attempt", "to": "decide"},
            {"from": "decide", "to": "cheer", "when": "decision.intervene"},
            {"from": "decide", "to": "end"},
            {"from": "cheer", "to": "retry"},
            {"from": "retry", "to": "end"},
        ],
    }
    return small(
        items={"source": "countdown/numbers", "start": 300, "test": 6},
        plan=[{"teach": {"items": "test", "graph": graph, "policy": "countdown/last_first"}}],
        measures=["accuracy", "countdown/cheers"],
        budget={"interventions": 2},
    )


def test_a_scenario_uses_what_a_plugin_brings(installed: Path, tmp_path: Path) -> None:
    scenario, url = write(tmp_path, cheered()), f"sqlite:///{tmp_path / 'store.db'}"
    said = docendo_process("run", scenario, "--store", url, "--json", env={"PYTHONPATH": str(installed)})
    assert said.code == 0, said.out + said.err
    assert (said.data["episodes"], said.data["failed"]) == (6, 0)
    with open_store(url, readonly=True) as store:
        run = store.run("latest").id
        events = {e.item: store.events(e.id) for e in store.episodes(run)}
        order = list(events)
        chosen = [i for i, es in events.items() if any(isinstance(e, DecisionEvent) and e.chosen for e in es)]
        assert chosen == order[-2:], "its policy decided"
        cheers = [
            e.message
            for es in events.values()
            for e in es
            if isinstance(e, MessageEvent) and e.agent == "teacher" and e.act == "countdown/cheer"
        ]
        assert [m.text for m in cheers] == [f"You can do it! Go! ({i})" for i in chosen]
        values = [o.value for o in store.observations(run, ["countdown/cheers"])]
        assert values == [2.0]
        (condition,) = store.conditions(run)
        assert condition.scenario["items"]["start"] == 300


def test_without_the_plugin_its_names_are_unknown(tmp_path: Path) -> None:
    said = docendo("validate", write(tmp_path, cheered()), "--json")
    assert said.code == 1
    told = " ".join(p["message"] for p in said.error["problems"])
    for name in ("countdown/numbers", "countdown/last_first", "countdown/cheers"):
        assert name in told
    assert "Traceback" not in said.err


def test_a_broken_plugin_is_named(installed: Path, tmp_path: Path) -> None:
    broken = tmp_path / "site"
    shutil.copytree(installed, broken)
    (broken / "docendo_countdown" / "__init__.py").write_text("import nothing_like_it\n", encoding="utf-8")
    said = docendo_process("validate", write(tmp_path, cheered()), "--json", env={"PYTHONPATH": str(broken)})
    assert said.code == 1
    assert "docendo-countdown" in said.error["message"]
    assert "pip uninstall docendo-countdown" in said.error["suggestion"]
