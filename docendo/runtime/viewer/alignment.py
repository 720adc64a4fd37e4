"""Two episodes side by side: what was said aligned by act, and compared word by word."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Literal

from docendo.runtime.viewer.episode_models import Change, EpisodesCompared, Turn
from docendo.runtime.viewer.episodes import episode_at
from docendo.runtime.viewer.lessons import place_of, rows_of
from docendo.runtime.viewer.library import Library

__all__ = ["align", "episodes_compared", "words_of"]

_WORD = re.compile(r"\s+|\w+|[^\w\s]")
MOST_WORDS = 4000
"""Texts longer than this are not compared word by word."""

Part = tuple[Literal["same", "gone", "new"], str]


def episodes_compared(library: Library, reference: str, first: str, second: str) -> EpisodesCompared:
    """Two episodes of a run, aligned; a side is `CONDITION/REPLICATE/ORDINAL`.

    Raises:
        UnknownNameError: There is no such run or episode.
        UsageError: A side is no place.
    """
    rows = []
    for side in (first, second):
        condition, replicate, ordinal = place_of(side)
        design, record = episode_at(library, reference, condition, replicate, ordinal)
        rows += rows_of(library, design, [record])
    one, other = rows
    changes = align(one.turns, other.turns)
    units = sorted({*one.spent, *other.spent})
    return EpisodesCompared(
        first=one,
        second=other,
        rows=changes,
        tokens=(one.tokens, other.tokens),
        spent={unit: (one.spent.get(unit, 0), other.spent.get(unit, 0)) for unit in units},
        diverge=next((index for index, change in enumerate(changes) if not change.same), None),
    )


def align(first: Sequence[Turn], second: Sequence[Turn]) -> list[Change]:
    """Acts of both in one order: the same act of the same agent stands in one row."""
    keys = [[(t.branch, t.agent, t.act) for t in turns] for turns in (first, second)]
    matcher = SequenceMatcher(None, keys[0], keys[1], autojunk=False)
    rows: list[Change] = []
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            rows += [_both(first[a + n], second[c + n]) for n in range(b - a)]
        else:
            rows += [Change(first=t.event, second=None, same=False, words=[]) for t in first[a:b]]
            rows += [Change(first=None, second=t.event, same=False, words=[]) for t in second[c:d]]
    return rows


def _both(first: Turn, second: Turn) -> Change:
    same = first.text == second.text
    words: list[Part] = [("same", first.text)] if same else words_of(first.text, second.text)
    return Change(first=first.event, second=second.event, same=same, words=words)


def words_of(first: str, second: str) -> list[Part]:
    """Word by word: what both have, what only the first has, what only the second has."""
    a, b = _WORD.findall(first), _WORD.findall(second)
    if len(a) > MOST_WORDS or len(b) > MOST_WORDS:
        return [("gone", first), ("new", second)]
    parts: list[Part] = []
    for tag, i, j, k, m in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            parts.append(("same", "".join(a[i:j])))
            continue
        if i < j:
            parts.append(("gone", "".join(a[i:j])))
        if k < m:
            parts.append(("new", "".join(b[k:m])))
    return parts
