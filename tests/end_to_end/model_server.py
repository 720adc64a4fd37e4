"""A model server in a thread of its own, so that processes can be run against it, interrupted and resumed.

It answers by what it is asked, and `allow` opens it for so many questions: the next one waits. So a test
knows that a run is in its middle, without a clock.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.runtime.http_server import Received, Server, answer, chat_body, serve
from tests.trust.lab import Raw, small

WAIT = 90.0
"""Seconds that anything may take before the test gives up."""


def words_of(request: Received) -> str:
    """The text of a request's last message."""
    return str(request.body["messages"][-1]["content"])


def plain(request: Received) -> list[str]:
    """`n` answers that depend on the question alone."""
    text = "".join(m["content"] for m in request.body["messages"])
    number = int(hashlib.sha256(text.encode()).hexdigest()[:4], 16) % 400
    return [
        f"Take it away, step by step. So the answer is {number + i}."
        for i in range(request.body.get("n") or 1)
    ]


@dataclass
class ModelServer:
    """The thread's server, as a test sees it."""

    reply: Callable[[Received], Any] = plain
    """Texts of the completions, or a behaviour of `tests.runtime.http_server`."""
    port: int = 0
    url: str = ""
    server: Server = field(default_factory=Server)
    _left: float = float("inf")
    _waiting: threading.Event = field(default_factory=threading.Event)
    _open: asyncio.Event | None = None
    _loop: asyncio.AbstractEventLoop | None = None

    @property
    def asked(self) -> int:
        """Requests so far."""
        return len(self.server.received)

    def allow(self, n: float) -> None:
        """Answer `n` more questions, then let the next ones wait."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._allow(n), self._loop).result(WAIT)

    def wait_until_held(self) -> None:
        """Until a question waits."""
        assert self._waiting.wait(WAIT), "nobody asked so much"

    async def _allow(self, n: float) -> None:
        self._left = n
        self._waiting.clear()
        assert self._open is not None
        self._open.set()
        self._open = asyncio.Event()

    async def behave(self, request: Received, writer: asyncio.StreamWriter) -> None:
        while self._left < 1:
            self._waiting.set()
            assert self._open is not None
            await self._open.wait()
        self._left -= 1
        said = self.reply(request)
        await (said if callable(said) else answer(chat_body(*said)))(request, writer)

    async def _serve(self, ready: threading.Event, done: asyncio.Event) -> None:
        self._open = asyncio.Event()
        async with serve(self.behave, port=self.port) as self.server:
            self.url = self.server.url
            self.port = self.server.port
            ready.set()
            await done.wait()


@contextmanager
def model_server(reply: Callable[[Received], Any] = plain, port: int = 0) -> Iterator[ModelServer]:
    """Serve until the block is left, on a free port or on one that was left before."""
    state, ready = ModelServer(reply, port), threading.Event()
    loop = state._loop = asyncio.new_event_loop()
    done = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(state._serve(ready, done)))
    thread.start()
    try:
        assert ready.wait(WAIT)
        yield state
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()


def served(url: str, **changes: Any) -> Raw:
    """The small scenario with the server as both models. Its questions come one at a time."""
    raw = small(**changes)
    model = {"backend": "openai", "model": "m", "base_url": url, "max_concurrent": 1, "retries": 0}
    raw["models"] = {"expert": model, "novice": {**model, "model": "n"}}
    raw["agents"]["teacher"]["confidence"] = {"mode": "frequency", "samples": 2}
    return raw
