"""Means, paired differences and tests for observations that are crossed by item and by student.

*Interval.* Items and students are both samples, so both are resampled: a draw of the pigeonhole bootstrap
(Owen 2007) gives every item and every student a multinomial weight, and an observation the product of its
two. These draws are known to be too wide where neither factor matters, so their spread about the mean is
scaled to the two-way cluster-robust standard error (Cameron, Gelbach & Miller 2011), with a t quantile for
few clusters. A "student" is a student of one replicate. A factor with a single level is held fixed.
*Test.* Sign flips of whole item clusters (of students, where a measure has no items), and exact McNemar.
All random draws come from a seed that the caller derives from the data's identity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, ndtri, stdtrit  # not scipy.stats, which takes half a second to import

from docendo.runtime.measures.measure import ALPHA

__all__ = [
    "RESAMPLES", "Difference", "Estimate", "Key", "Sample", "difference", "estimate", "holm",
    "mcnemar", "seed_of", "sign_flip",
]  # fmt: skip

RESAMPLES = 2000
FLIPS = 9999
EXACT_CLUSTERS = 12
"""With at most so many clusters, all sign patterns are enumerated."""
BLOCK = 1 << 16
"""Bootstrap weights made at a time: so few that they stay in the processor's cache."""
DENSE = 1 << 20
"""Up to so many cells the item-by-student table is a dense matrix."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Key(NamedTuple):
    """What an observation is of. Pairs share all of it."""

    phase: str
    round: int
    item: str
    student: str
    replicate: int


@dataclass(frozen=True)
class Sample:
    """Observations of one measure in one condition."""

    keys: tuple[Key, ...]
    values: Floats
    """`nan` is missing."""

    @classmethod
    def of(cls, rows: Iterable[tuple[Key, float | None]]) -> Sample:
        """From keys and values; a key may repeat (two beliefs about one answer)."""
        kept = list(rows)
        values = np.array([np.nan if v is None else v for _, v in kept], dtype=np.float64)
        return cls(tuple(k for k, _ in kept), values)

    @property
    def valid(self) -> Sample:
        """The observations that are not missing."""
        there = ~np.isnan(self.values)
        if there.all():
            return self
        return Sample(tuple(k for k, ok in zip(self.keys, there, strict=True) if ok), self.values[there])

    @property
    def missing(self) -> int:
        """How many observations are missing."""
        return int(np.isnan(self.values).sum())

    def filled(self, value: float) -> float:
        """The mean with every missing observation counted as `value`."""
        return float(np.nan_to_num(self.values, nan=value).mean())

    @cached_property
    def by_unit(self) -> dict[Key, float]:
        """One value per key: the mean over its observations, `nan` where one of them is missing."""
        sums: dict[Key, list[float]] = {}
        for key, value in zip(self.keys, self.values.tolist(), strict=True):
            sums.setdefault(key, []).append(value)
        return {key: sum(values) / len(values) for key, values in sums.items()}


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean with its 95 % interval. Numbers are `None` where the data cannot say."""

    mean: float | None
    low: float | None
    high: float | None
    se: float | None
    n: int
    """Valid observations, which the mean is over (error-corrected)."""
    missing: int
    raw_mean: float | None
    """The mean with missing observations counted as 0."""
    worst: float | None = None
    best: float | None = None
    """Bounds on the mean: all missing at the bottom, or the top, of the scale; `None` if it has no ends."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A paired difference, first minus second."""

    mean: float | None
    low: float | None
    high: float | None
    se: float | None
    p: float | None
    """Two-sided, from sign flips of clusters."""
    n_pairs: int
    missing: int
    """Pairs of which one side or both are missing."""
    unmatched: int
    """Units that only one side has."""
    mde: float | None
    """Smallest true difference found with 80 % power at a two-sided 5 %."""
    mcnemar: float | None = None
    """Exact p for 0/1 values, which takes pairs for independent."""
    lowest: float | None = None
    highest: float | None = None
    """Bounds on the mean over all matched pairs, missing ones at the extremes of a bounded scale."""


def seed_of(*parts: object) -> int:
    """A 63-bit seed from what identifies the data."""
    text = "\x1f".join(str(p) for p in parts).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def estimate(
    sample: Sample, seed: int, *, bounds: tuple[float, float] | None = None, resamples: int = RESAMPLES
) -> Estimate:
    """Mean of the valid observations with its clustered interval; see the module's docstring."""
    valid = sample.valid
    total = len(sample.keys)
    if not len(valid.keys):
        worst, best = bounds if bounds and total else (None, None)
        return Estimate(
            mean=None, low=None, high=None, se=None, n=0, missing=total, raw_mean=0.0 if total else None,
            worst=worst, best=best,
        )  # fmt: skip
    low, high, se = _interval(valid, seed, bounds, resamples)
    return Estimate(
        mean=float(valid.values.mean()), low=low, high=high, se=se, n=len(valid.keys), missing=sample.missing,
        raw_mean=sample.filled(0.0),
        worst=None if bounds is None else sample.filled(bounds[0]),
        best=None if bounds is None else sample.filled(bounds[1]),
    )  # fmt: skip


def difference(
    first: Sample, second: Sample, seed: int, *, bounds: tuple[float, float] | None = None,
    binary: bool = False, resamples: int = RESAMPLES, flips: int = FLIPS,
) -> Difference:  # fmt: skip
    """Paired difference `first - second` over the units that both have; see the module's docstring."""
    left, right = first.by_unit, second.by_unit
    shared = sorted(left.keys() & right.keys())
    a = np.array([left[k] for k in shared], dtype=np.float64)
    b = np.array([right[k] for k in shared], dtype=np.float64)
    pairs = Sample(tuple(shared), a - b)
    valid = pairs.valid
    lowest, highest = _extremes(a, b, bounds)
    empty = not len(valid.keys)
    low, high, se = (None, None, None) if empty else _interval(valid, seed, None, resamples)
    if bounds is not None and low is not None and high is not None:
        span = bounds[1] - bounds[0]
        low, high = max(low, -span), min(high, span)
    return Difference(
        mean=None if empty else float(valid.values.mean()), low=low, high=high, se=se,
        p=None if empty else sign_flip(valid, seed, flips), n_pairs=len(valid.keys), missing=pairs.missing,
        unmatched=len(left.keys() ^ right.keys()), mde=None if se is None else _detectable(se),
        mcnemar=mcnemar(a, b) if binary and not empty else None, lowest=lowest, highest=highest,
    )  # fmt: skip


def _detectable(se: float, power: float = 0.8) -> float:
    """(z_{1-alpha/2} + z_power) * se (Bloom 1995)."""
    return float((ndtri(1 - ALPHA / 2) + ndtri(power)) * se)


def _extremes(a: Floats, b: Floats, bounds: tuple[float, float] | None) -> tuple[float | None, float | None]:
    """Lowest and highest mean difference, with missing values at the ends of the scale."""
    if bounds is None or not len(a):
        return None, None
    low, high = bounds
    lowest = np.nan_to_num(a, nan=low) - np.nan_to_num(b, nan=high)
    highest = np.nan_to_num(a, nan=high) - np.nan_to_num(b, nan=low)
    return float(lowest.mean()), float(highest.mean())


# --- interval -------------------------------------------------------------------------------------------


def _codes(values: Iterable[object]) -> tuple[Ints, int]:
    """Values as dense integers in order of appearance, and how many there are."""
    listed = list(values)
    table = {value: code for code, value in enumerate(dict.fromkeys(listed))}
    return np.array([table[value] for value in listed], dtype=np.int64), len(table)


def _interval(
    valid: Sample, seed: int, bounds: tuple[float, float] | None, resamples: int
) -> tuple[float | None, float | None, float | None]:
    """Low, high and standard error; `None` where both factors have one level, so that nothing varies."""
    items, n_items = _codes(k.item for k in valid.keys)
    students, n_students = _codes((k.replicate, k.student) for k in valid.keys)
    if n_items < 2 and n_students < 2:
        return None, None, None
    mean = float(valid.values.mean())
    se, df = _standard_error(valid.values - mean, (items, n_items), (students, n_students))
    unanimous = _unanimous(mean, bounds, n_items if n_items > 1 else n_students)
    if se == 0:
        return *unanimous, se
    draws = _draws(valid.values, (items, n_items), (students, n_students), seed, resamples)
    spread = float(draws.std())
    if spread == 0:
        return *unanimous, se
    tail = ALPHA / 2
    scale = se / spread * float(stdtrit(df, 1 - tail) / ndtri(1 - tail))
    low, high = (mean + scale * (float(q) - mean) for q in np.quantile(draws, [tail, 1 - tail]))
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return low, high, se


def _unanimous(mean: float, bounds: tuple[float, float] | None, clusters: int) -> tuple[float, float]:
    """The interval where all observations are equal, of which no resampling can make another.

    At an end of a bounded scale it reaches as far inward as Clopper & Pearson's (1934) of as many trials as
    there are clusters. That holds for any variable on the scale: the chance of n values at its end is at most
    (1 - distance of the mean from the end)^n. Elsewhere it has no width.
    """
    if bounds is None or mean not in bounds:
        return mean, mean
    reach = (bounds[1] - bounds[0]) * float(1 - (ALPHA / 2) ** (1 / clusters))
    return (mean, mean + reach) if mean == bounds[0] else (mean - reach, mean)


def _standard_error(
    residuals: Floats, items: tuple[Ints, int], students: tuple[Ints, int]
) -> tuple[float, float]:
    """Two-way cluster-robust standard error of a mean, and its degrees of freedom.

    V = V_cell + (V_item - V_cell)+ + (V_student - V_cell)+, each V a one-way variance G/(G-1) * sum of
    squared cluster sums / n^2. It is Cameron, Gelbach & Miller's (2011) V_item + V_student - V_cell, kept
    from falling below any of the three. The degrees of freedom are Satterthwaite's (1946) of these parts.
    With only 2 or 3 students that differ much, intervals cover about 0.9 rather than 0.95 (simulated).
    """
    pairs = (items[0] * students[1] + students[0]).tolist()
    factors = (_codes(pairs), items, students)
    cell, *others = (_cluster_variance(residuals, *factor) for factor in factors)
    parts = [cell, *(max(0.0, other - cell) for other in others)]
    variance = sum(parts)
    noise = sum(part**2 / max(count - 1, 1) for part, (_, count) in zip(parts, factors, strict=True))
    return float(np.sqrt(variance)), (variance**2 / noise if noise > 0 else float("inf"))


def _cluster_variance(residuals: Floats, codes: Ints, count: int) -> float:
    if count < 2:
        return 0.0
    sums = np.bincount(codes, weights=residuals, minlength=count)
    return float(count / (count - 1) * (sums @ sums) / len(residuals) ** 2)


def _draws(
    values: Floats, items: tuple[Ints, int], students: tuple[Ints, int], seed: int, resamples: int
) -> Floats:
    """Means under product-multinomial weights. Draws without any observation are left out."""
    rng = np.random.default_rng(seed)
    shape = (items[1], students[1])
    places = (items[0], students[0])
    if shape[0] * shape[1] <= DENSE:
        flat = np.ravel_multi_index(places, shape)
        sums = np.bincount(flat, values, shape[0] * shape[1]).reshape(shape)
        counts = np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)
    else:
        from scipy import sparse  # noqa: PLC0415 - seldom needed

        sums = sparse.coo_array((values, places), shape=shape).tocsr()
        counts = sparse.coo_array((np.ones_like(values), places), shape=shape).tocsr()
    block = max(1, BLOCK // max(shape))
    parts = []
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        by_item, by_student = (_weights(rng, size, n) for n in shape)
        top = ((sums.T @ by_item.T).T * by_student).sum(axis=1)
        weight = ((counts.T @ by_item.T).T * by_student).sum(axis=1)
        parts.append(top[weight > 0] / weight[weight > 0])
    return np.concatenate(parts)


def _weights(rng: np.random.Generator, draws: int, levels: int) -> Floats:
    """`draws` rows of multinomial counts over `levels`: how often each level was drawn with replacement."""
    if levels == 1:
        return np.ones((draws, 1))
    picks = rng.integers(0, levels, size=(draws, levels), dtype=np.int32)
    places = picks + np.arange(draws)[:, None] * levels
    return np.bincount(places.ravel(), minlength=draws * levels).reshape(draws, levels).astype(np.float64)


# --- tests ----------------------------------------------------------------------------------------------


def sign_flip(pairs: Sample, seed: int, flips: int = FLIPS) -> float | None:
    """Two-sided p of a mean paired difference of 0, flipping the sign of whole clusters.

    Clusters are items; where all pairs are of one item or of none, students. All 2^G patterns are tried with
    at most 12 clusters, else `flips` random ones, and then p = (1 + as extreme) / (1 + flips) (Phipson &
    Smyth 2010). `None` with a single cluster, which can say nothing.
    """
    codes, count = _codes(k.item for k in pairs.keys)
    if count < 2:
        codes, count = _codes((k.replicate, k.student) for k in pairs.keys)
    if count < 2:
        return None
    sums = np.bincount(codes, weights=pairs.values, minlength=count)
    observed = abs(float(sums.sum())) * (1 - 1e-12) - 1e-12
    if count <= EXACT_CLUSTERS:
        bits = np.arange(2**count, dtype=np.int64)[:, None] >> np.arange(count) & 1
        return float((np.abs((2 * bits - 1) @ sums) >= observed).mean())
    sums = sums[sums != 0]
    if not len(sums):
        return 1.0
    rng = np.random.default_rng(seed)
    extreme = 0
    block = max(1, BLOCK // len(sums))
    for start in range(0, flips, block):
        size = min(block, flips - start)
        packed = np.frombuffer(rng.bytes(size * ((len(sums) + 7) // 8)), dtype=np.uint8)
        signs = np.unpackbits(packed.reshape(size, -1), axis=1, count=len(sums)).astype(np.float64)
        extreme += int((np.abs(2 * (signs @ sums) - sums.sum()) >= observed).sum())
    return (1 + extreme) / (1 + flips)


def mcnemar(first: Floats, second: Floats) -> float | None:
    """Exact two-sided McNemar p of 0/1 pairs: a binomial test on those that differ (McNemar 1947).

    `nan` pairs are left out; `None` where a value is neither 0 nor 1, such as a mean of two.
    """
    there = ~(np.isnan(first) | np.isnan(second))
    a, b = first[there], second[there]
    if not np.isin(a, (0.0, 1.0)).all() or not np.isin(b, (0.0, 1.0)).all():
        return None
    gained, lost = int((a > b).sum()), int((a < b).sum())
    return min(1.0, 2 * float(bdtr(min(gained, lost), gained + lost, 0.5)))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment over a family (Holm 1979); `None` is no test and not part of it."""
    order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    worst = 0.0
    for rank, (p, index) in enumerate(order):
        worst = max(worst, min(1.0, (len(order) - rank) * p))
        adjusted[index] = worst
    return adjusted
