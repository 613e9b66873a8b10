"""Intervals: exact for one proportion, bootstrap over identities for everything else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from facesec_bench.errors import FacesecError
from facesec_bench.records import Score
from facesec_bench.seeds import numpy_generator

_EMPTY = Score(math.nan, math.nan, math.nan, 0)


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a proportion from `k` successes in `n` independent trials.

    Returns (low, high) in [0, 1]; coverage is at least `confidence` whatever the proportion.

    Raises:
        ValueError: unless 0 <= k <= n, n >= 1 and 0 < confidence < 1.

    Source: Clopper and Pearson, Biometrika 26 (1934), in its beta-quantile form.
    """
    if n < 1 or not 0 <= k <= n:
        raise ValueError(f"Clopper-Pearson wants 0 <= k <= n and n >= 1; found k={k}, n={n}.")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"Clopper-Pearson wants a confidence in (0, 1); found {confidence}.")
    # Imported here: scipy.stats takes longer to import than everything else in this file to run.
    from scipy.stats import beta

    tail = (1.0 - confidence) / 2.0
    low = 0.0 if k == 0 else float(beta.ppf(tail, k, n - k + 1))
    high = 1.0 if k == n else float(beta.ppf(1.0 - tail, k + 1, n - k))
    return low, high


def identity_bootstrap(
    values: npt.ArrayLike,
    identities: Sequence[str] | npt.NDArray[Any],
    seed: int,
    resamples: int = 2000,
    confidence: float = 0.95,
    *,
    proportion: bool = False,
    bounds: tuple[float, float] | None = None,
    attainable: tuple[float, float] | None = None,
    allow_nan: bool = False,
) -> Score:
    """Mean of `values` with a percentile interval that resamples identities, all rows of one together.

    Photos of one person are not independent, so an interval over photos would be too narrow.

    Args:
        values: (N,) numbers.
        identities: (N,) the identity each value belongs to.
        seed: of the resampling; the same arguments give the same bits.
        proportion: the values are 0 or 1. Where they are all equal every resample is the same and a bootstrap says
            [1, 1] whatever n; the exact Clopper-Pearson bound is given instead, with the number of *identities* as n:
            rows of one identity may be copies of one another, so only identities are sure to be independent. The
            bound is wide rather than wrong.
        bounds: least and greatest value that a row can take, for a measure such as a difference of two verdicts or a
            share of a message's bits.
            Where all rows equal v, a bootstrap says [v, v] whatever n. Yet g identities that agree leave room for a
            share w of identities that do not, w = 1 - (lower Clopper-Pearson bound of g out of g). If those lie one
            away from v (one verdict turned), the mean moves by w: the interval is [v - w, v + w], cut at the bounds.
            Assumed, not proven: an unseen identity that lies farther than one from v, as -1 does from 1, would move
            the mean by more. For v in {0, 1} and bounds (0, 1) this is the bound of a proportion.
        attainable: cuts that interval further, if v lies within: where the mean can lie, when single rows may lie
            beyond it.
        allow_nan: leave NaN out (n says how many remain). Without it NaN, a failed measurement, is an error.

    Returns:
        Score; n is the number of values. (NaN, NaN, NaN, 0) of an empty array. low and high are NaN with one identity
        only: nothing says how another would differ.

    Raises:
        FacesecError: a NaN that `allow_nan` does not admit.
        ValueError: lengths differ, a proportion that holds anything but 0 and 1, or a value outside `bounds`.

    Source: the cluster bootstrap of Davison and Hinkley, Bootstrap Methods (1997), section 3.8; percentile interval of
    Efron (1981).
    """
    x, who = _clean(values, np.asarray(identities), allow_nan)
    if proportion and not np.isin(x, (0.0, 1.0)).all():
        raise ValueError(f"A proportion wants values of 0 or 1; found {x[~np.isin(x, (0.0, 1.0))][0]}.")
    if bounds is not None and ((x < bounds[0]) | (x > bounds[1])).any():
        raise ValueError(
            f"Wanted values in [{bounds[0]:g}, {bounds[1]:g}]; found {x[(x < bounds[0]) | (x > bounds[1])][0]}."
        )
    if x.size == 0:
        return _EMPTY
    groups, index = np.unique(who, return_inverse=True)
    mean, n, g = float(x.mean()), int(x.size), len(groups)
    if g == 1:
        return Score(mean, math.nan, math.nan, n)
    if proportion and mean in (0.0, 1.0):
        return Score(mean, *clopper_pearson(g if mean else 0, g, confidence), n)
    if bounds is not None and (x == x[0]).all():
        width = 1.0 - clopper_pearson(g, g, confidence)[0]
        low, high = attainable if attainable and attainable[0] <= mean <= attainable[1] else bounds
        return Score(mean, max(low, mean - width), min(high, mean + width), n)
    draws = numpy_generator(seed, "bootstrap").multinomial(g, np.full(g, 1.0 / g), size=resamples)
    sums = np.bincount(index, weights=x, minlength=g)
    sizes = np.bincount(index, minlength=g)
    means = (draws @ sums) / (draws @ sizes)
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return Score(mean, float(low), float(high), n)


def _clean(
    values: npt.ArrayLike, who: npt.NDArray[Any], allow_nan: bool
) -> tuple[npt.NDArray[np.float64], npt.NDArray[Any]]:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.shape != who.shape:
        raise ValueError(f"identity_bootstrap wants (N,) values and N identities; found {x.shape} and {who.shape}.")
    missing = np.isnan(x)
    if missing.any() and not allow_nan:
        raise FacesecError(
            f"{int(missing.sum())} of {x.size} values are NaN: a measurement failed. Wanted a number in every row; "
            "mend the measurement, or pass allow_nan=True where NaN has a documented meaning."
        )
    return x[~missing], who[~missing]
