"""Rank correlation: does a measure order recoveries as people do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from facesec_bench.records import Score
from facesec_bench.seeds import numpy_generator

Array = npt.NDArray[np.float64]


class Agreement(NamedTuple):
    """Three coefficients in [-1, 1], each with its interval; 1 is perfect agreement.

    Attributes:
        spearman: of the ranks, ties at their mean rank.
        pearson: of the values.
        kendall: tau-b, of the pairs.
    """

    spearman: Score
    pearson: Score
    kendall: Score


def agreement(
    values: npt.ArrayLike,
    human: npt.ArrayLike,
    clusters: Sequence[str] | npt.NDArray[Any],
    seed: int,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> Agreement:
    """Correlations of a measure with what people said, with percentile intervals that resample clusters.

    A bootstrap knows no more than its rows: where all rows agree it says [1, 1], whatever n. Give n.

    Args:
        values: (N,) of the measure; turn the sign of a distance, so that more means the same as in `human`. NaN, a
            measure that could not be taken, is left out; n says how many remain.
        human: (N,), such as the share of people who recognised the recovery.
        clusters: (N,) which rows stand or fall together, such as the photo that was recovered.
        seed: of the resampling; the same arguments give the same bits.

    Returns:
        NaN for value and interval with fewer than three rows, or where either side is constant: there is no order to
        agree on. NaN for the interval with one cluster, or where more than half of the resamples are constant.

    Raises:
        ValueError: shapes that differ, NaN in `human`, or fewer than one resample.

    Source: Kendall, Rank Correlation Methods (1948); tau-b by scipy. The cluster bootstrap as in `intervals`.
    """
    x, y, who = np.asarray(values, dtype=np.float64), np.asarray(human, dtype=np.float64), np.asarray(clusters)
    if x.ndim != 1 or not x.shape == y.shape == who.shape or np.isnan(y).any() or resamples < 1:
        raise ValueError(
            f"agreement wants (N,) values, human answers without NaN, clusters, and 1 resample or more; found "
            f"{x.shape}, {y.shape} with {int(np.isnan(y).sum())} NaN, {who.shape} and {resamples}."
        )
    known = ~np.isnan(x)
    x, y, who = x[known], y[known], who[known]
    n, middle = len(x), _coefficients(x, y)
    limits = _limits(x, y, who, seed, resamples, confidence)
    return Agreement(*(Score(float(m), float(a), float(b), n) for m, (a, b) in zip(middle, limits, strict=True)))


def _coefficients(x: Array, y: Array) -> Array:
    """(3,) Spearman, Pearson, Kendall; NaN where there is nothing to order."""
    if len(x) < 3 or (x == x[0]).all() or (y == y[0]).all():
        return np.full(3, math.nan)
    # Imported here: scipy.stats takes longer to import than everything else in this file to run.
    from scipy.stats import kendalltau, rankdata

    ranks = _pearson(rankdata(x), rankdata(y))
    pairs = float(
        kendalltau(x, y, method="asymptotic").statistic
    )  # the method of a p-value nobody reads; "exact" is slow
    return np.round([ranks, _pearson(x, y), pairs], 12)  # perfect order comes out 2e-16 short of 1


def _pearson(x: Array, y: Array) -> float:
    a, b = x - x.mean(), y - y.mean()
    scale = math.sqrt(float((a**2).sum()) * float((b**2).sum()))
    return float((a * b).sum()) / scale if scale > 0.0 else math.nan


def _limits(
    x: Array, y: Array, who: npt.NDArray[Any], seed: int, resamples: int, confidence: float
) -> list[tuple[float, float]]:
    groups, index = np.unique(who, return_inverse=True)
    if len(groups) < 2:
        return [(math.nan, math.nan)] * 3
    rows = [np.flatnonzero(index == g) for g in range(len(groups))]
    rng = numpy_generator(seed, "rank correlation")
    found = np.empty((resamples, 3))
    for turn in range(resamples):
        some = np.concatenate([rows[g] for g in rng.integers(len(groups), size=len(groups))])
        found[turn] = _coefficients(x[some], y[some])
    tail = (1.0 - confidence) / 2.0
    usable = found[~np.isnan(found).any(axis=1)]
    if 2 * len(usable) < resamples:
        return [(math.nan, math.nan)] * 3
    low, high = np.quantile(usable, [tail, 1.0 - tail], axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))
