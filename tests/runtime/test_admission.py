"""Which episodes may begin: the gate before them, driven as lessons and clients drive it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docendo.agents.port import Origin
from docendo.messages import Usage
from docendo.runtime.admission import FIRST, SPREAD, Admission
from docendo.runtime.backends.base import Room


def place(episode: int, agent: str = "student") -> Origin:
    return Origin(condition="c", replicate=0, episode=str(episode), agent=agent)


def said(prompt: int, completion: int = 0, cached: int = 0) -> Usage:
    return Usage(prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached)


class Hall:
    """Episodes that stay inside until they are told to go."""

    def __init__(self, gate: Admission, count: int) -> None:
        self.gate = gate
        self.inside: list[int] = []
        self.most = 0
        self.go = [asyncio.Event() for _ in range(count)]
        self.tasks = [asyncio.create_task(self._episode(i)) for i in range(count)]

    async def _episode(self, i: int) -> None:
        async with self.gate.episode("c", 0, str(i)):
            self.inside.append(i)
            self.most = max(self.most, len(self.inside))
            await self.go[i].wait()
            self.inside.remove(i)

    async def leave(self, *episodes: int) -> None:
        for i in episodes:
            self.go[i].set()
        await settled()

    async def close(self) -> None:
        await self.leave(*range(len(self.go)))
        await asyncio.gather(*self.tasks)


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


def test_without_engines_all_begin_at_once() -> None:
    async def main() -> None:
        hall = Hall(Admission(), 500)
        await settled()
        assert len(hall.inside) == 500
        await hall.close()

    run(main())


def test_before_an_engine_has_started_few_begin_and_recorded_answers_let_more_in() -> None:
    async def main() -> None:
        hall = Hall(Admission(engines=True), 100)
        await settled()
        assert hall.inside == list(range(FIRST))
        await hall.leave(*range(FIRST))
        assert len(hall.inside) == 2 * FIRST
        await hall.leave(*range(FIRST, 3 * FIRST))
        assert len(hall.inside) == 52  # all that are left
        await hall.close()

    run(main())


def test_with_room_for_all_none_waits() -> None:
    async def main() -> None:
        gate = Admission(lambda: [Room(sequences=4, tokens=10_000, context=500)], engines=True)
        hall = Hall(gate, 60)
        await settled()
        assert len(hall.inside) == 5  # one more than it has places
        gate.saw(place(0), said(90, 10))
        await hall.leave(0)
        assert gate.limit == 59
        assert len(hall.inside) == 59
        await hall.close()

    run(main())


def test_until_one_has_ended_those_under_way_say_how_many_fit() -> None:
    async def main() -> None:
        rooms = [Room(sequences=10, tokens=4_500, context=500)]
        gate = Admission(lambda: rooms, engines=True)
        hall = Hall(gate, 100)
        await settled()
        assert len(hall.inside) == 12
        gate.saw(place(0), said(90, 10))
        await settled()
        assert len(hall.inside) == 12  # of 22 that would fit, as many as the engine has places are enough
        gate.saw(place(0), said(240, 10))
        assert gate.limit == 4_500 // 500
        await hall.close()

    run(main())


def test_a_tight_cache_bounds_the_episodes_by_what_each_adds_to_it() -> None:
    async def main() -> None:
        rooms = [Room(sequences=8, tokens=9_000, context=500), Room(sequences=8, tokens=3_000, context=500)]
        gate = Admission(lambda: rooms, engines=True)
        hall = Hall(gate, 100)
        await settled()
        # 400 tokens are shared with others; the longest of each agent counts, beyond what it shares.
        gate.saw(place(0), said(500, 20, cached=400))
        gate.saw(place(0), said(540, 20, cached=520))
        gate.saw(place(0, "teacher"), said(100, 40))
        await hall.leave(0)
        assert gate.limit == int(SPREAD * 3_000 / (160 + 140)) == 12
        assert hall.inside == list(range(1, 13))
        gate.saw(place(1), said(400))
        gate.saw(place(2), said(200))
        await hall.leave(1, 2)  # 900 tokens of three: what is known of them counts
        assert hall.inside == list(range(3, 15))
        gate.saw(place(3), said(700))
        await hall.leave(3)  # 400 in the mean: nine may be under way, and what had begun before goes on
        assert gate.limit == 9
        assert hall.inside == list(range(4, 15))
        await hall.leave(4, 5)
        assert hall.inside == list(range(6, 15))
        await hall.leave(6)
        assert hall.inside == list(range(7, 16))
        await hall.close()

    run(main())


@pytest.mark.parametrize(
    ("ended", "inside"),
    [
        pytest.param(9, range(9, 21), id="of more than the last some wait"),
        pytest.param(10, range(10, 30), id="the last do not wait for each other"),
    ],
)
def test_twice_as_many_as_fit_are_the_last(ended: int, inside: range) -> None:
    async def main() -> None:
        gate = Admission(lambda: [Room(sequences=8, tokens=1_000, context=500)], engines=True)
        hall = Hall(gate, 30)
        await settled()
        for i in range(ended):
            gate.saw(place(i), said(100))
            await hall.leave(i)
        assert hall.inside == [*inside]  # 10 fit
        await hall.close()

    run(main())


def test_an_episode_longer_than_the_cache_runs_alone_and_not_never() -> None:
    async def main() -> None:
        gate = Admission(lambda: [Room(sequences=1, tokens=100, context=500)], engines=True)
        hall = Hall(gate, 3)
        await settled()
        gate.saw(place(0), said(450))
        await hall.leave(0)
        assert gate.limit == 1
        assert hall.inside == [1]
        await hall.close()

    run(main())


@given(st.lists(st.sampled_from(["leave", "cancel"]), max_size=40), st.integers(1, 6))
def test_every_episode_gets_in_or_goes_and_no_place_is_lost(acts: list[str], sequences: int) -> None:
    async def main() -> None:
        room = Room(sequences=sequences, tokens=sequences * 100, context=100)
        gate = Admission(lambda: [room], engines=True)
        hall = Hall(gate, 30)
        await settled()
        for number, act in enumerate(acts):
            i = number % 30
            if act == "leave":
                gate.saw(place(i), said(100))
                await hall.leave(i)
            else:
                hall.tasks[i].cancel()
                await asyncio.gather(hall.tasks[i], return_exceptions=True)
                hall.inside = [j for j in hall.inside if j != i]
                await settled()
        for event in hall.go:
            event.set()
        async with asyncio.timeout(5):
            await asyncio.gather(*hall.tasks, return_exceptions=True)
        assert all(task.done() for task in hall.tasks)
        async with asyncio.timeout(5), gate.episode("c", 0, "last"):
            pass

    run(main())


def test_who_is_cancelled_while_being_let_in_gives_the_place_on() -> None:
    async def main() -> None:
        gate = Admission(lambda: [Room(sequences=1, tokens=100, context=100)], engines=True)
        hall = Hall(gate, 3)
        await settled()
        gate.saw(place(0), said(100))
        hall.go[0].set()
        await asyncio.sleep(0)  # the first leaves, the second is let in and has not run yet
        hall.tasks[1].cancel()
        await settled()
        assert hall.inside == [2]
        hall.go[2].set()
        await asyncio.gather(hall.tasks[0], hall.tasks[2])
        with pytest.raises(asyncio.CancelledError):
            await hall.tasks[1]

    run(main())
