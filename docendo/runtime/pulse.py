"""The pulse of a run: what its process says of itself in the store, for whoever looks on from another one.

Once a second at most, in the place of what was said before: how far the run has come since its command was
issued, and what each model is doing. It is no part of the record: nothing is measured from it, and a run
without it is the same run.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import asdict
from typing import Any

import orjson

from docendo.runtime.runner import Tally
from docendo.runtime.store import Store

__all__ = ["Pulse"]

EVERY = 1.0
"""Seconds between two beats."""
WINDOW = 10.0
"""Rates are over the last so many seconds."""


class Pulse:
    """Takes tallies and says some of them in the store."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self._run = run_id
        self._begun = time.time()
        self._said = 0.0
        self._written: deque[tuple[float, dict[str, int]]] = deque([(time.monotonic(), {})])
        """When, and model -> completion tokens until then; the oldest one is the beginning of the window."""

    def __call__(self, tally: Tally) -> None:
        """Say `tally`, unless something was said a moment ago.

        Raises:
            StoreError: An earlier write failed.
        """
        now = time.monotonic()
        if now - self._said < EVERY and tally.lessons_done < tally.lessons:
            return
        self._said = now
        rates = self._rates(now, tally)
        models: dict[str, Any] = {}
        for name, stats in tally.models.items():
            usage = stats.usage.model_dump()
            models[name] = asdict(stats) | {"usage": usage, "tokens_per_s": rates[name]}
        said = {
            "at": time.time(),
            "begun": self._begun,
            "lessons": tally.lessons,
            "lessons_done": tally.lessons_done,
            "episodes": tally.episodes,
            "failed": tally.failed,
            "models": models,
        }
        self._store.pulse(self._run, orjson.dumps(said).decode())

    def _rates(self, now: float, tally: Tally) -> dict[str, float]:
        """Model -> completion tokens per second over the window."""
        tokens = {name: stats.usage.completion_tokens for name, stats in tally.models.items()}
        while len(self._written) > 1 and now - self._written[1][0] >= WINDOW:
            self._written.popleft()
        since, before = self._written[0]
        self._written.append((now, tokens))
        seconds = max(now - since, 1e-9)
        return {name: round((n - before.get(name, 0)) / seconds, 3) for name, n in tokens.items()}
