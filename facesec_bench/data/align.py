"""From landmarks to chip: the least-squares similarity and the warp."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from facesec_bench.data.read import Pixels
from facesec_bench.interfaces import CHIP_LANDMARKS, CHIP_SIZE

_MARGIN = 4  # pixels kept around the region the chip needs: the cubic kernel reaches 2


def similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The similarity (rotation, scale, shift; no reflection) that takes `source` to `target` with least squared error.

    Points as complex numbers make it a linear regression, z -> a z + b with a = <conj(z), w> / <conj(z), z> on centred
    points; equal to Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI
    1991, wherever that one finds a rotation.

    Args:
        source: (N, 2) points as (x, y), not all equal.
        target: (N, 2) points.

    Returns:
        (2, 3) affine matrix.
    """
    z, w = source @ (1, 1j), target @ (1, 1j)
    zc, wc = z - z.mean(), w - w.mean()
    a = np.vdot(zc, wc) / np.vdot(zc, zc).real
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def misfit(landmarks: NDArray[np.float64]) -> float:
    """How far (5, 2) landmarks stay from CHIP_LANDMARKS once aligned: root mean square, in chip pixels.

    It grows as a head turns away from the camera.
    """
    target = np.asarray(CHIP_LANDMARKS, dtype=np.float64)
    matrix = similarity(landmarks, target)
    return float(np.sqrt(((landmarks @ matrix[:, :2].T + matrix[:, 2] - target) ** 2).sum(axis=1).mean()))


def make_chip(pixels: Pixels, landmarks: NDArray[np.float64]) -> Pixels:
    """Warp the face with these landmarks to CHIP_LANDMARKS.

    A chip is 8-bit, so that as a float image it is an exact multiple of 1/255. A chip that reaches beyond the photo
    repeats the photo's edge.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        landmarks: (5, 2) as (x, y) pixels, in the order of CHIP_LANDMARKS.

    Returns:
        (224, 224, 3) uint8 RGB.
    """
    matrix = similarity(landmarks, np.asarray(CHIP_LANDMARKS, dtype=np.float64))
    pixels, matrix = _crop(pixels, matrix)
    pixels, matrix = _shrink(pixels, matrix)
    size = (CHIP_SIZE, CHIP_SIZE)
    chip = cv2.warpAffine(pixels, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(chip, dtype=np.uint8)


def _crop(pixels: Pixels, matrix: NDArray[np.float64]) -> tuple[Pixels, NDArray[np.float64]]:
    """Keep the part the chip needs: OpenCV refuses to warp photos beyond 32767 pixels a side, and shrinking is dear."""
    height, width = pixels.shape[:2]
    linear = matrix[:, :2]
    corners = np.array([[0, 0], [0, CHIP_SIZE], [CHIP_SIZE, 0], [CHIP_SIZE, CHIP_SIZE]], dtype=np.float64)
    back = (corners - matrix[:, 2]) @ np.linalg.inv(linear).T
    margin = _MARGIN * max(1.0, 1.0 / float(np.sqrt(np.linalg.det(linear))))
    low = np.clip(np.floor(back.min(axis=0) - margin).astype(int), 0, [width - 1, height - 1])
    high = np.clip(np.ceil(back.max(axis=0) + margin).astype(int), low + 1, [width, height])
    moved = matrix.copy()
    moved[:, 2] += linear @ low
    return np.ascontiguousarray(pixels[low[1] : high[1], low[0] : high[0]]), moved


def _shrink(pixels: Pixels, matrix: NDArray[np.float64]) -> tuple[Pixels, NDArray[np.float64]]:
    """Average pixels down to the chip's scale first.

    The warp reads 4x4 source pixels for each chip pixel, whatever the scale: a face ten times the chip's size would be
    sampled with gaps and alias, and a recogniser sees the aliasing. Area averaging before the warp leaves it a scale
    of one.
    """
    scale = float(np.sqrt(np.linalg.det(matrix[:, :2])))
    if scale >= 1:
        return pixels, matrix
    height, width = pixels.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    factor = np.array([size[0] / width, size[1] / height])
    # Pixel centres: new = (old + 0.5) * factor - 0.5, so old = (new + 0.5) / factor - 0.5.
    linear = matrix[:, :2] / factor
    shift = matrix[:, :2] @ (0.5 / factor - 0.5) + matrix[:, 2]
    smaller = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return np.asarray(smaller, dtype=np.uint8), np.column_stack([linear, shift])
