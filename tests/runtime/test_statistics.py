from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from docendo.runtime.measures.statistics import (
    Difference,
    Key,
    Sample,
    difference,
    estimate,
    holm,
    mcnemar,
    seed_of,
    sign_flip,
)
from docendo.runtime.measures.verdict import number, verdict

UNIT = (0.0, 1.0)


def grid(items: int, students: int) -> tuple[Key, ...]:
    return tuple(Key("teach", 0, f"i{i}", "student", s) for i, s in product(range(items), range(students)))


def crossed(
    rng: np.random.Generator, items: int, students: int, item_sd: float, student_sd: float, noise: float = 1.0
) -> Sample:
    """Observations with a random effect of each item and of each student, and mean 0."""
    values = (
        rng.normal(0, item_sd, (items, 1))
        + rng.normal(0, student_sd, (1, students))
        + rng.normal(0, noise, (items, students))
    )
    return Sample(grid(items, students), values.ravel())


def sample(*values: float | None, replicate: int = 0) -> Sample:
    return Sample.of((Key("t", 0, f"i{i}", "s", replicate), v) for i, v in enumerate(values))


def expected(hits: int, runs: int, rate: float) -> bool:
    """Whether `hits` is within the central 99.9 % of a binomial distribution."""
    return bool(binom.ppf(0.0005, runs, rate) <= hits <= binom.ppf(0.9995, runs, rate))


# --- simulations ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("items", "students", "item_sd", "student_sd"),
    [
        pytest.param(60, 1, 1.0, 0.0, id="one student"),
        pytest.param(30, 30, 1.0, 1.0, id="both matter"),
        pytest.param(30, 30, 0.0, 0.0, id="neither matters"),
        pytest.param(40, 20, 1.0, 0.0, id="items matter"),
    ],
)
def test_intervals_cover_the_truth_at_the_nominal_rate(
    items: int, students: int, item_sd: float, student_sd: float
) -> None:
    rng, runs = np.random.default_rng(1), 300
    hits = 0
    for seed in range(runs):
        found = estimate(crossed(rng, items, students, item_sd, student_sd), seed, resamples=300)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 0 <= found.high
    assert expected(hits, runs, 0.95)


def binary_pairs(rng: np.random.Generator, effect: float) -> tuple[Sample, Sample]:
    """Two conditions over 50 items and 4 replicates: items differ in difficulty, `effect` is added to one."""
    ease = rng.uniform(0.1, 0.8, (50, 1))
    keys = grid(50, 4)
    a, b = (rng.random((50, 4)) < ease + gain for gain in (effect, 0.0))
    return Sample(keys, a.ravel().astype(float)), Sample(keys, b.ravel().astype(float))


def test_null_effect_gives_nominal_false_positives() -> None:
    rng, runs = np.random.default_rng(2), 600
    found = [
        difference(
            crossed(rng, 40, 3, 1.0, 0.0), crossed(rng, 40, 3, 0.5, 0.0), seed, resamples=200, flips=499
        )
        for seed in range(runs)
    ]
    assert expected(sum(d.p is not None and d.p <= 0.05 for d in found), runs, 0.05)


def test_null_effect_on_binary_outcomes_is_found_no_more_often_than_nominal() -> None:
    # Both tests count ties as extreme, and sums of 0/1 pairs tie often: they stay below the nominal rate.
    rng, runs = np.random.default_rng(2), 400
    found = [
        difference(*binary_pairs(rng, 0.0), seed, binary=True, bounds=UNIT, resamples=200, flips=499)
        for seed in range(runs)
    ]
    most = binom.ppf(0.9995, runs, 0.05)
    assert 0 < sum(d.p is not None and d.p <= 0.05 for d in found) <= most
    assert 0 < sum(d.mcnemar is not None and d.mcnemar <= 0.05 for d in found) <= most


def test_holm_keeps_the_family_error_under_the_null() -> None:
    rng, runs, family = np.random.default_rng(3), 120, 5
    errors = 0
    for seed in range(runs):
        p = [sign_flip(crossed(rng, 20, 2, 1.0, 0.0), seed, 499) for _ in range(family)]
        errors += any(q is not None and q < 0.05 for q in holm(p))
    assert errors <= binom.ppf(0.9995, runs, 0.05)


def test_known_effect_is_recovered() -> None:
    rng, runs, effect = np.random.default_rng(4), 200, 0.15
    found = [
        difference(*binary_pairs(rng, effect), seed, binary=True, bounds=UNIT, resamples=300, flips=499)
        for seed in range(runs)
    ]
    means = [d.mean for d in found if d.mean is not None]
    assert np.mean(means) == pytest.approx(effect, abs=4 * np.std(means) / np.sqrt(runs))
    covered = sum(d.low <= effect <= d.high for d in found if d.low is not None and d.high is not None)
    assert expected(covered, runs, 0.95)
    assert sum(d.p is not None and d.p < 0.05 for d in found) > 0.8 * runs


def test_effect_of_the_detectable_size_is_found_with_80_percent_power() -> None:
    rng, runs = np.random.default_rng(5), 300
    probe = difference(crossed(rng, 80, 1, 1.0, 0.0), crossed(rng, 80, 1, 0.0, 0.0), 0)
    assert probe.mde is not None
    assert probe.mde == pytest.approx(2.8016 * (probe.se or 0), rel=1e-3)
    keys, effect = grid(80, 1), 2.8016 / np.sqrt(80)
    found = [sign_flip(Sample(keys, rng.normal(effect, 1, 80)), seed, 499) for seed in range(runs)]
    assert expected(sum(p is not None and p < 0.05 for p in found), runs, 0.8)


# --- estimates ------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.none(), st.sampled_from([0.0, 1.0])), max_size=30), st.integers(0, 9))
def test_estimate_keeps_its_promises(values: list[float | None], seed: int) -> None:
    found = estimate(sample(*values), seed, bounds=UNIT, resamples=50)
    there = [v for v in values if v is not None]
    assert (found.n, found.missing) == (len(there), len(values) - len(there))
    if not there:
        assert found.mean is None
        return
    assert found.mean == pytest.approx(np.mean(there))
    assert found.raw_mean == pytest.approx(sum(there) / len(values))
    assert found.worst is not None
    assert found.best is not None
    assert 0 <= found.worst <= found.mean + 1e-12
    assert found.mean - 1e-12 <= found.best <= 1
    if found.low is not None and found.high is not None:
        assert 0 <= found.low <= found.high <= 1


def test_same_seed_same_interval_and_another_seed_another() -> None:
    data = crossed(np.random.default_rng(6), 20, 3, 1, 1)
    assert estimate(data, 7) == estimate(data, 7)
    assert estimate(data, 7) != estimate(data, 8)


def test_seed_depends_on_every_part_and_their_borders() -> None:
    assert seed_of("ab", "c") != seed_of("a", "bc") != seed_of("a", "b")
    assert 0 <= seed_of("x") < 2**63
    assert seed_of("digest", "accuracy", "c0") == 3678486475228464463


def test_repeated_items_do_not_make_evidence() -> None:
    rng = np.random.default_rng(8)
    values = rng.normal(0, 1, 30)
    once = Sample(grid(30, 1), values)
    copied = Sample(grid(30, 20), np.repeat(values, 20))
    one, many = estimate(once, 1), estimate(copied, 1)
    assert one.se == pytest.approx(many.se)


def test_one_item_and_one_student_carry_no_interval() -> None:
    found = estimate(sample(1.0), 0)
    assert (found.mean, found.low, found.high) == (1.0, None, None)


def test_agreement_of_all_is_no_certainty() -> None:
    never, always = (
        estimate(sample(*[0.0] * 20), 0, bounds=UNIT),
        estimate(sample(*[1.0] * 20), 0, bounds=UNIT),
    )
    assert (never.low, never.high) == (0.0, pytest.approx(binomtest(0, 20).proportion_ci().high))
    assert (always.low, always.high) == (pytest.approx(binomtest(20, 20).proportion_ci().low), 1.0)
    counts = estimate(sample(*[12.0] * 20), 0)
    assert (counts.low, counts.high) == (12.0, 12.0)


def test_large_sparse_tables_agree_with_small_dense_ones() -> None:
    values = np.random.default_rng(9).normal(0, 1, 1500)
    apart = Sample(tuple(Key("t", 0, f"i{i}", "s", i) for i in range(1500)), values)
    together = Sample(tuple(Key("t", 0, f"i{i}", "s", 0) for i in range(1500)), values)
    wide, narrow = estimate(apart, 1, resamples=200), estimate(together, 1, resamples=200)
    assert wide.se == pytest.approx(narrow.se, rel=0.01)


# --- differences ----------------------------------------------------------------------------------------


def test_pairs_match_on_item_student_and_replicate() -> None:
    rows = [(Key("t", 0, "a", "s", 0), 1.0), (Key("t", 0, "a", "s", 1), 0.0), (Key("t", 0, "b", "s", 0), 1.0)]
    other = [
        (Key("t", 0, "a", "s", 1), 0.0),
        (Key("t", 0, "a", "s", 0), 0.0),
        (Key("t", 0, "c", "s", 0), 1.0),
    ]
    found = difference(Sample.of(rows), Sample.of(other), 0, binary=True)
    assert (found.n_pairs, found.mean, found.unmatched) == (2, 0.5, 2)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*[st.one_of(st.none(), st.sampled_from([0.0, 1.0]))] * 2), min_size=1, max_size=25))
def test_difference_is_antisymmetric_and_bounded_by_its_missing_data(
    rows: list[tuple[float | None, float | None]],
) -> None:
    a, b = (sample(*side) for side in zip(*rows, strict=True))
    there = difference(a, b, 3, bounds=UNIT, binary=True, resamples=50, flips=99)
    back = difference(b, a, 3, bounds=UNIT, binary=True, resamples=50, flips=99)
    assert there.n_pairs + there.missing == len(rows)
    assert there.lowest == pytest.approx(-(back.highest or 0))
    assert there.mcnemar == back.mcnemar
    if there.mean is not None:
        assert there.mean == pytest.approx(-(back.mean or 0))
        assert there.p == pytest.approx(back.p)
    if there.missing == 0:
        assert there.lowest == there.highest == pytest.approx(there.mean)


def test_sign_flips_are_enumerated_for_few_clusters() -> None:
    assert sign_flip(sample(1.0, 1.0, 1.0, 1.0), 0) == 2 / 16
    assert sign_flip(sample(3.0, 1.0), 0) == 0.5
    assert sign_flip(sample(0.0, 0.0, 0.0), 0) == 1.0
    assert sign_flip(sample(1.0), 0) is None


def test_sign_flips_move_whole_items() -> None:
    copies = Sample.of((Key("t", 0, f"i{i}", "s", r), 1.0) for i in range(3) for r in range(50))
    assert sign_flip(copies, 0) == 2 / 8


def test_sampled_sign_flips_agree_with_the_exact_binomial() -> None:
    wins, n = 21, 30
    values = [1.0] * wins + [-1.0] * (n - wins)
    assert sign_flip(sample(*values), 1) == pytest.approx(binomtest(wins, n).pvalue, abs=0.01)


def test_mcnemar_is_the_binomial_test_on_discordant_pairs() -> None:
    a = np.array([1.0] * 9 + [0.0] * 2 + [1.0] * 30 + [np.nan])
    b = np.array([0.0] * 9 + [1.0] * 2 + [1.0] * 30 + [0.0])
    assert mcnemar(a, b) == pytest.approx(binomtest(9, 11).pvalue)
    assert mcnemar(b[11:], b[11:]) == 1.0
    assert mcnemar(np.array([0.5]), np.array([1.0])) is None


def test_holm_by_hand() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == [
        pytest.approx(0.03),
        None,
        pytest.approx(0.06),
        pytest.approx(0.06),
    ]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_never_lowers_a_p_and_keeps_their_order(p: list[float]) -> None:
    adjusted = [q for q in holm(p) if q is not None]
    assert all(p_ <= q <= 1 for p_, q in zip(p, adjusted, strict=True))
    assert sorted(adjusted) == [adjusted[i] for i in sorted(range(len(p)), key=lambda i: p[i])]


# --- verdicts -------------------------------------------------------------------------------------------


def found(**fields: object) -> Difference:
    known: dict[str, object] = {
        "mean": 0.08,
        "low": 0.03,
        "high": 0.13,
        "se": 0.025,
        "p": 0.002,
        "n_pairs": 600,
        "missing": 0,
        "unmatched": 0,
        "mde": 0.07,
        "lowest": 0.08,
        "highest": 0.08,
    }
    return Difference(**{**known, **fields})  # type: ignore[arg-type]


def said(d: Difference, **fields: object) -> tuple[str, str]:
    known: dict[str, object] = {"measure": "accuracy", "first": "tom", "second": "random", "better": "high"}
    result = verdict(d, **{**known, **fields})  # type: ignore[arg-type]
    return result.conclusion, result.sentence


def test_verdict_gives_difference_interval_pairs_p_and_missing() -> None:
    conclusion, sentence = said(found(), p_adjusted=0.004, family=3)
    assert conclusion == "higher"
    assert sentence == (
        "accuracy: `tom` is higher than `random`: +0.080 [+0.030, +0.130] over 600 pairs, "
        "adjusted p = 0.004; nothing is missing."
    )


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"low": -0.01}, "interval includes 0"),
        ({"missing": 90, "lowest": -0.05, "highest": 0.2}, "missing pairs could reverse it"),
        ({"p": 0.2}, "p is not below 0.05"),
        ({"low": None, "high": None, "p": None}, "no interval"),
    ],
)
def test_verdict_is_inconclusive_and_says_why(fields: dict[str, object], reason: str) -> None:
    conclusion, sentence = said(found(**fields))
    assert conclusion == "inconclusive"
    assert "inconclusive" in sentence
    assert reason in sentence


def test_verdict_without_pairs_is_none() -> None:
    assert said(found(n_pairs=0, mean=None, missing=4))[0] == "none"


def test_correction_can_undo_a_finding() -> None:
    conclusion, sentence = said(found(p=0.03), p_adjusted=0.3, family=10)
    assert conclusion == "inconclusive"
    assert "does not survive correction over 10 comparisons" in sentence


def test_the_word_gain_needs_every_control_beaten() -> None:
    assert "gains over" in said(found(), gain="beats_controls")[1]
    for gain in ("not_beaten", "no_controls"):
        assert "gains" not in said(found(), gain=gain)[1]
    assert "gains" not in said(found(), gain="beats_controls", better="low")[1]
    worse = found(mean=-0.08, low=-0.13, high=-0.03, lowest=-0.08, highest=-0.08)
    assert "gains" not in said(worse, gain="beats_controls")[1]


@given(st.floats(-1e4, 1e4))
def test_number_never_writes_something_as_nothing(value: float) -> None:
    assert (float(number(value)) == 0) == (abs(value) <= 1e-9)
    assert not number(value).startswith("-0.000")
