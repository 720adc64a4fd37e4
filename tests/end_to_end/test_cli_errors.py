"""Whatever is wrong, the command line says what, where, and what to do next; never a traceback."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.trust.lab import Raw, Said, docendo, small, subtractions, write


def good_manners(said: Said) -> None:
    """An error envelope with everything that a reader needs."""
    assert said.code in (1, 3)
    assert said.envelope.keys() == {"status", "error"}
    error = said.error
    assert (
        {"code", "message", "suggestion", "where"}
        <= error.keys()
        <= {
            "code",
            "message",
            "suggestion",
            "where",
            "problems",
        }
    )
    assert error["code"]
    assert error["message"]
    assert "docendo failed" not in error["message"], "a bug of ours"
    assert "Traceback" not in said.out + said.err
    assert said.err == ""


def both(*arguments: object) -> tuple[Said, Said]:
    """What a command says as JSON and as text: the same code, the same message."""
    as_json, as_text = docendo(*arguments, "--json"), docendo(*arguments)
    good_manners(as_json)
    assert as_text.code == as_json.code
    assert "Traceback" not in as_text.err
    for problem in as_json.error.get("problems", [as_json.error]):
        first = problem["message"].splitlines()[0]
        assert first in as_text.err
    return as_json, as_text


# --- files ----------------------------------------------------------------------------------------------


def _missing(folder: Path) -> Path:
    return folder / "scenrio.yaml"


def _folder(folder: Path) -> Path:
    (folder / "a.yaml").mkdir()
    return folder / "a.yaml"


def _latin(folder: Path) -> Path:
    path = folder / "latin.yaml"
    path.write_bytes("name: caf\xe9".encode("latin-1"))
    return path


def _binary(folder: Path) -> Path:
    path = folder / "binary.yaml"
    path.write_bytes(bytes(range(256)))
    return path


def _empty(folder: Path) -> Path:
    path = folder / "empty.yaml"
    path.touch()
    return path


def _list(folder: Path) -> Path:
    path = folder / "list.yaml"
    path.write_text("- a\n- b\n", encoding="utf-8")
    return path


def _syntax(folder: Path) -> Path:
    path = write(folder, small())
    path.write_text(path.read_text(encoding="utf-8") + "\nmeasures: [accuracy\nseed: 3\n", encoding="utf-8")
    return path


def _twice(folder: Path) -> Path:
    path = write(folder, small())
    path.write_text(path.read_text(encoding="utf-8") + "\nname: again\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("make", [_missing, _folder, _latin, _binary, _empty, _list, _syntax, _twice])
@pytest.mark.parametrize("command", ["validate", "run", "show"])
def test_files_that_are_no_scenario(tmp_path: Path, make: Callable[[Path], Path], command: str) -> None:
    path = make(tmp_path)
    store = ("--store", f"sqlite:///{tmp_path / 'x.db'}") if command == "run" else ()
    said, _ = both(command, path, *store)
    assert said.code == 1
    assert path.name in str(said.error["where"].get("file", "")) + said.error["message"]
    assert not (tmp_path / "x.db").exists(), "nothing was run"


def test_an_unreadable_file(tmp_path: Path) -> None:
    path = write(tmp_path, small())
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    assert both("validate", path)[0].code == 1


@pytest.mark.parametrize("name", ["when-to-step-on", "nothing-like-it"])
def test_no_such_gallery_scenario(name: str) -> None:
    said, _ = both("validate", name)
    assert said.code == 1
    assert said.error["suggestion"]


# --- what stands in them --------------------------------------------------------------------------------


def _set(**changes: Any) -> Callable[[Path], Raw]:
    return lambda folder: small(**changes)


def _plan(*steps: Any, **changes: Any) -> Callable[[Path], Raw]:
    return lambda folder: {**small(**changes), "plan": list(steps)}


def _records(*lines: bytes) -> Callable[[Path], Raw]:
    def make(folder: Path) -> Raw:
        (folder / "items.jsonl").write_bytes(b"\n".join(lines))
        items = {"source": "jsonl", "file": "items.jsonl", "test": 2}
        return small(items=items, plan=[{"test": "test"}], budget={})

    return make


def _prompt(text: str) -> Callable[[Path], Raw]:
    def make(folder: Path) -> Raw:
        (folder / "my.md").write_text(text, encoding="utf-8")
        return small(agents__student__prompts={"solve": "my.md"})

    return make


def _graph(**edge: str) -> Callable[[Path], Raw]:
    graph = {
        "nodes": {"a": {"do": edge.pop("do", "student.solve")}},
        "edges": [{"from": "start", "to": "a"}, {"from": "a", "to": "end", **edge}],
    }
    return _plan({"teach": {"items": "test", "graph": graph}}, budget={})


def _remembering(folder: Path) -> Raw:
    raw = small(agents__student__memory={"kind": "notes", "reset": "lesson"})
    raw["plan"].append({"test": "test"})
    return raw


def _scripted(**agent: Any) -> Callable[[Path], Raw]:
    def make(folder: Path) -> Raw:
        raw = small(models__novice={"backend": "scripted", "replies": ["So the answer is 1."]})
        raw["plan"][1]["teach"]["policy"] = "true_utility"
        raw["agents"]["student"] |= agent
        return raw

    return make


_SUM = b'{"id": "a", "question": "5 - 3 = ?", "answer": "2"}'

WRONG: dict[str, tuple[Callable[[Path], Raw], str, str]] = {
    # what is wrong: scenario, what the message says, which path or file it names
    "unknown key": (_set(replicats=3), "unknown key `replicats`", "replicats"),
    "unknown key deep down": (
        _set(agents__student__memry="notes"),
        "unknown key `memry`",
        "agents.student.memry",
    ),
    "wrong type": (_set(replicates="three"), "replicates", "replicates"),
    "a number as text": (_set(replicates="3"), "replicates", "replicates"),
    "negative": (_set(replicates=-1), "replicates", "replicates"),
    "no such version": (_set(version=2), "version", "version"),
    "bad name": (_set(name="My Study"), "name", "name"),
    "budget of more than all": (
        _set(budget={"interventions": "140%"}),
        "more than all items",
        "budget.interventions",
    ),
    "negative budget": (_set(budget={"interventions": -2}), "impossible amount", "budget.interventions"),
    "budget without a unit": (
        _set(budget={"interventions": "3 times"}),
        "impossible amount",
        "budget.interventions",
    ),
    "budget that nothing spends": (_set(budget={"hnts": 2}), "hnts", "budget.hnts"),
    "matrix path": (_set(matrix={"plan.teech.policy": ["random"]}), "teech", "matrix.plan.teech.policy"),
    "matrix value": (
        _set(matrix={"plan.teach.policy": ["random", "rndom"]}),
        "unknown policy `rndom`",
        "matrix",
    ),
    "empty axis": (_set(matrix={"plan.teach.policy": []}), "plan.teach.policy", "matrix"),
    "baseline": (_set(baseline={"plan.teach.policy": "random"}), "baseline", "baseline"),
    "unknown measure": (_set(measures=["acuracy"]), "unknown measure `acuracy`", "measures"),
    "unknown control": (_set(controls=["irelevant"]), "unknown control `irelevant`", "controls"),
    "unknown policy": (
        _plan({"teach": {"items": "test", "policy": "radom"}}),
        "unknown policy `radom`",
        "plan",
    ),
    "unknown graph": (_plan({"teach": {"items": "test", "graph": "interventon"}}), "interventon", "plan"),
    "unknown source": (_set(items={"source": "subtracton", "test": 3}), "subtracton", "items.source"),
    "unknown option": (_set(items__digts=3), "digts", "items.digts"),
    "unknown backend": (_set(models__novice={"backend": "olama", "model": "x"}), "olama", "models.novice"),
    "unknown mind": (_set(models__novice={"backend": "simulated", "mind": "proc"}), "proc", "models.novice"),
    "unknown model": (_set(agents__student__model="novise"), "novise", "agents.student.model"),
    "unknown bug": (_set(models__novice__bugs=["smaller_from_lager"]), "smaller_from_lager", "models.novice"),
    "unknown student model": (_set(agents__teacher__student_model="fewshot"), "fewshot", "agents.teacher"),
    "unknown artefact": (
        _set(agents__student__view={"solve": ["item", "golds"]}),
        "golds",
        "agents.student.view",
    ),
    "unknown act in a view": (
        _set(agents__student__view={"slove": ["item"]}),
        "slove",
        "agents.student.view",
    ),
    "no role": (_set(agents__tutor={"model": "expert"}), "tutor", "agents.tutor"),
    "nobody learns": (lambda _: {**small(), "agents": {"teacher": {"model": "expert"}}}, "student", ""),
    "taught items are tested": (_remembering, "tests on pool `test`, which `teach` taught", "plan"),
    "a policy in a test": (_plan({"test": {"items": "test", "policy": "random"}}), "policy", "plan"),
    "pool of size zero": (_set(items__test=0), "test", "items"),
    "no such pool": (_plan({"teach": {"items": "tests", "policy": "random"}}), "tests", "plan"),
    "more than there is": (_plan({"observe": {"items": "train", "count": 60}}, budget={}), "60", ""),
    "empty plan": (_plan(), "plan", "plan"),
    "unknown act": (_graph(do="student.slove"), "slove", "plan"),
    "unknown agent": (_graph(do="pupil.solve"), "pupil", "plan"),
    "condition that does not compile": (_graph(when="grade.correct and"), "grade.correct and", "plan"),
    "no item file": (
        lambda _: small(items={"source": "jsonl", "file": "no.jsonl", "test": 2}),
        "no.jsonl",
        "",
    ),
    "no answer": (_records(_SUM, b'{"id": "b", "question": "6 - 3 = ?"}'), "`answer` is missing", ""),
    "empty answer": (_records(_SUM, b'{"id": "b", "question": "6 - 3 = ?", "answer": " "}'), "answer", ""),
    "duplicate ids": (_records(_SUM, b'{"id": "a", "question": "6 - 3 = ?", "answer": "3"}'), "id `a`", ""),
    "items that disagree": (
        _records(_SUM, _SUM.replace(b'"a"', b'"b"').replace(b'"2"', b'"3"')),
        "answered",
        "",
    ),
    "no items": (_records(b""), "items", ""),
    "too few items": (_records(_SUM), "wants 2 items", ""),
    "items that are no JSON": (_records(_SUM, b"{'id': 3}"), "malformed JSON", ""),
    "prompt without a section": (_prompt("Solve {{ item.question }}"), "my.md", ""),
    "prompt that does not compile": (_prompt("--- user ---\n{{ item.question }"), "my.md", ""),
    "prompt that reads too much": (_prompt("--- user ---\n{{ gold.answer }}"), "gold", ""),
    "prompt that reads nothing known": (_prompt("--- user ---\n{{ solution }}"), "solution", ""),
    "no prompt file": (_set(agents__student__prompts={"solve": "nothing.md"}), "nothing.md", ""),
    "backend that cannot score": (_scripted(), "cannot score", "plan"),
    "shares of options that numbers do not have": (
        _plan(
            {"teach": {"items": "test", "policy": "true_confidence_pre"}},
            agents__student__confidence={"mode": "renormalised"},
        ),
        "options that the items do not have",
        "plan",
    ),
    "policy without a student model": (
        lambda _: {**small(), "agents": {"teacher": {"model": "expert"}, "student": {"model": "novice"}}},
        "student model",
        "plan",
    ),
    "irrelevant help where there is one item": (
        lambda folder: small(items=subtractions(folder, 1, train=4), controls=["no_teacher", "irrelevant"]),
        "phase `teach` has only one",
        "controls[1]",
    ),
    "wrong words of a human": (
        _plan(
            {"teach": {"items": "test", "policy": "random", "params": {"explanation": "human"}}},
            controls=["wrong_teacher"],
        ),
        "would change nothing of `teacher.quote` in phase `teach`",
        "controls[0]",
    ),
    "a lie where the answer is told": (
        _plan(
            {
                "teach": {
                    "items": "test",
                    "graph": {
                        "nodes": {"tell": {"do": "teacher.tell"}, "solve": {"do": "student.solve"}},
                        "edges": [
                            {"from": "start", "to": "tell"},
                            {"from": "tell", "to": "solve"},
                            {"from": "solve", "to": "end"},
                        ],
                    },
                }
            },
            agents__teacher__distort="wrong",
            budget={},
        ),
        "`distort: wrong` would change nothing of `teacher.tell`",
        "agents.teacher",
    ),
    "no scripted replies": (_set(models__novice={"backend": "scripted"}), "nothing to say", "models.novice"),
    "a key in the file": (
        _set(models__novice={"backend": "openai", "model": "m", "api_key": "sk-abc"}),
        "key",
        "models.novice.api_key",
    ),
    "no such variable": (
        _set(models__novice={"backend": "openai", "model": "m", "api_key": "${env:DOCENDO_NO_SUCH_KEY}"}),
        "DOCENDO_NO_SUCH_KEY",
        "models.novice.api_key",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_every_mistake_is_said_before_anything_runs(tmp_path: Path, what: str) -> None:
    make, message, place = WRONG[what]
    path = write(tmp_path, make(tmp_path))
    store = f"sqlite:///{tmp_path / 'x.db'}"
    checked, text = both("validate", path)
    assert checked.code == 1
    told = " ".join(
        f"{p['message']} {p['suggestion']} {p['where']}"
        for p in checked.error.get("problems", [checked.error])
    )
    assert message in told
    assert place in told
    assert checked.error["where"] or place == ""
    assert "sk-abc" not in checked.out + text.err
    ran = docendo("run", path, "--store", store, "--processes", 1, "--json")
    assert ran.code == 1
    assert ran.error["message"] == checked.error["message"]
    if (tmp_path / "x.db").exists():
        assert docendo("ls", "--store", store, "--json").data == [], "nothing was run"


def test_frequency_makes_a_model_that_cannot_score_usable(tmp_path: Path) -> None:
    raw = _scripted(confidence={"mode": "frequency", "samples": 2})(tmp_path)
    assert docendo("validate", write(tmp_path, raw)).code == 0


def test_the_place_is_shown_with_the_line(tmp_path: Path) -> None:
    path = write(tmp_path, small(replicats=3))
    said, text = both("validate", path)
    where = said.error["where"]
    line = path.read_text(encoding="utf-8").splitlines()[where["line"] - 1]
    assert line.startswith("replicats")
    assert f"{path}:{where['line']}:{where['column']}" in text.err
    assert line in text.err
    assert "^" in text.err
    assert "Did you mean `replicates`?" in text.err


# --- flags ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("run", "when-to-step-in", "--jbs", "3"),
        ("run", "when-to-step-in", "-j", "many"),
        ("run", "when-to-step-in", "-j", "0"),
        ("run", "when-to-step-in", "-r", "0"),
        ("run", "when-to-step-in", "-n", "-3"),
        ("run", "when-to-step-in", "--retry", "everything"),
        ("run", "when-to-step-in", "--set", "plan.teech.policy=random"),
        ("run", "when-to-step-in", "--set", "nonsense"),
        ("run", "when-to-step-in", "--role", "pupil=simulated/parrot"),
        ("run", "when-to-step-in", "--role", "student=nothing"),
        ("run", "when-to-step-in", "--seed", "-1"),
        ("validate",),
        ("validate", "when-to-step-in", "more"),
        ("frobnicate",),
        ("init", "--template", "nothing"),
        ("export",),
        ("compare", "one"),
        ("--nonsense",),
    ],
    ids=" ".join,
)
def test_wrong_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    monkeypatch.chdir(tmp_path)
    said, text = both(*arguments)
    assert said.code == 1
    assert text.err
    assert not (tmp_path / "docendo.db").exists()


def test_init_does_not_write_over_anything(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    assert docendo("init", path, "--json").data["file"] == str(path)
    assert docendo("validate", path).code == 0
    path.write_text("precious", encoding="utf-8")
    said, _ = both("init", path)
    assert said.code == 1
    assert path.read_text(encoding="utf-8") == "precious"
    assert both("init", tmp_path / "no" / "folder.yaml")[0].code == 1


# --- stores ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one run in it."""
    folder = tmp_path_factory.mktemp("stored")
    raw = small(items=subtractions(folder, 4), plan=[{"test": "test"}], budget={})
    raw["matrix"] = {"models.novice.slip": [0.0, 0.5]}
    path = folder / "store.db"
    assert docendo("run", write(folder, raw), "--store", f"sqlite:///{path}", "-q").code == 0
    return path


READERS: list[tuple[str, ...]] = [
    ("ls",),
    ("report",),
    ("replay",),
    ("export", "out.jsonl"),
    ("compare", "latest:a", "latest:b"),
    ("show", "small/condition/0/0:test/0/i0/student"),
    ("ls", "--failures", "latest"),
]


@pytest.mark.parametrize("arguments", READERS, ids=" ".join)
def test_no_store_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    monkeypatch.chdir(tmp_path)
    said, _ = both(*arguments)
    assert said.code == 3
    assert said.error["code"] == "store"
    assert "docendo.db" in said.error["message"]
    assert said.error["suggestion"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", READERS, ids=" ".join)
def test_a_store_of_a_newer_version(stored: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    newer = tmp_path / "newer.db"
    with sqlite3.connect(stored) as source, sqlite3.connect(newer) as target:
        source.backup(target)
        target.execute("update meta set value = '999' where key like '%version%' or key like '%schema%'")
        assert target.total_changes == 1
    said, _ = both(*arguments, "--store", f"sqlite:///{newer}")
    assert said.code == 3
    assert "999" in said.error["message"]
    assert said.error["suggestion"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", "lates"),
        ("replay", "nothing"),
        ("export", "out.jsonl", "--run", "nothing"),
        ("ls", "--failures", "x"),
        ("compare", "nothing:a", "latest:b"),
        ("compare", "latest:zzz", "latest:b"),
        ("report", "--measure", "acuracy"),
        ("show", "latest/nothing/0/0:test/0/i0/student"),
        ("show", "latest/x/zero/0:test/0/i0/student"),
        ("export", "out.jsonl", "--to", "xml"),
    ],
    ids=" ".join,
)
def test_names_that_a_store_does_not_hold(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    said, _ = both(*arguments, "--store", f"sqlite:///{stored}")
    assert said.code == 1
    assert said.error["suggestion"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url", ["store.db", "sqlit:///x.db", "mysql://x/y", "postgresql://nobody@localhost:1/none"]
)
def test_urls_that_lead_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.chdir(tmp_path)
    said, _ = both("ls", "--store", url)
    assert said.code in (1, 3)
    assert said.error["suggestion"]


# --- envelopes ------------------------------------------------------------------------------------------


def test_every_command_has_an_envelope(stored: Path, tmp_path: Path) -> None:
    scenario, store = stored.parent / "scenario.yaml", ("--store", f"sqlite:///{stored}")
    (condition, episode), (other, _) = _first_episodes(stored)
    commands: dict[str, tuple[object, ...]] = {
        "init": ("init", tmp_path / "new.yaml"),
        "templates": ("init", "--template", "list"),
        "validate": ("validate", scenario),
        "schema": ("schema",),
        "dry run": ("run", scenario, "--dry-run", *store),
        "run": ("run", scenario, *store),
        "replay": ("replay", *store),
        "ls": ("ls", *store),
        "failures": ("ls", "--failures", "latest", *store),
        "show": ("show", scenario),
        "graph": ("show", scenario, "--graph"),
        "episode": ("show", f"latest/{condition}/0/{episode}", *store),
        "report": ("report", *store),
        "compare": ("compare", f"latest:{condition}", f"latest:{other}", *store),
        "export": ("export", tmp_path / "out.jsonl", *store),
    }
    for name, arguments in commands.items():
        said = docendo(*arguments, "--json")
        assert said.envelope.keys() == {"status", "data", "warnings"}, name
        assert said.code == 0, name
        assert isinstance(said.envelope["warnings"], list), name
        assert said.data or name == "failures", name
        assert said.err == "", name


def _first_episodes(path: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(path) as db:
        return db.execute(
            "select condition_id, min(key) from episode join lesson on lesson.id = lesson_id group by 1"
        ).fetchall()


def test_the_report_has_the_promised_shape(stored: Path) -> None:
    data = docendo("report", "--store", f"sqlite:///{stored}", "--json").data
    condition, other = data["conditions"]
    assert [c["coordinates"] for c in (condition, other)] == [{"models.novice.slip": s} for s in (0.0, 0.5)]
    assert {"planned", "ran", "errored", "missing"} <= condition["n"].keys()
    assert {"mean", "low", "high"} <= condition["measures"]["accuracy"].keys()
    again = docendo("run", stored.parent / "scenario.yaml", "--store", f"sqlite:///{stored}", "--json")
    assert data["digest"] == again.data["digest"]
