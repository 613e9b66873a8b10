"""Bits: how much of a watermark's message can still be read."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def accuracy(scores: npt.ArrayLike, messages: npt.ArrayLike) -> Array:
    """Share of bits that read as they were written, (B,), in [0, 1]; guessing gives 0.5 on average.

    Args:
        scores: (B, L) as decoded: positive reads as 1, anything else as 0.
        messages: (B, L) of 0 and 1, as embedded.

    Raises:
        ValueError: shapes that differ or hold no bit, scores that are not finite, messages of anything but 0 and 1.
    """
    return np.asarray(_right(scores, messages).mean(axis=1), dtype=np.float64)


def exact(scores: npt.ArrayLike, messages: npt.ArrayLike) -> Array:
    """1 where every bit of the message reads as it was written, else 0, (B,). Arguments and errors as `accuracy`."""
    return np.asarray(_right(scores, messages).all(axis=1), dtype=np.float64)


def _right(scores: npt.ArrayLike, messages: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[Any] = np.asarray(scores, dtype=np.float64)
    wanted: npt.NDArray[Any] = np.asarray(messages, dtype=np.float64)
    if found.ndim != 2 or found.shape != wanted.shape or found.shape[1] == 0:
        raise ValueError(f"Bits want (B, L) scores and (B, L) messages; found {found.shape} and {wanted.shape}.")
    if not np.isfinite(found).all():
        raise ValueError(f"Bits want finite scores; found {int((~np.isfinite(found)).sum())} that are not.")
    if not np.isin(wanted, (0.0, 1.0)).all():
        raise ValueError(f"Messages want 0 or 1; found {wanted[~np.isin(wanted, (0.0, 1.0))][0]}.")
    return np.asarray((found > 0) == (wanted == 1))
