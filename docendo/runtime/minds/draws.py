"""Chance, made of hashes: the same parts always give the same draw, in any process, on any machine.

Two sorts of draw exist. *Stable* draws hang on a learner's own seed and the matter at hand (does this learner
grasp this text?): they are facts about the learner and the same at every call. *Fresh* draws hang on the
call's seed (which column does it slip in this time?).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeVar

__all__ = ["choose", "derive", "pick", "tempered", "unit"]

T = TypeVar("T")


def derive(*parts: object) -> int:
    """A 63-bit seed made of `parts`, whose `str` forms must identify them."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def unit(*parts: object) -> float:
    """A number in [0, 1) made of `parts`."""
    return derive(*parts) / 2**63


def pick(things: Sequence[T], *parts: object) -> T:
    """One of `things`, all equally likely."""
    return things[int(unit(*parts) * len(things))]


def tempered(answers: Mapping[str, float], temperature: float) -> dict[str, float]:
    """`answers` with every probability raised to `1 / temperature`, normalised; at 0 the mode alone.

    Of equally likely answers the first one is the mode.
    """
    if temperature == 0:
        return {max(answers, key=answers.__getitem__): 1.0}
    top = max(answers.values())
    powers = {a: (p / top) ** (1 / temperature) for a, p in answers.items()}
    total = sum(powers.values())
    return {a: p / total for a, p in powers.items()}


def choose(answers: Mapping[str, float], temperature: float, *parts: object) -> str:
    """One answer, drawn at `temperature` by inverting the cumulative distribution in the order given.

    So two distributions that differ little give the same answer for the same `parts`: common random numbers.
    """
    weights = tempered(answers, temperature)
    point, reached, last = unit(*parts), 0.0, ""
    for answer, p in weights.items():
        reached += p
        last = answer
        if point < reached:
            return answer
    return last
