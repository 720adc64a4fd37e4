"""A server that was away may come back as another one: it is then asked again what it is.

A call that finds the server gone (no connection, 502, 503) says so. The next call, the same one's further
attempt among them, first has the server looked at; all calls that come meanwhile wait for that one look and
share what comes of it, also a fault. As long as nobody answers they are as before: they wait by the model's
`patience`, and each attempt begins with a look. Calls that were sent before a look and fail after it tell of
the server that was, and bring on no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from docendo.runtime.backends.base import BackendFault
from docendo.runtime.backends.openai_calls import Calls
from docendo.runtime.backends.openai_discovery import discover, when_ready
from docendo.runtime.backends.openai_link import Gone, Link
from docendo.runtime.backends.openai_server import Server
from docendo.scenarios.schema import OpenAIModel

__all__ = ["Watch"]

_AFTER = " (it was away, and was asked again what it is)"


class Watch:
    """Knows what a model's server is at present."""

    def __init__(self, link: Link, spec: OpenAIModel) -> None:
        """Know nothing; nothing is sent.

        Args:
            link: To the server.
            spec: With references to the environment resolved.
        """
        self._link = link
        self._spec = spec
        self._calls = Calls(link, spec, Server(for_template=spec.for_template()))
        self._gone = False
        self._looking: asyncio.Task[Calls] | None = None

    @property
    def server(self) -> Server:
        """What the server was when it was last asked."""
        return self._calls.server

    async def begin(self) -> None:
        """Ask the server for the first time; wait for one that is still loading.

        Raises:
            BackendFault: As for `discover`, always `fatal`.
        """
        self._calls = Calls(self._link, self._spec, await when_ready(self._link, self._spec))

    @asynccontextmanager
    async def calls(self) -> AsyncIterator[Calls]:
        """What to ask by. A fault inside that says that the server has gone is noted.

        Raises:
            BackendFault: It was away, and still is; or it is back and cannot do what the scenario declares.
        """
        calls = await self._current()
        try:
            yield calls
        except Gone:
            self._gone = self._gone or calls is self._calls
            raise

    async def close(self) -> None:
        """Stop looking."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _current(self) -> Calls:
        if not self._gone:
            return self._calls
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
            self._looking.add_done_callback(self._looked)
        # Shielded: one attempt's end must not stop the look that others wait for.
        return await self._link.outcome(asyncio.shield(self._looking))

    async def _look(self) -> Calls:
        before = self._calls.server
        try:
            server = await discover(self._link, self._spec)
            self._require_same(before, server)
        except BackendFault as fault:
            if fault.fatal and not fault.retry:
                fault.message += _AFTER
            raise
        self._calls, self._gone = Calls(self._link, self._spec, server), False
        return self._calls

    def _looked(self, look: asyncio.Task[Calls]) -> None:
        self._looking = None
        if not look.cancelled():
            look.exception()  # of no interest where every call that waited for it has been cancelled

    def _require_same(self, before: Server, server: Server) -> None:
        """Refuse other models than before, also where the server answers to any name, as llama.cpp does.

        Raises:
            BackendFault: None of its models was there before.
        """
        if before.served and server.served and not {*before.served} & {*server.served}:
            raise self._link.fault(
                f"is another one than before; what is served there now: {server.names}",
                fatal=True,
                suggestion=f"Serve `{before.served[0]}` again, or begin another run with the other model.",
            )
