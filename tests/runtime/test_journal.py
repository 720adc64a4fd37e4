"""The journal: calls are found at once, share their prompts' texts, and never change under a replay."""

import random
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from docendo.errors import StoreError
from docendo.events import CallEvent, Event
from docendo.messages import PromptMessage, Span, Usage
from docendo.runtime.store import (
    CallRecord,
    CallResult,
    EpisodeRecord,
    LessonKey,
    RunRecord,
    Store,
    journal,
    open_store,
)

SYSTEM = PromptMessage("system", (Span("You are a teacher."),))


def key(n: int) -> str:
    return f"{n:064x}"


def question(n: int) -> PromptMessage:
    spans = (Span("Q: "), Span(f"{n} - 8 = ?", "public", "item.question"), Span("5", "gold", "item.answer"))
    return PromptMessage("user", spans)


def call(
    n: int, reply: str | None = "5", error: str = "", prompt: tuple[PromptMessage, ...] = ()
) -> CallRecord:
    return CallRecord(
        key=key(n),
        fingerprint="simulated/expert",
        operation="generate",
        prompt=prompt or (SYSTEM, question(n)),
        request={"seed": n, "temperature": 0.7},
        result=CallResult(
            reply=None if reply is None else {"completions": [{"text": reply}]},
            error={"kind": error} if error else None,
            usage=Usage(prompt_tokens=11, completion_tokens=n),
            latency_s=0.5,
        ),
    )


def count(store_url: str, table: str) -> int:
    engine = create_engine(store_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        found = connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
    engine.dispose()
    return int(found)


def test_a_call_is_found_at_once_and_after_reopening(store_url: str) -> None:
    with open_store(store_url) as store:
        assert store.get_call(key(13)) is None
        store.put_call(call(13))
        assert store.get_call(key(13)) == call(13).result
    with open_store(store_url, readonly=True) as store:
        assert store.get_call(key(13)) == call(13).result
        assert store.get_call(key(14)) is None
        found = store.calls([key(13), key(99)])[key(13)]
        assert found.prompt == (SYSTEM, question(13))  # with the provenance of every span
        assert (found.request, found.fingerprint, found.operation) == (
            {"seed": 13, "temperature": 0.7}, "simulated/expert", "generate",
        )  # fmt: skip
        assert found.created_at > 1e9


def test_the_prompt_of_a_dialogue_costs_its_messages_once(store_url: str) -> None:
    dialogue = [SYSTEM, *(question(n) for n in range(30))]
    with open_store(store_url) as store:
        for n in range(1, 31):
            store.put_call(call(n, prompt=tuple(dialogue[:n])))
            if n % 7 == 0:
                store.flush()
        store.flush()
        assert count(store_url, "text") == 30
        assert store.calls([key(30)])[key(30)].prompt == tuple(dialogue[:30])
    with open_store(store_url) as store:  # another process knows nothing of what is there
        store.put_call(call(31, prompt=tuple(dialogue)))
        store.flush()
        assert count(store_url, "text") == 31


def test_equal_text_of_other_provenance_is_another_message(store_url: str) -> None:
    leaked = PromptMessage("user", (Span("5", "gold", "item.answer"),))
    spoken = PromptMessage("user", (Span("5", "public", "message[0]"),))
    with open_store(store_url) as store:
        store.put_call(call(1, prompt=(leaked, spoken)))
        store.flush()
        assert store.calls([key(1)])[key(1)].prompt == (leaked, spoken)


def test_a_failure_is_recorded_and_gives_way_to_a_reply_and_to_nothing_else(store_url: str) -> None:
    with open_store(store_url) as store:
        store.put_call(call(1, None, "timeout"))
        store.put_call(call(2, None, "timeout"))
        store.flush()
        assert store.get_call(key(1)) == call(1, None, "timeout").result
        store.put_call(call(1, "6"))
        store.put_call(call(2, None, "model"))
        store.put_call(call(1, "7"))
        store.put_call(call(1, None, "late"))
        assert store.get_call(key(1)) == call(1, "6").result
    with open_store(store_url) as store:
        assert store.get_call(key(1)) == call(1, "6").result
        assert store.get_call(key(2)) == call(2, None, "model").result
        assert count(store_url, "call") == 2


def test_two_processes_that_answer_one_call_differently_are_told(store_url: str) -> None:
    with open_store(store_url) as one, open_store(store_url) as two:
        assert two.get_call(key(1)) is None
        one.put_call(call(1, "5"))
        one.flush()
        two.put_call(call(1, "6"))
        two.put_call(call(2, "6"))
        two.flush()
        assert (one.call_conflicts, two.call_conflicts) == ((), (key(1),))
    with open_store(store_url, readonly=True) as store:
        assert store.get_call(key(1)) == call(1, "5").result  # the first stays: its run is already recorded


def test_a_process_finds_what_another_one_recorded(store_url: str) -> None:
    with open_store(store_url) as one, open_store(store_url) as two:
        assert two.get_call(key(5)) is None
        one.put_call(call(5))
        one.flush()
        assert two.get_call(key(5)) == call(5).result


def test_no_pending_write_is_forgotten_when_memory_is_small(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "CACHED", 3)
    with open_store(store_url) as store:
        for n in range(300):
            store.put_call(call(n))
            assert all(store.get_call(key(m)) for m in range(max(0, n - 20), n + 1))


def test_half_a_surrogate_pair_does_not_end_the_run(store_url: str) -> None:
    prompt = (PromptMessage("user", (Span("say \udc00 \0"),)),)
    with open_store(store_url) as store:
        store.put_call(call(1, "an \ud83d answer \0", prompt=prompt))
    with open_store(store_url, readonly=True) as store:
        found = store.calls([key(1)])[key(1)]
    assert found.result.reply == {"completions": [{"text": "an \ufffd answer \0"}]}
    assert found.prompt[0].text == "say \ufffd \0"


def test_threads_may_ask_and_write_at_once(store_url: str) -> None:
    wrong: list[int] = []

    def work(store: Store, seed: int) -> None:
        numbers = list(range(200))
        random.Random(seed).shuffle(numbers)
        for n in numbers:
            if store.get_call(key(n)) is None:
                store.put_call(call(n))
            if store.get_call(key(n)) != call(n).result:
                wrong.append(n)

    with open_store(store_url) as store:
        threads = [threading.Thread(target=work, args=(store, seed)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        store.flush()
        assert wrong == []
        assert store.call_conflicts == ()
    assert count(store_url, "call") == 200


def test_calls_of_an_episode_come_in_its_order_and_once(store_url: str) -> None:
    lesson = LessonKey("r", "c", 0)
    stream: list[Event] = [
        CallEvent(turn=turn, agent="student", key=key(n), model="m", operation="generate")
        for turn, n in enumerate([3, 1, 3, 404])
    ]
    record = EpisodeRecord(
        lesson=lesson, key="k", ordinal=0, phase="p", phase_kind="test", outcome="end", digest="d"
    )
    with open_store(store_url) as store:
        store.begin_run(RunRecord(id="r", name="r", digest="d"))
        for n in (1, 2, 3):
            store.put_call(call(n))
        store.write_episode(record, stream)
        store.flush()
        (found,) = store.episodes("r")
        assert [c.key for c in store.episode_calls(found.id)] == [key(3), key(1)]


def test_many_calls_can_be_read_at_once(store_url: str) -> None:
    with open_store(store_url) as store:
        for n in range(900):
            store.put_call(call(n))
        store.flush()
        assert set(store.calls(key(n) for n in range(1000))) == {key(n) for n in range(900)}


def test_after_a_failed_write_no_call_is_recorded(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    bad = CallRecord(
        key=key(1), fingerprint="f", operation="generate", prompt=(), request={"x": object()},
        result=CallResult(reply={}),
    )  # fmt: skip
    store.put_call(bad)
    with pytest.raises(StoreError, match="cannot be written"):
        store.flush()
    for n in (1, 2):
        with pytest.raises(StoreError, match="cannot be written"):
            store.put_call(call(n))
    with pytest.raises(StoreError):
        store.close()


spans = st.builds(
    Span, st.text(max_size=8), st.sampled_from(["instruction", "gold", "own"]), st.text(max_size=5)
)
messages = st.builds(
    PromptMessage, st.sampled_from(["system", "user", "assistant"]), st.lists(spans, max_size=3).map(tuple)
)


@settings(max_examples=60, deadline=None)
@given(prompt=st.lists(messages, max_size=4).map(tuple), n=st.integers(0, 2**256 - 1))
def test_every_prompt_comes_back_as_it_was(
    journal_store: Store, prompt: tuple[PromptMessage, ...], n: int
) -> None:
    record = CallRecord(
        key=key(n), fingerprint="f", operation="score", prompt=prompt, result=CallResult(reply={})
    )
    fresh = journal_store.get_call(key(n)) is None
    journal_store.put_call(record)
    journal_store.flush()
    if fresh:
        assert journal_store.calls([key(n)])[key(n)].prompt == prompt


@pytest.fixture(scope="module")
def journal_store():  # type: ignore[no-untyped-def]
    with open_store("sqlite://") as store:
        yield store
