"""Engines that take turns, and calls that may not share a batch: pure scheduling, without an engine."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docendo.runtime.backends.base import BackendFault
from docendo.runtime.backends.engine_turns import Turns
from docendo.runtime.backends.vllm_engines import LogprobKinds


class Gpu:
    """Knows who is awake, and fails if anybody works who is not."""

    def __init__(self) -> None:
        self.awake: str | None = None
        self.working: Counter[str] = Counter()
        self.log: list[str] = []

    async def switch(self, before: str | None, after: str) -> None:
        assert before == self.awake
        assert not sum(self.working.values())
        self.awake = None
        await asyncio.sleep(0)
        self.awake = after
        self.log.append(after)

    async def work(self, turns: Turns, engine: str, rounds: int = 3) -> None:
        async with turns.turn(engine):
            self.working[engine] += 1
            for _ in range(rounds):
                assert self.awake == engine
                await asyncio.sleep(0)
            self.working[engine] -= 1


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.integers(0, 5)), max_size=30))
def test_every_call_gets_its_turn_and_only_the_awake_engine_works(calls):
    async def run():
        gpu = Gpu()
        turns = Turns(gpu.switch, grace=0)

        async def later(engine, wait, rounds):
            for _ in range(wait):
                await asyncio.sleep(0)
            await gpu.work(turns, engine, rounds)

        await asyncio.gather(*(later(*call) for call in calls))
        await turns.close()
        return gpu

    gpu = asyncio.run(run())
    assert all(a != b for a, b in zip(gpu.log, gpu.log[1:], strict=False))


def test_a_batch_of_calls_costs_one_turn_per_engine():
    async def run():
        gpu = Gpu()
        turns = Turns(gpu.switch, grace=0)
        await asyncio.gather(*(gpu.work(turns, "ab"[i % 2]) for i in range(200)))
        await turns.close()
        return gpu.log

    assert asyncio.run(run()) == ["a", "b"]


def test_an_engine_keeps_its_turn_while_it_gets_more_work():
    async def run():
        gpu = Gpu()
        turns = Turns(gpu.switch, grace=60)  # longer than the test: nothing depends on time

        async def episode():
            for _ in range(10):
                await gpu.work(turns, "teacher")
                await asyncio.sleep(0)  # the next call comes a moment after the last answer

        await gpu.work(turns, "teacher")
        student = asyncio.create_task(gpu.work(turns, "student"))
        await episode()
        log = list(gpu.log)
        student.cancel()
        await turns.close()
        return log

    assert asyncio.run(run()) == ["teacher"]


def test_a_cancelled_call_does_not_get_a_turn():
    async def run():
        gpu = Gpu()
        turns = Turns(gpu.switch, grace=0)
        async with turns.turn("a"):
            waiting = asyncio.create_task(gpu.work(turns, "b"))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await gpu.work(turns, "a")
        await turns.close()
        return gpu.log

    assert asyncio.run(run()) == ["a"]


def test_an_engine_that_cannot_be_woken_fails_everyone_who_waits():
    async def run():
        async def switch(before, after):
            raise BackendFault("gone", retry=False, fatal=True)

        turns = Turns(switch, grace=0)

        async def call():
            async with turns.turn("a"):
                pass

        return await asyncio.gather(call(), call(), return_exceptions=True)

    assert [str(x) for x in asyncio.run(run())] == ["gone", "gone"]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["likeliest", "listed"]), st.integers(0, 4), st.booleans()), max_size=25
    )
)
def test_calls_of_two_kinds_never_run_together_and_all_end(calls):
    async def run():
        kinds = LogprobKinds()
        running: Counter[str] = Counter()

        async def call(kind, rounds):
            async with kinds.only(kind):
                running[kind] += 1
                try:
                    for _ in range(rounds):
                        assert len(+running) == 1
                        await asyncio.sleep(0)
                finally:
                    running[kind] -= 1

        tasks = [asyncio.create_task(call(kind, rounds)) for kind, rounds, _ in calls]
        await asyncio.sleep(0)
        for task, (_, _, unwanted) in zip(tasks, calls, strict=True):
            if unwanted:
                task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [x for x in ended if isinstance(x, Exception)]
        async with asyncio.timeout(5), kinds.only("listed"):
            pass

    asyncio.run(run())


def test_calls_of_one_kind_do_not_overtake_the_other_kind():
    async def run():
        kinds = LogprobKinds()
        order = []

        async def call(kind, name):
            async with kinds.only(kind):
                order.append(name)
                await asyncio.sleep(0)

        async with kinds.only("listed"):
            tasks = [
                asyncio.create_task(call(*c))
                for c in (("likeliest", "a"), ("listed", "b"), ("likeliest", "c"))
            ]
            await asyncio.sleep(0)
            assert order == []
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(run()) == ["a", "b", "c"]


@pytest.mark.parametrize("held", ["likeliest", "listed"])
def test_one_kind_alone_never_waits(held):
    async def run():
        kinds = LogprobKinds()
        async with kinds.only(held), kinds.only(held), asyncio.timeout(5), kinds.only(held):
            return True

    assert asyncio.run(run())
