from __future__ import annotations

import asyncio
import math
import subprocess
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docendo.agents.port import (
    Completion,
    ContinuationScore,
    GenerateReply,
    GenerateRequest,
    Origin,
    Sampling,
    ScoreReply,
    ScoreRequest,
    TokenLogprob,
)
from docendo.agents.view import View
from docendo.errors import (
    CapabilityError,
    EpisodeFailure,
    ModelError,
    StoreError,
    UnknownNameError,
    UsageError,
)
from docendo.messages import Message, PromptMessage, Span, Usage
from docendo.runtime.backends.base import Backend, BackendFault, Capabilities, Room
from docendo.runtime.backends.factory import BACKENDS, build_backend
from docendo.runtime.backends.scripted import FunctionBackend, ScriptedBackend
from docendo.runtime.client import Client, Notice, backoff, require
from docendo.runtime.journal import (
    Entry,
    Failure,
    Journal,
    MemoryJournal,
    StoreJournal,
    call_key,
    decode_reply,
    encode_reply,
    settle,
)
from docendo.runtime.store import open_store
from docendo.scenarios.schema import ScriptedModel

VIEW = View(agent="student-1", role="student", act="solve")
ORIGIN = Origin(condition="c", replicate=2, episode="e", agent="student-1", act="solve", turn=3)


def prompt(text: str, provenance: Any = "public") -> tuple[PromptMessage, ...]:
    return (PromptMessage("user", (Span(text, provenance),)),)


def ask(text: str = "2 + 2 = ?", **fields: Any) -> GenerateRequest:
    defaults: dict[str, Any] = {"model": "m", "prompt": prompt(text), "view": VIEW, "origin": ORIGIN}
    return GenerateRequest(**(defaults | fields))


def weigh(*continuations: str, **fields: Any) -> ScoreRequest:
    return ScoreRequest(model="m", prompt=prompt("Q"), continuations=continuations, view=VIEW, **fields)


class Model(Backend):
    """A model made of a function, which counts and can be held up."""

    fingerprint = "model of a test"

    def __init__(
        self, answer: Callable[[GenerateRequest], Any] = lambda request: "4", **declared: bool
    ) -> None:
        self.asked: list[GenerateRequest] = []
        self.most_at_once = 0
        self.closed = False
        self.cancelled = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._now = 0
        self._answer = answer
        self.capabilities = Capabilities(**({"seed": True} | declared))

    async def generate(self, request: GenerateRequest) -> GenerateReply:
        self.asked.append(request)
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            await self.gate.wait()
            answer = self._answer(request)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self._now -= 1
        if isinstance(answer, GenerateReply):
            return answer
        return GenerateReply(
            completions=(Completion(text=answer),) * request.sampling.n,
            usage=Usage(prompt_tokens=10, completion_tokens=1),
        )

    async def score(self, request: ScoreRequest) -> ScoreReply:
        return ScoreReply(scores=tuple(ContinuationScore(logprobs=(-1.0,)) for _ in request.continuations))

    async def close(self) -> None:
        self.closed = True


def door(
    model: Any, journal: Journal | None = None, *, spec: ScriptedModel | None = None, **how: Any
) -> Client:
    how = {"base_delay": 0.0} | how
    spec = spec or ScriptedModel(replies=("unused",))
    return Client({"m": model}, {"m": spec}, journal if journal is not None else MemoryJournal(), **how)


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(main)


def failing(*faults: BackendFault | str) -> Callable[[GenerateRequest], str]:
    """Each call takes the next of these; the last one repeats."""
    calls = iter(range(10**6))

    def answer(request: GenerateRequest) -> str:
        this = faults[min(next(calls), len(faults) - 1)]
        if isinstance(this, BackendFault):
            raise this
        return this

    return answer


async def failure_of(client: Client, request: GenerateRequest) -> EpisodeFailure:
    with pytest.raises(EpisodeFailure) as caught:
        await client.generate(request)
    return caught.value


# --- keys -------------------------------------------------------------------------------------------------

PLAIN = Capabilities()
READER = Capabilities(reads_view=True)


def key(request: GenerateRequest | ScoreRequest, capabilities: Capabilities = PLAIN, name: str = "f") -> str:
    return call_key(request, name, capabilities)


@pytest.mark.parametrize(
    "other",
    [
        ask("another question"),
        ask(prompt=(PromptMessage("system", (Span("2 + 2 = ?"),)),)),
        ask(sampling=Sampling(temperature=0.5)),
        ask(sampling=Sampling(top_p=0.5)),
        ask(sampling=Sampling(max_tokens=7)),
        ask(sampling=Sampling(stop=("\n",))),
        ask(sampling=Sampling(n=2)),
        ask(schema={"type": "object"}),
        ask(choices=("A", "B")),
        ask(logprobs=1),
        ask(seed=1),
    ],
)
def test_whatever_changes_the_answer_changes_the_key(other: GenerateRequest) -> None:
    assert key(other) != key(ask())


def test_who_asks_and_where_the_text_came_from_do_not_change_the_key() -> None:
    assert key(ask(origin=Origin(condition="other", agent="x"))) == key(ask())
    assert key(ask(prompt=prompt("2 + 2 = ?", "gold"))) == key(ask())
    cut = (PromptMessage("user", (Span("2 + "), Span("2 = ?"))),)
    assert key(ask(prompt=cut)) == key(ask())
    assert key(ask(model="m2")) == key(ask())
    assert key(ask(sampling=Sampling(temperature=0, top_p=1))) == key(ask())


def test_the_order_of_a_schemas_properties_changes_the_key() -> None:
    one = ask(schema={"properties": {"reason": {}, "answer": {}}})
    two = ask(schema={"properties": {"answer": {}, "reason": {}}})
    assert key(one) != key(two)


def test_backends_and_operations_have_keys_of_their_own() -> None:
    assert key(ask(), name="f") != key(ask(), name="g")
    assert key(weigh("A", "B")) != key(weigh("B", "A"))
    assert key(weigh()) != key(ask("Q"))


def test_the_seed_leaves_the_key_of_greedy_calls_on_deterministic_backends_only() -> None:
    sure = Capabilities(deterministic=True)
    warm = Sampling(temperature=1.0)
    assert key(ask(seed=1), sure) == key(ask(seed=2), sure)
    assert key(ask(seed=1)) != key(ask(seed=2))
    assert key(ask(seed=1, sampling=warm), sure) != key(ask(seed=2, sampling=warm), sure)


@pytest.mark.parametrize(
    "change",
    [
        {"mind": {"skills": {"borrow": "bug"}}},
        {"params": {"style": "short"}},
        {"act": "explain"},
        {"agent": "student-2"},
        {"role": "critic"},
        {"notes": ("n",)},
        {"belief": {"p": 0.5}},
        {"budget": {"hints": 1}},
        {"profile": "shy"},
        {"messages": (Message(sender="t", kind="hint", text="look"),)},
        {"messages": (Message(sender="student-1", kind="attempt", text="4"),)},
    ],
)
def test_the_view_is_in_the_key_of_backends_that_read_it(change: dict[str, Any]) -> None:
    other = ask(view=VIEW.model_copy(update=change))
    assert key(other, READER) != key(ask(), READER)
    assert key(other) == key(ask())


def test_tokens_that_messages_cost_are_not_information() -> None:
    def seen(tokens: int) -> GenerateRequest:
        message = Message(sender="t", kind="hint", text="look", usage=Usage(prompt_tokens=tokens))
        return ask(view=VIEW.model_copy(update={"messages": (message,)}))

    assert key(seen(3), READER) == key(seen(5), READER)


def test_keys_are_the_same_in_every_process_and_version() -> None:
    assert key(ask()) == "13c57c5b0cb0c7bc23b37c296bbea1b78f5a77e1b3264aa1cfc9cbf03bab5029"


# --- replies as JSON --------------------------------------------------------------------------------------

numbers = st.floats(allow_nan=False)
texts = st.text(st.characters(codec="utf-8"), max_size=12)
json_data = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
tokens = st.builds(TokenLogprob, texts, numbers, st.lists(st.tuples(texts, numbers), max_size=2).map(tuple))
completions = st.builds(
    Completion,
    text=texts,
    finish=st.sampled_from(["stop", "length"]),
    logprobs=st.lists(tokens, max_size=2).map(tuple),
    mind=st.none() | st.dictionaries(texts, json_data, max_size=3),
)
usages = st.builds(
    Usage,
    prompt_tokens=st.integers(0, 10**9),
    completion_tokens=st.integers(0, 99),
    cached_tokens=st.integers(0, 99),
)
scores = st.builds(
    ContinuationScore, logprobs=st.lists(numbers, max_size=3).map(tuple), censored=st.booleans()
)
replies = st.builds(
    GenerateReply, completions=st.lists(completions, max_size=2).map(tuple), usage=usages
) | st.builds(ScoreReply, scores=st.lists(scores, max_size=2).map(tuple), usage=usages)


@given(replies)
def test_replies_survive_being_written(reply: GenerateReply | ScoreReply) -> None:
    assert decode_reply(encode_reply(reply)) == reply
    assert settle(reply) == reply


def test_a_settled_reply_has_no_shape_that_writing_would_change() -> None:
    mind = {"b": (1, 2), "a": {3: "three"}}
    reply = GenerateReply(completions=(Completion(text="half \ud83d a pair", mind=mind),))
    settled = settle(reply)
    assert isinstance(settled, GenerateReply)
    assert settled.completions[0].text == "half \ufffd a pair"
    assert list(settled.completions[0].mind or {}) == ["a", "b"]
    assert settled.completions[0].mind == {"a": {"3": "three"}, "b": [1, 2]}


@pytest.fixture(params=["memory", "store"])
def journals(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Makes the journal, again after everything was closed in between."""
    if request.param == "memory":
        journal = MemoryJournal()
        yield lambda: journal
        return
    stores: list[Any] = []

    def again() -> StoreJournal:
        for store in stores:
            store.close()
        stores[:] = [open_store(f"sqlite:///{tmp_path / 'd.db'}")]
        return StoreJournal(stores[0])

    yield again
    for store in stores:
        store.close()


@pytest.mark.parametrize(
    "recorded",
    [
        GenerateReply(
            completions=(
                Completion(
                    text="4\x00é", logprobs=(TokenLogprob("4", -math.inf, (("5", -0.1),)),), mind={"k": 0.1}
                ),
            ),
            usage=Usage(prompt_tokens=3, completion_tokens=1, cached_tokens=2),
        ),
        ScoreReply(scores=(ContinuationScore(logprobs=(-1 / 3, -5e-324), censored=True),)),
        Failure(kind="context", message="too long", suggestion="shorten", attempts=3),
    ],
)
def test_journals_keep_answers_and_failures(journals: Any, recorded: Any) -> None:
    journal: Journal = journals()
    entry = Entry(
        key="a" * 64, operation="generate", model="m", fingerprint="f", prompt=prompt("Q"), recorded=recorded
    )
    assert journal.get(entry.key) is None
    journal.put(entry)
    assert journal.get(entry.key) == recorded
    assert journals().get(entry.key) == recorded


def test_an_answer_replaces_a_failure(journals: Any) -> None:
    journal: Journal = journals()
    entry = Entry(
        key="b" * 64, operation="generate", model="m", fingerprint="f", prompt=prompt("Q"),
        recorded=Failure(kind="model", message="down"),
    )  # fmt: skip
    journal.put(entry)
    answer = GenerateReply(completions=(Completion(text="4"),))
    journal.put(replace(entry, recorded=answer))
    assert journals().get(entry.key) == answer


# --- the way of a request ---------------------------------------------------------------------------------


def test_an_answer_is_asked_for_once_and_served_for_ever(journals: Any) -> None:
    model = Model()

    async def main() -> list[GenerateReply]:
        client = door(model, journals())
        first = await client.generate(ask())
        second = await client.generate(ask())
        third = await door(model, journals()).generate(ask(origin=Origin(condition="another")))
        return [first, second, third]

    first, second, third = run(main())
    assert len(model.asked) == 1
    assert [r.text for r in (first, second, third)] == ["4"] * 3
    assert [r.cached for r in (first, second, third)] == [False, True, True]
    assert first.key == second.key == third.key == call_key(ask(), model.fingerprint, model.capabilities)
    assert first.usage == third.usage


def test_a_fresh_answer_reads_like_the_recorded_one(journals: Any) -> None:
    mind = {"b": (1, 2), "a": {3: "three"}}
    model = Model(lambda r: GenerateReply(completions=(Completion(text="4", mind=mind),)))

    async def main() -> tuple[GenerateReply, GenerateReply]:
        fresh = await door(model, journals()).generate(ask())
        return fresh, await door(model, journals()).generate(ask())

    fresh, recorded = run(main())
    assert replace(fresh, cached=True) == recorded
    assert repr(fresh.completions) == repr(recorded.completions)


def test_what_is_recorded_can_be_read_by_a_person() -> None:
    journal = MemoryJournal()
    request = ask(
        prompt=prompt("Q", "gold"), sampling=Sampling(stop=("\n",)), schema={"a": 1}, choices=("A",), seed=9
    )
    run(door(Model(), journal).generate(request))
    (entry,) = journal.entries.values()
    assert (entry.model, entry.operation, entry.fingerprint) == ("m", "generate", "model of a test")
    assert entry.prompt[0].spans[0].provenance == "gold"
    assert entry.parameters == {
        "temperature": 0.0, "top_p": 1.0, "max_tokens": 512, "n": 1, "seed": 9, "stop": ["\n"],
        "schema": {"a": 1}, "choices": ["A"],
    }  # fmt: skip
    assert entry.latency >= 0


def test_a_score_goes_the_same_way() -> None:
    async def main() -> tuple[ScoreReply, ScoreReply]:
        client = door(Model(scoring=True))
        return await client.score(weigh("A", "B")), await client.score(weigh("A", "B"))

    first, second = run(main())
    assert [s.total for s in first.scores] == [-1.0, -1.0]
    assert (first.cached, second.cached) == (False, True)


def test_replicates_differ_under_cache() -> None:
    model = Model(lambda request: f"draw {request.seed}")
    warm = Sampling(temperature=1.0)

    async def main() -> list[str]:
        client = door(model)
        return [(await client.generate(ask(seed=seed, sampling=warm))).text for seed in (1, 2, 1, 2)]

    assert run(main()) == ["draw 1", "draw 2", "draw 1", "draw 2"]
    assert len(model.asked) == 2


def test_identical_requests_in_flight_are_one_call() -> None:
    async def main() -> tuple[Model, list[GenerateReply], Any]:
        model = Model()
        model.gate.clear()
        client = door(model)
        waiting = [asyncio.create_task(client.generate(ask())) for _ in range(50)]
        while not model.asked:
            await asyncio.sleep(0)
        model.gate.set()
        return model, await asyncio.gather(*waiting), client.stats()["m"]

    model, replies, stats = run(main())
    assert len(model.asked) == 1
    assert {r.text for r in replies} == {"4"}
    assert sorted(r.cached for r in replies) == [False] + [True] * 49
    assert (stats.calls, stats.sent, stats.coalesced, stats.journal_hits) == (50, 1, 49, 0)
    assert stats.usage == Usage(prompt_tokens=10, completion_tokens=1)


def test_cancelling_one_waiter_leaves_the_others() -> None:
    async def main() -> tuple[Model, str, MemoryJournal]:
        model, journal = Model(), MemoryJournal()
        model.gate.clear()
        client = door(model, journal)
        first, second = (asyncio.create_task(client.generate(ask())) for _ in range(2))
        while not model.asked:
            await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        model.gate.set()
        return model, (await second).text, journal

    model, text, journal = run(main())
    assert text == "4"
    assert (len(model.asked), model.cancelled, len(journal.entries)) == (1, 0, 1)


def test_cancelling_every_waiter_ends_the_call_and_records_nothing() -> None:
    async def main() -> tuple[Model, MemoryJournal, str]:
        model, journal = Model(), MemoryJournal()
        model.gate.clear()
        client = door(model, journal)
        waiting = [asyncio.create_task(client.generate(ask())) for _ in range(2)]
        while not model.asked:
            await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        again = asyncio.create_task(client.generate(ask()))  # before the old call has noticed its end
        await asyncio.sleep(0)
        recorded_meanwhile = len(journal.entries)
        model.gate.set()
        text = (await again).text
        assert recorded_meanwhile == 0
        return model, journal, text

    model, journal, text = run(main())
    assert text == "4"
    assert (len(model.asked), model.cancelled) == (2, 1)
    assert [type(e.recorded) for e in journal.entries.values()] == [GenerateReply]


def test_closing_ends_what_is_in_flight() -> None:
    async def main() -> tuple[Model, Any]:
        model = Model()
        model.gate.clear()
        async with door(model) as client:
            waiting = asyncio.create_task(client.generate(ask()))
            while not model.asked:
                await asyncio.sleep(0)
            assert client.stats()["m"].in_flight == 1
        (outcome,) = await asyncio.gather(waiting, return_exceptions=True)
        assert client.stats()["m"].in_flight == 0
        return model, outcome

    model, outcome = run(main())
    assert isinstance(outcome, asyncio.CancelledError)
    assert (model.cancelled, model.closed) == (1, True)


def test_no_more_calls_at_once_than_the_model_allows() -> None:
    async def main() -> Model:
        model = Model()
        model.gate.clear()
        client = door(model, spec=ScriptedModel(replies=("x",), max_concurrent=3))
        waiting = [asyncio.create_task(client.generate(ask(str(i)))) for i in range(10)]
        while len(model.asked) < 3:
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(model.asked) == 3
        assert client.stats()["m"].in_flight == 3
        model.gate.set()
        await asyncio.gather(*waiting)
        return model

    model = run(main())
    assert (model.most_at_once, len(model.asked)) == (3, 10)


class Engine(Model):
    """A model with places for two sequences."""

    def room(self) -> Room:
        return Room(sequences=2, tokens=1000, context=100)


def test_an_engine_is_handed_a_few_batches_so_that_calls_wait_where_no_time_runs() -> None:
    async def main() -> tuple[Model, int]:
        model = Engine()
        model.gate.clear()
        client = door(model, spec=ScriptedModel(replies=("x",), max_concurrent=1000))
        waiting = [asyncio.create_task(client.generate(ask(str(i)))) for i in range(50)]
        for _ in range(500):
            await asyncio.sleep(0)
        sent = len(model.asked)
        model.gate.set()
        await asyncio.gather(*waiting)
        assert client.stats()["m"].limit == sent
        return model, sent

    model, sent = run(main())
    assert (sent, model.most_at_once, len(model.asked)) == (8, 8, 50)


def test_a_lower_limit_of_the_scenario_stays() -> None:
    async def main() -> int:
        client = door(Engine(), spec=ScriptedModel(replies=("x",), max_concurrent=3))
        await client.generate(ask())
        return client.stats()["m"].limit

    assert run(main()) == 3


def test_a_backend_that_cannot_close_keeps_no_other_open() -> None:
    class Stuck(Model):
        async def close(self) -> None:
            raise OSError("the engine does not answer")

    async def main() -> Model:
        other, spec = Model(), ScriptedModel(replies=("unused",))
        client = Client({"stuck": Stuck(), "other": other}, {"stuck": spec, "other": spec}, MemoryJournal())
        with pytest.raises(OSError, match="does not answer"):
            await client.close()
        return other

    assert run(main()).closed


# --- faults -----------------------------------------------------------------------------------------------

BUSY = BackendFault("http://host answered 503", retry=True)


def test_a_passing_fault_is_tried_again_and_told() -> None:
    notices: list[Notice] = []

    async def main() -> tuple[str, Any]:
        client = door(Model(failing(BUSY, BUSY, "4")), listener=notices.append)
        return (await client.generate(ask())).text, client.stats()["m"]

    text, stats = run(main())
    assert text == "4"
    assert (stats.attempts, stats.sent, stats.failures) == (3, 1, 0)
    assert [n.what for n in notices] == ["sent", "retry", "retry", "answered"]
    assert notices[1].detail == "http://host answered 503; again in 0 s"


def test_a_call_that_keeps_failing_fails_its_episode_and_says_so() -> None:
    model = Model(failing(BUSY))
    error = run(failure_of(door(model, spec=ScriptedModel(replies=("x",), retries=2)), ask()))
    assert len(model.asked) == 3
    assert error.kind == "model"
    for part in ("`m`", "http://host answered 503", "3 attempts", "student-1.solve", "turn 3"):
        assert part in error.message
    assert error.suggestion
    assert (error.where.condition, error.where.replicate, error.where.turn) == ("c", 2, 3)


def test_a_fault_that_no_retry_mends_is_final() -> None:
    fault = BackendFault("400: too long", retry=False, kind="context", suggestion="Show less.")
    model = Model(failing(fault))
    error = run(failure_of(door(model), ask()))
    assert len(model.asked) == 1
    assert (error.kind, error.suggestion) == ("context", "Show less.")


def test_a_failure_is_an_answer_too(journals: Any) -> None:
    model = Model(failing(BackendFault("no", retry=False), "4"))

    async def main() -> None:
        first = await failure_of(door(model, journals()), ask())
        again = await failure_of(door(model, journals()), ask())
        replayed = await failure_of(door(model, journals(), mode="replay", retry_failed=True), ask())
        assert first.message == again.message == replayed.message
        elsewhere = await failure_of(door(model, journals()), ask(origin=Origin(agent="other", act="x")))
        assert "other.x" in elsewhere.message
        assert len(model.asked) == 1
        assert (await door(model, journals(), retry_failed=True).generate(ask())).text == "4"
        assert (await door(model, journals()).generate(ask())).text == "4"
        assert len(model.asked) == 2

    run(main())


def test_a_failure_is_retried_once_in_a_run() -> None:
    model, journal = Model(failing(BackendFault("no", retry=False))), MemoryJournal()

    async def main() -> None:
        await failure_of(door(model, journal), ask())
        client = door(model, journal, retry_failed=True)
        await failure_of(client, ask())
        await failure_of(client, ask())

    run(main())
    assert len(model.asked) == 2


def test_every_waiter_gets_a_failure_in_its_own_name() -> None:
    async def main() -> list[Any]:
        client = door(Model(failing(BackendFault("no", retry=False))))
        asks = (ask(origin=Origin(agent=name, act="solve")) for name in ("a", "b"))
        return await asyncio.gather(*(client.generate(r) for r in asks), return_exceptions=True)

    first, second = run(main())
    assert "a.solve" in first.message
    assert "b.solve" in second.message


def test_no_answer_in_time() -> None:
    async def main() -> tuple[EpisodeFailure, Model]:
        model = Model()
        model.gate.clear()
        spec = ScriptedModel(replies=("x",), timeout=0.02, retries=1)
        return await failure_of(door(model, spec=spec), ask()), model

    error, model = run(main())
    assert error.kind == "timeout"
    assert "0.02 s" in error.message
    assert (len(model.asked), model.cancelled) == (2, 2)


def test_the_server_says_how_long_to_wait() -> None:
    notices: list[Notice] = []
    busy = BackendFault("429", retry=True, after=0.02)
    run(door(Model(failing(busy, "4")), listener=notices.append).generate(ask()))
    assert [n.detail for n in notices if n.what == "retry"] == ["429; again in 0.02 s"]


@given(st.integers(1, 5000), st.none() | st.floats(0), st.floats(0, 10), st.floats(0, 60))
def test_waits_double_up_to_a_bound(attempt: int, asked: float | None, base: float, longest: float) -> None:
    wait = backoff("k", attempt, asked, base=base, longest=longest)
    assert wait == backoff("k", attempt, asked, base=base, longest=longest)
    full = min(base * 2.0 ** min(attempt - 1, 64), longest)
    assert max(full / 2, min(asked or 0, 120)) <= wait <= max(full, min(asked or 0, 120))


def test_calls_that_failed_together_come_back_apart() -> None:
    assert len({backoff(str(i), 1, None, base=1.0, longest=9.0) for i in range(50)}) == 50


@pytest.mark.parametrize(
    ("fault", "attempts"),
    [
        (BackendFault("401", retry=False, fatal=True, suggestion="Set KEY."), 1),
        (BackendFault("refused", retry=True, fatal=True), 5),
    ],
)
def test_a_model_that_cannot_be_used_stops_the_run_and_is_not_recorded(
    fault: BackendFault, attempts: int
) -> None:
    model, journal = Model(failing(fault)), MemoryJournal()

    async def main() -> ModelError:
        with pytest.raises(ModelError) as caught:
            await door(model, journal).generate(ask())
        return caught.value

    error = run(main())
    assert error.exit_code == 3
    assert fault.message in error.message
    assert error.suggestion == fault.suggestion
    assert error.where.agent == "student-1"
    assert len(model.asked) == attempts
    assert journal.entries == {}


# --- servers that have no room, or have gone ---------------------------------------------------------------

FULL = BackendFault("http://host answered 429", retry=True, busy=True)
GONE = BackendFault("http://host cannot be reached", retry=True, fatal=True, suggestion="Is it running?")
ONE_RETRY = ScriptedModel(replies=("x",), retries=1)


class Patient(Model):
    """A model behind a server that is waited for."""

    paced = True

    def __init__(self, patience: float, *faults: BackendFault | str) -> None:
        super().__init__(failing(*faults))
        self.patience = patience


@pytest.mark.parametrize("trouble", [FULL, GONE], ids=["no room", "gone"])
def test_a_server_in_trouble_is_waited_for_and_no_retry_is_spent(trouble: BackendFault) -> None:
    broken = BackendFault("half a body", retry=True)

    async def main() -> tuple[str, Any]:
        client = door(Patient(60, *[trouble] * 20, broken, *[trouble] * 20, "4"), spec=ONE_RETRY)
        return (await client.generate(ask())).text, client.stats()["m"]

    text, stats = run(main())
    assert text == "4"
    assert stats.attempts == 42


def test_a_calls_own_faults_are_counted_between_the_servers() -> None:
    broken = BackendFault("half a body", retry=True)
    model = Patient(60, broken, FULL, broken, FULL, "4")
    assert run(failure_of(door(model, spec=ONE_RETRY), ask())).message.endswith("half a body (3 attempts)")


def test_patience_ends(journals: Any) -> None:
    """A server without room fails its call; one that has gone stops the run, which can go on later."""
    full, gone = Patient(0.05, FULL), Patient(0.05, GONE)

    async def main() -> ModelError:
        clock = asyncio.get_running_loop().time
        started = clock()
        error = await failure_of(door(full, spec=ONE_RETRY), ask())
        assert error.kind == "model"
        with pytest.raises(ModelError) as caught:
            await door(gone, journals(), spec=ONE_RETRY).generate(ask())
        assert clock() - started >= 0.1
        return caught.value

    error = run(main())
    assert (error.exit_code, error.suggestion) == (3, "Is it running?")
    assert len(full.asked) > 2
    assert len(gone.asked) > 2
    assert run(door(Model(), journals()).generate(ask())).text == "4", "nothing was recorded of it"


def test_no_wait_outlasts_the_patience() -> None:
    notices: list[Notice] = []
    far = BackendFault("429", retry=True, busy=True, after=90.0)
    client = door(Patient(0.05, far), listener=notices.append)
    run(failure_of(client, ask()))
    (told,) = [n.detail for n in notices if n.what == "retry"]
    assert float(told.split()[-2]) <= 0.05


def test_a_gone_server_is_tried_every_few_seconds() -> None:
    async def main() -> list[str]:
        notices: list[Notice] = []
        client = door(Patient(600, GONE), base_delay=1000.0, max_delay=1000.0, listener=notices.append)
        task = asyncio.create_task(client.generate(ask()))
        while not [n for n in notices if n.what == "retry"]:
            await asyncio.sleep(0)
        task.cancel()
        await client.close()
        return [n.detail for n in notices if n.what == "retry"]

    (told,) = run(main())
    assert float(told.split()[-2]) <= 5.0


def test_how_many_calls_at_once_is_found_out_where_the_backend_asks_for_it() -> None:
    async def main() -> None:
        model = Patient(60, *["4"] * 3, FULL, "4")
        model.gate.clear()
        client = door(model, spec=ScriptedModel(replies=("x",), max_concurrent=100))
        assert client.stats()["m"].limit == 4
        waiting = [asyncio.create_task(client.generate(ask(str(i)))) for i in range(50)]
        while len(model.asked) < 4:
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(model.asked) == 4
        model.gate.set()
        await asyncio.gather(*waiting)
        stats = client.stats()["m"]
        assert stats.backoffs == 1
        assert stats.attempts == 51

    run(main())
    assert door(Model(), spec=ScriptedModel(replies=("x",), max_concurrent=7)).stats()["m"].limit == 7


def test_timeouts_lower_the_limit() -> None:
    async def main() -> tuple[int, int]:
        model = Patient(0, "4")
        model.gate.clear()
        client = door(model, spec=ScriptedModel(replies=("x",), timeout=0.01, retries=0))
        await failure_of(client, ask())
        return client.stats()["m"].limit, client.stats()["m"].backoffs

    assert run(main()) == (2, 1)


def test_another_number_of_answers_than_asked_is_a_failure() -> None:
    model = Model(lambda request: GenerateReply(completions=()))
    assert "1 answers were asked for and 0 came" in run(failure_of(door(model), ask())).message


def test_a_bug_in_a_backend_is_not_hidden_and_not_recorded() -> None:
    def broken(request: GenerateRequest) -> str:
        raise KeyError("oops")

    journal = MemoryJournal()

    async def main() -> None:
        client = door(Model(broken), journal)
        with pytest.raises(KeyError, match="oops"):
            await client.generate(ask())
        assert client.stats()["m"].in_flight == 0

    run(main())
    assert journal.entries == {}


def test_store_write_failure_stops_run() -> None:
    class Full(MemoryJournal):
        def put(self, entry: Entry) -> None:
            raise StoreError("the disk is full")

    async def main() -> None:
        with pytest.raises(StoreError, match="full"):
            await door(Model(), Full()).generate(ask())

    run(main())


# --- what is not allowed ----------------------------------------------------------------------------------


def test_a_replay_never_touches_a_backend() -> None:
    journal = MemoryJournal()
    run(door(Model(), journal).generate(ask()))
    untouched = Model()

    async def main() -> None:
        client = door(untouched, journal, mode="replay", retry_failed=True)
        assert (await client.generate(ask())).text == "4"
        error = await failure_of(client, ask("never asked"))
        assert error.kind == "replay"
        assert "student-1.solve" in error.message
        assert "turn 3" in error.message

    run(main())
    assert untouched.asked == []
    assert len(journal.entries) == 1


def test_no_undeclared_model_calls() -> None:
    model = Model()

    async def main() -> None:
        with pytest.raises(UnknownNameError, match="gpt") as caught:
            await door(model).generate(ask(model="gpt"))
        assert "`m`" in caught.value.suggestion

    run(main())
    assert model.asked == []
    program = (
        "import sys, docendo.runtime.client, docendo.runtime.backends.factory; print('openai' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_what_a_model_cannot_do_is_refused_before_it_is_asked() -> None:
    model = Model()

    async def main() -> None:
        client = door(model)
        with pytest.raises(CapabilityError, match="needs scoring"):
            await client.score(weigh("A"))
        with pytest.raises(CapabilityError, match="needs logprobs"):
            await client.generate(ask(logprobs=1))

    run(main())
    assert model.asked == []


def test_require_names_the_models_that_could() -> None:
    backends = {"weak": Model(), "strong": Model(scoring=True, logprobs=True), "half": Model(scoring=True)}
    require(backends, "strong", {"scoring", "logprobs"}, "the policy `p`")
    with pytest.raises(CapabilityError) as caught:
        require(backends, "weak", {"scoring", "logprobs", "seed"}, "the policy `p`")
    assert (
        caught.value.message == "the policy `p` needs logprobs and scoring, which model `weak` does not offer"
    )
    assert caught.value.suggestion == "Models that could: `strong`."
    with pytest.raises(CapabilityError) as caught:
        require(backends, "weak", {"deterministic"}, "the policy `p`")
    assert "No model" in caught.value.suggestion


# --- scripted models and functions ------------------------------------------------------------------------


def scripted(tmp_path: Path, *lines: str, **fields: Any) -> ScriptedBackend:
    (tmp_path / "replies.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return ScriptedBackend(ScriptedModel(file="replies.jsonl", **fields), tmp_path)


def own(n: int) -> View:
    said = tuple(Message(sender="student-1", kind="attempt", text="x", turn=i) for i in range(n))
    return VIEW.model_copy(update={"messages": said})


def test_replies_come_in_turn_whatever_the_order_of_asking() -> None:
    backend = build_backend("m", ScriptedModel(replies=("a", "b", "c")), answer_key={}, base=Path())

    async def main() -> list[str]:
        client = door(backend)
        turns = (3, 0, 2, 1, 0, 3)
        replies = await asyncio.gather(*(client.generate(ask(view=own(n))) for n in turns))
        return [r.text for r in replies]

    assert run(main()) == ["c", "a", "c", "b", "a", "c"]


def test_patterns_are_tried_from_the_top(tmp_path: Path) -> None:
    backend = scripted(
        tmp_path,
        '{"match": "2 \\\\+ 2", "reply": "4"}',
        "",
        '{"match": "\\\\d", "reply": "number"}',
        replies=("?",),
    )
    texts = [run(backend.generate(ask(text))).text for text in ("2 + 2 = ?", "what is 7", "why")]
    assert texts == ["4", "number", "?"]


def test_a_prompt_that_no_pattern_knows_is_a_failure(tmp_path: Path) -> None:
    backend = scripted(tmp_path, '{"match": "x", "reply": "y"}')
    error = run(failure_of(door(backend), ask("why")))
    assert "why" in error.message
    assert '"match": ""' in error.suggestion


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"match": "(", "reply": "x"}', "not a regular expression"),
        ('{"match": "a"}', "Field required"),
        ('{"match": "a", "reply": "b", "rely": 1}', "Extra inputs"),
        ("oops", "Invalid JSON"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        scripted(tmp_path, '{"match": "a", "reply": "b"}', line)
    assert caught.value.where.line == 2
    assert str(caught.value.where.file).endswith("replies.jsonl")


def test_a_script_must_exist_and_say_something(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read") as caught:
        build_backend("s", ScriptedModel(file="none.jsonl"), answer_key={}, base=tmp_path)
    assert caught.value.where.path == "models.s"
    with pytest.raises(UsageError, match="nothing to say"):
        ScriptedBackend(ScriptedModel())


def test_other_replies_are_another_model(tmp_path: Path) -> None:
    one, two = (ScriptedBackend(ScriptedModel(replies=(r,))).fingerprint for r in "ab")
    assert one != two
    lines = ('{"match": "a", "reply": "b"}', '{"match": "a", "reply": "c"}')
    assert len({scripted(tmp_path, line).fingerprint for line in lines}) == 2


def test_a_function_can_be_a_model() -> None:
    async def late(request: GenerateRequest) -> Completion:
        return Completion(text="later", mind={"k": 1})

    async def main() -> None:
        client = door(FunctionBackend(lambda r: r.prompt[-1].text.upper(), score=lambda r: [-0.5, -1.5]))
        reply = await client.generate(ask("abc", sampling=Sampling(n=2)))
        assert [c.text for c in reply.completions] == ["ABC", "ABC"]
        assert reply.usage == Usage(prompt_tokens=1, completion_tokens=2)
        assert [s.total for s in (await client.score(weigh("A", "B"))).scores] == [-0.5, -1.5]
        assert (await door(FunctionBackend(late)).generate(ask())).completions[0].mind == {"k": 1}
        with pytest.raises(CapabilityError):
            await door(FunctionBackend(late)).score(weigh("A"))

    run(main())


def test_the_backends_that_a_scenario_can_name() -> None:
    assert {"simulated", "scripted", "openai"} <= set(BACKENDS)
