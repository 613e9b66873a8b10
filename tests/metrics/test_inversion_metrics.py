"""Metrics of inversion, against cases that can be counted by hand."""

import math

import numpy as np
import pytest

from facesec_bench.metrics.inversion import among_best, nearest_squared_distance, prdc


def test_a_class_is_among_the_best_n_and_a_tie_counts_against_it():
    scores = [[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.4, 0.4, 0.2]]
    assert among_best(scores, [0, 2, 0], 1).tolist() == [True, False, False]
    assert among_best(scores, [0, 2, 0], 2).tolist() == [True, True, True]
    assert among_best(np.zeros((2, 4)), [0, 3], 3).tolist() == [False, False], "equal scores know nothing"
    assert among_best([[np.nan, 0.1, 0.2]] * 2, [0, 2], 1).tolist() == [False, False], "what is unknown is no hit"
    for n in (0, 4):
        with pytest.raises(ValueError, match="n <= K"):
            among_best(scores, [0, 0, 0], n)


def test_random_scores_are_right_one_time_in_k():
    rng = np.random.default_rng(0)
    scores, wanted = rng.normal(size=(20000, 10)), rng.integers(0, 10, 20000)
    assert among_best(scores, wanted, 1).mean() == pytest.approx(0.1, abs=0.01)
    assert among_best(scores, wanted, 5).mean() == pytest.approx(0.5, abs=0.02)


def test_the_nearest_private_photo_is_one_of_the_same_person():
    private, owners = [[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]], [0, 0, 1]
    found = nearest_squared_distance([[1.0, 0.0], [3.0, 3.0], [1.0, 0.0], [9.0, 9.0]], [0, 0, 1, 2], private, owners)
    assert found[:3].tolist() == [1.0, 1.0, 0.0] and math.isnan(found[3])


def test_a_set_has_full_precision_recall_and_coverage_against_itself_and_none_against_one_far_away():
    points = np.random.default_rng(0).normal(size=(30, 4))
    same, apart = prdc(points, points.copy()), prdc(points, points + 100)
    assert (same.precision, same.recall, same.coverage) == (1.0, 1.0, 1.0) and same.density > 1
    assert apart == (0.0, 0.0, 0.0, 0.0)


def test_prdc_on_a_line_counted_by_hand():
    # k = 1. Private 0, 1, 10: balls reach 1, 1, 9. Recovered 0.5, 2.5, 30: balls reach 2, 2, 27.5.
    found = prdc(np.array([[0.0], [1.0], [10.0]]), np.array([[0.5], [2.5], [30.0]]), k=1)
    assert found.precision == pytest.approx(2 / 3)  # 0.5 in two balls, 2.5 in the one around 10, 30 in none
    assert found.density == pytest.approx((2 + 1 + 0) / 3)
    assert found.recall == pytest.approx(3 / 3)  # 0, 1 within 2 of 0.5; 10 within 27.5 of 30
    assert found.coverage == pytest.approx(3 / 3)  # every private ball holds a recovery


def test_collapsed_recoveries_are_precise_and_recall_little():
    rng = np.random.default_rng(1)
    private = rng.normal(size=(200, 3))
    recovered = 0.01 * rng.normal(size=(200, 3))
    found = prdc(private, recovered)
    assert found.precision == 1.0 and found.recall < 0.1 and found.coverage < 0.5
    with pytest.raises(ValueError, match="more than k"):
        prdc(private[:3], recovered)
