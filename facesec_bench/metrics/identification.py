"""Identification: at which rank a gallery search finds an identity."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from facesec_bench.errors import DataError
from facesec_bench.metrics.verification import check_unit


def ranks(
    probes: npt.ArrayLike,
    probe_identities: npt.ArrayLike,
    gallery: npt.ArrayLike,
    gallery_identities: npt.ArrayLike,
) -> npt.NDArray[np.int64]:
    """Rank of an identity for each probe when the gallery is searched by cosine; 1 is best.

    An identity scores as well as the best of its gallery photos, be it one or several. Another identity that ties
    counts as ranked before it, so a degenerate recogniser that scores all alike comes last, not first.

    Args:
        probes: (P, D) unit vectors.
        probe_identities: (P,) the identity to look for: the person's own (untargeted) or the one to be taken for
            (targeted).
        gallery: (G, D) unit vectors.
        gallery_identities: (G,) identity of each gallery row.

    Returns:
        (P,) int64 in [1, number of gallery identities].

    Raises:
        DataError: an identity to look for is not in the gallery.
        ValueError: shapes that do not fit, or rows that are not unit vectors.
    """
    x, y = np.asarray(probes, dtype=np.float64), np.asarray(gallery, dtype=np.float64)
    wanted, enrolled = np.asarray(probe_identities), np.asarray(gallery_identities)
    if x.ndim != 2 or y.ndim != 2 or wanted.shape != x.shape[:1] or enrolled.shape != y.shape[:1]:
        raise ValueError(
            "ranks wants (P, D), P identities, (G, D) and G identities; "
            f"found {x.shape}, {wanted.shape}, {y.shape} and {enrolled.shape}."
        )
    check_unit(x)
    check_unit(y)
    names = np.unique(enrolled)
    best = np.stack([(x @ y[enrolled == name].T).max(axis=1) for name in names], axis=1)
    column = _columns(wanted, names)
    own = best[np.arange(len(x)), column]
    # The comparison counts the identity itself once, which is the 1 of "rank 1".
    return np.asarray((best >= own[:, None]).sum(axis=1), dtype=np.int64)


def _columns(wanted: npt.NDArray[Any], names: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    missing = sorted({str(who) for who in wanted[~np.isin(wanted, names)]})
    if missing:
        raise DataError(
            f"{len(missing)} identities to look for are not in the gallery (first: {missing[0]}). Wanted at least one "
            "gallery photo of each; change the split or leave these probes out."
        )
    return np.searchsorted(names, wanted).astype(np.int64)
