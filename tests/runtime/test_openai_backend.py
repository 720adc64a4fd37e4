from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docendo.agents.port import Completion, GenerateRequest, Sampling, ScoreReply, ScoreRequest
from docendo.errors import EpisodeFailure, ModelError, UsageError
from docendo.messages import Usage
from docendo.runtime.backends.base import Backend, BackendFault
from docendo.runtime.backends.factory import build_backend
from docendo.runtime.backends.openai_compatible import OpenAIBackend
from docendo.runtime.backends.token_scores import single_token_score, tail_score
from docendo.runtime.client import Client
from docendo.runtime.journal import MemoryJournal
from docendo.scenarios.schema import OpenAIModel
from tests.runtime.asking import VIEW, ask, prompt
from tests.runtime.http_server import (
    Behaviour,
    Received,
    Server,
    after,
    answer,
    chat_body,
    echo,
    half_body,
    hang_up,
    say,
    serve,
    silence,
    status,
)

SECRET = "sk-canary-1234"


def weigh(*continuations: str, text: str = "So the answer is", last: str = "user") -> ScoreRequest:
    return ScoreRequest(model="m", prompt=prompt(text, last=last), continuations=continuations, view=VIEW)


def model(server: Server, **fields: Any) -> OpenAIModel:
    return OpenAIModel(model="tiny", base_url=server.url, **fields)


def against(
    behaviour: Behaviour,
    use: Callable[[OpenAIBackend], Awaitable[Any]],
    *,
    pages: dict[str, Any] | None = None,
    **fields: Any,
) -> tuple[Any, Server]:
    async def main() -> tuple[Any, Server]:
        async with serve(behaviour, pages=pages) as server:
            backend = OpenAIBackend(model(server, **fields))
            try:
                await backend.start()
                server.received.clear()
                return await use(backend), server
            finally:
                await backend.close()

    return asyncio.run(main())


def fault(behaviour: Behaviour, request: GenerateRequest | None = None, **fields: Any) -> BackendFault:
    async def use(backend: OpenAIBackend) -> BackendFault:
        with pytest.raises(BackendFault) as caught:
            await backend.generate(request or ask())
        return caught.value

    found, _ = against(behaviour, use, **fields)
    assert isinstance(found, BackendFault)
    return found


# --- what is sent and read --------------------------------------------------------------------------------


def test_a_plain_question() -> None:
    reply, server = against(say("4"), lambda b: b.generate(ask(seed=5)))
    assert reply.text == "4"
    assert reply.completions[0].finish == "stop"
    assert reply.usage == Usage(prompt_tokens=7, completion_tokens=2)
    (received,) = server.received
    assert received.path == "/v1/chat/completions"
    assert received.body == {
        "model": "tiny", "messages": [{"role": "user", "content": "2 + 2 = ?"}], "temperature": 0.0,
        "top_p": 1.0, "max_tokens": 512, "n": 1, "seed": 5,
    }  # fmt: skip


def test_everything_a_request_can_ask() -> None:
    tokens = [
        {"token": "4", "logprob": -0.1, "bytes": None, "top_logprobs": [{"token": "5", "logprob": -2.5}]}
    ]
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 8}}
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    request = ask(
        sampling=Sampling(temperature=0.7, top_p=0.9, max_tokens=3, stop=("\n",), n=2),
        schema=schema,
        logprobs=1,
    )
    reply, server = against(
        say("a", "b", finish="length", logprobs=tokens, usage=usage), lambda b: b.generate(request)
    )
    assert [c.text for c in reply.completions] == ["a", "b"]
    assert reply.completions[0].finish == "length"
    assert reply.completions[1].logprobs[0].top == (("5", -2.5),)
    assert reply.usage.cached_tokens == 8
    body = server.received[0].body
    assert (body["temperature"], body["top_p"], body["max_tokens"], body["stop"], body["n"]) == (
        0.7,
        0.9,
        3,
        ["\n"],
        2,
    )
    assert body["response_format"]["json_schema"]["schema"] == schema
    assert body["logprobs"] is True
    assert body["top_logprobs"] == 1


def test_choices_are_asked_as_a_schema_and_unwrapped() -> None:
    reply, server = against(say('{"choice": "B"}'), lambda b: b.generate(ask(choices=("A", "B"))))
    assert reply.text == "B"
    schema = server.received[0].body["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["choice"]["enum"] == ["A", "B"]


@pytest.mark.parametrize("text", ["B", '{"choice": "Z"}', "[1]", "null", '{"other": 1}'])
def test_a_server_that_ignores_the_schema_is_left_to_the_reader(text: str) -> None:
    reply, _ = against(say(text), lambda b: b.generate(ask(choices=("A", "B"))))
    assert reply.text == text


def test_completions_come_in_order_of_index() -> None:
    body = chat_body("first", "second")
    body["choices"].reverse()
    reply, _ = against(answer(body), lambda b: b.generate(ask(sampling=Sampling(temperature=1.0, n=2))))
    assert [c.text for c in reply.completions] == ["first", "second"]


def test_seed_capability_declared() -> None:
    with_seed, server = against(say("4"), lambda b: b.generate(ask(seed=2**62 + 3)))
    assert 0 <= server.received[0].body["seed"] < 2**31
    assert with_seed.text == "4"
    _, server = against(say("4"), lambda b: b.generate(ask(seed=3)), seed=False)
    assert "seed" not in server.received[0].body
    for declared in (True, False):
        spec = OpenAIModel(model="m", seed=declared)
        assert build_backend("m", spec, answer_key={}, base=Path()).capabilities.seed is declared


def test_schema_is_not_sent_to_a_server_that_cannot() -> None:
    _, server = against(say("4"), lambda b: b.generate(ask(schema={"type": "object"})), schema=False)
    assert "response_format" not in server.received[0].body


def test_a_prompt_that_ends_in_the_assistants_words_is_gone_on_from() -> None:
    request = GenerateRequest(model="m", prompt=prompt("Q", "So the answer is", last="assistant"), view=VIEW)
    _, server = against(say(" 4"), lambda b: b.generate(request))
    assert server.received[0].body["continue_final_message"] is True
    assert server.received[0].body["add_generation_prompt"] is False


def test_the_key_comes_from_the_environment_and_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    _, server = against(say("4"), lambda b: b.generate(ask()), api_key="${env:MY_KEY}")
    assert server.received[0].headers["authorization"] == f"Bearer {SECRET}"
    error = fault(status(401, f"bad key {SECRET}"), api_key="${env:MY_KEY}")
    assert SECRET not in error.message + error.suggestion
    assert "MY_KEY" in error.suggestion
    spec = OpenAIModel(model="m", api_key="${env:MY_KEY}", base_url="http://me:pw@host:1/v1?token=t")
    fingerprint = OpenAIBackend(spec).fingerprint
    assert "http://host:1/v1" in fingerprint
    assert not any(secret in fingerprint for secret in (SECRET, "pw", "token"))


def test_without_a_key_local_servers_get_a_placeholder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    _, server = against(say("4"), lambda b: b.generate(ask()))
    assert server.received[0].headers["authorization"] == "Bearer EMPTY"


def test_an_address_without_a_scheme_is_refused_with_its_place() -> None:
    with pytest.raises(UsageError, match="http://") as caught:
        build_backend("big", OpenAIModel(model="m", base_url="localhost:8000"), answer_key={}, base=Path())
    assert caught.value.where.path == "models.big"


# --- faults -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "words", "retry", "fatal", "kind"),
    [
        (status(429, "slow down"), "429: slow down", True, False, "model"),
        (status(500, "boom"), "500: boom", True, False, "model"),
        (status(503, "loading"), "503: loading", True, False, "model"),
        (answer(b"<html>bad gateway</html>", 502), "502: <html>", True, False, "model"),
        (answer(b"", 500), "500: no explanation", True, False, "model"),
        (status(429, "pay", code="insufficient_quota"), "pay", False, True, "model"),
        (status(401, "who?"), "401: who?", False, True, "model"),
        (status(403, "not you"), "403", False, True, "model"),
        (status(404, "The model `tiny` does not exist."), "does not exist", False, True, "model"),
        (status(400, "n must be 1"), "400: n must be 1", False, False, "model"),
        (status(400, "This model's maximum context length is 64"), "is 64", False, False, "context"),
        (status(400, "no", code="context_length_exceeded"), "400", False, False, "context"),
        (status(400, "the request exceeds the available context size"), "size", False, False, "context"),
        (half_body(), "broke off", True, False, "model"),
        (hang_up(), "broke off", True, False, "model"),
        (answer(b"<html>hello</html>"), "begins '<html>hello", True, False, "model"),
        (answer(b"{}", headers={"content-type": "text/plain"}), "choices", True, False, "model"),
        (answer(b'{"choices": "yes"}'), "choices", True, False, "model"),
        (answer([1, 2]), "no chat completion", True, False, "model"),
        (answer({k: v for k, v in chat_body("4").items() if k != "usage"}), "usage", False, False, "model"),
        (say(), "0 of 1", True, False, "model"),
        (say(None, finish="length"), "without text", False, False, "model"),
        (say(None, finish="stop"), "without text", True, False, "model"),
        (say("", finish="content_filter"), "content filter", False, False, "model"),
    ],
)  # fmt: skip
def test_every_fault_is_named_and_sorted(
    behaviour: Behaviour, words: str, retry: bool, fatal: bool, kind: str
) -> None:
    found = fault(behaviour)
    assert words in found.message
    assert "tiny" in found.message
    assert "http://127.0.0.1" in found.message
    assert (found.retry, found.fatal, found.kind) == (retry, fatal, kind)


def test_a_model_that_only_thought_is_told_what_to_do() -> None:
    advice = fault(say(None, finish="length")).suggestion
    assert "`max_tokens`" in advice
    assert "`chat_template_kwargs: {enable_thinking: false}`" in advice


# --- several completions ----------------------------------------------------------------------------------


def several(n: int, **fields: Any) -> GenerateRequest:
    return ask(sampling=Sampling(temperature=1.0, n=n), **fields)


def by_seed(most: int, refusal: Behaviour | None = None) -> Behaviour:
    """Writes `most` completions at once, which say their seed; asked for more it refuses, or ignores it."""

    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        n, seed = request.body["n"], request.body.get("seed")
        said = say(*(f"{seed}.{i}" for i in range(min(n, most))))
        await (refusal if refusal and n > most else said)(request, writer)

    return behave


@pytest.mark.parametrize("most", [1, 2])
def test_completions_that_a_server_left_out_are_asked_for_one_by_one(most: int) -> None:
    async def twice(backend: OpenAIBackend) -> Any:
        return [await backend.generate(several(4, seed=5)) for _ in range(2)]

    (first, second), server = against(by_seed(most), twice)
    assert [r.body["n"] for r in server.received] == [4, *[1] * (4 - most), *[1] * 4]
    assert first.completions[0] == second.completions[0] == Completion(text="5.0")
    assert first.completions[most:] == second.completions[most:], "whenever the server was known"
    for reply in (first, second):
        assert len({c.text for c in reply.completions}) == 4
    assert first.usage == Usage(prompt_tokens=7 * (5 - most), completion_tokens=2 * (5 - most))
    assert second.usage == Usage(prompt_tokens=28, completion_tokens=8)


def test_single_draws_are_under_way_together_but_not_all_of_them() -> None:
    waiting: list[asyncio.Event] = []
    most = 0

    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal most
        if request.body["n"] == 1:
            waiting.append(asyncio.Event())
            most = max(most, sum(not event.is_set() for event in waiting))
            if len(waiting) in {4, 8}:  # four have come, and nobody is answered before
                for event in waiting:
                    event.set()
            await asyncio.wait_for(waiting[-1].wait(), 30)
        await say("4")(request, writer)

    reply, _ = against(behave, lambda b: b.generate(several(9)))
    assert len(reply.completions) == 9
    assert most == 4


@pytest.mark.parametrize(
    "words", ["n_cmpl cannot be greater than the number of slots, please increase -np", "n must be 1"]
)
def test_a_server_that_refuses_so_many_at_once_is_asked_one_by_one(words: str) -> None:
    async def twice(backend: OpenAIBackend) -> Any:
        return [await backend.generate(several(3, seed=5)) for _ in range(2)]

    (first, second), server = against(by_seed(1, status(400, words)), twice)
    assert [r.body["n"] for r in server.received] == [3, *[1] * 6]
    assert first == second
    assert len({c.text for c in first.completions}) == 3
    assert first.usage == Usage(prompt_tokens=21, completion_tokens=6)


def test_without_room_for_two_the_next_draw_waits_for_the_one_before() -> None:
    under_way = most = 0

    async def counted(request: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal under_way, most
        if request.body["n"] > 1:
            await status(400, "n_cmpl cannot be greater than the number of slots")(request, writer)
            return
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.02)
        under_way -= 1
        await say("4")(request, writer)

    reply, _ = against(counted, lambda b: b.generate(several(4)))
    assert len(reply.completions) == 4
    assert most == 1


def test_a_refusal_that_is_not_of_n_stays_what_it_was() -> None:
    found = fault(status(400, "temperature is too high"), several(3))
    assert "temperature is too high" in found.message
    assert not found.retry


def test_single_draws_of_a_server_without_seeds_are_sent_none() -> None:
    _, server = against(by_seed(1), lambda b: b.generate(several(3)), seed=False)
    assert len(server.received) == 3
    assert not any("seed" in r.body for r in server.received)


def test_one_draw_that_fails_fails_the_call() -> None:
    behaviours = iter([say("4"), say("4"), status(503, "loading"), *[say("4")] * 9])

    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        await next(behaviours)(request, writer)

    found = fault(behave, several(3))
    assert (found.retry, found.busy) == (True, True)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**63 - 1))
def test_no_two_draws_of_a_call_share_a_seed(seed: int) -> None:
    _, server = against(by_seed(1), lambda b: b.generate(several(20, seed=seed)))
    seeds = [r.body["seed"] for r in server.received]
    assert len(set(seeds)) == 20
    assert all(0 <= s < 2**31 for s in seeds)


# --- waits and silence ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_its_three_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert fault(status(429, headers=headers)).after == seconds


def test_silence_ends_with_the_timeout() -> None:
    found = fault(silence(), timeout=0.1)
    assert (found.kind, found.retry) == ("timeout", True)
    assert "0.1 s" in found.message


def test_nobody_listens() -> None:
    async def main() -> BackendFault:
        async with serve(say("4")) as server:
            url = server.url
        backend = OpenAIBackend(OpenAIModel(model="tiny", base_url=url))
        with pytest.raises(BackendFault) as caught:
            await backend.generate(ask())
        await backend.close()
        return caught.value

    found = asyncio.run(main())
    assert (found.retry, found.fatal) == (True, True)
    assert "cannot be reached" in found.message


@settings(max_examples=25, deadline=None)
@given(body=st.binary(max_size=60))
def test_no_body_whatsoever_is_more_than_a_fault(body: bytes) -> None:
    found = fault(answer(body))
    assert found.retry


# --- scoring ----------------------------------------------------------------------------------------------


def top(**logprobs: float) -> Behaviour:
    alternatives = [{"token": t, "logprob": x} for t, x in logprobs.items()]
    return say("x", logprobs=[{"token": "x", "logprob": -0.1, "top_logprobs": alternatives}])


def test_first_token_scores_are_raw_probabilities() -> None:
    behaviour = top(
        **{"yes": math.log(0.5), " yes": math.log(0.2), "Yes": math.log(0.1), "no": math.log(0.05)}
    )
    reply, server = against(behaviour, lambda b: b.score(weigh(" yes", " no")))
    assert isinstance(reply, ScoreReply)
    yes, no = reply.scores
    assert math.exp(yes.total) == pytest.approx(0.8)
    assert math.exp(no.total) == pytest.approx(0.05)
    assert not yes.censored
    body = server.received[0].body
    assert (body["max_tokens"], body["top_logprobs"], body["temperature"]) == (1, 20, 0.0)


def test_an_answer_outside_the_alternatives_is_censored_at_the_floor() -> None:
    reply, _ = against(top(A=-0.5, B=-1.5, C=-4.0), lambda b: b.score(weigh("D")))
    assert reply.scores[0].censored
    assert reply.scores[0].total == -4.0


def test_a_label_is_not_its_small_letter() -> None:
    score = single_token_score("A", {"a": -0.1, "A": -3.0}, ("A", "B"))
    assert score.total == pytest.approx(-3.0)


def test_case_counts_where_continuations_differ_by_it() -> None:
    score = single_token_score("yes", {"yes": -1.0, "Yes": -0.5}, ("yes", "Yes"))
    assert score.total == -1.0


def test_an_answer_of_several_tokens_is_bounded_by_its_beginning() -> None:
    score = single_token_score("432", {"4": -0.2, "5": -3.0}, ("432",))
    assert (score.censored, score.total) == (True, -0.2)


@given(
    st.dictionaries(
        st.sampled_from(["A", " A", "B", "▁B", "yes", "Yes", "ye"]), st.floats(-20, -2.1), min_size=1
    ),
    st.sampled_from(["A", " A", "yes", "no"]),
)
def test_a_score_is_a_log_probability_and_never_below_what_was_seen(
    alternatives: dict[str, float], continuation: str
) -> None:
    score = single_token_score(continuation, alternatives, (continuation,))
    assert score.total <= 0
    assert score.total >= min(alternatives.values())
    assert score.censored == (
        not any(t.strip().lower() == continuation.strip().lower() for t in alternatives)
    )


def test_a_phrase_needs_echo() -> None:
    async def use(backend: OpenAIBackend) -> None:
        with pytest.raises(BackendFault, match="one token only"):
            await backend.score(weigh("two words"))

    _, server = against(top(A=-1.0), use)
    assert server.received == []


def test_a_server_without_top_logprobs_is_told_apart() -> None:
    async def use(backend: OpenAIBackend) -> None:
        with pytest.raises(BackendFault, match="without `top_logprobs`"):
            await backend.score(weigh("A"))

    against(say("A"), use)


def test_capabilities_of_scoring() -> None:
    assert OpenAIBackend(OpenAIModel(model="m", scoring=True, logprobs=False)).capabilities.scoring
    assert OpenAIBackend(OpenAIModel(model="m", scoring=False, logprobs=True)).capabilities.scoring
    assert not OpenAIBackend(OpenAIModel(model="m", scoring=False, logprobs=False)).capabilities.scoring


def by_three(text: str) -> list[tuple[str, float | None]]:
    """Begin-of-sentence, then pieces of at most three letters that keep the blank before them."""
    tokens: list[tuple[str, float | None]] = [("<s>", None)]
    while text:
        size = 4 if text[0] == " " else 3
        tokens.append((text[:size], -float(len(tokens))))
        text = text[size:]
    return tokens


def test_echo_scores_any_length_in_one_call() -> None:
    request = weigh(" forty two", " no", text="aaabbb", last="assistant")
    reply, server = against(echo(by_three), lambda b: b.score(request), scoring=True)
    assert [s.logprobs for s in reply.scores] == [(-3.0, -4.0, -5.0), (-3.0,)]
    assert not reply.scores[0].censored
    (received,) = server.received
    assert received.path == "/v1/completions"
    assert received.body["prompt"] == ["aaabbb forty two", "aaabbb no"]
    assert (received.body["echo"], received.body["max_tokens"]) == (True, 0)


def test_a_server_that_does_not_echo_is_told_apart() -> None:
    async def use(backend: OpenAIBackend) -> None:
        with pytest.raises(BackendFault, match="does not show the tokens"):
            await backend.score(weigh(" no"))

    against(echo(lambda text: [("other", -1.0)]), use, scoring=True)


@given(st.text("ab ", min_size=1, max_size=8), st.text("cd ", min_size=1, max_size=8), st.data())
def test_the_tail_of_an_echo_is_the_continuation(before: str, continuation: str, data: Any) -> None:
    if not continuation.strip():
        assert tail_score(continuation, (before, continuation), (None, -1.0)) is None
        return
    text = before + continuation
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(text) - 1)))) | {len(before)})
    pieces = [text[i:j] for i, j in zip([0, *cuts], [*cuts, len(text)], strict=True) if text[i:j]]
    logprobs = [-float(i) for i, _ in enumerate(pieces)]
    score = tail_score(continuation, pieces, logprobs)
    assert score is not None
    starts = [sum(len(p) for p in pieces[:i]) for i, _ in enumerate(pieces)]
    solid = len(before) + len(continuation) - len(continuation.lstrip())
    expected = [x for s, p, x in zip(starts, pieces, logprobs, strict=True) if s + len(p) > solid]
    assert list(score.logprobs) == expected


# --- behind the client ------------------------------------------------------------------------------------


def through_client(*behaviours: Behaviour, **fields: Any) -> tuple[Any, Server]:
    async def main() -> tuple[Any, Server]:
        async with serve(*behaviours) as server:
            spec = model(server, **fields)
            backends: dict[str, Backend] = {"m": OpenAIBackend(spec)}
            async with Client(backends, {"m": spec}, MemoryJournal(), base_delay=0.001) as client:
                try:
                    return await client.generate(ask()), server
                except (EpisodeFailure, ModelError) as error:
                    return error, server

    return asyncio.run(main())


def test_passing_faults_are_outlived() -> None:
    reply, server = through_client(
        status(429, headers={"retry-after": "0"}), status(503), half_body(), answer(b"?"), say("4")
    )
    assert reply.text == "4"
    assert len(server.received) == 5


def test_the_clients_own_retries_are_the_only_ones() -> None:
    error, server = through_client(status(500, "boom"), retries=2)
    assert isinstance(error, EpisodeFailure)
    assert len(server.received) == 3
    assert "boom" in error.message


def test_a_late_answer_is_a_timeout_and_the_next_attempt_counts() -> None:
    reply, server = through_client(silence(), say("4"), timeout=0.15)
    assert reply.text == "4"
    assert len(server.received) == 2


def test_slow_is_not_late() -> None:
    reply, _ = through_client(after(0.05, say("4")))
    assert reply.text == "4"


def test_a_wrong_key_stops_the_run_at_once() -> None:
    error, server = through_client(status(401))
    assert isinstance(error, ModelError)
    assert len(server.received) == 1


def test_same_base_two_endpoints() -> None:
    async def main() -> None:
        async with serve(say("from teacher")) as one, serve(say("from student")) as two:
            specs = {"teacher": model(one), "student": model(two)}
            backends: dict[str, Backend] = {
                name: build_backend(name, spec, answer_key={}, base=Path()) for name, spec in specs.items()
            }
            async with Client(backends, specs, MemoryJournal()) as client:
                replies = [
                    await client.generate(GenerateRequest(model=name, prompt=prompt("hi"), view=VIEW))
                    for name in specs
                ]
        assert [r.text for r in replies] == ["from teacher", "from student"]
        assert replies[0].key != replies[1].key
        assert (len(one.received), len(two.received)) == (1, 1)

    asyncio.run(main())
