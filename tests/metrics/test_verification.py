"""Thresholds and error rates against brute force and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn.metrics import roc_auc_score, roc_curve

from facesec_bench.errors import CalibrationError
from facesec_bench.metrics.intervals import clopper_pearson
from facesec_bench.metrics.verification import auc, equal_error_rate, pair_scores, threshold_at_far, true_accept_rate

# A coarse grid makes ties common.
tied = st.lists(st.integers(-20, 20).map(lambda i: i / 20), min_size=1, max_size=60)
fine = st.lists(st.floats(-1, 1), min_size=1, max_size=60)


@given(st.one_of(tied, fine), st.floats(0.001, 0.999))
def test_threshold_keeps_the_far_and_a_lower_one_would_not(scores: list[float], far: float) -> None:
    x = np.array(scores)
    point = threshold_at_far(x, far, minimum_expected=0.0)
    assert point.far_measured == (x >= point.threshold).mean() <= far
    below = float(np.nextafter(np.float32(point.threshold), np.float32(-np.inf)))
    assert (x >= below).mean() > far


@given(st.one_of(tied, fine), st.floats(0.001, 0.999))
def test_float32_and_float64_verdicts_agree_on_float32_scores(scores: list[float], far: float) -> None:
    x = np.array(scores, dtype=np.float32)
    threshold = threshold_at_far(x, far, minimum_expected=0.0).threshold
    assert ((x >= np.float32(threshold)) == (x.astype(np.float64) >= threshold)).all()


def test_threshold_of_a_ramp_is_known() -> None:
    point = threshold_at_far(np.arange(1000) / 1000, far=0.01)
    assert (point.far_measured, point.n_impostor) == (0.01, 1000)
    assert point.threshold == pytest.approx(0.989, abs=1e-6) and point.threshold > 0.989
    assert (point.far_low, point.far_high) == clopper_pearson(10, 1000)


def test_a_rate_whose_product_rounds_down_still_uses_all_its_false_accepts() -> None:
    assert threshold_at_far(np.arange(100) / 100, far=0.29).far_measured == 0.29


def test_too_few_impostors_are_refused_by_name() -> None:
    with pytest.raises(CalibrationError, match=r"FAR 0\.001: found 999 impostor pairs, needed 10000"):
        threshold_at_far(np.linspace(-1, 1, 999), far=1e-3)
    assert threshold_at_far(np.linspace(-1, 1, 10_000), far=1e-3).n_impostor == 10_000


def test_true_accepts_include_the_threshold_itself() -> None:
    assert true_accept_rate(np.array([0.1, 0.5, 0.9, 0.5]), 0.5) == 0.75
    assert np.isnan(true_accept_rate(np.array([]), 0.5))


@pytest.mark.parametrize("seed", range(5))
def test_equal_error_rate_and_auc_agree_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    genuine, impostor = rng.normal(0.6, 0.3, 400), rng.normal(0.0, 0.3, 900)
    labels, scores = np.repeat([1, 0], [400, 900]), np.concatenate([genuine, impostor])
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    theirs = brentq(lambda x: 1 - x - interp1d(fpr, tpr)(x), 0.0, 1.0)
    # sklearn's interpolation may sit on either end of a vertical step: one genuine pair.
    assert equal_error_rate(genuine, impostor) == pytest.approx(theirs, abs=1 / 400)
    assert auc(genuine, impostor) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@given(tied, tied)
def test_auc_with_ties_agrees_with_scikit_learn(genuine: list[float], impostor: list[float]) -> None:
    labels = np.repeat([1, 0], [len(genuine), len(impostor)])
    assert auc(genuine, impostor) == pytest.approx(roc_auc_score(labels, genuine + impostor), abs=1e-12)


@given(tied, tied)
def test_equal_error_rate_lies_between_the_two_errors_of_some_threshold(
    genuine: list[float], impostor: list[float]
) -> None:
    rate = equal_error_rate(genuine, impostor)
    g, i = np.array(genuine), np.array(impostor)
    best = min(max((i >= t).mean(), (g < t).mean()) for t in [*genuine, *impostor, np.inf])
    assert 0.0 <= rate <= best + 1e-12


def test_equal_error_rate_of_separable_equal_and_swapped_scores() -> None:
    assert equal_error_rate([0.8, 0.9], [0.1, 0.2]) == 0.0
    assert equal_error_rate([0.5], [0.5]) == 0.5
    assert equal_error_rate([0.1, 0.2], [0.8, 0.9]) == 1.0


def test_all_pairs_agree_with_a_double_loop() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9, 4))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    who = rng.integers(0, 3, 9)
    result = pair_scores(x, who)
    genuine = [float(x[i] @ x[j]) for i in range(9) for j in range(i + 1, 9) if who[i] == who[j]]
    assert result.genuine == pytest.approx(genuine)
    assert len(genuine) + len(result.impostor) == 36
    assert all(who[i] != who[j] for i, j in result.impostor_pairs)
    given_pairs = pair_scores(x, who, result.impostor_pairs[::-1])
    assert given_pairs.impostor == pytest.approx(result.impostor[::-1]) and given_pairs.genuine.size == 0


def test_vectors_that_are_not_unit_are_refused() -> None:
    with pytest.raises(ValueError, match="row 1 has norm 2"):
        pair_scores([[1.0, 0.0], [0.0, 2.0]], [0, 1])
