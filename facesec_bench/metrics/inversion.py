"""Inversion: how well recovered faces match the people they are meant to show, and how they spread."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Prdc(NamedTuple):
    """Precision and density: are recoveries where private photos are; recall and coverage: are they everywhere there.

    All are in [0, 1] but density, which may exceed 1.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def among_best(scores: npt.ArrayLike, wanted: npt.ArrayLike, n: int) -> Bools:
    """Whether the wanted class is among the `n` highest scores, (B,); a tie counts against it, and so does NaN.

    Args:
        scores: (B, K).
        wanted: (B,) columns.

    Raises:
        ValueError: shapes that do not fit, or n outside 1 to K.
    """
    table, column = np.asarray(scores, dtype=np.float64), np.asarray(wanted, dtype=np.int64)
    if table.ndim != 2 or column.shape != table.shape[:1] or not 1 <= n <= table.shape[1]:
        raise ValueError(f"Found scores {table.shape}, wanted {column.shape} and n={n}; wanted (B, K), (B,), n <= K.")
    own = table[np.arange(len(table)), column]
    return np.asarray((table < own[:, None]).sum(axis=1) >= table.shape[1] - n)


def nearest_squared_distance(
    features: npt.ArrayLike, identities: npt.ArrayLike, private: npt.ArrayLike, private_identities: npt.ArrayLike
) -> Array:
    """Least squared Euclidean distance of each recovery to a private photo of its own person, (B,); the "KNN distance"
    of the inversion papers (Zhang et al., "The Secret Revealer", CVPR 2020).

    Args:
        features: (B, D), (N, D) of recoveries and private photos, by a recogniser that was not attacked.

    Returns:
        NaN where the person has no private photo.
    """
    x, y = np.asarray(features, dtype=np.float64), np.asarray(private, dtype=np.float64)
    own = np.asarray(identities)[:, None] == np.asarray(private_identities)[None, :]
    squared = _squared(x, y)
    squared[~own] = np.inf
    least = squared.min(axis=1, initial=np.inf)
    return np.where(np.isfinite(least), least, np.nan)


def prdc(private: npt.ArrayLike, recovered: npt.ArrayLike, k: int = 3) -> Prdc:
    """Precision and recall (Kynkaanniemi et al., NeurIPS 2019), density and coverage (Naeem et al., ICML 2020).

    A ball around each point reaches to its k-th nearest other point of its own set.

    Args:
        private, recovered: (N, D) and (M, D) features, N and M above k.

    Raises:
        ValueError: too few points for k.
    """
    real, fake = np.asarray(private, dtype=np.float64), np.asarray(recovered, dtype=np.float64)
    if min(len(real), len(fake)) <= k or k < 1:
        raise ValueError(f"PRDC with k={k} found {len(real)} private and {len(fake)} recovered; wanted more than k.")
    around_real, around_fake = _reach(real, k), _reach(fake, k)
    between = _squared(real, fake)
    in_real, in_fake = between <= around_real[:, None], between <= around_fake[None, :]
    return Prdc(
        precision=float(in_real.any(axis=0).mean()),
        recall=float(in_fake.any(axis=1).mean()),
        density=float(in_real.sum(axis=0).mean() / k),
        coverage=float(in_real.any(axis=1).mean()),
    )


def _reach(points: Array, k: int) -> Array:
    """(N,): squared distance to the k-th nearest other point."""
    squared = _squared(points, points)
    np.fill_diagonal(squared, -1.0)  # itself comes first, however the others round
    return np.asarray(np.sort(squared, axis=1)[:, k])


def _squared(x: Array, y: Array) -> Array:
    """(N, M) squared distances; by differences, as a sum of products loses what near points differ by."""
    return np.asarray([((y - row) ** 2).sum(axis=1) for row in x]).reshape(len(x), len(y))
