"""Python's cycle collector, made patient while a run goes on.

A run makes thousands of objects per act and next to no reference cycles, so reference counts free all but a
few of them. At its usual pace, every 700 objects, the collector walks the episodes in flight again and again
for nothing, which was a fifth of a run's time (`benchmarks/overhead.py`).
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["patient_collector"]

PACE = (100_000, 10, 10)
"""New objects before a collection of the youngest; how many of each generation before one of the next."""


@contextmanager
def patient_collector() -> Iterator[None]:
    """Collect seldom inside the block, and as before after it."""
    before = gc.get_threshold()
    gc.set_threshold(*PACE)
    try:
        yield
    finally:
        gc.set_threshold(*before)
