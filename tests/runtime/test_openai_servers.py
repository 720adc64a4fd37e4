"""What is found out about a server, and what follows from it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from docendo.agents.port import GenerateRequest, Origin, Sampling, ScoreReply, ScoreRequest
from docendo.errors import EpisodeFailure, ModelError
from docendo.messages import PromptMessage, Span, Usage
from docendo.runtime.backends.base import BackendFault
from docendo.runtime.backends.openai_compatible import OpenAIBackend
from docendo.runtime.client import Client
from docendo.runtime.journal import MemoryJournal
from docendo.scenarios.schema import OpenAIModel
from tests.runtime.asking import VIEW
from tests.runtime.http_server import Behaviour, Server, answer, chat_body, echo, say, serve, silence, status
from tests.runtime.toy_server import Toy

ORIGIN = Origin(condition="c", episode="e", agent="student-1", act="solve", turn=3)


def messages(*turns: tuple[str, str]) -> tuple[PromptMessage, ...]:
    return tuple(PromptMessage(role, (Span(text),)) for role, text in turns)  # type: ignore[arg-type]


TOLD = messages(("system", "Be kind."), ("user", "Is it right?"))
OPENED = (*TOLD, *messages(("assistant", "So the answer is")))


def ask(prompt: tuple[PromptMessage, ...] = TOLD, **fields: Any) -> GenerateRequest:
    return GenerateRequest(model="m", prompt=prompt, view=VIEW, origin=ORIGIN, **fields)


def weigh(*continuations: str, prompt: tuple[PromptMessage, ...] = OPENED) -> ScoreRequest:
    return ScoreRequest(model="m", prompt=prompt, continuations=continuations, view=VIEW, origin=ORIGIN)


def at(
    behaviour: Behaviour,
    pages: dict[str, Any],
    use: Callable[[OpenAIBackend], Awaitable[Any]] | None = None,
    **fields: Any,
) -> tuple[Any, Server, OpenAIBackend]:
    """Start a backend there and use it; what it says and what it asked since."""

    async def main() -> tuple[Any, Server, OpenAIBackend]:
        async with serve(behaviour, pages=pages) as server:
            backend = OpenAIBackend(OpenAIModel(**({"model": "tiny", "base_url": server.url} | fields)))
            try:
                await backend.start()
                server.received.clear()
                server.looked.clear()
                return await use(backend) if use else None, server, backend
            finally:
                await backend.close()

    return asyncio.run(main())


def refused(behaviour: Behaviour, pages: dict[str, Any], use: Any = None, **fields: Any) -> BackendFault:
    with pytest.raises(BackendFault) as caught:
        at(behaviour, pages, use, **fields)
    return caught.value


# --- what is there ----------------------------------------------------------------------------------------


def test_vllm_is_known_by_its_pages() -> None:
    toy = Toy()
    _, server, backend = at(toy.vllm_model(), toy.vllm("tiny", "adapter"))
    assert backend.about() == {
        "endpoint": server.url, "kind": "vllm", "version": "0.32.0", "served": ["tiny", "adapter"],
        "context": 1000, "slots": None, "tokenizer": True, "template": True, "system": True,
        "alternate": False, "scoring": "tokens",
    }  # fmt: skip


def test_llama_cpp_is_known_by_its_pages_and_answers_to_any_name() -> None:
    toy = Toy(system="drops", alternate=True)
    _, _, backend = at(say("4"), toy.llama_cpp(slots=3))
    about = backend.about()
    assert (about["kind"], about["version"], about["context"], about["slots"]) == (
        "llama.cpp", "b7000-abc", 1000, 3,
    )  # fmt: skip
    assert (about["system"], about["alternate"], about["scoring"]) == (False, True, "tokens")


def test_ollama_is_not_made_to_load_a_model_before_it_is_asked_something() -> None:
    async def main() -> None:
        toy = Toy()
        async with serve(toy.ollama_model(say("4")), pages=toy.ollama("tiny:latest")) as server:
            backend = OpenAIBackend(OpenAIModel(model="tiny", base_url=server.url))
            await backend.start()
            about = backend.about()
            assert (about["kind"], about["version"], about["context"]) == ("ollama", "0.13.1", None)
            assert about["scoring"] == "first token"
            assert not server.received, "nothing was asked that needs the weights"
            assert {r.path for r in server.looked if r.method == "POST"} == {"/api/show"}
            server.looked.clear()
            await asyncio.gather(*(backend.generate(ask()) for _ in range(5)))
            await backend.generate(ask())
            assert [r.path for r in server.looked] == ["/api/ps"], "once, with the first answer"
            assert backend.about()["context"] == 1000
            await backend.close()

    asyncio.run(main())


def test_ollama_says_which_context_it_has_loaded() -> None:
    _, _, backend = at(say("4"), Toy(resident=True).ollama("tiny"))
    assert backend.about()["context"] == 1000


def test_a_context_that_ollama_had_loaded_for_others_is_not_believed_after_the_first_answer() -> None:
    toy = Toy(resident=True, context=50)

    async def use(backend: OpenAIBackend) -> Any:
        toy.context = 2000
        return await backend.generate(ask(messages(("user", "not too long " * 20))))

    reply, _, backend = at(say("4"), toy.ollama("tiny"), use)
    assert reply.text == "4"
    assert backend.about()["context"] == 2000


def test_a_longer_context_than_ollama_has_is_told_as_soon_as_it_is_known() -> None:
    fault = refused(say("4"), Toy(longest=500).ollama("tiny"), context=501)
    assert (fault.fatal, "`context: 500`" in fault.suggestion) == (True, True)
    toy = Toy(context=400)
    _, _, backend = at(say("4"), toy.ollama("tiny"), context=450)
    assert backend.about()["context"] == 450
    fault = refused(toy.ollama_model(say("4")), toy.ollama("tiny"), lambda b: b.generate(ask()), context=450)
    assert (fault.fatal, "`context: 400`" in fault.suggestion) == (True, True)


def test_an_ollama_model_that_does_not_write_is_told_before_the_first_call() -> None:
    fault = refused(say("4"), Toy(abilities=("embedding",)).ollama("tiny"))
    assert fault.fatal
    assert "does not write text" in fault.message


def test_an_old_ollama_that_shows_nothing_is_asked_all_the_same() -> None:
    pages = Toy().ollama("tiny")
    del pages["/api/show"], pages["/api/ps"]
    reply, _, backend = at(say("4"), pages, lambda b: b.generate(ask()))
    assert (reply.text, backend.about()["context"]) == ("4", None)


@pytest.mark.parametrize(
    "page", [answer(b"<html>"), {"data": "none"}, {"data": [{"id": 3}]}, [1], status(404)]
)
def test_a_server_that_says_nothing_of_itself_is_asked_all_the_same(page: Any) -> None:
    reply, _, backend = at(say("4"), {"/v1/models": page}, lambda b: b.generate(ask()))
    assert reply.text == "4"
    assert (backend.about()["kind"], backend.about()["context"]) == ("unknown", None)


@pytest.mark.parametrize("kind", ["vllm", "ollama"])
def test_a_name_that_is_not_served_is_told_before_the_first_call(kind: str) -> None:
    pages = getattr(Toy(), kind)("tiny-8B", "large")
    fault = refused(say("4"), pages, model="tiny-8b")
    assert fault.fatal
    assert "not served" in fault.message
    assert "`tiny-8B`" in fault.suggestion


def test_a_name_that_a_server_of_unknown_kind_refuses_is_told_with_those_it_knows() -> None:
    pages = {"/v1/models": {"data": [{"id": "tiny-8B"}]}}
    fault = refused(status(404, "no such model"), pages, lambda b: b.generate(ask()), model="tiny-8b")
    assert fault.fatal
    assert "`tiny-8B`" in fault.suggestion


def test_a_longer_context_than_the_servers_is_told_with_what_to_write() -> None:
    toy = Toy()
    fault = refused(toy.vllm_model(), toy.vllm("tiny"), context=4096)
    assert fault.fatal
    assert "`context: 1000`" in fault.suggestion
    _, _, backend = at(toy.vllm_model(), toy.vllm("tiny"), context=500)
    assert backend.about()["context"] == 500


@pytest.mark.parametrize(("logprobs", "instead"), [(True, "first tokens"), (False, "mode: frequency")])
@pytest.mark.parametrize(
    "behaviour", [say("4"), status(404, "Not Found"), status(400, "echo is not supported")]
)
def test_scoring_that_the_server_does_not_offer_is_told_with_what_to_write(
    behaviour: Behaviour, logprobs: bool, instead: str
) -> None:
    fault = refused(behaviour, {}, scoring=True, logprobs=logprobs)
    assert fault.fatal
    assert "does not score" in fault.message
    assert "`scoring: false`" in fault.suggestion
    assert instead in fault.suggestion


def test_a_server_that_is_loading_is_waited_for() -> None:
    toy = Toy(loading=2)
    reply, _, backend = at(say("4"), toy.llama_cpp(), lambda b: b.generate(ask()))
    assert reply.text == "4"
    assert backend.about()["kind"] == "llama.cpp"
    fault = refused(say("4"), Toy(loading=100).llama_cpp(), patience=0.05)
    assert fault.fatal
    assert "Loading model" in fault.message


def test_a_server_behind_a_proxy_shows_less_and_is_asked_for_less() -> None:
    toy = Toy()
    pages = {"/v1/models": toy.vllm("tiny")["/v1/models"]}
    _, _, backend = at(toy.vllm_model(), pages)
    about = backend.about()
    assert (about["kind"], about["version"], about["tokenizer"], about["scoring"]) == (
        "vllm", "", False, "first token",
    )  # fmt: skip
    pages = toy.vllm("tiny")
    del pages["/detokenize"]
    reply, _, _ = at(toy.vllm_model(), pages, lambda b: b.score(weigh("yes", "no", prompt=TOLD)))
    text = "<s><y>Be kind.</><u>Is it right?</><a>"
    assert [s.total for s in reply.scores] == pytest.approx([toy.total(text, c) for c in ("yes", "no")])


@pytest.mark.parametrize("trouble", [silence(), status(429, "slow down")])
def test_trouble_while_it_is_asked_is_not_taken_for_an_answer(trouble: Behaviour) -> None:
    """Otherwise a run would score in another way because of a moment."""
    toy = Toy()
    pages = {**toy.vllm("tiny"), "/tokenize": trouble}
    assert refused(toy.vllm_model(), pages, timeout=0.2, patience=0.1).fatal


def test_a_template_that_refuses_with_500_is_a_refusal() -> None:
    toy = Toy(system="refuses")
    pages = toy.llama_cpp()

    async def apply(request: Any, writer: Any) -> None:
        try:
            reply = answer({"prompt": toy.render(request.body)})
        except ValueError as error:
            reply = status(500, str(error))
        await reply(request, writer)

    _, _, backend = at(say("4"), {**pages, "/apply-template": apply})
    assert backend.about()["system"] is False


def test_a_wrong_key_is_told_at_start() -> None:
    fault = refused(say("4"), {"/v1/models": status(401, "who?")})
    assert fault.fatal
    assert "OPENAI_API_KEY" in fault.suggestion


def test_silence_at_start_ends() -> None:
    fault = refused(say("4"), {"/v1/models": silence()}, timeout=0.1)
    assert (fault.fatal, fault.kind) == (True, "timeout")


def test_nobody_there_is_told_at_once_and_not_waited_for() -> None:
    async def main() -> ModelError:
        async with serve(say("4")) as server:
            url = server.url
        spec = OpenAIModel(model="tiny", base_url=url)
        async with Client({"m": OpenAIBackend(spec)}, {"m": spec}, MemoryJournal()) as client:
            with pytest.raises(ModelError) as caught:
                await client.generate(ask())
            return caught.value

    error = asyncio.run(main())
    assert "cannot be reached" in error.message
    assert "Is the server running" in error.suggestion
    assert error.where.path == "models.m"


def test_identity_and_digest_are_those_of_before() -> None:
    """Stored runs are found by these: what was learnt since may not enter where it is not set."""
    spec = OpenAIModel(model="m")
    assert OpenAIBackend(spec).fingerprint == (
        '{"backend":"openai","base_url":"http://localhost:8000/v1","logprobs":true,"model":"m","schema":true,'
        '"scoring":false,"seed":true}'
    )
    assert not {"patience", "chat_template_kwargs"} & set(spec.model_dump(mode="json"))
    assert spec.model_dump(mode="json")["scoring"] is False
    assert OpenAIModel(model="m", patience=1.0).model_dump(mode="json")["patience"] == 1.0


# --- scoring ----------------------------------------------------------------------------------------------

WAYS = {
    "vllm": (Toy(), {}),
    "vllm, named tokens unknown": (Toy(named=False), {}),
    "llama.cpp": (Toy(), {}),
}


def pages_of(toy: Toy, way: str) -> dict[str, Any]:
    return toy.llama_cpp() if way == "llama.cpp" else toy.vllm("tiny")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("opened", [True, False])
def test_continuations_are_scored_whole_behind_the_template(way: str, opened: bool) -> None:
    toy, _ = WAYS[way]
    lead, prompt = (" ", OPENED) if opened else ("", TOLD)
    options = tuple(lead + text for text in ("yes", "no", "forty two", "1234"))
    reply, _, _ = at(toy.vllm_model(), pages_of(toy, way), lambda b: b.score(weigh(*options, prompt=prompt)))
    assert isinstance(reply, ScoreReply)
    text = "<s><y>Be kind.</><u>Is it right?</><a>" + ("So the answer is" if opened else "")
    assert [s.total for s in reply.scores] == pytest.approx([toy.total(text, option) for option in options])
    assert [len(s.logprobs) for s in reply.scores] == [1, 1, 2, 5 if opened else 4]
    assert not any(s.censored for s in reply.scores)
    assert reply.usage.completion_tokens == 0
    assert 0 <= reply.usage.cached_tokens <= reply.usage.prompt_tokens


@pytest.mark.parametrize("way", WAYS)
def test_a_blank_may_stand_on_either_side(way: str) -> None:
    toy, _ = WAYS[way]
    behind = (*TOLD, *messages(("assistant", "So the answer is ")))
    one, _, _ = at(toy.vllm_model(), pages_of(toy, way), lambda b: b.score(weigh(" yes", " no")))
    other, _, _ = at(
        toy.vllm_model(), pages_of(toy, way), lambda b: b.score(weigh("yes", "no", prompt=behind))
    )
    assert [s.total for s in one.scores] == pytest.approx([s.total for s in other.scores])


def test_one_request_scores_all_answers_and_their_tokens_are_asked_for_once() -> None:
    toy = Toy()

    async def use(backend: OpenAIBackend) -> Any:
        first = await backend.score(weigh(" yes", " no"))
        await backend.score(weigh(" yes", " no", prompt=(*messages(("user", "Other?")), OPENED[-1])))
        return first

    reply, server, _ = at(toy.vllm_model(), toy.vllm("tiny"), use)
    assert [r.path for r in server.received] == ["/v1/completions"] * 2
    assert sum("messages" not in r.body for r in server.looked) == 3, "the end, and the end with each answer"
    (body, _) = (r.body for r in server.received)
    assert len(body["prompt"]) == 1, "both begin at one place"
    assert (body["max_tokens"], body["return_tokens_as_token_ids"]) == (1, True)
    assert "skip_reading_prefix_cache" not in str(body)
    assert reply.usage.cached_tokens == 16


def test_long_continuations_are_echoed() -> None:
    toy = Toy()
    long = " because " + "it is so and " * 5
    reply, server, _ = at(toy.vllm_model(), toy.vllm("tiny"), lambda b: b.score(weigh(long)))
    text = "<s><y>Be kind.</><u>Is it right?</><a>So the answer is"
    assert reply.scores[0].total == pytest.approx(toy.total(text, long))
    assert server.received[0].body["echo"] is True


def test_what_llama_cpp_does_not_show_is_censored() -> None:
    toy = Toy(likeliest=1)
    reply, _, _ = at(say("4"), toy.llama_cpp(), lambda b: b.score(weigh(" yes", " no", " maybe")))
    assert sum(s.censored for s in reply.scores) >= 2
    text = "<s><y>Be kind.</><u>Is it right?</><a>So the answer is"
    for score, option in zip(reply.scores, (" yes", " no", " maybe"), strict=True):
        assert score.total >= toy.total(text, option) - 1e-9, "a bound from above"


def test_a_base_model_is_scored_as_plain_text_and_cannot_chat() -> None:
    toy = Toy(template=False)
    reply, _, backend = at(toy.vllm_model(), toy.vllm("tiny"), lambda b: b.score(weigh(" yes", " no")))
    assert backend.about()["template"] is False
    text = "<s>Be kind.\n\nIs it right?\n\nSo the answer is"
    assert [s.total for s in reply.scores] == pytest.approx([toy.total(text, c) for c in (" yes", " no")])
    fault = refused(toy.vllm_model(), toy.vllm("tiny"), lambda b: b.generate(ask()))
    assert fault.fatal
    assert "--chat-template" in fault.suggestion


def test_the_first_token_alone_where_the_scenario_says_so() -> None:
    toy = Toy()
    alternatives = [{"token": " yes", "logprob": -0.5}, {"token": "no", "logprob": -1.5}]
    shown = say("x", logprobs=[{"token": "x", "logprob": -0.1, "top_logprobs": alternatives}])
    reply, server, backend = at(
        shown, toy.vllm("tiny"), lambda b: b.score(weigh(" yes", " no")), scoring="first_token"
    )
    assert [s.total for s in reply.scores] == [-0.5, -1.5]
    assert [r.path for r in server.received] == ["/v1/chat/completions"]
    assert backend.about()["scoring"] == "first token"
    assert OpenAIBackend(OpenAIModel(model="m", scoring="first_token", logprobs=False)).capabilities.scoring


def test_an_empty_continuation_is_refused() -> None:
    toy = Toy()
    for prompt in (OPENED, TOLD):
        fault = refused(toy.vllm_model(), toy.vllm("tiny"), lambda b, p=prompt: b.score(weigh("", prompt=p)))
        assert not fault.retry
        assert "''" in fault.message


# --- prompts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", ["refuses", "drops"])
@pytest.mark.parametrize("kind", ["vllm", "llama_cpp"])
def test_without_a_system_role_its_text_opens_the_users(system: Any, kind: str) -> None:
    toy = Toy(system=system, alternate=True)
    pages = toy.vllm("tiny") if kind == "vllm" else toy.llama_cpp()
    prompt = (*TOLD, *messages(("user", "Well?"), ("assistant", "So")))
    _, server, _ = at(toy.vllm_model(), pages, lambda b: b.generate(ask(prompt)))
    assert server.received[0].body["messages"] == [
        {"role": "user", "content": "Be kind.\n\nIs it right?\n\nWell?"},
        {"role": "assistant", "content": "So"},
    ]


@pytest.mark.parametrize("kind", ["vllm", "llama_cpp"])
def test_variables_of_the_template_go_with_whatever_it_forms(kind: str) -> None:
    toy = Toy()
    pages = toy.vllm("tiny") if kind == "vllm" else toy.llama_cpp()
    told = {"chat_template_kwargs": {"enable_thinking": False}}

    async def both(backend: OpenAIBackend) -> None:
        await backend.generate(ask())
        await backend.score(weigh("yes", "no"))

    _, server, _ = at(toy.vllm_model(), pages, both, **told)
    formed = [r.body for r in (*server.received, *server.looked) if r.body and "messages" in r.body]
    assert len(formed) == 2
    assert all(told.items() <= body.items() for body in formed)
    plain, other = (OpenAIBackend(OpenAIModel(model="m", **fields)) for fields in ({}, told))
    assert plain.fingerprint != other.fingerprint


def test_choices_are_asked_of_vllm_as_choices() -> None:
    toy = Toy()
    _, server, _ = at(toy.vllm_model(), toy.vllm("tiny"), lambda b: b.generate(ask(choices=("A", "B"))))
    assert server.received[0].body["structured_outputs"] == {"choice": ["A", "B"]}
    assert "response_format" not in server.received[0].body
    old = toy.vllm("tiny", version="0.10.1")
    _, server, _ = at(toy.vllm_model(), old, lambda b: b.generate(ask(choices=("A", "B"))))
    assert "response_format" in server.received[0].body


@pytest.mark.parametrize("kind", ["vllm", "llama_cpp"])
def test_a_prompt_that_is_too_long_is_never_sent(kind: str) -> None:
    toy = Toy(context=100)
    pages = toy.vllm("tiny") if kind == "vllm" else toy.llama_cpp()

    async def main() -> tuple[Any, Server]:
        async with serve(toy.vllm_model(), pages=pages) as server:
            spec = OpenAIModel(model="tiny", base_url=server.url)
            async with Client({"m": OpenAIBackend(spec)}, {"m": spec}, MemoryJournal()) as client:
                long = ask(messages(("user", "too long " * 50)), sampling=Sampling(max_tokens=10))
                with pytest.raises(EpisodeFailure) as caught:
                    await client.generate(long)
                with pytest.raises(EpisodeFailure) as weighed:
                    await client.score(weigh(" yes", prompt=long.prompt))
                assert weighed.value.kind == "context"
                server.received.clear()
                short = ask(sampling=Sampling(max_tokens=10))
                assert (await client.generate(short)).text == "4"
                return caught.value, server

    error, server = asyncio.run(main())
    assert error.kind == "context"
    assert "student-1.solve (turn 3)" in error.message
    assert "holds 100 tokens; the prompt is 105 tokens long and the answer may be 10" in error.message
    assert (error.where.agent, error.where.turn) == ("student-1", 3)
    assert len(server.received) == 1


def test_a_prompt_that_surely_fits_is_not_counted() -> None:
    toy = Toy()
    _, server, _ = at(
        toy.vllm_model(), toy.vllm("tiny"), lambda b: b.generate(ask(sampling=Sampling(max_tokens=10)))
    )
    assert server.looked == []


@pytest.mark.parametrize("resident", [True, False])
def test_ollama_is_not_believed_when_it_left_out_part_of_the_prompt(resident: bool) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 5}
    first = [{"token": "4", "logprob": -1.0, "top_logprobs": [{"token": "4", "logprob": -1}]}]
    long = messages(("user", "too long " * 1000))
    for use in (lambda b: b.generate(ask(long)), lambda b: b.score(weigh("4", prompt=long))):
        toy = Toy(context=100, resident=resident)
        said = toy.ollama_model(say("4", usage=usage, logprobs=first))
        fault = refused(said, toy.ollama("tiny"), use)
        assert fault.kind == "context"
        assert "left out the rest" in fault.message
        assert "OLLAMA_CONTEXT_LENGTH" in fault.suggestion


NEUTRAL = {
    "vllm": {"top_k": -1, "min_p": 0, "repetition_penalty": 1},
    "sglang": {"top_k": -1, "min_p": 0, "repetition_penalty": 1},
    "llama_cpp": {"top_k": 0, "min_p": 0, "repeat_penalty": 1},
    "ollama": {},
    "unknown": {},
}


@pytest.mark.parametrize("kind", NEUTRAL)
def test_samplers_of_the_server_s_own_are_turned_off_where_it_takes_that(kind: str) -> None:
    toy = Toy()
    pages = {
        "vllm": lambda: toy.vllm("tiny"),
        "sglang": lambda: {"/v1/models": {"data": [{"id": "tiny", "owned_by": "sglang"}]}},
        "llama_cpp": toy.llama_cpp,
        "ollama": lambda: toy.ollama("tiny"),
        "unknown": dict,
    }[kind]()
    shown = say(
        "4", logprobs=[{"token": "4", "logprob": -1.0, "top_logprobs": [{"token": "4", "logprob": -1}]}]
    )

    async def both(backend: OpenAIBackend) -> None:
        await backend.generate(ask())
        await backend.score(weigh("4"))

    _, server, _ = at(shown, pages, both, scoring="first_token")
    assert len(server.received) == 2
    known = {name for told in NEUTRAL.values() for name in told}
    for received in server.received:
        assert {k: v for k, v in received.body.items() if k in known} == NEUTRAL[kind]


# --- answers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "told",
    [
        {
            "usage": {
                "prompt_tokens": 9,
                "completion_tokens": 4,
                "prompt_tokens_details": {"cached_tokens": 8},
            }
        },
        {"usage": {"prompt_tokens": 9, "completion_tokens": 4}, "timings": {"cache_n": 8, "prompt_n": 1}},
    ],
    ids=["prompt_tokens_details", "timings"],
)
def test_cached_tokens_are_read_in_both_forms(told: dict[str, Any]) -> None:
    reply, _, _ = at(answer({**chat_body("4"), **told}), {}, lambda b: b.generate(ask()))
    assert reply.usage == Usage(prompt_tokens=9, completion_tokens=4, cached_tokens=8)


SILENT = {"prompt_tokens": 9, "completion_tokens": 4}


@pytest.mark.parametrize(
    ("said", "tells"),
    [
        ({"usage": SILENT}, False),
        ({"usage": {**SILENT, "prompt_tokens_details": None}}, False),
        ({"usage": {**SILENT, "prompt_tokens_details": {}}}, False),
        ({"usage": {**SILENT, "prompt_tokens_details": {"cached_tokens": 0}}}, True),
        ({"usage": SILENT, "timings": {"prompt_n": 9, "predicted_n": 4}}, False),
        ({"usage": SILENT, "timings": {"cache_n": 0, "prompt_n": 9}}, True),
    ],
)
def test_nothing_in_the_cache_is_another_thing_than_nothing_said_of_it(
    said: dict[str, Any], tells: bool
) -> None:
    async def twice(backend: OpenAIBackend) -> Any:
        assert backend.tells_cache is False
        await backend.generate(ask())
        return await backend.generate(ask())

    reply, _, backend = at(answer({**chat_body("4"), **said}), {}, twice)
    assert reply.usage.cached_tokens == 0
    assert backend.tells_cache is tells


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_servers_that_leave_out_a_zero_tell_all_the_same(kind: str) -> None:
    pages = {"/v1/models": {"data": [{"id": "tiny", "owned_by": kind}]}}
    _, _, backend = at(say("4"), pages, lambda b: b.generate(ask()))
    assert backend.tells_cache


@pytest.mark.parametrize("way", WAYS)
def test_scoring_tells_of_the_cache_too(way: str) -> None:
    toy, _ = WAYS[way]
    _, _, backend = at(toy.vllm_model(), pages_of(toy, way), lambda b: b.score(weigh(" yes")))
    assert backend.tells_cache


def test_log_probabilities_that_never_come_stop_the_run() -> None:
    fault = refused(say("4"), {}, lambda b: b.generate(ask(logprobs=2)))
    assert fault.fatal
    assert "logprobs: false" in fault.suggestion
    fault = refused(say("4"), {}, lambda b: b.score(weigh(" yes")))
    assert fault.fatal
    empty = refused(say("", logprobs=[]), {}, lambda b: b.score(weigh(" yes")))
    assert not empty.fatal, "an answer without a token"


# --- faults in mid-run ------------------------------------------------------------------------------------


def through(
    use: Callable[[Client, Server], Awaitable[Any]], *behaviours: Behaviour, **fields: Any
) -> tuple[Any, Any]:
    """What a client that met this server comes to, and its counts."""

    async def main() -> tuple[Any, Any]:
        async with serve(*behaviours) as server:
            spec = OpenAIModel(model="tiny", base_url=server.url, **fields)
            client = Client({"m": OpenAIBackend(spec)}, {"m": spec}, MemoryJournal(), base_delay=0.01)
            async with client:
                try:
                    return await use(client, server), client.stats()["m"]
                except (EpisodeFailure, ModelError) as error:
                    return error, client.stats()["m"]

    return asyncio.run(main())


@pytest.mark.parametrize("headers", [{}, {"retry-after": "0"}, {"retry-after-ms": "30"}])
def test_a_rate_limit_costs_no_retries(headers: dict[str, str]) -> None:
    full = status(429, "slow down", headers=headers)
    reply, stats = through(lambda c, s: c.generate(ask()), *[full] * 6, say("4"), retries=0)
    assert reply.text == "4"
    assert (stats.attempts, stats.failures) == (7, 0)
    assert stats.backoffs > 0
    assert stats.limit < 4


def test_a_rate_limit_without_an_end_is_a_failure_of_the_call() -> None:
    error, _ = through(lambda c, s: c.generate(ask()), status(429, "slow down"), patience=0.05)
    assert isinstance(error, EpisodeFailure)
    assert "slow down" in error.message


def test_a_request_that_hangs_is_asked_again_and_then_fails_by_its_name() -> None:
    reply, _ = through(lambda c, s: c.generate(ask()), silence(), say("4"), timeout=0.2, retries=1)
    assert reply.text == "4"
    error, stats = through(lambda c, s: c.generate(ask()), silence(), timeout=0.1, retries=1)
    assert (error.kind, stats.attempts) == ("timeout", 2)
    assert stats.backoffs > 0


def test_a_server_that_goes_and_comes_back_is_waited_for() -> None:
    async def main() -> tuple[list[str], Any]:
        async with serve(say("before")) as first:
            spec = OpenAIModel(model="tiny", base_url=first.url, retries=0)
            client = Client({"m": OpenAIBackend(spec)}, {"m": spec}, MemoryJournal(), base_delay=0.01)
            texts = [(await client.generate(ask())).text]
            port = first.port
        tried = asyncio.Event()
        client._listener = lambda notice: tried.set() if notice.what == "retry" else None
        later = [
            asyncio.create_task(client.generate(ask(messages(("user", f"Question {i}"))))) for i in range(9)
        ]
        await asyncio.wait_for(tried.wait(), 30)
        async with serve(say("after"), port=port):
            texts += [reply.text for reply in await asyncio.wait_for(asyncio.gather(*later), 30)]
            stats = client.stats()["m"]
            await client.close()
        return texts, stats

    texts, stats = asyncio.run(main())
    assert texts == ["before"] + ["after"] * 9
    assert stats.failures == 0


def test_a_server_that_does_not_come_back_stops_the_run() -> None:
    async def main() -> ModelError:
        async with serve(say("before")) as first:
            spec = OpenAIModel(model="tiny", base_url=first.url, patience=0.1)
            journal = MemoryJournal()
            client = Client({"m": OpenAIBackend(spec)}, {"m": spec}, journal, base_delay=0.01)
            await client.generate(ask())
        async with client:
            with pytest.raises(ModelError) as caught:
                await client.generate(ask(messages(("user", "And now?"))))
            assert len(journal.entries) == 1, "a server that has gone says nothing about a call"
            return caught.value

    error = asyncio.run(main())
    assert error.exit_code == 3
    assert "cannot be reached" in error.message
    assert "attempts" in error.message


def test_echo_of_any_server_where_the_scenario_insists() -> None:
    def words(text: str) -> list[tuple[str, float | None]]:
        return [
            (piece, -float(i) if i else None) for i, piece in enumerate(text.replace(" ", "| ").split("|"))
        ]

    reply, _, backend = at(echo(words), {}, lambda b: b.score(weigh(" yes")), scoring=True)
    assert backend.about()["scoring"] == "plain echo"
    assert len(reply.scores[0].logprobs) == 1
