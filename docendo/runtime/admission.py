"""Which episodes may begin: as many as the engines can keep in mind at once.

An engine keeps what it has read of every conversation in its KV cache. Where more conversations are under way
than fit, each turn pushes another one's past out, and that has to be read anew at its next turn. Where all
fit, any bound would only leave the engine idle at the end. So episodes begin in order, and there fit

    tokens that the cache holds / tokens that an episode has added to it in the mean

where that is least of the engines. What an episode has added is, for each of its agents, its longest prompt
with its completion, without the prefix that was cached at its first call, which it shares with others. As
episodes are not all at their ends at once, some more are let in (`SPREAD`). And the last few do not wait for
others (`LAST`): the engine would idle when those have ended. No event depends on any of this.
"""

from __future__ import annotations

import math
from asyncio import Future, get_running_loop
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager

from docendo.agents.port import Origin
from docendo.messages import Usage
from docendo.runtime.backends.base import Room

__all__ = ["FIRST", "Admission"]

FIRST = 16
"""Episodes that begin before anything is known. Each that ends without an engine (its answers were recorded)
lets one more in, so that a resumed run is not held up."""

SPREAD = 1.25
"""So many times as many as fit at their ends are under way, for most are not at their ends."""

LAST = 2
"""Where those under way and those who wait are together at most so many times as many as fit, none waits."""

Place = tuple[str, int, str]
"""Condition, replicate, episode."""


def _nowhere() -> Iterable[Room]:
    return ()


class Admission:
    """Lets episodes begin, in the order in which they ask. Lives in one event loop."""

    def __init__(self, rooms: Callable[[], Iterable[Room]] = _nowhere, *, engines: bool = False) -> None:
        """Make the gate.

        Args:
            rooms: What the engines that have started hold at once.
            engines: Whether there will be any; without one nothing is held up.
        """
        self._rooms = rooms
        self._engines = engines
        self._inside = 0
        self._waiting: deque[Future[None]] = deque()
        self._held: dict[Place, dict[str, tuple[int, int]]] = {}
        """Episode -> agent -> (prefix that it shares with others, longest context so far), in tokens."""
        self._ended = 0
        self._added = 0
        """Tokens that ended episodes had added to a cache, and how many episodes these were."""
        self._unasked = 0

    @property
    def limit(self) -> float:
        """How many episodes may be under way now."""
        if not self._engines:
            return math.inf
        rooms = list(self._rooms())
        if not rooms:
            return FIRST + self._unasked
        sequences, tokens = min(r.sequences for r in rooms), min(r.tokens for r in rooms)
        if self._ended:
            fitting = tokens * self._ended / max(1, self._added)
            present = self._inside + len(self._waiting)
            return present if present <= LAST * fitting else max(1, int(SPREAD * fitting))
        # Nothing has ended: those under way are taken to be half way, and a quarter more than the engine
        # has places for keeps it busy while each of them is between two calls.
        busy = sequences + sequences // 4
        under_way = 2 * sum(map(_added_by, self._held.values()))
        fitting = tokens * len(self._held) / under_way if under_way else busy
        return max(1, min(busy, int(fitting))) + self._unasked

    @asynccontextmanager
    async def episode(self, condition: str, replicate: int, episode: str) -> AsyncIterator[None]:
        """Wait for room, and keep it until the episode has ended."""
        await self._enter()
        try:
            yield
        finally:
            self._inside -= 1
            self._leave((condition, replicate, episode))
            self._let_in()

    def saw(self, origin: Origin, usage: Usage) -> None:
        """An engine has answered a call of an episode."""
        if not self._engines:
            return
        agents = self._held.setdefault((origin.condition, origin.replicate, origin.episode), {})
        total = usage.prompt_tokens + usage.completion_tokens
        shared, longest = agents.get(origin.agent, (usage.cached_tokens, 0))
        agents[origin.agent] = (shared, max(longest, total))
        self._let_in()

    async def _enter(self) -> None:
        mine = get_running_loop().create_future()
        self._waiting.append(mine)
        self._let_in()
        try:
            await mine
        except BaseException:
            if mine in self._waiting:
                self._waiting.remove(mine)
            elif not mine.cancelled():  # let in, and gone before it could enter
                self._inside -= 1
                self._let_in()
            raise

    def _let_in(self) -> None:
        while self._waiting and self._inside < self.limit:
            waiting = self._waiting.popleft()
            if not waiting.done():
                self._inside += 1
                waiting.set_result(None)

    def _leave(self, place: Place) -> None:
        agents = self._held.pop(place, None)
        if agents is None:
            self._unasked += 1
            return
        self._ended += 1
        self._added += _added_by(agents)


def _added_by(agents: Mapping[str, tuple[int, int]]) -> int:
    """Tokens that an episode has added to the cache."""
    return sum(longest - shared for shared, longest in agents.values())
