"""What a lane keeps in memory at once, and what happens when memory runs out all the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from docendo.runtime.backends.transformers_engine import Engine
from docendo.runtime.backends.transformers_lane import Lane
from tests.engine.test_transformers import Lab, ask, texts, weigh


@pytest.fixture
def lab() -> Iterator[Lab]:
    lab = Lab()
    yield lab
    lab.close()


def roomy(monkeypatch: pytest.MonkeyPatch, tokens: int) -> None:
    """Memory for so many tokens of a batch; the prefix store has none."""
    monkeypatch.setattr(Engine, "_capacity", lambda *_: tokens)
    monkeypatch.setattr("docendo.runtime.backends.transformers_engine._PREFIXES", 0.0)


def watched(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Of every pass of a lane, tokens that its rows may come to have, in the order of their slots."""
    seen: list[list[int]] = []
    whole = Lane.step

    def step(self: Lane) -> None:
        whole(self)
        rows = [row for row in self._active if row is not None]
        seen.append([len(row.prompt) + row.most for row in rows])

    monkeypatch.setattr(Lane, "step", step)
    return seen


def test_rows_that_join_a_running_batch_keep_to_the_limit(
    lab: Lab, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [ask(f"{i} " + "word " * (i * 7 % 30), max_tokens=4 + i * 13 % 40) for i in range(24)]
    free = lab.start(make())
    wanted = texts(lab.all(*(free.generate(c) for c in calls)))
    lab.leave()
    roomy(monkeypatch, 300)
    seen = watched(monkeypatch)
    tight = lab.start(make())
    assert texts(lab.all(*(tight.generate(c) for c in calls))) == wanted
    assert all(len(rows) * max(rows) <= 300 for rows in seen if len(rows) > 1)
    assert max(map(len, seen)) > 1, "rows do work together"


def test_a_long_row_is_not_overtaken_for_ever(lab: Lab, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    roomy(monkeypatch, 300)
    seen = watched(monkeypatch)
    backend = lab.start(make())
    calls = [ask("No.", temperature=1.0, seed=i, max_tokens=4 + i % 9) for i in range(40)]
    calls.insert(8, ask("Long.", max_tokens=400))
    lab.all(*(backend.generate(c) for c in calls))
    alone = next(at for at, rows in enumerate(seen) if rows and max(rows) > 300)
    assert all(len(rows) == 1 for rows in seen if rows and max(rows) > 300)
    assert any(len(rows) > 1 for rows in seen[alone:]), "those behind it came after it"


def test_scoring_keeps_to_the_limit(lab: Lab, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = [weigh(f"{i} " + "word " * 20) for i in range(12)]
    free = lab.start(make())
    wanted = lab.all(*(free.score(q) for q in questions))
    lab.leave()
    roomy(monkeypatch, 200)
    widths: list[int] = []
    whole = Lane._forward

    def forward(self: Lane, ids: Any, before: Any, cache: Any, **how: Any) -> Any:
        logits = whole(self, ids, before, cache, **how)
        widths.append(len(ids) * cache.width if len(ids) > 1 else 0)
        return logits

    monkeypatch.setattr(Lane, "_forward", forward)
    tight = lab.start(make())
    found = lab.all(*(tight.score(q) for q in questions))
    assert 0 < max(widths) <= 200
    for one, other in zip(found, wanted, strict=True):
        assert one.scores[0].total == pytest.approx(other.scores[0].total, abs=1e-4)
