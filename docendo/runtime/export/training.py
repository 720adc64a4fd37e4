"""Training data from what happened after explanations, in the conversational formats of TRL.

An explanation is judged by the student's next answer: it is *good* when that is right, and *bad* when it is
wrong. Good ones become supervised examples, twice: the teacher's call that wrote it, and the student's call
that answered after it. For preferences, a good and a bad explanation of the very same prompt make a pair.

In learning by teaching, samples of one item make pairs as well (Ning et al. 2024, section 4, M2): a sample is
worth half its correctness and half its students' exam score, so that of two right ones the better lesson is
preferred, and two whose worth differs by more than a margin are a pair.

Controls are left out, because what they deliver is not what the model wrote; so are calls whose output needed
a repair, and answers of episodes that failed. Columns beside TRL's own say where an example comes from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import permutations
from typing import Any

import orjson

from docendo.events import CallEvent, Event, GradeEvent, MessageEvent
from docendo.runtime.measures.samples import Taught, taught_samples
from docendo.runtime.measures.votes import Vote
from docendo.runtime.store.reads import StoreReader
from docendo.runtime.store.records import CallRecord, EpisodeRecord

__all__ = ["PUBLISHED", "PairRule", "preference_pairs", "sample_pairs", "successful_conversations"]

HELP = frozenset({"explanation", "hint", "correction"})
Chat = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class _Helped:
    """An explanation, the call that wrote it, and the answer after it."""

    episode: EpisodeRecord
    explained: CallEvent
    answered: CallEvent | None
    grade: GradeEvent
    before: bool | None
    """Whether the student's answer before the help was right; `None` where there was none."""

    @property
    def good(self) -> bool:
        return bool(self.grade.correct)

    @property
    def effect(self) -> str:
        """From the answer before to the answer after."""
        if self.before is None:
            return "right" if self.good else "wrong"
        if self.good:
            return "kept" if self.before else "rectified"
        return "broken" if self.before else "left"

    def source(self, event: CallEvent) -> dict[str, Any]:
        """Where it comes from."""
        about = {"item": self.grade.item, "student": self.grade.student}
        return {**_source(self.episode, event, about), "effect": self.effect}


def _source(episode: EpisodeRecord, event: CallEvent, about: dict[str, str]) -> dict[str, Any]:
    """Where the call `event` was made, and what it was about."""
    return {
        "run": episode.lesson.run,
        "condition": episode.lesson.condition,
        "replicate": episode.lesson.replicate,
        "episode": episode.key,
        **about,
        "agent": event.agent,
        "act": event.act,
        "model": event.model,
        "call": event.key,
    }


def successful_conversations(store: StoreReader, run_id: str) -> Iterator[dict[str, Any]]:
    """`{"messages": [...]}` of every explanation after which the student was right, and of that answer.

    Conditions share calls; each call is given once. `spans` lists the kinds of origin that the prompt mixes
    (such as `gold`), for filtering.
    """
    seen: set[str] = set()
    for helped in _all_helped(store, run_id):
        for event in (helped.explained, helped.answered) if helped.good else ():
            if event is None or event.key in seen:
                continue
            seen.add(event.key)
            call = store.calls([event.key]).get(event.key)
            if call is not None and (chat := _conversation(call)) is not None:
                yield {
                    "messages": chat,
                    "agent": event.agent,
                    "spans": _origins(call),
                    "source": helped.source(event),
                }


@dataclass
class _Group:
    """Explanations to one prompt: digest of the text -> one example. Texts stay in the journal."""

    good: dict[str, _Helped] = field(default_factory=dict)
    bad: dict[str, _Helped] = field(default_factory=dict)


def preference_pairs(store: StoreReader, run_id: str) -> Iterator[dict[str, Any]]:
    """`{"prompt", "chosen", "rejected"}` pairs of explanations to the same prompt about the same item.

    A text that helped one student and failed another is in no pair. Every text is used at least once, and no
    more often than pairing the smaller side round the larger needs.
    """
    groups: dict[str, _Group] = {}
    for helped in _all_helped(store, run_id):
        call = store.calls([helped.explained.key]).get(helped.explained.key)
        chat = None if call is None else _conversation(call)
        if chat is not None:
            prompt, text = _digest([helped.grade.item, chat[:-1]]), _digest(chat[-1])
            group = groups.setdefault(prompt, _Group())
            (group.good if helped.good else group.bad).setdefault(text, helped)
    for group in groups.values():
        good = [h for text, h in group.good.items() if text not in group.bad]
        bad = [h for text, h in group.bad.items() if text not in group.good]
        for index in range(max(len(good), len(bad)) if good and bad else 0):
            yield _pair(store, good[index % len(good)], bad[index % len(bad)])


def _pair(store: StoreReader, good: _Helped, bad: _Helped) -> dict[str, Any]:
    calls = store.calls([good.explained.key, bad.explained.key])
    chosen, rejected = (_conversation(calls[h.explained.key]) or [] for h in (good, bad))
    return {
        "prompt": chosen[:-1],
        "chosen": chosen[-1:],
        "rejected": rejected[-1:],
        "spans": _origins(calls[good.explained.key]),
        "source_chosen": good.source(good.explained),
        "source_rejected": bad.source(bad.explained),
    }


# --- samples --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRule:
    """Which samples of an item make pairs; by default as in Ning et al. 2024, appendix B.1."""

    margin: float = 0.3
    """Smallest difference in worth; a pair differs by more."""
    per_item: int = 8
    """Most pairs of one item of one lesson."""
    exam_weight: float = 0.5
    """Part of the worth that is the exam score, the rest being correctness; 0 is the paper's baseline."""

    def worth(self, vote: Vote) -> Fraction | None:
        """(1 - weight) * correctness + weight * exam score; `None` where a part that counts is missing."""
        weight = Fraction(str(self.exam_weight))
        if vote.correct is None or (weight and vote.score is None):
            return None
        return (1 - weight) * vote.correct + weight * (vote.score or Fraction(0))


PUBLISHED = PairRule()
"""The published setting."""


@dataclass(frozen=True, slots=True)
class _Rated:
    """A sample, the call that wrote it, and what it is worth."""

    taught: Taught
    event: CallEvent
    call: CallRecord
    chat: Chat
    worth: Fraction

    def source(self, episode: EpisodeRecord) -> dict[str, Any]:
        """Where it comes from, with both parts of its worth."""
        vote = self.taught.vote
        return {
            **_source(episode, self.event, {"item": episode.item}),
            "sample": self.taught.branch.partition("=")[2],
            "score": float(self.worth),
            "correct": vote.correct,
            "exam": None if vote.score is None else float(vote.score),
        }


def sample_pairs(store: StoreReader, run_id: str, rule: PairRule = PUBLISHED) -> Iterator[dict[str, Any]]:
    """`{"prompt", "chosen", "rejected"}` pairs of samples of one episode of learning by teaching.

    Of an item, the pairs that differ most come first and then those of earlier samples (the chosen one's
    place before the rejected one's), up to `rule.per_item`. Conditions share calls; a pair of texts is given
    once.
    """
    seen: set[str] = set()
    for episode in _sound_episodes(store, run_id):
        if episode.phase_kind != "teach":
            continue
        left = rule.per_item
        for better, worse in _ranked_pairs(_rated(store, store.events(episode.id), rule), rule):
            pair = {"prompt": better.chat[:-1], "chosen": better.chat[-1:], "rejected": worse.chat[-1:]}
            if left and (digest := _digest(pair)) not in seen:
                seen.add(digest)
                left -= 1
                yield {
                    **pair,
                    "spans": _origins(better.call),
                    "source_chosen": better.source(episode),
                    "source_rejected": worse.source(episode),
                }


def _rated(store: StoreReader, events: Sequence[Event], rule: PairRule) -> list[_Rated]:
    """The samples of an episode that a model wrote at once and that have a worth."""
    found = []
    for taught in taught_samples(events):
        said, worth = taught.said, rule.worth(taught.vote)
        event = None if said is None else _call_of(said.turn, said.branch, said.agent, events)
        call = None if event is None else store.calls([event.key]).get(event.key)
        chat = None if call is None else _conversation(call)
        if event is not None and call is not None and chat is not None and worth is not None:
            found.append(_Rated(taught, event, call, chat, worth))
    return found


def _ranked_pairs(rated: Sequence[_Rated], rule: PairRule) -> list[tuple[_Rated, _Rated]]:
    """(better, worse) texts for one prompt, the largest difference first, then in the order of samples."""
    margin = Fraction(str(rule.margin))
    pairs = [
        (a, b)
        for a, b in permutations(rated, 2)
        if a.worth - b.worth > margin and a.chat[:-1] == b.chat[:-1] and a.chat[-1] != b.chat[-1]
    ]
    return sorted(pairs, key=lambda pair: pair[1].worth - pair[0].worth)


# --- calls ----------------------------------------------------------------------------------------------


def _all_helped(store: StoreReader, run_id: str) -> Iterator[_Helped]:
    for episode in _sound_episodes(store, run_id):
        yield from _helped(episode, store.events(episode.id))


def _sound_episodes(store: StoreReader, run_id: str) -> Iterator[EpisodeRecord]:
    controls = {c.id for c in store.conditions(run_id) if c.control}
    for episode in store.episodes(run_id):
        if episode.lesson.condition not in controls and episode.outcome != "failed":
            yield episode


def _helped(episode: EpisodeRecord, events: Sequence[Event]) -> Iterator[_Helped]:
    """Every help message of an episode that a model wrote, with the first graded answer after it."""
    for event in events:
        if not isinstance(event, MessageEvent) or event.message.kind not in HELP:
            continue
        explained = _call_of(event.turn, event.branch, event.agent, events)
        given = (g for g in events if isinstance(g, GradeEvent) and g.role == "student")
        grades = [g for g in given if g.branch in {event.branch, ""}]
        after = next((g for g in grades if g.helped and g.position > event.position), None)
        if explained is None or after is None or after.correct is None:
            continue
        before = [g for g in grades if g.student == after.student and g.position < event.position]
        answered = _call_of(after.turn, after.branch, after.agent, events)
        yield _Helped(episode, explained, answered, after, before[-1].correct if before else None)


def _call_of(turn: int, branch: str, agent: str, events: Sequence[Event]) -> CallEvent | None:
    """The one model call of an act; `None` where it took a repair or asked no model."""
    calls = [
        e
        for e in events
        if isinstance(e, CallEvent)
        and (e.turn, e.branch, e.agent) == (turn, branch, agent)
        and e.operation == "generate"
        and e.purpose != "probe"
    ]
    return calls[0] if len(calls) == 1 else None


def _conversation(call: CallRecord) -> Chat | None:
    """The prompt and the first completion as chat messages; a begun assistant message is continued."""
    completions = (call.result.reply or {}).get("completions")
    if not completions:
        return None
    chat = [{"role": m.role, "content": m.text} for m in call.prompt]
    text = str(completions[0]["text"])
    if chat and chat[-1]["role"] == "assistant":
        begun = chat.pop()["content"]
        text = begun + text if begun[-1:].isspace() or text[:1].isspace() else f"{begun} {text}"
    return [*chat, {"role": "assistant", "content": text}]


def _origins(call: CallRecord) -> list[str]:
    return sorted({span.provenance for message in call.prompt for span in message.spans})


def _digest(value: Any) -> str:
    return hashlib.sha256(orjson.dumps(value)).hexdigest()
