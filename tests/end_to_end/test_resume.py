"""What was recorded stays: runs that are killed, interrupted, out of disk, or issued again."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from docendo.runtime.store import open_store
from tests.end_to_end.model_server import WAIT, model_server, plain, served, words_of
from tests.runtime.http_server import Received, status
from tests.trust.lab import Said, command, docendo, docendo_process, environment, small, subtractions, write


def run_of(said: Said) -> dict[str, Any]:
    """What a command says of the run, without what it asked itself."""
    return {key: value for key, value in said.data.items() if key != "asked"}


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=WAIT)
    return process.returncode, out, err


def doubled(path: Path) -> list[tuple[str, int]]:
    """Episodes and positions of events that stand in the store more than once."""
    with sqlite3.connect(path) as db:
        episodes = db.execute(
            "select lesson_id, key, count(*) from episode group by 1, 2 having count(*) > 1"
        )
        events = db.execute(
            "select id >> 20, turn || branch || ':' || n, count(*) from event "
            "group by 1, 2 having count(*) > 1"
        )
        lost = db.execute("select id from event where id >> 20 not in (select id from episode)")
        return [*episodes, *events, *lost]


def test_killed_again_and_again_ends_as_if_undisturbed(tmp_path: Path) -> None:
    with model_server() as server:
        raw = served(server.url, matrix={"plan.teach.policy": ["random", "expected_utility"]})
        scenario = write(tmp_path, raw)
        calm = docendo("run", scenario, "--store", f"sqlite:///{tmp_path / 'calm.db'}", "--json")
        assert calm.code == 0, calm.out
        distinct = server.asked
        assert distinct > 40

        store = f"sqlite:///{tmp_path / 'killed.db'}"
        for allowed in (15, 12):
            server.allow(allowed)
            process = start("run", scenario, "--store", store, "-q", "-j", 2)
            server.wait_until_held()
            process.send_signal(signal.SIGKILL)
            assert finish(process)[0] == -signal.SIGKILL
            with open_store(store, readonly=True) as opened:
                (record,) = opened.runs()
                assert record.status == "interrupted"
        server.allow(float("inf"))
        last = docendo("run", scenario, "--store", store, "--json")
        assert last.code == 0, last.out
        assert last.data["digest"] == calm.data["digest"]
        assert doubled(tmp_path / "killed.db") == []
        asked_again = server.asked - distinct - distinct
        assert 0 <= asked_again <= 2 * 20, "only what was not yet written is asked again"

        before = server.asked
        again = docendo("run", scenario, "--store", store, "--json")
        assert run_of(again) == run_of(last)
        assert server.asked == before, "a finished run asks nothing"
    again = docendo("run", scenario, "--store", store, "--json")
    assert run_of(again) == run_of(last), "nor does it need the server"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc")
def test_killed_with_workers_ends_as_if_undisturbed(tmp_path: Path) -> None:
    raw = small(replicates=4, items={"source": "subtraction", "digits": 3, "train": 6, "test": 24})
    raw["matrix"] = {"plan.teach.policy": ["random", "expected_utility"]}
    scenario = write(tmp_path, raw)
    calm = docendo(
        "run", scenario, "--store", f"sqlite:///{tmp_path / 'calm.db'}", "--processes", 1, "--json"
    )
    path = tmp_path / "killed.db"
    process = start("run", scenario, "--store", f"sqlite:///{path}", "--processes", 2, "-q")
    until(lambda: count(path, "episode") > 0)
    workers = children(process.pid)
    assert workers
    process.send_signal(signal.SIGKILL)
    assert process.wait(WAIT) == -signal.SIGKILL
    until(lambda: not any(map(alive, workers)))  # they do not go on behind the back of the next one
    finish(process)
    last = docendo("run", scenario, "--store", f"sqlite:///{path}", "--processes", 1, "--json")
    assert last.code == 0, last.out + last.err
    assert last.data["digest"] == calm.data["digest"]
    assert doubled(path) == []


def imported(libraries: str, *arguments: object) -> tuple[str, set[str]]:
    """What a command prints, and which of these libraries it loads."""
    program = (
        "import sys, atexit; from docendo.runtime.cli import main; "
        f"atexit.register(lambda: print(*(m for m in {libraries!r}.split() if m in sys.modules), "
        "file=sys.stderr)); main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout, set(done.stderr.split())


def test_a_finished_run_is_shown_again_without_what_made_it(tmp_path: Path) -> None:
    raw = small(items=subtractions(tmp_path, 4), plan=[{"test": "test"}], budget={})
    run = ("run", write(tmp_path, raw), "--store", f"sqlite:///{tmp_path / 'store.db'}")
    made, used = imported("langgraph numpy scipy sqlalchemy", *run)
    assert used == {"langgraph", "numpy", "scipy", "sqlalchemy"}
    assert imported("langgraph numpy scipy sqlalchemy", *run) == (made, {"sqlalchemy"})
    assert imported("langgraph numpy scipy sqlalchemy pydantic", "--help")[1] == set()


def until(true: object) -> None:
    """Look again until it is so."""
    end = time.monotonic() + WAIT
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def count(path: Path, table: str) -> int:
    if not path.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
            return int(db.execute(f"select count(*) from {table}").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def test_interrupted_with_json_is_an_envelope(tmp_path: Path) -> None:
    with model_server() as server:
        scenario = write(tmp_path, served(server.url))
        server.allow(3)
        process = start("run", scenario, "--store", f"sqlite:///{tmp_path / 'store.db'}", "--json")
        server.wait_until_held()
        process.send_signal(signal.SIGINT)
        code, out, err = finish(process)
    assert (code, err) == (130, "")
    said = orjson.loads(out)
    assert said["status"] == "error"
    assert said["error"]["code"] == "interrupted"
    assert "same command" in said["error"]["suggestion"]


def test_interrupted_says_so_and_goes_on(tmp_path: Path) -> None:
    with model_server() as server:
        scenario = write(tmp_path, served(server.url))
        store = f"sqlite:///{tmp_path / 'store.db'}"
        server.allow(10)
        process = start("run", scenario, "--store", store)
        server.wait_until_held()
        process.send_signal(signal.SIGINT)
        code, _, err = finish(process)
        assert code == 130, err
        assert "issue the same command" in err
        assert "Traceback" not in err
        with open_store(store, readonly=True) as opened:
            assert [r.status for r in opened.runs()] == ["interrupted"]
        asked = server.asked
        server.allow(float("inf"))
        done = docendo("run", scenario, "--store", store, "--json")
        assert done.code == 0
        calm = docendo("run", scenario, "--store", f"sqlite:///{tmp_path / 'calm.db'}", "--json")
        assert done.data["digest"] == calm.data["digest"]
        assert asked >= 10


def test_one_store_serves_two_runs_but_one_run_has_one_process(tmp_path: Path) -> None:
    with model_server() as server:
        scenario = write(tmp_path, served(server.url))
        store = f"sqlite:///{tmp_path / 'store.db'}"
        server.allow(10)
        first = start("run", scenario, "--store", store, "-q")
        try:
            server.wait_until_held()
            second = docendo("run", scenario, "--store", store, "--json")
            assert second.code == 3
            assert f"process {first.pid}" in second.error["message"]
            assert "Wait for it or stop it" in second.error["suggestion"]
            other = write(tmp_path, small(name="other"), "other.yaml")
            assert docendo("run", other, "--store", store, "--processes", 1, "-q").code == 0
        finally:
            server.allow(float("inf"))
        assert finish(first)[0] == 0
        assert {r["status"] for r in docendo("ls", "--store", store, "--json").data} == {"finished"}


def _no_more_than(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_store_write_failure_stops_run(tmp_path: Path) -> None:
    """A full disk: the run stops at once, says so, and goes on where it was when there is room."""
    raw = small(items={"source": "subtraction", "digits": 3, "train": 6, "test": 40}, replicates=2)
    scenario = write(tmp_path, raw)
    store = f"sqlite:///{tmp_path / 'full.db'}"
    arguments = ("run", scenario, "--store", store, "--processes", 1, "--json")
    full = docendo_process(*arguments, preexec_fn=lambda: _no_more_than(300_000))
    assert full.code == 3, full.out + full.err
    assert full.error["code"] == "store"
    assert "full.db" in full.error["message"]
    assert "Free some space" in full.error["suggestion"]
    assert "Traceback" not in full.err
    done = docendo(*arguments)
    assert done.code == 0, done.out
    calm = docendo(
        "run", scenario, "--store", f"sqlite:///{tmp_path / 'calm.db'}", "--processes", 1, "--json"
    )
    assert run_of(done) == run_of(calm)
    assert doubled(tmp_path / "full.db") == []


def test_a_server_that_goes_in_mid_run_and_comes_back_is_waited_for(tmp_path: Path) -> None:
    with model_server() as server:
        scenario = write(tmp_path, served(server.url))
        calm = docendo("run", scenario, "--store", f"sqlite:///{tmp_path / 'calm.db'}", "--json")
        assert calm.code == 0, calm.out
        server.allow(10)
        process = start("run", scenario, "--store", f"sqlite:///{tmp_path / 'store.db'}", "--json")
        server.wait_until_held()
        port = server.port
    with model_server(port=port):
        code, out, err = finish(process)
    assert code in {0, 2}, out + err
    found = orjson.loads(out)["data"]
    # The question that was being answered when the server went is that call's own failure: no retries here.
    assert found["failed"] <= 1
    again = ("run", scenario, "--store", f"sqlite:///{tmp_path / 'store.db'}", "--retry", "errors", "--json")
    with model_server(port=port):
        healed = docendo(*again)
    assert run_of(healed) == run_of(calm)


def test_a_server_that_does_not_come_back_stops_a_run_that_goes_on_later(tmp_path: Path) -> None:
    with model_server() as server:
        raw = served(server.url)
        for model in raw["models"].values():
            model |= {"patience": 0.5, "retries": 1}
        scenario = write(tmp_path, raw)
        arguments = ("run", scenario, "--store", f"sqlite:///{tmp_path / 'store.db'}", "--json")
        calm = docendo("run", scenario, "--store", f"sqlite:///{tmp_path / 'calm.db'}", "--json")
        server.allow(10)
        process = start(*arguments)
        server.wait_until_held()
        asked, port = server.asked, server.port
    code, out, err = finish(process)
    assert code == 3, out + err
    error = orjson.loads(out)["error"]
    assert "cannot be reached" in error["message"]
    assert error["suggestion"]
    assert "Traceback" not in err
    with model_server(port=port) as server:
        resumed = docendo(*arguments)
        assert resumed.code == 0, resumed.out
        assert run_of(resumed) == run_of(calm)
        assert server.asked < asked, "what was answered before is not asked again"
    assert doubled(tmp_path / "store.db") == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    folder = Path("/proc") if os.geteuid() == 0 else tmp_path / "closed"
    if os.geteuid() != 0:
        folder.mkdir(mode=0o555)
    elif not folder.exists():
        pytest.skip("this user may write everywhere")
    said = docendo("run", write(tmp_path, small()), "--store", f"sqlite:///{folder / 'x.db'}", "--json")
    assert said.code == 3
    assert said.error["code"] == "store"
    assert said.error["suggestion"]


def test_retry_errors_runs_what_failed_and_nothing_else(tmp_path: Path) -> None:
    """A server that refuses some questions, and later does not."""
    angry = True
    questions: Counter[str] = Counter()

    def reply(request: Received) -> object:
        questions[words_of(request)] += 1
        return status(400, "I will not") if angry and "501 -" in words_of(request) else plain(request)

    with model_server(reply) as server:
        raw = served(
            server.url, items=subtractions(tmp_path, 4), plan=[{"test": "test"}], budget={}, replicates=2
        )
        scenario = write(tmp_path, raw)
        arguments = ("run", scenario, "--store", f"sqlite:///{tmp_path / 'store.db'}", "--json")
        first = docendo(*arguments)
        assert first.code == 2
        assert (first.data["failed"], first.data["episodes"]) == (2, 8)
        asked = server.asked
        same = docendo(*arguments)
        assert (same.code, run_of(same), server.asked) == (2, run_of(first), asked), "failures are remembered"
        angry = False
        questions.clear()
        healed = docendo(*arguments, "--retry", "errors")
        assert healed.code == 0
        assert healed.data["failed"] == 0
        assert all("501 -" in question for question in questions)
        assert sum(questions.values()) == 2
        assert run_of(docendo(*arguments, "--retry", "errors")) == run_of(healed)
        assert server.asked == asked + 2
        calm = docendo("run", scenario, "--store", f"sqlite:///{tmp_path / 'calm.db'}", "--json")
        assert run_of(healed) == run_of(calm)


@pytest.mark.parametrize(("allowed", "code"), [(0.0, 2), ("25%", 0), (0.2, 2), (1, 0), (2, 0)])
def test_failures_are_tolerated_as_far_as_the_scenario_says(
    tmp_path: Path, allowed: object, code: int
) -> None:
    rules = [{"match": f"50{n} -", "reply": "So the answer is 380."} for n in (0, 2, 3)]  # i1 has no answer
    (tmp_path / "rules.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rules)))
    raw = small(items=subtractions(tmp_path, 4), plan=[{"test": "test"}], budget={}, fail_on_error=allowed)
    raw["models"]["novice"] = {"backend": "scripted", "file": "rules.jsonl"}
    store = f"sqlite:///{tmp_path / 'store.db'}"
    said = docendo("run", write(tmp_path, raw), "--store", store, "-q")
    assert said.code == code, said.err
    assert "1 of 4 episodes failed" in said.err
    listed = docendo("ls", "--store", store, "--failures", "latest", "--json").data
    assert [(row["failure"], "i1" in row["episode"]) for row in listed] == [("model", True)]
