"""The same items in other words, to see whether a student's answers hang on the wording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from docendo.scenarios.item import Item

__all__ = ["rephrased"]


def rephrased(items: Iterable[Item], wordings: int) -> Iterator[Item]:
    """`wordings` rephrasings of each item, with ids `ITEM~1`, `ITEM~2`, ..."""
    raise NotImplementedError
    yield from items
