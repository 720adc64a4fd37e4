"""Engines that do not fit into the GPU together take turns, a batch at a time.

Waking an engine moves its weights through the bus, which takes seconds. So a turn ends only when the engine
that is awake has no work left and another one has some. Calls that come in for a sleeping engine wait, and
all of them go together when its turn comes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

__all__ = ["Turns"]

Switch = Callable[[str | None, str], Awaitable[None]]
"""Put the first engine to sleep (`None`: none is awake) and wake the second."""


class Turns:
    """Whose turn it is. Lives in one event loop."""

    def __init__(self, switch: Switch, *, grace: float = 0.05) -> None:
        """Nobody is awake yet.

        Args:
            switch: Changes engines.
            grace: Seconds that an engine without work may keep its turn while others wait. A lesson's next
                call to the same model comes moments after its last answer.
        """
        self._switch = switch
        self._grace = grace
        self._awake: str | None = None
        self._working: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._work = asyncio.Event()
        """Set, and replaced, when the engine that is awake runs out of work or gets some again."""
        self._turned = asyncio.Event()
        """Set, and replaced, when a turn has ended."""
        self._turning: asyncio.Task[None] | None = None
        self._broken: BaseException | None = None
        self.switches = 0
        """Turns so far."""

    @asynccontextmanager
    async def turn(self, engine: str) -> AsyncIterator[None]:
        """Hold the engine awake. Waits for its turn."""
        await self._enter(engine)
        try:
            yield
        finally:
            self._working[engine] -= 1
            if not self._working[engine]:
                self._work = _told(self._work)

    async def close(self) -> None:
        """Change engines no more."""
        if self._turning is not None:
            self._turning.cancel()
            await asyncio.gather(self._turning, return_exceptions=True)

    async def _enter(self, engine: str) -> None:
        self._waiting[engine] += 1
        try:
            while self._awake != engine:
                if self._broken is not None:
                    raise self._broken
                if self._turning is None or self._turning.done():
                    self._turning = asyncio.create_task(self._next_turn())
                await self._turned.wait()
            self._working[engine] += 1
            if self._working[engine] == 1:
                self._work = _told(self._work)
        finally:
            self._waiting[engine] -= 1

    async def _next_turn(self) -> None:
        """Change engines as soon as the one that is awake has no work left."""
        try:
            while self._awake is not None:
                while self._busy():
                    await self._work.wait()
                # Only an engine that stays without work for a while has none left.
                try:
                    async with asyncio.timeout(self._grace):
                        while not self._busy():
                            await self._work.wait()
                except TimeoutError:
                    if not self._busy():  # work may have come as the time ran out
                        break
            chosen = max(
                (n for n in self._waiting if self._waiting[n]), key=self._waiting.__getitem__, default=None
            )
            if chosen is None or chosen == self._awake:
                return
            before, self._awake = self._awake, None
            await self._switch(before, chosen)
            self._awake = chosen
            self.switches += 1
        except Exception as error:
            self._broken = error
        finally:
            self._turning = None
            self._turned = _told(self._turned)

    def _busy(self) -> bool:
        return self._awake is not None and self._working[self._awake] > 0


def _told(event: asyncio.Event) -> asyncio.Event:
    """Wake everyone who waits for `event`, and the event for those who will wait next."""
    event.set()
    return asyncio.Event()
