"""What comes back after an outage is asked again what it is: once, and before anything else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from docendo.agents.port import Sampling, ScoreRequest
from docendo.errors import EpisodeFailure, ModelError
from docendo.runtime.backends.base import BackendFault
from docendo.runtime.backends.openai_compatible import OpenAIBackend
from docendo.runtime.client import Client
from docendo.runtime.journal import MemoryJournal
from docendo.scenarios.schema import OpenAIModel
from tests.runtime.asking import VIEW, ask, prompt
from tests.runtime.http_server import (
    Behaviour,
    Received,
    Server,
    answer,
    hang_up,
    say,
    serve,
    silence,
    status,
)
from tests.runtime.toy_server import Toy

WAIT = 30.0


def weigh(text: str) -> ScoreRequest:
    return ScoreRequest(model="m", prompt=prompt(text), continuations=("yes", "no"), view=VIEW)


def looks(server: Server) -> int:
    return sum(received.path == "/v1/models" for received in server.looked)


def before_and_after(
    behaviour: Behaviour,
    pages: dict[str, Any],
    back: dict[str, Any],
    use: Callable[[Client], list[Awaitable[Any]]],
    **fields: Any,
) -> tuple[list[Any], Server, Client]:
    """What comes of `use` where a server with `pages` has gone; one with `back` comes once that was felt."""

    async def main() -> tuple[list[Any], Server, Client]:
        tried = asyncio.Event()
        async with serve(behaviour, pages=pages) as first:
            declared = {"model": "tiny", "base_url": first.url, "retries": 0, **fields}
            spec = OpenAIModel(**declared)
            client = Client(
                {"m": OpenAIBackend(spec)},
                {"m": spec},
                MemoryJournal(),
                base_delay=0.01,
                listener=lambda notice: tried.set() if notice.what == "retry" else None,
            )
            assert (await client.generate(ask("Before?", sampling=Sampling(max_tokens=9)))).text == "4"
            assert looks(first) == 1
        async with client:
            tasks = [asyncio.ensure_future(work) for work in use(client)]
            await asyncio.wait_for(tried.wait(), WAIT)
            async with serve(behaviour, pages=back, port=first.port) as second:
                found = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), WAIT)
                return found, second, client

    return asyncio.run(main())


@pytest.mark.parametrize("loading", [0, 3])
def test_the_same_server_is_looked_at_once_and_answers_go_on(loading: int) -> None:
    toy = Toy()
    back = toy.vllm("tiny")
    toy.loading = 0

    def use(client: Client) -> list[Awaitable[Any]]:
        toy.loading = loading
        return [*(client.generate(ask(f"Question {i}")) for i in range(12)), client.score(weigh("Sure?"))]

    found, second, client = before_and_after(toy.vllm_model(), toy.vllm("tiny"), back, use)
    *replies, scores = found
    assert [reply.text for reply in replies] == ["4"] * 12
    assert len(scores.scores) == 2
    assert client.stats()["m"].failures == 0
    assert sum(received.path == "/version" for received in second.looked) == 1
    assert looks(second) == 1 + loading, "while it loads it is asked whether it still does"
    first_question = next(r for r in second.received if r.path == "/v1/chat/completions")
    assert "messages" in first_question.body


@pytest.mark.parametrize(
    ("pages", "back"),
    [
        (Toy().vllm("tiny"), Toy().vllm("other-8B")),
        (Toy().llama_cpp(), Toy().llama_cpp(file="other-8B")),
        (Toy().ollama("tiny"), Toy().ollama("other-8B")),
        ({"/v1/models": {"data": [{"id": "tiny"}]}}, {"/v1/models": {"data": [{"id": "other-8B"}]}}),
    ],
    ids=["vllm", "llama.cpp", "ollama", "unknown"],
)
def test_another_model_stops_the_run(pages: dict[str, Any], back: dict[str, Any]) -> None:
    found, second, _ = before_and_after(say("4"), pages, back, lambda client: [client.generate(ask())])
    (error,) = found
    assert isinstance(error, ModelError)
    assert "`other-8B`" in error.message
    assert "it was away" in error.message
    assert not any(r.path == "/v1/chat/completions" for r in second.received), "no question reaches it"


def test_what_the_scenario_declares_is_held_against_what_came_back() -> None:
    toy, less = Toy(), Toy(context=500)
    lost = {k: v for k, v in toy.vllm("tiny").items() if k == "/v1/models"}

    came_back = False

    async def echoes_at_first(request: Received, writer: asyncio.StreamWriter) -> None:
        refuses = came_back and request.path == "/v1/completions"
        await (status(400, "no echo") if refuses else toy.vllm_model())(request, writer)

    def use(client: Client) -> list[Awaitable[Any]]:
        nonlocal came_back
        came_back = True
        return [client.generate(ask())]

    found, _, _ = before_and_after(echoes_at_first, toy.vllm("tiny"), lost, use, scoring=True)
    assert isinstance(found[0], ModelError)
    assert "does not score" in found[0].message
    found, _, _ = before_and_after(
        toy.vllm_model(),
        toy.vllm("tiny"),
        less.vllm("tiny"),
        lambda client: [client.generate(ask())],
        context=800,
    )
    assert isinstance(found[0], ModelError)
    assert "holds 500 tokens" in found[0].message


def test_a_shorter_context_refuses_what_the_longer_one_held() -> None:
    toy = Toy()
    long = ask("so " * 300, sampling=Sampling(max_tokens=10))
    for context, kind in ((1000, None), (100, "context")):
        found, _, _ = before_and_after(
            toy.vllm_model(),
            toy.vllm("tiny"),
            Toy(context=context).vllm("tiny"),
            lambda client: [client.generate(long)],
        )
        assert (found[0].kind if isinstance(found[0], EpisodeFailure) else None) == kind


# --- one look ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def started(
    *behaviours: Behaviour, pages: dict[str, Any]
) -> AsyncIterator[tuple[OpenAIBackend, Server]]:
    async with serve(*behaviours, pages=pages) as server:
        backend = OpenAIBackend(OpenAIModel(model="tiny", base_url=server.url))
        try:
            await backend.start()
            server.looked.clear()
            yield backend, server
        finally:
            await backend.close()


@dataclass
class Held:
    """Answers as long as nobody says otherwise; then keeps its questions, and ends them as it is told."""

    ending: Behaviour
    wanted: int
    """Questions to keep."""
    kept: int = 0

    def __post_init__(self) -> None:
        self.all_came, self.go_on = asyncio.Event(), asyncio.Event()

    async def behave(self, request: Received, writer: asyncio.StreamWriter) -> None:
        if self.kept >= self.wanted:
            await say("4")(request, writer)
            return
        self.kept += 1
        if self.kept == self.wanted:
            self.all_came.set()
        await self.go_on.wait()
        await self.ending(request, writer)


@pytest.mark.parametrize("ending", [hang_up(), status(503, "gone"), answer(b"<html>bad gateway</html>", 502)])
def test_many_calls_look_once(ending: Behaviour) -> None:
    async def main() -> None:
        held = Held(ending, wanted=20)
        async with started(held.behave, pages={"/v1/models": {"data": [{"id": "tiny"}]}}) as (
            backend,
            server,
        ):
            calls = [asyncio.create_task(backend.generate(ask())) for _ in range(20)]
            await asyncio.wait_for(held.all_came.wait(), WAIT)
            held.go_on.set()
            faults = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(fault, BackendFault) and fault.retry for fault in faults)
            assert server.looked == []
            replies = await asyncio.gather(*(backend.generate(ask()) for _ in range(20)))
            assert [reply.text for reply in replies] == ["4"] * 20
            assert looks(server) == 1

    asyncio.run(main())


def test_a_call_of_before_the_look_that_fails_after_it_brings_on_no_other() -> None:
    async def main() -> None:
        held = Held(hang_up(), wanted=1)
        behaviours = iter([held.behave, hang_up()])

        async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
            await next(behaviours, say("4"))(request, writer)

        async with started(behave, pages={}) as (backend, server):
            early = asyncio.create_task(backend.generate(ask()))
            await asyncio.wait_for(held.all_came.wait(), WAIT)
            with pytest.raises(BackendFault, match="broke off"):
                await backend.generate(ask())
            assert (await backend.generate(ask())).text == "4"
            assert looks(server) == 1
            held.go_on.set()
            with pytest.raises(BackendFault, match="broke off"):
                await early
            assert (await backend.generate(ask())).text == "4"
            assert looks(server) == 1

    asyncio.run(main())


def test_a_busy_server_is_not_taken_for_another_one() -> None:
    async def main() -> None:
        async with started(status(429, "slow down"), say("4"), pages={}) as (backend, server):
            with pytest.raises(BackendFault, match="slow down"):
                await backend.generate(ask())
            assert (await backend.generate(ask())).text == "4"
            assert server.looked == []

    asyncio.run(main())


def test_a_look_that_breaks_off_is_no_answer() -> None:
    """Otherwise a server that is only just coming back would lose its tokenizer for the rest of the run."""
    toy = Toy()

    async def main() -> None:
        async with started(toy.vllm_model(), pages=toy.vllm("tiny")) as (backend, server):
            assert backend.about()["tokenizer"] is True
            usual, server.behaviours = server.behaviours, (hang_up(),)
            with pytest.raises(BackendFault, match="broke off"):
                await backend.generate(ask())
            server.behaviours = usual
            usual_page, server.pages["/tokenize"] = server.pages["/tokenize"], hang_up()
            with pytest.raises(BackendFault, match="broke off"):
                await backend.generate(ask())
            server.pages["/tokenize"] = usual_page
            assert (await backend.generate(ask())).text == "4"
            assert backend.about()["tokenizer"] is True

    asyncio.run(main())


def test_calls_that_wait_for_a_look_end_when_the_backend_is_closed() -> None:
    async def main() -> None:
        seen = asyncio.Event()

        async def silent(request: Received, writer: asyncio.StreamWriter) -> None:
            seen.set()
            await silence()(request, writer)

        async with started(hang_up(), pages={}) as (backend, server):
            with pytest.raises(BackendFault, match="broke off"):
                await backend.generate(ask())
            server.pages["/v1/models"] = silent
            calls = [asyncio.create_task(backend.generate(ask())) for _ in range(3)]
            await asyncio.wait_for(seen.wait(), WAIT)
            calls[0].cancel()
            await backend.close()
            cancelled, *left = await asyncio.gather(*calls, return_exceptions=True)
            assert isinstance(cancelled, asyncio.CancelledError)
            assert all(isinstance(e, BackendFault) and "was left" in e.message for e in left)

    asyncio.run(main())
