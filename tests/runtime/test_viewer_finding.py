"""Search, failures, missing values and running work, on both databases."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from docendo.errors import UsageError
from docendo.events import CallEvent, ErrorEvent, Event, MessageEvent, StopEvent
from docendo.messages import Message, Usage
from docendo.runtime.client import ModelStats
from docendo.runtime.pulse import Pulse
from docendo.runtime.runner import Tally
from docendo.runtime.store import ConditionRecord, LessonKey, Store, open_store
from docendo.runtime.store.words import terms_of
from docendo.runtime.viewer.calls import calls_page
from docendo.runtime.viewer.finding import search_page, snippet_of
from docendo.runtime.viewer.library import Library
from docendo.runtime.viewer.live import STALLED_AFTER, Watch, live_page
from docendo.runtime.viewer.problems import problems_page
from tests.runtime.recorded_run import begin, episode, grade, lesson, put_call, write_lesson
from tests.runtime.viewer_server import served


def says(text: str, *, turn: int = 0, thoughts: str = "", agent: str = "teacher") -> MessageEvent:
    message = Message(sender=agent, kind="hint", act="hint", text=text, thoughts=thoughts, turn=turn)
    return MessageEvent(turn=turn, agent=agent, act="hint", message=message)


def write(store: Store, run: str, *texts: str) -> None:
    """A run whose episodes say one text each."""
    begin(store, [({}, "")], run=run)
    episodes = [episode(f"i{n}", says(text), StopEvent(turn=1, reason="end")) for n, text in enumerate(texts)]
    write_lesson(store, run, lesson(*episodes, condition="c0"))


SAID = (
    "Borrow from the tens column.",
    "You need not borrow here: 9 - 3 = 6.",
    "The tens are fine; look at the ones.",
    "Борщ und Käse, naïve café",
    "A NUL \0 and half a pair \ufffd and <b>markup</b> in the tens",
    "",
)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("borrow", {0, 1}),
        ("BORROW", {0, 1}),
        ("borrow tens", {0}),
        ("tens borrow", {0}),
        ('"the tens"', {0, 2, 4}),
        ('"tens the"', set()),
        ("tens -borrow", {2, 4}),
        ("borr*", {0, 1}),
        ("borr", set()),
        ("борщ", {3}),
        ("käse", {3}),
        ('"9 - 3 = 6"', {1}),
        ("9-3", {1}),
        ("markup", {4}),
        ("pair", {4}),
        ("nothing", set()),
        ("OR", set()),
        ("tens NOT borrow", set()),
        ('said:tens "', set()),
        ("tens )(*^{}", {0, 2, 4}),
    ],
)
def test_messages_are_found_by_their_words(searched: Library, query: str, expected: set[int]) -> None:
    page = search_page(searched, query, run="r1")
    assert {hit.ordinal for hit in page.hits} == expected
    assert (page.total, page.more, page.next) == (len(expected), False, None)


@pytest.fixture(scope="module")
def searched(shared_store_url: str) -> Iterator[Library]:
    with open_store(shared_store_url) as store:
        write(store, "r1", *SAID)
        write(store, "r2", "Borrow again", "tens of tens")
    with open_store(shared_store_url, readonly=True) as store:
        yield Library(store)


def test_a_hit_says_where_it_is_and_shows_the_words(searched: Library) -> None:
    (hit,) = search_page(searched, "borrow -tens", run="r1").hits
    assert (hit.run, hit.condition, hit.replicate, hit.ordinal, hit.event) == ("r1", "c0", 0, 1, 0)
    assert (hit.item, hit.agent, hit.act, hit.label) == ("i1", "teacher", "hint", "as written")
    ((start, end),) = hit.marks
    assert hit.snippet[start:end] == "borrow"


def test_a_search_goes_over_all_runs_page_by_page(searched: Library) -> None:
    whole = search_page(searched, "tens")
    assert [(hit.run, hit.ordinal) for hit in whole.hits] == [("r1", 0), ("r1", 2), ("r1", 4), ("r2", 1)]
    found, after = [], ""
    while after is not None:
        page = search_page(searched, "tens", after=after, limit=1)
        assert (len(page.hits), page.total) == (1, 4)
        found += page.hits
        after = page.next
    assert found == whole.hits


@pytest.mark.parametrize("query", ["", "  ", "-borrow", '"', "*", "()", "-"])
def test_a_search_without_a_word_says_what_to_write(searched: Library, query: str) -> None:
    with pytest.raises(UsageError, match="nothing to look for") as caught:
        search_page(searched, query)
    assert "phrase" in caught.value.suggestion


def test_an_episode_that_is_written_again_is_found_by_its_new_words(store_url: str) -> None:
    with open_store(store_url) as store:
        write(store, "r1", "old words", "other words")
        library = Library(store)
        store.flush()
        assert len(search_page(library, "old").hits) == 1
        store.delete_lesson(LessonKey("r1", "c0", 0))
        write_lesson(
            store, "r1", lesson(episode("i0", says("new words", thoughts="a secret")), condition="c0")
        )
        store.flush()
        assert search_page(library, "old").hits == []
        assert [hit.item for hit in search_page(library, "words").hits] == ["i0"]
        (hit,) = search_page(library, "secret").hits
        assert "secret" in hit.snippet


def test_a_store_without_an_index_gets_one(store_url: str) -> None:
    with open_store(store_url) as store:
        write(store, "r1", "old words")
    engine = create_engine(store_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        for statement in ("DROP TABLE words", "DROP VIEW IF EXISTS spoken"):
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql("UPDATE meta SET value = '1' WHERE key = 'schema_version'")
    engine.dispose()
    with open_store(store_url) as store:
        assert len(search_page(Library(store), "old").hits) == 1
        write(store, "r2", "newer words")
        store.flush()
        assert len(search_page(Library(store), "words").hits) == 2


def test_a_snippet_is_cut_around_the_first_match() -> None:
    text = "x " * 500 + "the needle" + " y" * 500 + " needle"
    snippet, marks = snippet_of(text, terms_of("needle"))
    assert snippet.startswith("…")
    assert snippet.endswith("…")
    assert [snippet[a:b] for a, b in marks] == ["needle"]
    assert len(snippet) < 250
    snippet, marks = snippet_of("9 - 3 is 6", terms_of('"9-3" si* is'))
    assert [snippet[a:b] for a, b in marks] == ["9 - 3", "is"]


# --- failures -------------------------------------------------------------------------------------------


def failed(item: str, message: str, *, failure: str = "model", detail: str = "") -> object:
    events: list[Event] = [
        CallEvent(
            agent="teacher", act="explain", key="k" * 64, model="m", operation="generate", error=message
        ),
        ErrorEvent(turn=1, agent="teacher", act="explain", failure=failure, message=message, detail=detail),
        StopEvent(turn=2, reason="failed"),
    ]
    return episode(item, *events, outcome="failed", failure=failure)


def test_failures_stand_together_by_cause(store_url: str) -> None:
    with open_store(store_url) as store:
        begin(store, [({"plan.teach.policy": "random"}, ""), ({}, "no_teacher")])
        crash = failed("e", "KeyError('x')", failure="crash", detail="lesson.py, line 3, in run")
        first = [failed("a", "no answer within 30 s"), failed("b", "no answer within 31 s"), crash]
        write_lesson(store, "r1", lesson(episode("ok", grade("ok", True)), *first, condition="c0"))
        write_lesson(store, "r1", lesson(failed("a", "no answer within 9 s"), condition="c1"))
        store.put_lessons([LessonKey("r1", "c0", 1)])
        store.finish_run("r1", "interrupted")
        page = problems_page(Library(store), "r1")
    timeouts, crashes = page.failures
    assert (timeouts.failure, timeouts.n, timeouts.message) == ("model", 3, "no answer within 30 s")
    cells = [(c.condition, c.ordinal, c.item) for c in timeouts.cells]
    assert cells == [("c0", 1, "a"), ("c0", 2, "b"), ("c1", 0, "a")]
    assert timeouts.call == "k" * 64
    assert (crashes.failure, crashes.detail) == ("crash", "lesson.py, line 3, in run")
    assert crashes.cells[0].agent == "teacher"
    reasons = {(m.measure, m.reason): m.conditions for m in page.missing}
    assert reasons["accuracy", "episode failed (model)"] == {"c0": 2, "c1": 1}
    assert page.unfinished == 1
    assert page.warnings


def test_the_commands_retry_and_resume_as_they_say(tmp_path: Path) -> None:
    file = tmp_path / "my study.yaml"
    call = [sys.executable, "-m", "docendo"]
    subprocess.run([*call, "init", str(file)], check=True, capture_output=True)
    url = f"sqlite:///{tmp_path / 'a store.db'}"
    base = [*call, "run", str(file), "--store", url, "-q", "-n", "4", "-r", "1"]
    subprocess.run(base, check=True, capture_output=True)
    with open_store(url) as store:
        run = store.run("latest").id
        library = Library(store)
        assert (problems_page(library, run).retry, problems_page(library, run).resume) == ("", "")
        store.put_lessons([LessonKey(run, store.conditions(run)[0].id, 9)])
        store.flush()
        command = problems_page(library, run).resume
    assert "docendo export" in command, "settings were given, so the file alone would be another run"
    issued = command.replace("docendo ", f"{sys.executable} -m docendo ")
    done = subprocess.run(f"{issued} --json -q", shell=True, check=True, capture_output=True, cwd=tmp_path)
    assert json.loads(done.stdout[done.stdout.index(b'{\n  "status"') :])["data"]["run"] == run


# --- running work ---------------------------------------------------------------------------------------


def tally(episodes: int, tokens: int, **fields: int) -> Tally:
    stats = ModelStats(calls=9, sent=6, in_flight=2, queued=3, attempts=4, latency=2.0, **fields)
    stats = ModelStats(
        **{n: getattr(stats, n) for n in stats.__slots__} | {"usage": Usage(completion_tokens=tokens)}
    )
    return Tally(conditions=1, lessons=4, lessons_done=0, episodes=episodes, models={"m": stats})


def test_a_running_batch_says_how_it_is_getting_on(store_url: str) -> None:
    with open_store(store_url) as store:
        begin(store, [({}, "")])
        keys = [LessonKey("r1", "c0", n) for n in range(4)]
        store.put_lessons(keys)
        graded = [episode(f"i{n}", grade(f"i{n}", True)) for n in range(10)]
        write_lesson(store, "r1", lesson(*graded, condition="c0"))
        store.start_lesson(keys[1])
        pulse = Pulse(store, "r1")
        pulse(tally(10, 500))
        store.flush()
        library, watch = Library(store), Watch()
        page = live_page(library, watch, "r1")
        assert live_page(library, watch, "r1").version == page.version
        write_lesson(store, "r1", lesson(*graded[:3], condition="c0", replicate=2))
        store.flush()
        assert live_page(library, watch, "r1").version != page.version
        store.finish_run("r1")
        done = live_page(library, watch, "r1")
    assert (page.status, page.lessons, page.lessons_finished) == ("running", 4, 1)
    assert (page.episodes, page.episodes_expected) == (10, 40)
    assert page.eta_s is not None
    assert page.eta_s >= 0
    (load,) = page.models
    assert (load.model, load.in_flight, load.queued, load.latency_s) == ("m", 2, 3, 0.5)
    assert load.tokens_per_s == page.tokens_per_s
    assert page.tokens_per_s is not None
    assert page.tokens_per_s > 0
    (running,) = page.running
    assert (running.replicate, running.episodes, running.expected) == (1, 0, 10)
    assert (running.idle_s, running.stalled) == (None, False)
    assert [place.ordinal for place in page.latest] == [9, 8, 7, 6, 5, 4, 3, 2]
    assert (done.status, done.models, done.running, done.eta_s) == ("finished", [], [], None)


def test_a_lesson_that_records_nothing_is_stalled() -> None:
    watch, key = Watch(), LessonKey("r", "c", 0)
    assert watch.idle(key, 0, 100.0) == (None, 0.0)
    assert watch.idle(key, 1, 110.0) == (0.0, 10.0)
    assert watch.idle(key, 1, 110.0 + STALLED_AFTER) == (STALLED_AFTER, 10.0 + STALLED_AFTER)
    assert watch.idle(key, 2, 200.0)[0] == 0.0


def test_an_old_pulse_says_nothing(store_url: str) -> None:
    with open_store(store_url) as store:
        begin(store, [({}, "")])
        old = {"at": time.time() - 60, "begun": 0.0, "episodes": 9, "models": {}}
        store.pulse("r1", json.dumps(old))
        store.flush()
        page = live_page(Library(store), Watch(), "r1")
    assert (page.status, page.elapsed_s, page.eta_s, page.models) == ("running", None, None, [])


def test_the_viewer_follows_a_run_from_another_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    open_store(url).close()
    command = [
        sys.executable,
        "-m",
        "docendo",
        "run",
        "tutoring-dialogue",
        "--store",
        url,
        "-q",
        "-n",
        "1",
        "-r",
        "1",
    ]
    with served(url) as server, subprocess.Popen(command, stdout=subprocess.DEVNULL) as run:
        seen = []
        while run.poll() is None or not seen or seen[-1]["status"] == "running":
            runs = server.get("store")["runs"]
            if runs:
                seen.append(server.get(f"runs/{runs[0]['id']}/live"))
            time.sleep(0.05)
        assert run.returncode == 0
    assert [page["episodes"] for page in seen] == sorted(page["episodes"] for page in seen)
    assert seen[0]["status"] == "running"
    assert any(page["models"] for page in seen)
    assert seen[-1]["episodes"] == seen[-1]["episodes_expected"]


def test_a_curl_command_holds_no_command_of_others(tmp_path: Path) -> None:
    """What a store says of a model's address and key may come from anywhere."""
    hostile = "x'; touch PWNED; echo '$(touch PWNED)`touch PWNED`\n"
    model = {"backend": "openai", "model": hostile, "api_key": "${env:X}; touch PWNED; ${env:X}",
             "base_url": f"http://127.0.0.1:1/{hostile}"}  # fmt: skip
    with open_store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        begin(store, [])
        scenario = {"models": {"m": model}, "agents": {}, "plan": []}
        store.put_conditions([ConditionRecord(run="r1", id="c0", ordinal=0, scenario=scenario)])
        put_call(store, "k", hostile, "text")
        call = CallEvent(agent="teacher", act="explain", key="k", model="m", operation="generate")
        write_lesson(store, "r1", lesson(episode("i", call), condition="c0"))
        store.flush()
        (found,) = calls_page(Library(store), "r1", "c0", 0, 0).calls
    assert found.curl is not None
    assert "$OPENAI_API_KEY" in found.curl or "${OPENAI_API_KEY}" in found.curl
    subprocess.run(found.curl, shell=True, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert not list(tmp_path.glob("PWNED*"))
