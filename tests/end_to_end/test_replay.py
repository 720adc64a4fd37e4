"""Replay: exact without any model, and where something was changed, the first place that differs."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from docendo.events import CallEvent, ErrorEvent
from docendo.runtime.store import open_store
from tests.end_to_end.model_server import model_server, plain, served, words_of
from tests.runtime.http_server import Received, status
from tests.trust.lab import Raw, docendo, docendo_process, run, small, subtractions, texts, write


def recorded(folder: Path, raw: Raw) -> tuple[Path, str]:
    """A scenario that was run: its file and its store."""
    scenario, url = write(folder, raw), f"sqlite:///{folder / 'store.db'}"
    assert docendo("run", scenario, "--store", url, "--processes", 1, "-q").code in (0, 2)
    return scenario, url


def sick(request: Received) -> Any:
    """A server that refuses one question, and is not understood on another."""
    if "501 -" in words_of(request):
        return status(400, "I will not")
    if "502 -" in words_of(request):
        return ["No idea."] * (request.body.get("n") or 1)
    return plain(request)


def test_a_run_on_a_server_replays_without_it(tmp_path: Path) -> None:
    """Failures are replayed as well, and the prompts on record are what the server was sent."""
    with model_server(sick) as server:
        raw = served(
            server.url,
            items=subtractions(tmp_path, 5, train=4),
            matrix={"plan.teach.policy": ["random", "expected_utility"]},
            controls=["irrelevant"],
        )
        scenario, url = recorded(tmp_path, raw)
        bodies = {
            tuple((m["role"], m["content"]) for m in request.body["messages"])
            for request in server.server.received
        }
    with open_store(url, readonly=True) as store:
        record = store.run("latest")
        refused = [
            store.events(e.id) for e in store.episodes(record.id) if e.item == "i1" and e.failure == "model"
        ]
        assert len(refused) >= 3
        for events in refused:
            (failed,) = [e for e in events if isinstance(e, CallEvent) and e.error]
            (error,) = [e for e in events if isinstance(e, ErrorEvent)]
            assert failed.error == error.message
            assert "I will not" in failed.error
            journalled = store.calls([failed.key])[failed.key].result
            assert journalled.reply is None
            assert "I will not" in (journalled.error or {})["message"]
        lessons = store.lessons(record.id)
        assert sum(lesson.n_failed for lesson in lessons) >= 4
        for episode in store.episodes(record.id):
            for call in store.episode_calls(episode.id):
                assert tuple((m.role, "".join(s.text for s in m.spans)) for m in call.prompt) in bodies
    said = docendo("replay", "--verify", "--store", url, "--json")
    assert said.code == 0, said.out
    assert said.data["exact"] is True
    assert said.data["lessons"] == len(lessons) == 3
    assert said.data["episodes"] == sum(lesson.n_episodes for lesson in lessons)
    assert said.data["differences"] == []
    again = docendo("run", scenario, "--store", url, "--json")
    assert again.code == 2


@pytest.mark.parametrize(
    "controls", [[], ["irrelevant", "answer_only", "wrong_teacher", "silent", "no_teacher"]]
)
def test_simulated_runs_replay_exactly(tmp_path: Path, controls: list[str]) -> None:
    raw = small(replicates=2, controls=controls)
    raw["models"]["novice"]["slip"] = 0.3
    raw["agents"]["student"]["memory"] = {"kind": "demonstrations", "reset": "lesson", "initial": 0}
    raw["plan"][1]["teach"] |= {
        "graph": "demonstration",
        "rounds": 2,
        "per_round": 2,
        "params": {"explanation": "teacher"},
    }
    _, url = recorded(tmp_path, raw)
    data = docendo("replay", "--store", url, "--json").data
    assert data["exact"] is True
    assert data["lessons"] == 2 * (1 + len(controls))
    assert data["events"] > 0 < data["calls"]


def _tamper(path: Path, key: str, change: Callable[[str], str]) -> None:
    with sqlite3.connect(path) as db:
        ((reply,),) = db.execute("select reply from call where key = ?", (key,)).fetchall()
        assert change(reply) != reply
        db.execute("update call set reply = ? where key = ?", (change(reply), key))


@pytest.mark.parametrize(
    ("agent", "act", "phase"),
    [("student", "solve", "teach"), ("teacher", "explain", "teach"), ("student", "solve", "observe")],
)
def test_a_changed_answer_is_found_and_named(tmp_path: Path, agent: str, act: str, phase: str) -> None:
    raw = small(items=subtractions(tmp_path, 4, train=4), replicates=2, budget={"interventions": 2})
    raw["plan"][1]["teach"]["policy"] = "random"
    ran = run(raw, tmp_path)
    record = [r for r in ran.episodes(phase) if r.lesson.replicate == 1][-1]
    key, turn = next(
        (e.key, e.turn)
        for r in [r for r in ran.episodes(phase) if r.lesson.replicate == 1][::-1]
        for e in ran.store.events(r.id)
        if isinstance(e, CallEvent) and (e.agent, e.act) == (agent, act)
    )
    users = [
        r
        for r in ran.episodes()
        if key in {e.key for e in ran.store.events(r.id) if isinstance(e, CallEvent)}
    ]
    ran.store.close()
    _tamper(tmp_path / "store.db", key, lambda reply: reply.replace('"text":"', '"text":"Well. ', 1))
    said = docendo("replay", "--store", ran.url, "--json")
    assert said.code == 2
    assert said.data["exact"] is False
    (difference,) = said.data["differences"]
    where = difference["where"]
    assert where["replicate"] == 1
    assert where["condition"] == record.lesson.condition
    assert where["agent"] == agent
    assert where["act"] == act
    assert where["turn"] == turn
    assert where["episode"] == users[0].key
    text = docendo("replay", "--store", ran.url)
    assert text.code == 2
    for word in (record.lesson.condition, "replicate 1", f"agent {agent}", f"turn {turn}"):
        assert word in text.out


def test_a_changed_event_is_found(tmp_path: Path) -> None:
    _, url = recorded(tmp_path, small(budget={}, plan=[{"test": "test"}]))
    with sqlite3.connect(tmp_path / "store.db") as db:
        db.execute(
            "update event set payload = replace(payload, ':false', ':true') where kind = 'grade' "
            "and payload like '%\"correct\":false%'"
        )
    said = docendo("replay", "--store", url, "--json")
    assert said.code == 2
    assert said.data["differences"][0]["where"]["act"] == "solve"


def test_a_changed_prompt_is_found_and_named(tmp_path: Path) -> None:
    prompt = tmp_path / "my.md"
    prompt.write_text("--- user ---\nShow me the way. {{ item.question }}\n", encoding="utf-8")
    raw = small()
    raw["agents"]["teacher"]["prompts"] = {"explain": "my.md"}
    raw["models"]["expert"] = {"backend": "scripted", "replies": ["Take it away. So the answer is 7."]}
    raw["plan"][1]["teach"]["policy"] = "random"
    scenario, url = recorded(tmp_path, raw)
    with open_store(url, readonly=True) as store:
        shown = [
            texts(c.prompt) for e in store.episodes(store.run("latest").id) for c in store.episode_calls(e.id)
        ]
    assert any(text.startswith("Show me the way. ") for text in shown)
    prompt.write_text("--- user ---\nShow me a way. {{ item.question }}\n", encoding="utf-8")
    said = docendo_process("replay", "--store", url, "--json")
    assert said.code == 2, said.out + said.err
    where = said.data["differences"][0]["where"]
    assert (where["agent"], where["act"], where["turn"]) == ("teacher", "explain", 1)
    assert where["condition"]
    assert where["replicate"] == 0
    assert scenario.exists()


def test_changed_items_are_found(tmp_path: Path) -> None:
    """The run is found by its own name, whatever its files have become since."""
    _, url = recorded(tmp_path, small(items=subtractions(tmp_path, 4), plan=[{"test": "test"}], budget={}))
    file = tmp_path / "items.jsonl"
    lines = [orjson.loads(line) for line in file.read_bytes().splitlines()]
    lines[2] |= {"question": "502 - 125 = ?", "answer": "377"}
    file.write_bytes(b"\n".join(map(orjson.dumps, lines)))
    said = docendo("replay", "--store", url, "--json")
    assert said.code == 2, said.out
    (difference,) = said.data["differences"]
    assert difference["where"]["episode"] == "0:test/0/i2/student"
    assert (difference["where"]["agent"], difference["where"]["act"]) == ("student", "solve")


def test_a_run_that_never_finished_a_lesson_is_not_called_exact(tmp_path: Path) -> None:
    scenario, url = recorded(tmp_path, small(budget={}, plan=[{"test": "test"}]))
    with sqlite3.connect(tmp_path / "store.db") as db:
        db.execute("update lesson set status = 'running'")
    said = docendo("replay", "--store", url)
    assert said.code == 1
    assert "no finished lesson" in said.err
    assert docendo("run", scenario, "--store", url, "-q", "--processes", 1).code == 0
    assert docendo("replay", "--store", url).code == 0


def test_what_was_not_compared_is_not_called_the_same(tmp_path: Path) -> None:
    _, url = recorded(tmp_path, small(budget={}, plan=[{"test": "test"}]))
    with sqlite3.connect(tmp_path / "store.db") as db:
        db.execute('update call set reply = replace(reply, \'"text":"\', \'"text":"Well. \')')
    said = docendo("replay", "--no-verify", "--store", url)
    assert said.code == 0
    assert "every event is the same" not in said.out
