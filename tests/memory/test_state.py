"""Memory is a value: forks are free, and merging them loses and doubles nothing."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from docendo.memory.record import Demonstration
from docendo.memory.state import MemoryState, merge
from docendo.messages import Message

_words = st.sampled_from(["a", "b", "c"])
_sizes = st.none() | st.integers(0, 4)


def demonstration(item: str, answer: str = "1") -> Demonstration:
    return Demonstration(item=item, question=f"What is {item}?", answer=answer)


def message(text: str) -> Message:
    return Message(sender="teacher", kind="hint", text=text)


def grown(memory: MemoryState, words: list[str]) -> MemoryState:
    """`memory` after an episode in which all of `words` were noted, heard and demonstrated."""
    for word in words:
        memory = memory.add_note(word).add_demonstration(demonstration(word, word))
    return memory.add_transcript(map(message, words))


@given(_sizes, st.lists(_words, max_size=6), st.lists(st.lists(_words, max_size=3), max_size=4))
def test_episodes_one_after_the_other_are_one_long_episode(
    size: int | None, before: list[str], episodes: list[list[str]]
) -> None:
    memory = straight = grown(MemoryState(size=size), before)
    for words in episodes:
        memory = merge(memory, [grown(memory, words)])
        straight = grown(straight, words)
    assert memory.notes == straight.notes
    assert memory.transcript == straight.transcript
    assert {d.item for d in memory.demonstrations} <= {"a", "b", "c"}


@given(st.lists(_words, max_size=4), st.lists(st.lists(_words, max_size=3), max_size=4))
def test_parallel_forks_are_merged_in_their_order(before: list[str], episodes: list[list[str]]) -> None:
    base = grown(MemoryState(), before)
    merged = merge(base, [grown(base, words) for words in episodes])
    everything = [*before, *(w for words in episodes for w in words)]
    assert list(merged.notes) == everything
    assert [m.text for m in merged.transcript] == everything


@given(_sizes, st.lists(_words, max_size=8))
def test_the_oldest_entries_give_way(size: int | None, words: list[str]) -> None:
    memory = grown(MemoryState(size=size), words)
    assert list(memory.notes) == (words if size is None else words[len(words) - min(size, len(words)) :])
    assert size is None or len(memory.demonstrations) <= size
    items = [d.item for d in memory.demonstrations]
    assert len(items) == len(set(items)), "one example per item"


def test_a_newer_example_of_an_item_replaces_the_older() -> None:
    memory = MemoryState().add_demonstration(demonstration("a", "1")).add_demonstration(demonstration("b"))
    memory = memory.add_demonstration(demonstration("a", "2"))
    assert [(d.item, d.answer) for d in memory.demonstrations] == [("b", "1"), ("a", "2")]


def test_forks_leave_what_they_came_from_alone() -> None:
    base = grown(MemoryState(), ["a"])
    copy = base.model_copy(deep=True)
    merge(base, [grown(base, ["b"]).with_mind({"rules": {"x": "y"}})])
    assert base == copy


def test_minds_merge_by_entry_and_the_later_fork_wins() -> None:
    mind: dict[str, Any] = {"kind": "m", "rules": {"one": "bug", "two": "bug", "three": "bug"}, "rests": 0}
    base = MemoryState().with_mind(mind)

    def fork(**rules: str) -> MemoryState:
        return base.with_mind({**mind, "rules": {**mind["rules"], **rules}})

    merged = merge(base, [fork(one="right"), base, fork(two="right"), fork(one="other")]).mind
    assert merged == {"kind": "m", "rules": {"one": "other", "two": "right", "three": "bug"}, "rests": 0}
    assert merge(base, [base, base]).mind == mind
