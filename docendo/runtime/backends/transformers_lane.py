"""Continuous batching over one model: rows enter as places fall free and leave as they end.

A lane belongs to the engine's thread. Every `step` scores what waits to be scored, lets rows in, and draws
one token for each row of the batch. Prompts with a beginning in common compute it once: it is kept by
blocks in the prefix store, and of several new prompts that go on alike from what is there, one goes ahead.

A batch of prompts is padded on the left. Where its rows have different parts in the store, those with more
compute some of it anew, as many columns as the longest rest has: columns that padding would fill otherwise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from docendo.runtime.backends.transformers_cache import PrefixStore, SlotCache
from docendo.runtime.backends.transformers_sampling import Row, choose, log_probabilities

__all__ = ["GenerateJob", "Lane", "OpenJob", "ScoreJob"]

_CHUNK = 2048
"""Columns of a prompt that are computed at once."""
_PREFILL = 8192
"""Tokens of several prompts that are computed at once, padding included."""
_NEAR = 64
"""Rests of prompts up to so many tokens are near enough in length to be computed together."""
_PROVEN = 16
"""Full batches that must have ended, none of them short of memory, before one has twice as many slots."""


@dataclass(eq=False, kw_only=True)
class GenerateJob:
    """Completions of one prompt."""

    rows: list[Row]
    done: Callable[[GenerateJob | BaseException], None]
    """Told once: the job, finished, or why it failed. Called in the engine's thread."""
    cancelled: bool = False


@dataclass(eq=False, kw_only=True)
class ScoreJob:
    """Forced continuations of one context."""

    context: tuple[int, ...]
    branches: Sequence[tuple[int, ...]]
    done: Callable[[ScoreJob | BaseException], None]
    scores: list[list[float]] = field(default_factory=list)
    """Log-probabilities of every branch's tokens."""
    cached: int = 0
    cancelled: bool = False


@dataclass(eq=False, kw_only=True)
class OpenJob:
    """Nothing but having the lane ready, its adapter loaded."""

    done: Callable[[OpenJob | BaseException], None]
    cancelled: bool = False


Job = GenerateJob | ScoreJob | OpenJob


@dataclass(slots=True)
class _Prefilled:
    """Prompts, computed."""

    cache: SlotCache
    logits: Any
    """[prompts, vocabulary] behind the last token of each."""
    cached: list[int]


class Lane:
    """The batch of one model, with or without an adapter."""

    def __init__(self, model: Any, device: Any) -> None:
        """Make an empty batch.

        Args:
            model: A causal language model of transformers.
            device: Where its inputs go.
        """
        self._model = model
        self._device = device
        self.slots = 1
        """Rows at once, as memory has turned out to allow."""
        self._most = 1
        self._proven = 0
        """Sequences that have ended since the slots last changed or memory ran out."""
        self._tokens = 0
        self._store = PrefixStore()
        self._cache = SlotCache()
        self._active: list[Row | None] = []
        """The row in every slot of the cache."""
        self._jobs: dict[Row, GenerateJob] = {}
        self._waiting: deque[Row] = deque()
        self._scoring: deque[ScoreJob] = deque()
        self._beside: list[GenerateJob | ScoreJob] = []
        """The job of every sequence that is being computed now and is not in the batch."""
        self._retried: GenerateJob | ScoreJob | None = None
        """The job that memory ran out for when it had all of it."""
        self.steps = 0
        """Forward passes that drew tokens for the batch."""

    @property
    def busy(self) -> bool:
        """Whether a step has anything to do."""
        return bool(self._waiting or self._scoring or any(self._active))

    def limit(self, *, slots: int, tokens: int, prefix_tokens: int) -> None:
        """Say what the batch may take.

        Args:
            slots: Most rows.
            tokens: Most columns times rows of the batch's keys and values.
            prefix_tokens: Most tokens of the prefix store.
        """
        # One that has shrunk does not grow by another lane's coming.
        self.slots = slots if self.slots == self._most else min(self.slots, slots)
        self._most = slots
        self._tokens = tokens
        self._store.limit(prefix_tokens)

    def add(self, job: GenerateJob | ScoreJob) -> None:
        """Take a job in."""
        if isinstance(job, ScoreJob):
            self._scoring.append(job)
            return
        for row in job.rows:
            self._jobs[row] = job
            self._waiting.append(row)

    def step(self) -> None:
        """Go on by one token."""
        self._drop_cancelled()
        if self._scoring:
            self._score()
        if self._waiting:
            self._admit()
        if any(self._active):
            self._decode()

    def fail(self, error: BaseException) -> None:
        """End every job with this error, and forget everything."""
        jobs: set[GenerateJob | ScoreJob] = {*self._jobs.values(), *self._scoring}
        self.forget()
        self._jobs.clear()
        self._waiting.clear()
        self._scoring.clear()
        for job in jobs:
            job.done(error)

    def shrink(self, error: BaseException) -> None:
        """Go on after memory ran out, with all keys and values dropped and the rows at work begun anew.

        Where several sequences were computed there are half as many slots from now on. One that was alone
        is tried once more, since what the prefix store held is free now; then its job ends with this error.
        Those who wait go on waiting. Slots double, up to what the lane was given, after every `_PROVEN` full
        batches of sequences that have ended without such trouble: each time something has been finished
        before more is dared, so rows longer than any count of steps come to their end.
        """
        waiting = set(self._waiting)
        rows = [row for row in self._jobs if row not in waiting]
        jobs = [*self._beside, *(self._jobs[row] for row in rows)]
        self.forget()
        self._proven = 0
        if len(jobs) > 1:
            self.slots = max(1, min(self.slots, len(jobs)) // 2)
        self._waiting.extendleft(reversed([self._again(row) for row in rows]))
        alone = jobs[0] if len(jobs) == 1 else None
        if alone is not None and alone is self._retried:
            self._drop({alone})
            alone.done(error)
            alone = None
        self._retried = alone

    def forget(self) -> None:
        """Drop keys and values."""
        self._store.clear()
        self._cache, self._active, self._beside = SlotCache(), [], []

    # --- scoring ----------------------------------------------------------------------------------------

    def _score(self) -> None:
        jobs = self._together(self._scoring, lambda job: job.context, self.slots, self._room_to_score)
        self._beside = [*jobs]
        done = self._prefill([job.context for job in jobs])
        first = log_probabilities(done.logits)
        for i, job in enumerate(jobs):
            job.cached = done.cached[i]
            job.scores = [[float(first[i, branch[0]])] for branch in job.branches]
        longer = [
            (i, n) for i, job in enumerate(jobs) for n, branch in enumerate(job.branches) if len(branch) > 1
        ]
        longer.sort(key=lambda place: len(jobs[place[0]].branches[place[1]]))
        # Every branch has a copy of its context.
        most = max(1, min(self.slots, self._tokens // max(map(_scored, jobs))))
        for start in range(0, len(longer), most):
            self._beside = [jobs[i] for i, _ in longer[start : start + most]]
            self._score_branches(jobs, longer[start : start + most], done.cache)
        self._beside = []
        self._scoring = deque(job for job in self._scoring if job not in jobs)
        self._prove(len(jobs))
        for job in jobs:
            job.done(job)

    def _room_to_score(self, jobs: list[ScoreJob]) -> bool:
        """Whether contexts fit into the memory together, each with its longest branch. One always does."""
        return len(jobs) == 1 or len(jobs) * max(map(_scored, jobs)) <= self._tokens

    def _score_branches(self, jobs: list[ScoreJob], places: list[tuple[int, int]], cache: SlotCache) -> None:
        """Score the tokens behind the first of some branches, each behind its own context."""
        branches = [jobs[i].branches[n] for i, n in places]
        lengths = [len(jobs[i].context) for i, _ in places]
        behind = cache.select([i for i, _ in places], max(lengths))
        columns = max(map(len, branches)) - 1
        ids = [[*branch[:-1], *[0] * (columns + 1 - len(branch))] for branch in branches]
        logits = self._forward(ids, lengths, behind, every=True)
        known = log_probabilities(logits)
        for row, (i, n) in enumerate(places):
            rest = branches[row][1:]
            jobs[i].scores[n] += [float(known[row, at, token]) for at, token in enumerate(rest)]

    # --- the batch --------------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Let rows into free slots. Their first tokens come with their prompts."""
        active = [row for row in self._active if row is not None]
        free = self.slots - len(active)
        # Prompts of a few rows cost almost what those of many do.
        if free <= 0 or (active and free < min(len(self._waiting), max(1, self.slots // 8))):
            return
        rows = self._together(self._waiting, lambda row: row.prompt, free, self._room_beside(active))
        if not rows:
            return
        self._beside = [self._jobs[row] for row in rows]
        prompts = list(dict.fromkeys(row.prompt for row in rows))
        done = self._prefill(prompts)
        places = [prompts.index(row.prompt) for row in rows]
        seen: set[tuple[int, ...]] = set()
        for row, place in zip(rows, places, strict=True):
            row.cached = len(row.prompt) - 1 if row.prompt in seen else done.cached[place]
            seen.add(row.prompt)
        chosen = set(rows)
        self._waiting = deque(row for row in self._waiting if row not in chosen)
        self._beside = []
        choose(done.logits[places], rows)
        going = [(row, place) for row, place in zip(rows, places, strict=True) if row.finish is None]
        self._enter([row for row, _ in going], done.cache, [place for _, place in going])
        self._end(rows)

    def _room_beside(self, active: list[Row]) -> Callable[[list[Row]], bool]:
        """Whether rows fit into the memory beside those that are at work, up to their last tokens.

        One row alone always does: it is tried, and fails only where memory truly runs out.
        """

        def fits(rows: list[Row]) -> bool:
            everyone = [*active, *rows]
            longest = max(len(row.prompt) + row.most for row in everyone)
            return len(everyone) == 1 or len(everyone) * longest <= self._tokens

        return fits

    def _enter(self, rows: list[Row], source: SlotCache, places: list[int]) -> None:
        """Copy keys and values of prompts into free slots."""
        if not rows:
            return
        self._trim()
        free = [slot for slot, row in enumerate(self._active) if row is None]
        more = len(rows) - len(free)
        if more > 0:
            free += range(len(self._active), len(self._active) + more)
            self._active += [None] * more
        lengths = [len(row.prompt) for row in rows]
        self._cache.make_room(len(self._active), max(lengths))
        self._cache.put(free[: len(rows)], source, places, lengths)
        for slot, row in zip(free, rows, strict=False):
            self._active[slot] = row

    def _decode(self) -> None:
        """One token for every row of the batch."""
        self._compact()
        slots = [slot for slot, row in enumerate(self._active) if row is not None]
        ids = [[row.out[-1]] if row else [0] for row in self._active]
        # The row's last token is not among its keys and values yet; a free slot sees its own zero only.
        lengths = [row.length - 1 if row else 0 for row in self._active]
        logits = self._forward(ids, lengths, self._cache)
        rows = [row for row in self._active if row is not None]
        choose(logits[slots], rows)
        self.steps += 1
        self._end(rows)

    def _end(self, rows: Iterable[Row]) -> None:
        """Let finished rows go, and tell jobs all of whose rows have."""
        for row in rows:
            if row.finish is None:
                continue
            if row in self._active:
                self._active[self._active.index(row)] = None
            job = self._jobs.pop(row)
            self._prove(1)
            fault = next((r.fault for r in job.rows if r.fault is not None), None)
            if not any(r in self._jobs for r in job.rows):
                job.done(fault or job)

    def _prove(self, ended: int) -> None:
        """Count sequences that have ended, and have more slots again once there were enough."""
        self._proven += ended
        if self.slots < self._most and self._proven >= _PROVEN * self.slots:
            self.slots, self._proven = min(self._most, 2 * self.slots), 0

    def _compact(self) -> None:
        """Give slots back that nobody waits for, once they are half of all."""
        slots = [slot for slot, row in enumerate(self._active) if row is not None]
        if not self._waiting and 2 * len(slots) <= len(self._active):
            width = max(row.length - 1 for row in self._active if row is not None)
            self._cache = self._cache.select(slots, width)
            self._active = [self._active[slot] for slot in slots]

    def _trim(self) -> None:
        """Drop columns that no row reaches back to any more, once they are half of all."""
        width = max((row.length - 1 for row in self._active if row is not None), default=0)
        if width == 0:
            self._cache, self._active = SlotCache(), []
        elif 2 * width < self._cache.width:
            self._cache = self._cache.select(range(self._cache.rows), width)

    def _drop_cancelled(self) -> None:
        jobs: list[GenerateJob | ScoreJob] = [*self._jobs.values(), *self._scoring]
        gone = {job for job in jobs if job.cancelled}
        if gone:
            self._drop(gone)

    def _drop(self, jobs: set[GenerateJob | ScoreJob]) -> None:
        """Take jobs out, wherever they are; they are told nothing."""
        self._scoring = deque(job for job in self._scoring if job not in jobs)
        gone = {row for row, job in self._jobs.items() if job in jobs}
        self._waiting = deque(row for row in self._waiting if row not in gone)
        self._active = [None if row in gone else row for row in self._active]
        for row in gone:
            del self._jobs[row]

    def _again(self, row: Row) -> Row:
        """The row as it was at its beginning. It draws the same numbers again."""
        job = self._jobs.pop(row)
        fresh = row.fresh()
        job.rows[job.rows.index(row)] = fresh
        self._jobs[fresh] = job
        return fresh

    # --- the model --------------------------------------------------------------------------------------

    def _together(
        self,
        waiting: Sequence[Any],
        ids: Callable[[Any], tuple[int, ...]],
        most: int,
        fits: Callable[[list[Any]], bool] = lambda _: True,
    ) -> list[Any]:
        """Those of the waiting that are computed next, in one batch of prompts."""
        chosen: list[Any] = []
        prompts: set[tuple[int, ...]] = set()
        begun: set[Any] = set()
        longest, shortest = 0, 0
        for one in list(waiting)[: 4 * self.slots]:
            prompt = ids(one)
            known, missing = self._store.match(prompt)
            rest = len(prompt) - known
            if prompt not in prompts:
                high, low = max(longest, rest), min(shortest or rest, rest)
                if missing is not None and missing in begun:
                    continue  # Another goes ahead with what they share.
                if prompts and (high > max(_NEAR, 2 * low) or (len(prompts) + 1) * high > _PREFILL):
                    continue
            if not fits([*chosen, one]):
                break  # Nobody behind it goes ahead, or those who are short would keep it waiting for ever.
            if prompt not in prompts:
                longest, shortest = high, low
                prompts.add(prompt)
                begun.add(missing)
            chosen.append(one)
            if len(chosen) == most:
                break
        return chosen

    def _prefill(self, prompts: list[tuple[int, ...]]) -> _Prefilled:
        """Compute prompts, as far as the store does not have them, and keep them there."""
        known = [self._store.match(prompt)[0] for prompt in prompts]
        rest = max(len(prompt) - k for prompt, k in zip(prompts, known, strict=True))
        past = [max(0, len(prompt) - rest) for prompt in prompts]
        cache = self._remembered(prompts, known, past)
        ids = [[*[0] * (rest - len(prompt)), *prompt[p:]] for prompt, p in zip(prompts, past, strict=True)]
        logits = None
        for start in range(0, rest, _CHUNK):
            piece = [row[start : start + _CHUNK] for row in ids]
            # Negative while a row is still in its padding.
            before = [len(prompt) - rest + start for prompt in prompts]
            logits = self._forward(piece, before, cache)
        for row, prompt in enumerate(prompts):
            self._store.keep(prompt, row, cache)
        return _Prefilled(cache, logits, past)

    def _remembered(self, prompts: list[tuple[int, ...]], known: list[int], past: list[int]) -> SlotCache:
        """A cache with the first `past` tokens of every prompt, from the store."""
        cache, width = SlotCache(), max(past)
        if width == 0:
            return cache
        found = [
            [(k[:, :p], v[:, :p]) for k, v in self._store.read(prompt, n)] if p else None
            for prompt, n, p in zip(prompts, known, past, strict=True)
        ]
        some = next(pairs for pairs in found if pairs)
        tensors = [
            tuple(one.new_zeros(len(prompts), one.shape[0], width, one.shape[2]) for one in pair)
            for pair in some
        ]
        for row, pairs in enumerate(found):
            for layer, pair in enumerate(pairs or ()):
                for whole, part in zip(tensors[layer], pair, strict=True):
                    whole[row, :, width - past[row] :] = part
        cache.set([(k, v) for k, v in tensors])
        return cache

    def _forward(
        self, ids: list[list[int]], before: Sequence[int], cache: SlotCache, *, every: bool = False
    ) -> Any:
        """Run the model over the next columns.

        Args:
            ids: [rows, columns].
            before: Tokens of every row that end in the cache's last column; less than 0 where the first
                columns are padding.
            cache: Keys and values before; those of the columns are added.
            every: Logits of all columns, [rows, columns, vocabulary], in place of the last one's.
        """
        tokens = torch.tensor(ids, device=self._device)
        length = torch.tensor(before, device=self._device)[:, None]
        width, columns = cache.width, tokens.shape[1]
        place = torch.arange(columns, device=self._device)[None] + length
        first = width - length
        mask = torch.arange(width + columns, device=self._device)[None] >= first
        output = self._model(
            input_ids=tokens,
            attention_mask=mask.long(),
            position_ids=place.clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=0 if every else 1,
        )
        return output.logits if every else output.logits[:, -1]


def _scored(job: ScoreJob) -> int:
    """Most tokens of one of its sequences."""
    return len(job.context) + max(map(len, job.branches))
