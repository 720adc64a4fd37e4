"""How many calls a model is sent at once.

A server does not say how much it bears, so it is found out by asking. `Pace` begins with a few calls and
asks for twice as many while that gets more tokens done per second. It goes on in small steps once that
has ended, falls below the last limit that paid where calls only wait longer, by a third where the server
says that it is too much: 429, 503, or no answer in time. It knows neither tasks nor clocks, only what it is
told, so every way it can go is tested. `Gate` lets calls in by it, first come, first served.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

__all__ = ["Gate", "Pace", "Ticket"]

_FIRST = 4
"""Calls at once in the beginning."""
_GAIN = 1.1
"""More calls at once pay if they get this many times the tokens per second done."""
_SLOWER = 1.5
"""Calls that take so many times as long per token, without such a gain, wait in the server's queue."""
_CUT = 0.7
"""To this share of itself the limit falls where the server has no room."""
_BACK = 0.9
"""Where they wait, the limit falls to this share of the last that paid: chance may have let it pay."""
_ENOUGH = 16
"""Answers, at least, that show what a limit is worth. The slow start, which doubles, needs fewer."""
_STEP = 8
"""After the slow start the limit grows by one part in so many."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """Under which limit an attempt was sent: what it tells about another limit is nothing."""

    limit: int
    """Number of the limit, counted over all changes."""
    cut: int
    """Number of cuts so far. Calls that were on their way during a cut tell nothing new about it."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a limit was worth."""

    limit: float
    seconds: float
    """Per token of the completion."""


class Pace:
    """The limit on calls in flight, as a state machine."""

    def __init__(self, most: int) -> None:
        """Begin.

        Args:
            most: The limit never exceeds it.
        """
        self._most = most
        self._limit = float(min(_FIRST, most))
        self._slow_start = True
        self._best: _Seen | None = None
        self._number = 0
        self._cuts = 0
        self._full = False
        self._answers = 0
        self._seconds = 0.0
        self._tokens = 0
        self.backoffs = 0
        """Times that the limit was lowered."""
        self.resume_at = 0.0
        """Nothing new is to be sent before this time: the server asked to wait."""

    @property
    def limit(self) -> int:
        """Most calls in flight, at least one."""
        return max(1, int(self._limit))

    def sent(self, in_flight: int) -> Ticket:
        """An attempt is sent.

        Args:
            in_flight: Calls that occupy the server now, this one included.
        """
        self._full = self._full or in_flight >= self.limit
        return Ticket(self._number, self._cuts)

    def answered(self, ticket: Ticket, seconds: float, tokens: int) -> None:
        """An attempt was answered.

        Args:
            ticket: From `sent`.
            seconds: What it took.
            tokens: Of its completion; a call that only scores counts as one.
        """
        if ticket.limit != self._number:
            return
        self._answers += 1
        self._seconds += seconds
        self._tokens += max(1, tokens)
        if self._answers >= (self.limit / 2 if self._slow_start else max(_ENOUGH, self.limit)):
            self._judge()

    def pushed_back(self, ticket: Ticket, now: float, after: float | None = None) -> None:
        """The server had no room for an attempt, or did not answer in time.

        Args:
            ticket: From `sent`.
            now: The time, of any clock.
            after: Seconds that the server asked to wait, if it did.
        """
        self.resume_at = max(self.resume_at, now + (after or 0.0))
        if ticket.cut == self._cuts:
            self._cuts += 1
            self._best = None
            self._lower(self._limit * _CUT)

    def _judge(self) -> None:
        """Enough was answered under this limit to say what it is worth."""
        now = _Seen(self._limit, self._seconds / self._tokens)
        best = self._best
        if not self._full:
            self._forget()  # Not put to the test.
        elif best is None or now.limit <= best.limit or _gain(best, now) >= _GAIN:
            self._best = now
            self._raise()
        elif now.seconds > _SLOWER * best.seconds:
            self._best = None  # What that limit was worth is measured again: the work may have changed.
            self._lower(best.limit * _BACK)
        else:
            self._raise()

    def _raise(self) -> None:
        more = self._limit * 2 if self._slow_start else self._limit + max(1.0, self._limit / _STEP)
        if self._limit < self._most:
            self._limit = min(float(self._most), more)
            self._number += 1
        self._forget()

    def _lower(self, limit: float) -> None:
        self._slow_start = False
        self._limit = max(1.0, limit)
        self._number += 1
        self.backoffs += 1
        self._forget()

    def _forget(self) -> None:
        self._full = False
        self._answers, self._seconds, self._tokens = 0, 0.0, 0


def _gain(before: _Seen, now: _Seen) -> float:
    """How many times the tokens per second get done: calls in flight over seconds per token."""
    return (now.limit / before.limit) * (before.seconds / now.seconds) if now.seconds else _GAIN


class Gate:
    """Lets calls in, as many at once as a pace or a fixed limit says. Lives in one event loop."""

    def __init__(self, most: int, *, paced: bool = False) -> None:
        """Make the gate.

        Args:
            most: Most calls inside.
            paced: Find out how many the server bears, from few to `most`.
        """
        self._most = most
        self._pace = Pace(most) if paced else None
        self._inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def limit(self) -> int:
        """Most calls inside at present."""
        return self._pace.limit if self._pace else self._most

    @property
    def backoffs(self) -> int:
        """Times that the limit was lowered."""
        return self._pace.backoffs if self._pace else 0

    def lower(self, most: int) -> None:
        """Let in no more than `most` from now on, where the limit is fixed; those inside stay."""
        self._most = min(self._most, most)

    async def __aenter__(self) -> Gate:
        """Wait for a place."""
        if not self._waiting and self._has_room():
            self._inside += 1
            return self
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self._admit()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._leave()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        """Give the place to whoever waits longest."""
        self._leave()

    def sent(self) -> Ticket:
        """An attempt of a call inside is sent."""
        return self._pace.sent(self._inside) if self._pace else Ticket(0, 0)

    def answered(self, ticket: Ticket, seconds: float, tokens: int) -> None:
        """It was answered, see `Pace`."""
        if self._pace:
            self._pace.answered(ticket, seconds, tokens)
            self._admit()

    def pushed_back(self, ticket: Ticket, after: float | None) -> None:
        """The server had no room for it, see `Pace`."""
        if self._pace:
            self._pace.pushed_back(ticket, asyncio.get_running_loop().time(), after)

    def _leave(self) -> None:
        self._inside -= 1
        self._admit()

    def _has_room(self) -> bool:
        return self._inside < self.limit and self._pause() <= 0

    def _pause(self) -> float:
        """Seconds until something may be sent again."""
        return self._pace.resume_at - asyncio.get_running_loop().time() if self._pace else 0.0

    def _admit(self) -> None:
        while self._waiting and self._has_room():
            place = self._waiting.popleft()
            if not place.done():
                self._inside += 1
                place.set_result(None)
        pause = self._pause()
        if self._waiting and pause > 0:
            if self._alarm:
                self._alarm.cancel()
            self._alarm = asyncio.get_running_loop().call_later(pause, self._admit)
