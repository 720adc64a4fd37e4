"""Work done at once, with nothing left running behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from typing import TypeVar

__all__ = ["all_ended", "grouped", "together"]

T = TypeVar("T")


async def together(work: Iterable[Awaitable[T]]) -> list[T]:
    """All results in order; the first exception cancels the rest and is raised."""
    tasks = [asyncio.ensure_future(w) for w in work]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def all_ended(work: Iterable[Awaitable[object]]) -> None:
    """Let all of it come to its end, also beside something that fails; then the first exception is raised."""
    for outcome in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


async def grouped(work: Sequence[Awaitable[T]], groups: Sequence[str]) -> list[T]:
    """All results in the order of `work`, begun group by group.

    Requests with one student share the beginning of their prompts (its examples, what was seen of it), and an
    engine that can keep only some prompts in mind finds it again if they come one after the other.

    Args:
        work: What to do.
        groups: The group of each.
    """
    order = sorted(range(len(work)), key=lambda i: groups[i])
    done = await together(work[i] for i in order)
    return [result for _, result in sorted(zip(order, done, strict=True), key=lambda pair: pair[0])]
