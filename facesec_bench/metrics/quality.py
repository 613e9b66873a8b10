"""Quality: how far an image, or a set of embeddings, is from another.

Images are (B, 3, H, W) in [0, 1], numpy arrays or detached CPU tensors; every distance is per image.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def psnr(images: npt.ArrayLike, originals: npt.ArrayLike) -> Array:
    """Peak signal-to-noise ratio in dB, (B,), for a peak of 1: 10 log10(1 / mean squared error).

    NaN where the two are identical: without noise the ratio is infinite, and one infinity would swallow the mean of
    all the others. `scores.summarise` leaves these out and n tells how many remain.
    """
    a, b = _pair(images, originals)
    error = ((a - b) ** 2).mean(axis=(1, 2, 3))
    return np.asarray(-10.0 * np.log10(np.where(error > 0.0, error, np.nan)))


def linf_255(images: npt.ArrayLike, originals: npt.ArrayLike) -> Array:
    """Largest change of any pixel channel, (B,), in steps of 1/255."""
    a, b = _pair(images, originals)
    return np.asarray(np.abs(a - b).max(axis=(1, 2, 3)) * 255.0)


def ssim(images: npt.ArrayLike, originals: npt.ArrayLike) -> Array:
    """Structural similarity, (B,), 1 for identical images; Gaussian window of sigma 1.5, 11 pixels, mean over channels.

    Source: Wang et al., IEEE TIP 13 (2004), by torchmetrics.
    """
    # Imported here: torchmetrics and torch take seconds, and psnr needs neither.
    import torch
    from torchmetrics.functional.image import structural_similarity_index_measure

    # float32: the convolutions are six times faster than in float64, and SSIM agrees to six digits on 8-bit images.
    a, b = (torch.from_numpy(x.astype(np.float32)) for x in _pair(images, originals))
    values = structural_similarity_index_measure(a, b, data_range=1.0, reduction="none")
    return np.asarray(values, dtype=np.float64).reshape(len(a))


def frechet_distance(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Squared Frechet distance between Gaussians fitted to two sets of vectors, >= 0.

    |mean_x - mean_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)). Its estimate is biased upwards, the more the fewer the
    samples are against the dimension: compare only values taken with the same N and M, and never one with a published
    one.

    Args:
        x: (N, D), N >= 2.
        y: (M, D), M >= 2.

    Raises:
        ValueError: shapes that do not fit, or fewer than two rows.

    Source: Dowson and Landau, J. Multivariate Analysis 12 (1982); the distance inside FID, Heusel et al. (2017).
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(f"frechet_distance wants (N, D) and (M, D) with N, M >= 2; found {a.shape} and {b.shape}.")
    # With X the centred rows, C = X'X / (N - 1), so tr (C_x C_y)^(1/2) is the sum of the singular values of X Y' over
    # sqrt((N - 1)(M - 1)); a QR step first keeps that matrix no larger than D x D. Exact for singular covariances.
    centred = (a - a.mean(0)) / np.sqrt(len(a) - 1), (b - b.mean(0)) / np.sqrt(len(b) - 1)
    left, right = (np.asarray(np.linalg.qr(z, mode="r")) for z in centred)
    cross = float(np.linalg.svd(left @ right.T, compute_uv=False).sum())
    spread = sum((z**2).sum() for z in centred)
    return max(0.0, float(((a.mean(0) - b.mean(0)) ** 2).sum() + spread - 2.0 * cross))


def _pair(images: npt.ArrayLike, originals: npt.ArrayLike) -> tuple[Array, Array]:
    a, b = np.asarray(images, dtype=np.float64), np.asarray(originals, dtype=np.float64)
    if a.ndim != 4 or a.shape != b.shape:
        raise ValueError(f"Wanted two batches of one shape (B, 3, H, W); found {a.shape} and {b.shape}.")
    return a, b
