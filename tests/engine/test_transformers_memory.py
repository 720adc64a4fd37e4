"""What a lane keeps in memory at once, and what happens when memory runs out all the same."""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest
import torch
from transformers import Qwen3ForCausalLM

from docendo.runtime.backends.base import BackendFault
from docendo.runtime.backends.transformers_engine import Engine
from docendo.runtime.backends.transformers_lane import GenerateJob, Lane
from docendo.runtime.backends.transformers_sampling import Row
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


# --- memory that runs out -------------------------------------------------------------------------------


class Short:
    """Memory that has run out for more rows at once, or more columns of one prompt, than these."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, rows: int = 1000, columns: int = 1000) -> None:
        self.rows = rows
        self.columns = columns
        self.times = 0
        whole = Qwen3ForCausalLM.forward

        def forward(model: Any, input_ids: Any = None, **rest: Any) -> Any:
            if input_ids.shape[0] > self.rows or input_ids.shape[1] > self.columns:
                self.times += 1
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return whole(model, input_ids=input_ids, **rest)

        monkeypatch.setattr(Qwen3ForCausalLM, "forward", forward)


def failed(outcomes: list[Any]) -> list[int]:
    """Places of those that memory ran out for; the others are answers."""
    places = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)]
    faults = [outcomes[i] for i in places]
    assert all(isinstance(f, BackendFault) and "with a single sequence" in f.message for f in faults)
    return places


def test_only_what_does_not_fit_alone_fails(lab: Lab, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    large = "long " * 300
    calls = [ask(large if i in {2, 7} else f"{i}", max_tokens=6 + i) for i in range(12)]
    questions = [weigh(large if i == 1 else f"{i}") for i in range(4)]
    free = lab.start(make(), batch=4)
    wanted = texts(lab.all(*(free.generate(c) for c in calls)))
    lab.leave()
    Short(monkeypatch, columns=200)
    backend = lab.start(make(), batch=4)
    found = lab.all(*(backend.generate(c) for c in calls), *(backend.score(q) for q in questions))
    assert failed(found) == [2, 7, 13]
    assert [found[i].text for i in range(12) if i not in {2, 7}] == [
        wanted[i] for i in range(12) if i not in {2, 7}
    ]


def test_at_one_slot_those_who_wait_go_on(lab: Lab, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Short(monkeypatch, columns=200)
    backend = lab.start(make(), batch=1)
    calls = [ask("long " * 300 if i == 1 else f"{i}", n=2, temperature=1.0) for i in range(4)]
    assert failed(lab.all(*(backend.generate(c) for c in calls))) == [1]


def test_slots_come_back(lab: Lab, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched(monkeypatch)
    short = Short(monkeypatch, rows=1)
    backend = lab.start(make(), batch=4)
    assert not failed(lab.all(*(backend.generate(ask(f"{i}")) for i in range(4))))
    assert max(map(len, seen)) == 1
    short.rows = 1000
    before = len(seen)
    lab.all(*(backend.generate(ask(f"{i}", max_tokens=3)) for i in range(100)))
    assert max(map(len, seen[before:])) == 4


def test_slots_that_come_back_too_soon_cost_no_answer(
    lab: Lab, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [ask(f"{i}", temperature=1.0, seed=i, max_tokens=3 + i % 20) for i in range(100)]
    free = lab.start(make(), batch=8)
    wanted = texts(lab.all(*(free.generate(c) for c in calls)))
    lab.leave()
    short = Short(monkeypatch, rows=2)
    backend = lab.start(make(), batch=8)
    assert texts(lab.all(*(backend.generate(c) for c in calls))) == wanted
    assert 2 < short.times < 10, "more was dared now and then"


# --- jobs are told once ---------------------------------------------------------------------------------


def test_a_job_is_told_once_however_many_rows_end_together(lab: Lab, make: Any) -> None:
    engine = lab.start(make())._engine
    assert engine is not None
    told: SimpleQueue[Any] = SimpleQueue()

    def submit(most: list[int]) -> GenerateJob:
        rows = [Row(prompt=(5, 6, 7), ends=frozenset(), most=m) for m in most]
        job = GenerateJob(rows=rows, done=told.put)
        engine.submit(job, None)
        return job

    jobs = [submit([2, 2, 2]), submit([1, 5, 5])]
    last = submit([9])
    assert [told.get(timeout=60) for _ in range(3)] == [*jobs, last]
    assert told.empty()


def test_a_cancelled_job_is_not_told_and_its_slots_are_used_again(lab: Lab, make: Any) -> None:
    engine = lab.start(make(), batch=3)._engine
    assert engine is not None
    told: SimpleQueue[Any] = SimpleQueue()

    def submit(*most: int) -> GenerateJob:
        rows = [Row(prompt=(5, 6, 7), ends=frozenset(), most=m) for m in most]
        job = GenerateJob(rows=rows, done=told.put)
        engine.submit(job, None)
        return job

    partly = submit(1, 1900)
    other = submit(4)
    assert told.get(timeout=60) is other
    assert [row.finish for row in partly.rows] == ["length", None]
    partly.cancelled = True
    engine.wake()
    wide = submit(6, 6, 6)
    assert told.get(timeout=60) is wide
    assert told.empty()
    assert partly.rows[1].spent < 1900
