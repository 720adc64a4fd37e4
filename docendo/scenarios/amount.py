"""Amounts of help: a count (`3`), or a share of the phase's items (`20%`, `0.2`).

Shares are exact fractions of what is written, so 60% of 10 items is 6 and never 5: binary floating
point has no part in it.
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import floor

from docendo.errors import UsageError

__all__ = ["amount_of", "parse_amount"]

_PERCENT = re.compile(r"\s*(\d{1,6}(?:\.\d{1,9})?)\s*%\s*", re.ASCII)


def parse_amount(amount: int | float | str) -> int | Fraction:
    """Read an amount: an `int` is a count, a `float` or a text with `%` a share between 0 and 1.

    Raises:
        UsageError: It is neither, or it is negative or above 100%.
    """
    if isinstance(amount, bool):
        raise _impossible(amount, "is no amount")
    if isinstance(amount, int):
        if amount < 0:
            raise _impossible(amount, "is negative")
        return amount
    if isinstance(amount, float):
        return _share(amount, repr(amount))
    match = _PERCENT.fullmatch(amount)
    if match is None:
        raise _impossible(amount, "is neither a count nor a share")
    return _share(amount, match[1], percent=True)


def amount_of(amount: int | float | str, n_items: int) -> int:
    """How many units `amount` is among `n_items` items: the count itself, or floor(share x items).

    Raises:
        UsageError: The amount is impossible.
    """
    parsed = parse_amount(amount)
    return parsed if isinstance(parsed, int) else floor(parsed * n_items)


def _share(written: float | str, digits: str, percent: bool = False) -> Fraction:
    try:
        share = Fraction(digits) / (100 if percent else 1)
    except ValueError:  # `inf`, `nan`
        raise _impossible(written, "is no amount") from None
    if share < 0:
        raise _impossible(written, "is negative")
    if share > 1:
        raise _impossible(written, "is more than all items" if percent else "is neither a count nor a share")
    return share


def _impossible(written: object, why: str) -> UsageError:
    return UsageError(
        f"impossible amount: {str(written)[:40]!r} {why}" if isinstance(written, str)
        else f"impossible amount: {str(written).lower()[:40]} {why}",
        suggestion="Write a count such as `3`, or a share of the items from `0%` to `100%`.",
    )  # fmt: skip
