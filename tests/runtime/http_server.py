"""A real model server on localhost that answers the OpenAI protocol, or fails in a chosen way.

`async with serve(status(503), say("4")) as server:` fails once, then answers; the last behaviour repeats.
What a server says of itself is apart from that: `pages` are its answers to GET, and to POST on addresses
outside `/v1`; 404 where there is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


Behaviour = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    url: str = ""
    received: list[Received] = field(default_factory=list)
    """Questions to the model, in order."""
    looked: list[Received] = field(default_factory=list)
    """What was asked about the server."""
    behaviours: tuple[Behaviour, ...] = ()
    pages: dict[str, Behaviour | Any] = field(default_factory=dict)
    """Path -> how it is answered, or the JSON that it shows."""
    connections: set[asyncio.Task[None]] = field(default_factory=set)
    port: int = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        try:
            while request := await _read(reader):
                await self.behaviour(request)(request, writer)
                if writer.is_closing():
                    break
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.connections.discard(task)
            writer.close()

    def behaviour(self, request: Received) -> Behaviour:
        if request.method == "GET" or request.path in self.pages or not request.path.startswith("/v1/"):
            self.looked.append(request)
            page = self.pages.get(request.path, status(404, "Not Found"))
            return page if callable(page) else answer(page)
        self.received.append(request)
        return self.behaviours[min(len(self.received), len(self.behaviours)) - 1]


@asynccontextmanager
async def serve(
    *behaviours: Behaviour, pages: dict[str, Behaviour | Any] | None = None, port: int = 0
) -> AsyncIterator[Server]:
    state = Server(behaviours=behaviours, pages=pages or {})
    server = await asyncio.start_server(state.handle, "127.0.0.1", port)
    state.port = server.sockets[0].getsockname()[1]
    state.url = f"http://127.0.0.1:{state.port}/v1"
    try:
        yield state
    finally:
        server.close()
        open_connections = list(state.connections)
        for task in open_connections:
            task.cancel()
        await asyncio.gather(*open_connections, return_exceptions=True)
        await server.wait_closed()


async def _read(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    method, path, _ = first.split()
    return Received(method=method, path=path, headers=headers, body=orjson.loads(body or b"{}"))


def _write(writer: asyncio.StreamWriter, status: int, body: bytes, headers: dict[str, str]) -> None:
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}"]
    lines += [f"{k}: {v}" for k, v in ({"content-type": "application/json"} | headers).items()]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


# --- behaviours -----------------------------------------------------------------------------------------


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Behaviour:
    """Answer with this JSON body (or these bytes)."""

    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        _write(writer, status, data, headers or {})
        await writer.drain()

    return behave


def say(
    *texts: str | None,
    finish: str = "stop",
    logprobs: list[dict[str, Any]] | None = None,
    usage: dict[str, Any] | None = None,
) -> Behaviour:
    """A chat completion with these choices."""
    return answer(chat_body(*texts, finish=finish, logprobs=logprobs, usage=usage))


def chat_body(
    *texts: str | None,
    finish: str = "stop",
    logprobs: list[dict[str, Any]] | None = None,
    usage: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": i,
                "message": {"role": "assistant", "content": text},
                "finish_reason": finish,
                "logprobs": {"content": logprobs} if logprobs is not None else None,
            }
            for i, text in enumerate(texts)
        ],
        "usage": usage or {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
    }


def status(
    number: int, message: str = "no", *, headers: dict[str, str] | None = None, **error: Any
) -> Behaviour:
    """Refuse as these servers do."""
    return answer({"error": {"message": message, "type": "t", **error}}, number, headers)


def half_body() -> Behaviour:
    """Promise a long body, send its beginning, close the connection."""

    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{"id":'
        )
        await writer.drain()
        writer.close()

    return behave


def hang_up() -> Behaviour:
    """Close the connection without a word."""

    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.close()

    return behave


def silence() -> Behaviour:
    """Accept and never answer."""

    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    return behave


def after(seconds: float, behaviour: Behaviour) -> Behaviour:
    """Answer late."""

    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        await behaviour(request, writer)

    return behave


def echo(split: Callable[[str], list[tuple[str, float | None]]]) -> Behaviour:
    """`/completions` that echoes prompts, cut into tokens with log-probabilities by `split`."""

    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        choices = []
        for i, prompt in enumerate(request.body["prompt"]):
            tokens = split(prompt)
            logprobs = {"tokens": [t for t, _ in tokens], "token_logprobs": [x for _, x in tokens]}
            choices.append({"index": i, "text": prompt, "logprobs": logprobs, "finish_reason": "length"})
        body = {"choices": choices[::-1], "usage": {"prompt_tokens": 5, "total_tokens": 5}}
        await answer(body)(request, writer)

    return behave
