"""How many calls at once: against servers that are simulated, and against whatever may happen."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docendo.runtime.concurrency import Gate, Pace, Ticket

TOKEN = 0.02
"""Seconds per token of one sequence alone."""


@dataclass
class Simulated:
    """A server that decodes `slots` sequences at once, each the slower the more there are, and queues the
    rest; with `room`, it refuses what would be more than that in all."""

    slots: int
    room: int = 10**9
    drag: float = 0.01
    """Share by which each further sequence slows all."""
    retry_after: float | None = None
    seed: int = 0
    now: float = 0.0
    tokens: int = 0
    refused: int = 0
    limits: list[int] = field(default_factory=list)

    def serve(self, pace: Pace, calls: int, length: Callable[[random.Random], int]) -> None:
        """Answer `calls` calls as the pace sends them, in simulated time."""
        rng = random.Random(self.seed)
        left = deque(length(rng) for _ in range(calls))
        queue: deque[tuple[float, int, Ticket]] = deque()
        running: list[tuple[float, int, float, int, Ticket]] = []
        count = 0
        while left or queue or running:
            while left and len(queue) + len(running) < pace.limit and self.now >= pace.resume_at:
                ticket = pace.sent(len(queue) + len(running) + 1)
                if len(queue) + len(running) >= self.room:
                    self.refused += 1
                    pace.pushed_back(ticket, self.now, self.retry_after)
                    break
                queue.append((self.now, left.popleft(), ticket))
            while queue and len(running) < self.slots:
                sent, tokens, ticket = queue.popleft()
                seconds = tokens * TOKEN * (1 + self.drag * (len(running) + 1))
                heapq.heappush(running, (self.now + seconds, count, sent, tokens, ticket))
                count += 1
            if not running:
                self.now = max(self.now, pace.resume_at)
                continue
            self.now, _, sent, tokens, ticket = heapq.heappop(running)
            self.tokens += tokens
            pace.answered(ticket, self.now - sent, tokens)
            self.limits.append(pace.limit)

    @property
    def speed(self) -> float:
        return self.tokens / self.now


def steady(rng: random.Random) -> int:
    return rng.randint(40, 60)


def mixed(rng: random.Random) -> int:
    """Mostly short answers, some long."""
    return rng.choice([5, 10, 20, 200])


Lengths = pytest.mark.parametrize("length", [steady, mixed])


@Lengths
def test_a_server_that_bears_all_is_asked_for_all(length: Callable[[random.Random], int]) -> None:
    server = Simulated(slots=1000, drag=0.001)
    pace = Pace(128)
    server.serve(pace, 4000, length)
    assert server.limits[0] == 4
    assert pace.limit == 128
    assert pace.backoffs == 0


@Lengths
@pytest.mark.parametrize("slots", [1, 4, 16, 48])
def test_a_full_server_is_kept_full_and_its_queue_short(
    slots: int, length: Callable[[random.Random], int]
) -> None:
    server, bound = Simulated(slots=slots), Simulated(slots=slots)
    pace = Pace(512)
    server.serve(pace, 6000, length)
    bound.serve(_Fixed(512), 6000, length)
    assert server.speed > 0.9 * bound.speed
    settled = server.limits[len(server.limits) // 2 :]
    assert max(settled) <= 4 * slots + 8, "the queue grew without an end"
    assert pace.backoffs > 0


@Lengths
@pytest.mark.parametrize("retry_after", [None, 1.0])
@pytest.mark.parametrize("room", [1, 3, 12, 40])
def test_refusals_are_rare_and_nothing_is_lost(
    room: int, retry_after: float | None, length: Callable[[random.Random], int]
) -> None:
    server, bound = Simulated(slots=64, room=room, retry_after=retry_after), Simulated(slots=64)
    server.serve(Pace(512), 4000, length)
    bound.serve(_Fixed(room), 4000, length)
    assert server.tokens == bound.tokens
    assert server.refused < 0.1 * 4000
    assert server.speed > 0.7 * bound.speed
    assert max(server.limits[2000:]) <= 2 * room + 2


class _Fixed(Pace):
    """The same number all the time."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._limit = float(limit)

    def answered(self, ticket: Ticket, seconds: float, tokens: int) -> None:
        """Nothing is learnt."""


Step = st.one_of(
    st.tuples(st.just("sent"), st.integers(1, 300)),
    st.tuples(st.just("answered"), st.floats(0, 1e6), st.integers(0, 10**6)),
    st.tuples(st.just("pushed back"), st.none() | st.floats(0, 1000)),
)


@given(st.integers(1, 300), st.lists(Step, max_size=200))
def test_whatever_happens_the_limit_is_kept_and_moves_in_steps(most: int, steps: list[tuple]) -> None:  # type: ignore[type-arg]
    pace = Pace(most)
    tickets = [pace.sent(1)]
    for step in steps:
        before, cuts, wait = pace.limit, pace.backoffs, pace.resume_at
        if step[0] == "sent":
            tickets.append(pace.sent(step[1]))
        elif step[0] == "answered":
            pace.answered(tickets[-1], step[1], step[2])
        else:
            pace.pushed_back(tickets[-1], 5.0, step[1])
            assert pace.resume_at >= max(wait, 5.0)
            assert pace.limit <= before
        assert 1 <= pace.limit <= most
        assert pace.limit <= 2 * before
        assert pace.limit >= before or pace.backoffs == cuts + 1


def test_calls_that_were_on_their_way_during_a_cut_do_not_cut_again() -> None:
    pace = Pace(64)
    tickets = [pace.sent(i + 1) for i in range(4)]
    for ticket in tickets:
        pace.pushed_back(ticket, 0.0)
    assert (pace.limit, pace.backoffs) == (2, 1)
    pace.pushed_back(pace.sent(1), 0.0)
    assert (pace.limit, pace.backoffs) == (1, 2)


def test_without_demand_there_is_no_growth() -> None:
    pace = Pace(64)
    for _ in range(100):
        pace.answered(pace.sent(1), 1.0, 10)
    assert pace.limit == 4


# --- the gate ---------------------------------------------------------------------------------------------


def test_first_come_first_served_and_never_more_than_the_limit() -> None:
    async def main() -> None:
        gate, order, inside, most = Gate(3), [], 0, 0

        async def call(number: int) -> None:
            nonlocal inside, most
            async with gate:
                inside += 1
                most = max(most, inside)
                order.append(number)
                await asyncio.sleep(0)
                inside -= 1

        await asyncio.gather(*(call(i) for i in range(20)))
        assert order == list(range(20))
        assert most == 3
        assert (gate.limit, gate.backoffs) == (3, 0)

    asyncio.run(main())


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(1, 4))
def test_a_cancelled_call_takes_no_place_with_it(cancelled: list[bool], most: int) -> None:
    async def main() -> int:
        gate, held, done = Gate(most), asyncio.Event(), 0

        async def call() -> None:
            nonlocal done
            async with gate:
                await held.wait()
                done += 1

        tasks = [asyncio.create_task(call()) for _ in cancelled]
        await asyncio.sleep(0)
        for task, stop in zip(tasks, cancelled, strict=True):
            if stop:
                task.cancel()
        held.set()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
        async with gate:
            return done

    assert asyncio.run(main()) == cancelled.count(False)


def test_a_place_given_and_cancelled_in_one_breath_is_passed_on() -> None:
    async def main() -> None:
        gate = Gate(1)
        await gate.__aenter__()
        second = asyncio.create_task(gate.__aenter__())
        third = asyncio.create_task(gate.__aenter__())
        await asyncio.sleep(0)
        await gate.__aexit__()
        second.cancel()
        await asyncio.wait_for(third, 10)
        assert second.cancelled()

    asyncio.run(main())


def test_nothing_is_sent_while_the_server_asked_to_wait() -> None:
    async def main() -> None:
        gate, clock = Gate(8, paced=True), asyncio.get_running_loop().time
        async with gate:
            started = clock()
            gate.pushed_back(gate.sent(), 0.05)
        async with gate:
            assert clock() - started >= 0.05
        assert (gate.limit, gate.backoffs) == (2, 1)

    asyncio.run(main())


def test_a_growing_limit_lets_waiting_calls_in() -> None:
    async def main() -> None:
        gate, held = Gate(100, paced=True), asyncio.Event()
        inside = 0

        async def call() -> None:
            nonlocal inside
            async with gate:
                ticket = gate.sent()
                inside += 1
                await held.wait()
                gate.answered(ticket, 1.0, 10)

        tasks = [asyncio.create_task(call()) for _ in range(40)]
        await asyncio.sleep(0)
        assert inside == gate.limit == 4
        held.set()
        await asyncio.gather(*tasks)
        assert gate.limit > 4

    asyncio.run(main())
