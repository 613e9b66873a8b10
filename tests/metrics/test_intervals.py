"""Intervals against closed forms, scipy, and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from facesec_bench.errors import FacesecError
from facesec_bench.metrics.intervals import clopper_pearson, identity_bootstrap


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_clopper_pearson_agrees_with_scipys_exact_binomial_interval(pair: tuple[int, int]) -> None:
    k, n = pair
    theirs = stats.binomtest(k, n).proportion_ci(0.95, method="exact")
    assert clopper_pearson(k, n) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_clopper_pearson_of_no_success_is_the_closed_form() -> None:
    low, high = clopper_pearson(0, 40)
    assert low == 0.0
    assert high == pytest.approx(1 - 0.025 ** (1 / 40), abs=1e-12)


@pytest.mark.parametrize(("k", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_clopper_pearson_refuses_impossible_counts(k: int, n: int) -> None:
    with pytest.raises(ValueError, match="wants 0 <= k <= n"):
        clopper_pearson(k, n)


def test_one_photo_per_identity_agrees_with_scipys_bootstrap() -> None:
    values = np.random.default_rng(0).normal(size=60)
    ours = identity_bootstrap(values, np.arange(60), seed=1, resamples=20_000)
    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, random_state=np.random.default_rng(2)
    ).confidence_interval
    assert ours.value == pytest.approx(values.mean(), abs=1e-12)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_a_loop_over_resampled_identities_gives_the_same_interval() -> None:
    rng = np.random.default_rng(3)
    who = rng.integers(0, 12, 90)
    values = rng.normal(size=90) + who  # strongly clustered and unevenly sized
    groups = [values[who == g] for g in np.unique(who)]
    means = [np.concatenate([groups[i] for i in rng.integers(0, len(groups), len(groups))]).mean() for _ in range(8000)]
    ours = identity_bootstrap(values, who, seed=4, resamples=8000)
    assert (ours.low, ours.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.2)


def test_copies_of_a_photo_do_not_narrow_the_interval() -> None:
    values, who = np.tile([0.0, 1.0, 1.0, 0.0, 1.0], 20), np.tile(np.arange(5), 20)
    few = identity_bootstrap(values[:5], who[:5], seed=5)
    many = identity_bootstrap(values, who, seed=5)
    assert (many.low, many.high) == (few.low, few.high)
    assert (many.n, few.n) == (100, 5)


def test_the_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(6)
    hits = 0
    for trial in range(200):
        who = np.repeat(np.arange(40), 5)
        values = rng.normal(size=40)[who] + rng.normal(size=200)
        score = identity_bootstrap(values, who, seed=trial, resamples=400)
        hits += score.low <= 0.0 <= score.high
    assert 0.88 <= hits / 200 <= 0.99


@pytest.mark.parametrize(("value", "expected"), [(1.0, (0.025 ** (1 / 10), 1.0)), (0.0, (0.0, 1 - 0.025 ** (1 / 10)))])
def test_a_unanimous_proportion_gets_the_exact_bound_over_identities(
    value: float, expected: tuple[float, float]
) -> None:
    score = identity_bootstrap([value] * 50, np.repeat(np.arange(10), 5), seed=0, proportion=True)
    assert (score.low, score.high) == pytest.approx(expected, abs=1e-12)
    assert score.n == 50


def test_one_identity_has_no_interval() -> None:
    score = identity_bootstrap([1.0, 0.0, 1.0], ["a"] * 3, seed=0, proportion=True)
    assert score.value == pytest.approx(2 / 3)
    assert math.isnan(score.low) and math.isnan(score.high) and score.n == 3


def test_no_data_is_nan_and_not_zero() -> None:
    score = identity_bootstrap([], [], seed=0)
    assert score.n == 0 and all(math.isnan(x) for x in score[:3])


def test_a_failed_measurement_is_an_error_unless_admitted() -> None:
    with pytest.raises(FacesecError, match="1 of 3 values are NaN"):
        identity_bootstrap([1.0, math.nan, 0.0], list("abc"), seed=0)
    assert identity_bootstrap([1.0, math.nan, 0.0], list("abc"), seed=0, allow_nan=True)[::3] == (0.5, 2)


def test_a_proportion_refuses_a_half() -> None:
    with pytest.raises(ValueError, match=r"0\.5"):
        identity_bootstrap([1.0, 0.5], ["a", "b"], seed=0, proportion=True)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    values, who = np.random.default_rng(7).normal(size=30), np.arange(30)
    assert identity_bootstrap(values, who, seed=1) == identity_bootstrap(values, who, seed=1)
    assert identity_bootstrap(values, who, seed=1).low != identity_bootstrap(values, who, seed=2).low
