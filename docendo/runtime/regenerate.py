"""How far fresh answers are from the recorded ones: `docendo replay --regenerate`.

The run's lessons are replayed on the journal, which makes every request again, typed view and all; those in
the sample are then put to the models as they are now, past the journal, and the answers are held against the
record. Nothing is written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from docendo.agents.port import (
    Completion,
    GenerateReply,
    GenerateRequest,
    ModelPort,
    ScoreReply,
    ScoreRequest,
)
from docendo.errors import EpisodeFailure
from docendo.runtime.client import Client
from docendo.runtime.journal import MemoryJournal, StoreJournal
from docendo.runtime.lesson import Lesson
from docendo.runtime.measures.measure import EpisodeTrace
from docendo.runtime.store import Store
from docendo.runtime.store.records import RunRecord
from docendo.runtime.study import Study, lesson_setting
from docendo.runtime.together import all_ended, together

__all__ = ["Divergence", "Drift", "Regenerated", "regenerate"]

Request = GenerateRequest | ScoreRequest
Reply = GenerateReply | ScoreReply

EXAMPLES = 3
"""Differing answers shown per row."""


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """One answer that came out differently."""

    key: str
    """Of the call in the journal."""
    at: int
    """Characters that the two answers have in common."""
    token: int | None
    """Tokens that they have in common, where both have log-probabilities."""
    recorded: str
    """From shortly before the place on."""
    fresh: str


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What became of the calls of one act of one agent."""

    agent: str
    act: str
    model: str
    operation: str
    calls: int = 0
    failed: int = 0
    """Fresh calls that failed."""
    answers: int = 0
    """Completions, or scored continuations, that were compared."""
    identical: int = 0
    """Of these, equal text, or log-probabilities equal to the last bit."""
    first_difference: int | None = None
    """Fewest characters that two differing answers have in common."""
    max_delta: float | None = None
    """Largest difference of a token's log-probability; in completions up to the first other token."""
    examples: tuple[Divergence, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Regenerated:
    """What asking again found."""

    distinct: int
    """Distinct calls of the run that have an answer."""
    rows: tuple[Drift, ...]
    """By agent, act and operation."""
    changed: tuple[str, ...]
    """Models that are not the recorded ones: their fingerprint differs."""

    @property
    def calls(self) -> int:
        """Calls that were made anew."""
        return sum(row.calls for row in self.rows)


@dataclass(frozen=True)
class _Asked:
    """A recorded call, as a request that can be put again."""

    world: str
    request: Request
    reply: Reply


@dataclass
class _Listening:
    """A port that notes the requests in the sample on their way to the journal."""

    port: ModelPort
    world: str
    wanted: Collection[str]
    found: dict[str, _Asked]

    async def generate(self, request: GenerateRequest) -> GenerateReply:
        reply = await self.port.generate(request)
        self._note(request, reply)
        return reply

    async def score(self, request: ScoreRequest) -> ScoreReply:
        reply = await self.port.score(request)
        self._note(request, reply)
        return reply

    def _note(self, request: Request, reply: Reply) -> None:
        if reply.key in self.wanted and reply.key not in self.found:
            self.found[reply.key] = _Asked(self.world, request, reply)


async def regenerate(
    past: Study, present: Study, store: Store, record: RunRecord, *, limit: int | None = None
) -> Regenerated:
    """Put recorded calls to the models again and compare.

    Args:
        past: The run's study, with its models as the manifest has them.
        present: The same with models that can be asked.
        store: Holds the run.
        record: The run.
        limit: Most calls to make, evenly spread over the run; all of them by default.

    Raises:
        ModelError: A model cannot be used.
        StoreError: The store cannot be read.
    """
    keys = _answered(store, record.id)
    wanted = frozenset(_spread(keys, limit))
    asked = await _collect(past, store, record.id, wanted)
    fresh = await _ask(present, asked)
    groups: dict[tuple[str, str, str, str], list[tuple[str, Reply, Reply | None]]] = defaultdict(list)
    for key, one in asked.items():
        origin = one.request.origin
        operation = "score" if isinstance(one.request, ScoreRequest) else "generate"
        place = (origin.agent, origin.act, one.request.model, operation)
        groups[place].append((key, one.reply, fresh[key]))
    return Regenerated(
        distinct=len(keys),
        rows=tuple(_drift(*place, pairs) for place, pairs in sorted(groups.items())),
        changed=_changed(past, present),
    )


def _answered(store: Store, run_id: str) -> list[str]:
    """Keys of the run's calls that have an answer, each once, in the order of its episodes."""
    keys: dict[str, None] = {}
    for episode in store.episodes(run_id):
        for event in store.events(episode.id):
            if event.kind == "call" and not event.error:
                keys[event.key] = None
    return list(keys)


def _spread(keys: list[str], limit: int | None) -> list[str]:
    if limit is None or limit >= len(keys):
        return keys
    return [keys[i * len(keys) // limit] for i in range(limit)]


async def _collect(study: Study, store: Store, run_id: str, wanted: Collection[str]) -> dict[str, _Asked]:
    """Replay finished lessons until every wanted call has come by."""
    journal = StoreJournal(store)
    setups = {s.condition.id: s for s in study.setups}
    found: dict[str, _Asked] = {}

    async def nothing(ordinal: int, trace: EpisodeTrace, seconds: float) -> None:
        pass

    for lesson in store.lessons(run_id):
        if lesson.status != "finished" or len(found) == len(wanted):
            continue
        setup = setups[lesson.key.condition]
        client = Client(study.backends[setup.world], setup.scenario.models, journal, mode="replay")
        port = _Listening(client, setup.world, wanted, found)
        await Lesson(lesson_setting(setup, lesson.key.replicate, port, nothing)).run()
    return found


async def _ask(study: Study, asked: Mapping[str, _Asked]) -> dict[str, Reply | None]:
    """Key -> fresh answer, `None` where it failed. As in a run, limits and retries are each model's own."""
    clients = {
        s.world: Client(study.backends[s.world], s.scenario.models, MemoryJournal()) for s in study.setups
    }

    async def one(key: str, what: _Asked) -> tuple[str, Reply | None]:
        client, request = clients[what.world], what.request
        try:
            if isinstance(request, ScoreRequest):
                return key, await client.score(request)
            return key, await client.generate(request)
        except EpisodeFailure:
            return key, None

    try:
        return dict(await together(one(key, what) for key, what in asked.items()))
    finally:
        await all_ended(client.close() for client in clients.values())


# --- comparing ------------------------------------------------------------------------------------------


def _drift(
    agent: str, act: str, model: str, operation: str, pairs: list[tuple[str, Reply, Reply | None]]
) -> Drift:
    row = Drift(agent=agent, act=act, model=model, operation=operation, calls=len(pairs))
    for key, old, new in pairs:
        if new is None:
            row = replace(row, failed=row.failed + 1)
        elif isinstance(old, ScoreReply) and isinstance(new, ScoreReply):
            row = _scored(row, old, new)
        elif isinstance(old, GenerateReply) and isinstance(new, GenerateReply):
            for one, other in zip(old.completions, new.completions, strict=False):
                row = _completed(row, key, one, other)
    return row


def _scored(row: Drift, old: ScoreReply, new: ScoreReply) -> Drift:
    for one, other in zip(old.scores, new.scores, strict=False):
        deltas = [abs(a - b) for a, b in zip(one.logprobs, other.logprobs, strict=False) if a != b]
        row = replace(
            row,
            answers=row.answers + 1,
            identical=row.identical + (one.logprobs == other.logprobs),
            max_delta=_most(row.max_delta, deltas),
        )
    return row


def _completed(row: Drift, key: str, old: Completion, new: Completion) -> Drift:
    tokens = list(zip(old.logprobs, new.logprobs, strict=False))
    same = next((i for i, (a, b) in enumerate(tokens) if a.token != b.token), len(tokens))
    deltas = [abs(a.logprob - b.logprob) for a, b in tokens[:same]]
    row = replace(
        row,
        answers=row.answers + 1,
        identical=row.identical + (old.text == new.text),
        max_delta=_most(row.max_delta, deltas) if deltas else row.max_delta,
    )
    if old.text == new.text:
        return row
    at = next(
        (i for i, (a, b) in enumerate(zip(old.text, new.text, strict=False)) if a != b),
        min(len(old.text), len(new.text)),
    )
    start = max(0, at - 20)
    example = Divergence(
        key=key,
        at=at,
        token=same if tokens else None,
        recorded=old.text[start : at + 40],
        fresh=new.text[start : at + 40],
    )
    return replace(
        row,
        first_difference=at if row.first_difference is None else min(at, row.first_difference),
        examples=(*row.examples, example)[:EXAMPLES],
    )


def _most(before: float | None, deltas: list[float]) -> float:
    return max([before or 0.0, *deltas])


def _changed(past: Study, present: Study) -> tuple[str, ...]:
    """Models whose fingerprint is not the recorded one."""
    names = {
        name
        for world, models in past.backends.items()
        for name, backend in models.items()
        if present.backends[world][name].fingerprint != backend.fingerprint
    }
    return tuple(sorted(names))
