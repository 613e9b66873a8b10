"""Verification: thresholds, accept rates and error rates from similarity scores of pairs.

A verifier accepts a pair at cosine >= threshold. A genuine pair shows one person, an impostor pair two.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from facesec_bench.errors import CalibrationError
from facesec_bench.metrics.intervals import clopper_pearson

Floats = npt.NDArray[np.floating[Any]]


class OperatingPoint(NamedTuple):
    """A threshold and what was measured at it on the impostor pairs it was chosen from.

    `far_low` and `far_high` are the Clopper-Pearson 95 % interval of `far_measured`. It takes pairs as independent;
    pairs that share a photo are not, so the true uncertainty is larger.
    """

    far: float
    threshold: float
    far_measured: float
    far_low: float
    far_high: float
    n_impostor: int


class PairScores(NamedTuple):
    """Cosines of pairs: genuine (G,) and impostor (I,), and the rows they compare, (G, 2) and (I, 2)."""

    genuine: npt.NDArray[np.float64]
    impostor: npt.NDArray[np.float64]
    genuine_pairs: npt.NDArray[np.int64]
    impostor_pairs: npt.NDArray[np.int64]


def threshold_at_far(impostor: npt.ArrayLike, far: float, minimum_expected: float = 10.0) -> OperatingPoint:
    """The smallest threshold whose measured false accept rate does not exceed `far`; exact with ties.

    Args:
        impostor: (I,) cosines of impostor pairs.
        far: false accept rate in (0, 1).
        minimum_expected: how many false accepts `far` must lead one to expect (I * far) before a threshold means much.

    Returns:
        The operating point. The threshold is a float32 number, so that a float32 and a float64 verdict agree.

    Raises:
        CalibrationError: too few pairs for `far`; it names the pairs found and needed.
        ValueError: `far` outside (0, 1) or scores that are not finite.
    """
    scores = _scores(impostor, "impostor", least=0)
    n = scores.size
    if not 0.0 < far < 1.0:
        raise ValueError(f"A false accept rate lies in (0, 1); found {far}.")
    if n == 0 or n * far < minimum_expected * (1.0 - 1e-9):
        needed = max(1, math.ceil(minimum_expected / far * (1.0 - 1e-9)))
        raise CalibrationError(
            f"FAR {far:g}: found {n} impostor pairs, needed {needed} (so that {minimum_expected:g} false accepts are "
            "expected). Give more identities or photos, or drop this rate from fars=[...]."
        )
    allowed = _largest_count(far, n)
    # Everything from the (allowed + 1)-th largest score downwards must be rejected, its ties included.
    threshold = _next_float32(float(np.sort(scores)[n - 1 - allowed]))
    accepted = int((scores >= threshold).sum())
    low, high = clopper_pearson(accepted, n)
    return OperatingPoint(far, threshold, accepted / n, low, high, n)


def true_accept_rate(genuine: npt.ArrayLike, threshold: float) -> float:
    """Share of genuine pairs (G,) accepted at cosine >= threshold; NaN without pairs."""
    scores = _scores(genuine, "genuine", least=0)
    return float((scores >= threshold).mean()) if scores.size else math.nan


def equal_error_rate(genuine: npt.ArrayLike, impostor: npt.ArrayLike) -> float:
    """The error rate where false accepts equal false rejects, in [0, 1], by linear interpolation on the ROC.

    Raises:
        ValueError: no genuine or no impostor score, or one that is not finite.
    """
    own, other = _scores(genuine, "genuine"), _scores(impostor, "impostor")
    thresholds = np.append(np.unique(np.concatenate([own, other])), np.inf)
    rejects = np.searchsorted(np.sort(own), thresholds, side="left") / own.size
    accepts = 1.0 - np.searchsorted(np.sort(other), thresholds, side="left") / other.size
    # accepts - rejects falls from 1 (lowest score: all accepted) to -1 (infinity: none).
    gap = accepts - rejects
    after = int(np.argmax(gap <= 0.0))
    share = gap[after - 1] / (gap[after - 1] - gap[after])
    return float(rejects[after - 1] + share * (rejects[after] - rejects[after - 1]))


def auc(genuine: npt.ArrayLike, impostor: npt.ArrayLike) -> float:
    """Probability that a genuine pair scores above an impostor pair, ties counted half: the area under the ROC.

    Raises:
        ValueError: no genuine or no impostor score, or one that is not finite.

    Source: Mann and Whitney (1947); Hanley and McNeil, Radiology 143 (1982).
    """
    own, other = _scores(genuine, "genuine"), np.sort(_scores(impostor, "impostor"))
    below = np.searchsorted(other, own, side="left")
    not_above = np.searchsorted(other, own, side="right")
    return float((below + not_above).sum() / 2.0 / own.size / other.size)


def pair_scores(embeddings: npt.ArrayLike, identities: npt.ArrayLike, pairs: npt.ArrayLike | None = None) -> PairScores:
    """Cosines of pairs of rows, parted into genuine and impostor.

    Args:
        embeddings: (N, D) unit vectors.
        identities: (N,) identity of each row.
        pairs: (P, 2) row numbers to compare; None compares every row with every later one.

    Raises:
        ValueError: shapes that do not fit, or rows that are not unit vectors.
    """
    x = np.asarray(embeddings, dtype=np.float64)
    who = np.asarray(identities)
    if x.ndim != 2 or who.shape != x.shape[:1]:
        raise ValueError(f"pair_scores wants (N, D) embeddings and N identities; found {x.shape} and {who.shape}.")
    check_unit(x)
    if pairs is None:
        left, right = np.triu_indices(len(x), k=1)
        cosines = (x @ x.T)[left, right]
    else:
        left, right = np.asarray(pairs, dtype=np.int64).reshape(-1, 2).T
        cosines = np.einsum("pd,pd->p", x[left], x[right])
    index = np.stack([left, right], axis=1).astype(np.int64)
    same = who[left] == who[right]
    return PairScores(cosines[same], cosines[~same], index[same], index[~same])


def check_unit(x: npt.NDArray[np.float64]) -> None:
    """Raise ValueError unless every row of (N, D) `x` is a unit vector to 1e-3; NaN is caught too."""
    norms = np.linalg.norm(x, axis=1)
    bad = ~(np.abs(norms - 1.0) < 1e-3)
    if bad.any():
        raise ValueError(f"Embeddings want unit rows; row {int(np.argmax(bad))} has norm {norms[bad][0]:g}. Normalise.")


def _scores(values: npt.ArrayLike, kind: str, least: int = 1) -> npt.NDArray[np.float64]:
    scores = np.asarray(values, dtype=np.float64).ravel()
    if scores.size < least:
        raise ValueError(f"Wanted at least {least} {kind} score; found none.")
    if not np.isfinite(scores).all():
        raise ValueError(f"Wanted finite {kind} scores; found {int((~np.isfinite(scores)).sum())} that are not.")
    return scores


def _largest_count(far: float, n: int) -> int:
    """The largest k with k / n <= far; plain floor(far * n) is one off where the product rounds (0.29 * 100)."""
    k = min(n - 1, math.floor(far * n) + 1)
    while k / n > far:
        k -= 1
    return k


def _next_float32(score: float) -> float:
    """The smallest float32 number above `score`."""
    near = np.float32(score)
    return float(near if float(near) > score else np.nextafter(near, np.float32(np.inf)))
