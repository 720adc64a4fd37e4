"""The store on SQLite and PostgreSQL: what is written comes back, is never doubled, and survives."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine

from docendo.errors import StoreError, UnknownNameError, UsageError
from docendo.events import DecisionEvent, Event, GradeEvent, MessageEvent, StopEvent, digest_events
from docendo.messages import Message, Usage
from docendo.runtime.store import (
    ConditionRecord,
    EpisodeRecord,
    LessonKey,
    ObservationRow,
    RunRecord,
    Store,
    open_store,
)
from docendo.runtime.store.database import MIGRATIONS

RUN = RunRecord(
    id="0123abcd",
    name="when-to-step-in",
    digest="d1",
    items_digest="i1",
    scenario={"seed": 7, "matrix": {"b": [1], "a": [2]}},
    scenario_yaml="version: 1\n",
    manifest={"python": "3.11"},
)
LESSON = LessonKey(RUN.id, "c1", 0)


def events(text: str = "13 - 8 = 5") -> list[Event]:
    return [
        MessageEvent(
            turn=0,
            agent="teacher",
            act="explain",
            message=Message(sender="teacher", kind="explanation", text=text, recipients=("student",)),
        ),
        DecisionEvent(turn=1, n=1, agent="teacher", act="decide", chosen=["item-1", 2], reasons={"p": 0.25}),
        GradeEvent(turn=1, branch="s=1", item="item-1", student="student", answer="5", correct=None),
        StopEvent(turn=2, reason="end"),
    ]


def episode(n: int, *, lesson: LessonKey = LESSON, **changes: object) -> tuple[EpisodeRecord, list[Event]]:
    stream = events(f"step {n}")
    fields: dict[str, object] = {
        "lesson": lesson,
        "key": f"1:teach/0/item-{n}/student",
        "ordinal": n,
        "phase": "teach",
        "phase_kind": "teach",
        "item": f"item-{n}",
        "student": "student",
        "outcome": "end",
        "digest": digest_events(stream),
    }
    return EpisodeRecord(**{**fields, **changes}), stream  # type: ignore[arg-type]


def begin(store: Store) -> None:
    store.begin_run(RUN)
    store.put_conditions([ConditionRecord(run=RUN.id, id="c1", ordinal=0, coordinates={"p": "20%"})])
    store.put_lessons([LESSON])


def test_what_is_written_is_read_back(store_url: str) -> None:
    conditions = [
        ConditionRecord(run=RUN.id, id=c, ordinal=i, coordinates={"x": i, "a": None}, control="no_teacher")
        for i, c in enumerate(["z", "a"])
    ]
    keys = [LessonKey(RUN.id, c.id, r) for c in conditions for r in (0, 1)]
    rows = [
        ObservationRow(lesson=keys[0], phase="test", measure="accuracy", item="i", student="s", value=1.0),
        ObservationRow(
            lesson=keys[0], phase="test", measure="judged", item="i", value=None, reason="un\0parsed"
        ),
        ObservationRow(
            lesson=keys[0], phase="test", measure="accuracy", item="j", round=2, value=0.1, weight=0.5
        ),
    ]
    record, stream = episode(1, lesson=keys[0])
    with open_store(store_url) as store:
        started = store.begin_run(RUN)
        store.put_conditions(conditions)
        store.put_lessons(keys)
        store.start_lesson(keys[0])
        store.start_lesson(keys[1])
        store.write_episode(record, list(reversed(stream)))
        store.write_observations(keys[0], rows)
        usage = Usage(prompt_tokens=3, completion_tokens=2, cached_tokens=1)
        store.finish_lesson(keys[0], wall_s=1.5, usage=usage)
        store.finish_run(RUN.id)
    assert started.created_at > 1e9
    assert list(started.scenario["matrix"]) == ["b", "a"]  # the order of axes carries meaning
    with open_store(store_url, readonly=True) as store:
        (run,) = store.runs()
        assert (run.id, run.scenario, run.scenario_yaml, run.manifest, run.status) == (
            RUN.id, RUN.scenario, RUN.scenario_yaml, RUN.manifest, "finished"
        )  # fmt: skip
        assert store.conditions(RUN.id) == conditions
        lessons = store.lessons(RUN.id)
        assert [r.key for r in lessons] == keys  # by the matrix, not by name
        assert [r.status for r in lessons] == ["finished", "running", "planned", "planned"]
        assert (lessons[0].n_episodes, lessons[0].n_failed, lessons[0].wall_s) == (1, 0, 1.5)
        assert lessons[0].usage == usage
        (found,) = store.episodes(RUN.id)
        assert found.events_n == 4
        assert found.key == record.key
        read = store.events(found.id)
        assert read == sorted(stream, key=lambda e: e.position)
        assert digest_events(read) == record.digest
        assert store.episode(found.id) == found
        back = list(store.observations(RUN.id))
        assert [r.value for r in back] == [1.0, None, 0.1]
        assert back[1].reason == "unparsed"
        assert back[2] == rows[2]
        assert [r.item for r in store.observations(RUN.id, ["accuracy"])] == ["i", "j"]
        counts = store.counts(RUN.id)
        assert [c.condition for c in counts] == ["z", "a"]
        assert (counts[0].lessons_planned, counts[0].lessons_finished, counts[0].episodes) == (2, 1, 1)
        assert (counts[0].observations, counts[0].missing, counts[1].episodes) == (3, 1, 0)


def test_writing_again_doubles_nothing(store_url: str) -> None:
    with open_store(store_url) as store:
        begin(store)
        for _ in range(2):
            for n in range(3):
                store.write_episode(*episode(n))
        store.write_episode(*episode(1, outcome="failed", failure="timeout"))
        store.flush()
        store.write_episode(*episode(2, outcome="failed", failure="model"))
        store.put_lessons([LESSON])
        for value in (0.0, 1.0):
            row = ObservationRow(lesson=LESSON, phase="test", measure="accuracy", value=value)
            store.write_observations(LESSON, [row])
        store.finish_lesson(LESSON)
        store.flush()
        found = list(store.episodes(RUN.id))
        assert [(r.ordinal, r.failure) for r in found] == [(0, ""), (1, "timeout"), (2, "model")]
        assert all(
            store.events(r.id) == sorted(episode(r.ordinal)[1], key=lambda e: e.position) for r in found
        )
        assert [r.value for r in store.observations(RUN.id)] == [1.0]
        (lesson,) = store.lessons(RUN.id)
        assert (lesson.n_episodes, lesson.n_failed) == (3, 2)


def test_delete_lesson_forgets_it_and_leaves_others(store_url: str) -> None:
    other = LessonKey(RUN.id, "c1", 1)
    with open_store(store_url) as store:
        begin(store)
        for key in (LESSON, other):
            store.write_episode(*episode(0, lesson=key))
            store.write_observations(key, [ObservationRow(lesson=key, phase="p", measure="m", value=1.0)])
            store.finish_lesson(key)
        store.flush()
        (gone,) = store.episodes(RUN.id, "c1", 0)
        store.delete_lesson(LESSON)
        store.flush()
        assert [r.lesson for r in store.episodes(RUN.id)] == [other]
        assert store.events(gone.id) == []
        assert [r.lesson for r in store.observations(RUN.id)] == [other]
        assert [r.status for r in store.lessons(RUN.id)] == ["planned", "finished"]


def test_paging_visits_every_episode_once_in_order(store_url: str) -> None:
    keys = [LessonKey(RUN.id, "c1", r) for r in range(2)]
    with open_store(store_url) as store:
        begin(store)
        for n in reversed(range(700)):  # more than one page, and two share a place
            store.write_episode(*episode(n, ordinal=n // 2, lesson=keys[0]))
        for n in range(3):
            store.write_episode(*episode(n, lesson=keys[1]))
        store.flush()
        whole = list(store.episodes(RUN.id))
        places = [(r.lesson.replicate, r.ordinal, r.key) for r in whole]
        assert places == sorted(set(places))
        assert len(places) == 703
        paged: list[EpisodeRecord] = []
        while page := list(store.episodes(RUN.id, after=paged[-1] if paged else None, limit=101)):
            paged += page
        assert paged == whole
        assert len(list(store.episodes(RUN.id, "c1", 1))) == 3
        assert list(store.episodes(RUN.id, "nowhere")) == []


@pytest.fixture(scope="module")
def shared_store() -> Iterator[Store]:
    with open_store("sqlite://") as store:
        yield store


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(6)), changed=st.integers(0, 5))
def test_run_digest_depends_on_content_not_on_order(
    shared_store: Store, order: list[int], changed: int
) -> None:
    def digest(numbers: list[int], other: int | None = None) -> str:
        run = RunRecord(id=f"run-{len(shared_store.runs())}", name="n", digest="d")
        shared_store.begin_run(run)
        for n in numbers:
            key = LessonKey(run.id, f"c{n % 2}", n // 2 % 2)
            changes = {"digest": "changed"} if n == other else {}
            shared_store.write_episode(*episode(n, lesson=key, **changes))
            shared_store.finish_lesson(key)
        shared_store.flush()
        return shared_store.run_digest(run.id)

    assert digest(order) == digest(list(range(6)))
    assert digest(order) != digest(order, changed)


def test_half_a_surrogate_pair_does_not_end_the_run(store_url: str) -> None:
    broken = MessageEvent(
        agent="student", message=Message(sender="student", kind="answer", text="ok \ud83d \0")
    )
    with open_store(store_url) as store:
        begin(store)
        store.write_episode(episode(0)[0], [broken])
        store.flush()
        (found,) = store.episodes(RUN.id)
        (read,) = store.events(found.id)
    assert isinstance(read, MessageEvent)
    assert read.message.text == "ok \ufffd \0"


def test_runs_are_found_by_id_name_prefix_and_latest(store_url: str) -> None:
    with open_store(store_url) as store:
        for id_, name in (("aa11", "first"), ("aa22", "second"), ("bb33", "second")):
            store.begin_run(RunRecord(id=id_, name=name, digest=id_))
            store.finish_run(id_)
        assert store.run("aa11").id == "aa11"
        assert store.run("second").id == "bb33"
        assert store.run("bb").id == "bb33"
        assert store.run("latest").id == "bb33"
        with pytest.raises(UsageError, match="fits 2 runs: aa22, aa11"):
            store.run("aa")
        with pytest.raises(UnknownNameError, match="no run `secnd`") as caught:
            store.run("secnd")
        assert "second" in caught.value.suggestion
        with pytest.raises(UnknownNameError, match="no episode 99"):
            store.episode(99)


def test_continuing_a_run_keeps_its_record_and_refuses_another_scenario(store_url: str) -> None:
    with open_store(store_url) as store:
        first = store.begin_run(RUN)
    with open_store(store_url) as store:
        assert store.run(RUN.id).status == "interrupted"
        again = store.begin_run(RunRecord(id=RUN.id, name=RUN.name, digest="d1", items_digest="i1"))
        assert again == first
        for changes, what in (
            ({"digest": "d2"}, "another scenario"),
            ({"items_digest": "i2"}, "other items"),
        ):
            fields = {"id": RUN.id, "name": RUN.name, "digest": "d1", "items_digest": "i1", **changes}
            with pytest.raises(StoreError, match=what):
                store.begin_run(RunRecord(**fields))  # type: ignore[arg-type]
        store.write_episode(*episode(0))  # a refused run harms nothing else
        store.flush()


def test_flush_can_be_awaited_and_given_up(store_url: str) -> None:
    async def main(store: Store) -> int:
        begin(store)
        store.write_episode(*episode(0))
        impatient = asyncio.ensure_future(store.aflush())
        await asyncio.sleep(0)
        impatient.cancel()
        store.write_episode(*episode(1))
        await store.aflush()
        return len(list(store.episodes(RUN.id)))

    with open_store(store_url) as store:
        assert asyncio.run(main(store)) == 2


def test_reading_only_never_writes(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with open_store(f"sqlite:///{path}") as store:
        begin(store)
    before = path.read_bytes()
    with open_store(f"sqlite:///{path}", readonly=True) as store:
        assert store.run("latest").id == RUN.id
        assert store.get_call("0" * 64) is None
        for write in (
            lambda: store.begin_run(RUN),
            lambda: store.write_episode(*episode(0)),
            lambda: store.put_lessons([LESSON]),
            store.flush,
        ):
            with pytest.raises(StoreError, match="reading only"):
                write()
    assert path.read_bytes() == before


def test_a_reader_sees_a_run_in_progress(store_url: str) -> None:
    with open_store(store_url) as store:
        begin(store)
        store.flush()
        with open_store(store_url, readonly=True) as viewer:
            assert list(viewer.episodes(RUN.id)) == []
            store.write_episode(*episode(0))
            store.flush()
            assert len(list(viewer.episodes(RUN.id))) == 1
            assert viewer.run("latest").status == "running"


def test_a_closed_store_takes_no_writes(store_url: str) -> None:
    store = open_store(store_url)
    begin(store)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.write_episode(*episode(0))


# --- two processes --------------------------------------------------------------------------------------


def child(body: str, url: str, **options: object) -> subprocess.Popen[str]:
    """A process that has `store`, `RUN`, `LESSON`, `episode` and runs `body`."""
    code = (
        "import sys, importlib.util\n"
        f"spec = importlib.util.spec_from_file_location('there', {__file__!r})\n"
        "there = importlib.util.module_from_spec(spec); spec.loader.exec_module(there)\n"
        "from docendo.runtime.store import *\n"
        "from docendo.errors import StoreError\n"
        f"store = open_store({url!r})\n" + body
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, **options,  # type: ignore[call-overload]
    )  # fmt: skip


def test_killed_while_writing_loses_nothing_that_was_flushed(store_url: str) -> None:
    body = (
        "there.begin(store)\n"
        "n = 0\n"
        "while True:\n"
        "    for _ in range(20):\n"
        "        store.write_episode(*there.episode(n)); n += 1\n"
        "    store.flush(); print(n, flush=True)\n"
        "    store.write_episode(*there.episode(0))\n"
    )
    process = child(body, store_url)
    assert process.stdout
    flushed = [int(process.stdout.readline()) for _ in range(5)][-1]
    process.send_signal(signal.SIGKILL)
    rest, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors
    flushed = int(rest.split()[-1]) if rest.endswith("\n") else flushed
    with open_store(store_url) as store:
        assert store.run("latest").status == "interrupted"
        begin(store)  # the dead process's lock is taken over at once
        found = list(store.episodes(RUN.id))
        assert [r.ordinal for r in found] == list(range(len(found)))
        assert len(found) >= flushed
        for record in found:
            assert len(store.events(record.id)) == record.events_n == 4
            store.write_episode(*episode(record.ordinal))
        store.flush()
        assert [r.key for r in store.episodes(RUN.id)] == [r.key for r in found]
    if store_url.startswith("sqlite"):
        connection = sqlite3.connect(store_url.removeprefix("sqlite:///"))
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        stray = "SELECT count(*) FROM event WHERE id / 1048576 NOT IN (SELECT id FROM episode)"
        assert connection.execute(stray).fetchone() == (0,)
        connection.close()


def test_one_run_has_one_process_and_two_runs_may_have_two(store_url: str) -> None:
    body = (
        "there.begin(store); store.flush(); print('held', flush=True); sys.stdin.readline()\n"
        "store.write_episode(*there.episode(0)); store.close(); print('done', flush=True)\n"
    )
    process = child(body, store_url)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    with open_store(store_url) as store:
        with pytest.raises(StoreError, match=f"worked on by process {process.pid} on .*, since 20"):
            store.begin_run(RUN)
        other = RunRecord(id="other", name="other", digest="x")
        store.begin_run(other)
        key = LessonKey("other", "c", 0)
        for n in range(50):
            store.write_episode(*episode(n, lesson=key))
        out, errors = process.communicate("go on\n")
        assert out == "done\n", errors
        store.flush()
        store.begin_run(RUN)  # given back
        assert (len(list(store.episodes("other"))), len(list(store.episodes(RUN.id)))) == (50, 1)


def test_a_silent_owner_loses_its_lock_and_notices(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("docendo.runtime.store.lock.BEAT_SECONDS", 0.2)
    with open_store(store_url) as fresh, open_store(store_url) as taker:
        fresh.begin_run(RUN)
        with pytest.raises(StoreError, match="worked on by process"):
            taker.begin_run(RUN)
        monkeypatch.setattr("docendo.runtime.store.lock.STALE_SECONDS", -1.0)
        taker.begin_run(RUN)
        with pytest.raises(StoreError, match="taken over"):  # noqa: PT012 - the beat comes when it comes
            for _ in range(10_000):
                fresh.write_episode(*episode(0))
                fresh.flush()
        taker.close()
        with pytest.raises(StoreError, match="taken over"):
            fresh.close()


def test_processes_that_open_a_new_store_at_once_all_can(store_url: str) -> None:
    body = (
        "store.begin_run(RunRecord(id=sys.argv[0] + str(id(store)), name='n', digest='d')); store.close()\n"
    )
    processes = [child(body.replace("sys.argv[0]", repr(str(n))), store_url) for n in range(2)]
    assert [(p.communicate()[1], p.returncode) for p in processes] == [("", 0)] * 2
    with open_store(store_url, readonly=True) as store:
        assert len(store.runs()) == 2


# --- what can go wrong ----------------------------------------------------------------------------------


def test_store_write_failure_stops_run(tmp_path: Path) -> None:
    body = (
        "import resource, itertools\n"
        "there.begin(store); store.flush()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))\n"  # the disk is full
        "try:\n"
        "    for n in itertools.count():\n"
        "        store.write_episode(*there.episode(n))\n"
        "except StoreError as error:\n"
        "    print(error.message); print(error.suggestion)\n"
        "for again in (store.flush, lambda: store.put_lessons([there.LESSON]), store.close):\n"
        "    try: again()\n"
        "    except StoreError as error: print('again')\n"
    )
    url = f"sqlite:///{tmp_path / 'store.db'}"
    process = child(body, url)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    message, suggestion, *rest = out.splitlines()
    assert "store.db failed" in message
    assert "Free some space" in suggestion
    assert rest == ["again"] * 3
    with open_store(url) as store:
        found = list(store.episodes(RUN.id))
        assert found
        assert all(len(store.events(record.id)) == 4 for record in found)
        begin(store)  # and it goes on where there is space again
        store.flush()


def test_a_record_that_cannot_be_written_stops_the_run(store_url: str) -> None:
    store = open_store(store_url)
    begin(store)
    store.put_conditions([ConditionRecord(run=RUN.id, id="c9", ordinal=9, coordinates={"x": object()})])
    with pytest.raises(StoreError, match="cannot be written: TypeError"):
        store.flush()
    with pytest.raises(StoreError, match="cannot be written"):
        store.write_episode(*episode(0))
    with pytest.raises(StoreError, match="cannot be written"):
        store.close()


def test_leaving_on_an_error_keeps_that_error(store_url: str) -> None:
    with pytest.raises(KeyError, match="mine"), open_store(store_url) as store:  # noqa: PT012
        store.write_episode(*episode(0))  # no such run: fails in the writer
        raise KeyError("mine")


def refusal(url: str, **options: bool) -> StoreError:
    with pytest.raises(StoreError) as caught:
        open_store(url, **options)
    assert caught.value.suggestion
    assert caught.value.exit_code == 3
    return caught.value


def test_a_newer_store_is_refused_with_both_versions(store_url: str) -> None:
    open_store(store_url).close()
    engine = create_engine(store_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    engine.dispose()
    for readonly in (False, True):
        message = refusal(store_url, readonly=readonly)
        assert "schema version is 99, this one knows 2" in message.message
        assert "pip install -U" in message.suggestion


def test_an_older_store_is_migrated_in_place(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(store_url) as store:
        begin(store)
    monkeypatch.setattr("docendo.runtime.store.tables.SCHEMA_VERSION", 3)

    def rename(connection: Connection) -> None:
        connection.exec_driver_sql("UPDATE run SET name = 'migrated'")

    monkeypatch.setitem(MIGRATIONS, 2, rename)
    assert "version 2" in refusal(store_url, readonly=True).message
    with open_store(store_url) as store:
        assert store.run(RUN.id).name == "migrated"
    with open_store(store_url, readonly=True) as store:
        assert store.run(RUN.id).name == "migrated"


def test_what_is_not_a_store_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough to be read as one", encoding="utf-8")
    assert "not a SQLite database" in refusal(f"sqlite:///{text}").message
    assert "notes.txt" in refusal(f"sqlite:///{text}", readonly=True).message
    foreign = tmp_path / "foreign.db"
    connection = sqlite3.connect(foreign)
    connection.executescript("CREATE TABLE meta (a); CREATE TABLE songs (b)")
    connection.close()
    before = foreign.read_bytes()
    assert "another program (its tables: meta, songs)" in refusal(f"sqlite:///{foreign}").message
    assert foreign.read_bytes() == before
    assert "does not exist" in refusal(f"sqlite:///{tmp_path}/no/store.db").message
    assert "is not a file" in refusal(f"sqlite:///{tmp_path}").message
    empty = tmp_path / "empty.db"
    empty.touch()
    assert "holds no docendo store" in refusal(f"sqlite:///{empty}", readonly=True).message
    for options in ({"create": False}, {"readonly": True}):
        missing = refusal(f"sqlite:///{tmp_path}/missing.db", **options)
        assert "there is no store at" in missing.message
    assert not (tmp_path / "missing.db").exists()


def test_a_damaged_store_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with open_store(f"sqlite:///{path}") as store:
        begin(store)
        for n in range(100):
            store.write_episode(*episode(n))
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + b"\xff" * (len(whole) - 100))
    damaged = refusal(f"sqlite:///{path}")
    assert "store.db failed" in damaged.message
    assert "damaged" in damaged.suggestion
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))  # found only when it is read
    with pytest.raises(StoreError) as caught, open_store(f"sqlite:///{path}", readonly=True) as store:
        list(store.episodes(store.run("latest").id))
    assert "damaged" in caught.value.suggestion


@pytest.mark.parametrize("url", ["results.db", "mysql://u@h/d", "sqlite+aiosqlite:///x.db", ""])
def test_urls_that_mean_nothing_are_refused(url: str) -> None:
    assert "sqlite:///" in refusal(url).suggestion


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach; pytest's own are private."""
    with tempfile.TemporaryDirectory(prefix="docendo-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
        Path(folder).chmod(0o755)


def test_a_folder_without_permission_is_refused_for_writing_and_can_be_read(open_folder: Path) -> None:
    path = open_folder / "store.db"
    with open_store(f"sqlite:///{path}") as store:
        begin(store)
    path.chmod(0o444)
    open_folder.chmod(0o555)
    code = (
        "import os\n"
        "from docendo.errors import StoreError\n"
        "from docendo.runtime.store import open_store\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"  # root may all
        f"print(open_store('sqlite:///{path}', readonly=True).run('latest').id)\n"
        "for file in ('store.db', 'new.db'):\n"
        f"    try: open_store('sqlite:///{open_folder}/' + file)\n"
        "    except StoreError as error: print(error.suggestion)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    advice = "Check that you may write the file and its folder, or name another store with --store."
    assert done.stdout.splitlines() == [RUN.id, advice, advice]


def test_a_memory_store_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with open_store("sqlite://") as store:
        begin(store)
        store.flush()
        assert store.run("latest").id == RUN.id
        assert os.listdir(tmp_path)
    assert not os.listdir(tmp_path)
