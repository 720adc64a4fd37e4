"""One plain sentence per comparison, and no more than the data carry.

A difference counts only when its interval excludes 0, when its p survives the correction over its family, and
when the missing pairs could not reverse it. Otherwise the sentence says "inconclusive", and why. The word
"gain" is kept for an improvement over every control; without that it is a difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from docendo.runtime.measures.measure import ALPHA, Better

if TYPE_CHECKING:
    from docendo.runtime.measures.statistics import Difference

__all__ = ["Conclusion", "Verdict", "number", "signed", "verdict"]

Conclusion = Literal["higher", "lower", "inconclusive", "none"]
Gain = Literal["beats_controls", "not_beaten", "no_controls"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one comparison comes to. `none`: there was nothing to compare."""

    conclusion: Conclusion
    sentence: str


def verdict(
    found: Difference, *, measure: str, first: str, second: str, better: Better = "none",
    p_adjusted: float | None = None, family: int = 1, gain: Gain = "no_controls",
) -> Verdict:  # fmt: skip
    """The sentence on `first` minus `second`.

    `p_adjusted` is corrected over `family` comparisons. `gain` says how `first` stands to the controls, as
    decided by the caller; it matters only where the difference is an improvement.
    """
    versus = f"`{first}` vs `{second}`"
    if found.n_pairs == 0 or found.mean is None:
        return Verdict(
            conclusion="none",
            sentence=f"{measure}: no verdict on {versus}: no pair has two values; {_missing(found)}.",
        )
    doubt = _doubt(found, p_adjusted if p_adjusted is not None else found.p, family)
    pairs, p = _pairs(found.n_pairs), _p(found, p_adjusted, family)
    facts = f"{signed(found.mean)} {_interval(found)} over {pairs}, {p}"
    if doubt:
        power = "" if not found.mde else f"; 80 % power needs a true difference of {number(found.mde)}"
        return Verdict(
            conclusion="inconclusive",
            sentence=f"{measure}: inconclusive on {versus}: {facts}; {doubt}{power}; {_missing(found)}.",
        )
    conclusion: Conclusion = "higher" if found.mean > 0 else "lower"
    improved = (conclusion == "higher") == (better == "high") and better != "none"
    claim, remark = f"is {conclusion} than `{second}`", ""
    if improved and gain == "beats_controls":
        claim = f"gains over `{second}`"
        remark = "; it beats every control"
    elif improved and gain == "not_beaten":
        remark = "; not a gain, for it does not beat every control"
    return Verdict(
        conclusion=conclusion, sentence=f"{measure}: `{first}` {claim}: {facts}; {_missing(found)}{remark}."
    )


def _doubt(found: Difference, p: float | None, family: int) -> str:
    """Why the difference does not count; empty where it does."""
    if found.low is None or found.high is None:
        return "a single item and student carry no interval"
    if found.se == 0 and found.mean == 0:
        return "all pairs are equal"
    if found.low <= 0 <= found.high:
        return "the interval includes 0"
    if found.missing and _between(found.lowest, 0, found.highest):
        return "the missing pairs could reverse it"
    if p is None:
        return "too few clusters for a test"
    if p < ALPHA:
        return ""
    return (
        f"it does not survive correction over {family} comparisons" if family > 1 else "p is not below 0.05"
    )


def _between(low: float | None, value: float, high: float | None) -> bool:
    return low is not None and high is not None and low <= value <= high


def _missing(found: Difference) -> str:
    parts = []
    if found.missing:
        bounds = ""
        if found.lowest is not None and found.highest is not None:
            bounds = f" (bounds {signed(found.lowest)} to {signed(found.highest)})"
        parts.append(f"{_pairs(found.missing)} missing{bounds}")
    if found.unmatched:
        parts.append(f"{found.unmatched} observations have no partner")
    return ", ".join(parts) or "nothing is missing"


def _pairs(n: int) -> str:
    return "1 pair" if n == 1 else f"{n} pairs"


def _interval(found: Difference) -> str:
    if found.low is None or found.high is None:
        return "[no interval]"
    return f"[{signed(found.low)}, {signed(found.high)}]"


def _p(found: Difference, p_adjusted: float | None, family: int) -> str:
    if found.p is None:
        return "no test"
    if p_adjusted is None or family < 2:
        return f"p {_small(found.p)}"
    return f"adjusted p {_small(p_adjusted)}"


def _small(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"


def number(value: float, digits: int = 3) -> str:
    """A number with `digits` decimals, one from 10 on; what is not zero never reads as zero."""
    size = abs(value)
    text = f"{value:.{digits if size < 10 else 1}f}"
    if float(text) == 0:
        return f"{value:.1g}" if size > 1e-9 else f"{0:.{digits}f}"
    return text


def signed(value: float) -> str:
    """`number`, with its sign; zero has none."""
    text = number(value)
    return text if float(text) <= 0 else f"+{text}"
