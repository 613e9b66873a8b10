"""Rank correlation: by hand, against ties, and by whole clusters."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from facesec_bench.metrics.rank_correlation import agreement

X = np.array([0.1, 0.9, 0.4, 0.3, 0.8, 0.65])
Y = np.array([0.0, 0.7, 0.6, 0.2, 0.5, 1.0])
WHO = list("abcdef")


def test_the_three_coefficients_are_their_formulas() -> None:
    found = agreement(X, Y, WHO, seed=0, resamples=10)
    ranks = [np.argsort(np.argsort(z)) for z in (X, Y)]
    n = len(X)
    assert found.spearman.value == pytest.approx(1 - 6 * ((ranks[0] - ranks[1]) ** 2).sum() / (n * (n * n - 1)))
    a, b = X - X.mean(), Y - Y.mean()
    assert found.pearson.value == pytest.approx((a * b).sum() / math.sqrt((a**2).sum() * (b**2).sum()))
    signs = [np.sign((X[i] - X[j]) * (Y[i] - Y[j])) for i, j in combinations(range(n), 2)]
    assert found.kendall.value == pytest.approx(sum(signs) / len(signs))
    assert {score.n for score in found} == {n}


def test_ties_count_as_in_tau_b() -> None:
    x, y = np.array([1.0, 1, 2, 3, 3]), np.array([0.0, 1, 1, 1, 0])
    pairs = list(combinations(range(5), 2))
    numerator = sum(np.sign((x[i] - x[j]) * (y[i] - y[j])) for i, j in pairs)
    loose = [sum(z[i] != z[j] for i, j in pairs) for z in (x, y)]
    assert agreement(x, y, WHO[:5], 0, resamples=1).kendall.value == pytest.approx(
        numerator / math.sqrt(np.prod(loose))
    )


def test_the_sign_is_that_of_the_order_and_only_pearson_sees_a_bend() -> None:
    y = np.arange(8.0)
    up, down = (agreement(sign * np.exp(y), y, list("abcdefgh"), 0, resamples=50) for sign in (1, -1))
    assert up.spearman.value == up.kendall.value == pytest.approx(1) and up.pearson.value < 0.9
    assert down.spearman.value == down.kendall.value == pytest.approx(-1)


def test_the_interval_holds_the_value_and_repeats_by_seed() -> None:
    rng = np.random.default_rng(0)
    y = rng.random(60)
    x = y + 0.3 * rng.standard_normal(60)
    first = agreement(x, y, [str(i) for i in range(60)], seed=3, resamples=200)
    assert first == agreement(x, y, [str(i) for i in range(60)], seed=3, resamples=200)
    assert first != agreement(x, y, [str(i) for i in range(60)], seed=4, resamples=200)
    for score in first:
        assert score.low < score.value < score.high and score.high - score.low < 0.6


def test_copies_within_a_cluster_add_no_certainty() -> None:
    rng = np.random.default_rng(1)
    y = rng.random(20)
    x = y + 0.3 * rng.standard_normal(20)
    who = [f"{i:02d}" for i in range(20)]
    once = agreement(x, y, who, seed=0, resamples=100)
    copied = agreement(np.tile(x, 5), np.tile(y, 5), who * 5, seed=0, resamples=100)
    assert copied.pearson[:3] == pytest.approx(once.pearson[:3]) and copied.pearson.n == 100
    naive = agreement(np.tile(x, 5), np.tile(y, 5), [str(i) for i in range(100)], seed=0, resamples=100)
    assert naive.pearson.high - naive.pearson.low < 0.7 * (copied.pearson.high - copied.pearson.low)


def test_without_an_order_there_is_no_number() -> None:
    for x, y in ((np.ones(5), Y[:5]), (X[:5], np.zeros(5)), (X[:2], Y[:2]), (X[:0], Y[:0])):
        found = agreement(x, y, WHO[: len(x)], 0, resamples=5)
        assert all(math.isnan(v) for score in found for v in score[:3]) and found.kendall.n == len(x)
    alone = agreement(X, Y, ["a"] * 6, 0, resamples=5).spearman
    assert not math.isnan(alone.value) and math.isnan(alone.low)


def test_a_measure_that_could_not_be_taken_is_left_out_and_counted() -> None:
    gap = np.append(X, math.nan)
    found = agreement(gap, np.append(Y, 1.0), [*WHO, "g"], 0, resamples=20)
    assert found == agreement(X, Y, WHO, 0, resamples=20)
    with pytest.raises(ValueError, match="1 NaN"):
        agreement(np.append(X, 1.0), np.append(Y, math.nan), [*WHO, "g"], 0)
    with pytest.raises(ValueError, match=r"\(6,\)"):
        agreement(X, Y[:5], WHO, 0)
