"""From chip back to photo: the change of a chip, laid onto the full-size photo it was cut from."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from facesec_bench.data.align import make_chip, similarity
from facesec_bench.data.read import Pixels
from facesec_bench.interfaces import CHIP_LANDMARKS, CHIP_SIZE

FEATHER = 12
"""Chip pixels over which a change fades out at the chip's border, so that no seam shows."""
_MARGIN = 3  # photo pixels around the chip's corners: the cubic kernel reaches 2


def paste(pixels: Pixels, landmarks: NDArray[np.float64], change: NDArray[np.floating]) -> Pixels:
    """Add the change of a chip to the photo, where the chip was cut by `align.make_chip` with these landmarks.

    The change is warped by the inverse of the chip's similarity: averaged first where the photo is coarser than the
    chip, by cubic interpolation where it is finer. It fades out over FEATHER at the chip's border. A pixel whose change
    rounds to nothing keeps its value to the bit; where the chip lies beyond the photo the change is lost.

    Args:
        pixels: (H, W, 3) uint8 RGB; not written to.
        landmarks: (5, 2) as (x, y) pixels of the photo.
        change: (224, 224, 3) chip after less chip before, as RGB in [-1, 1].

    Returns:
        A new (H, W, 3) uint8 RGB photo.
    """
    matrix = similarity(landmarks, np.asarray(CHIP_LANDMARKS, dtype=np.float64))
    left, top, right, bottom = _reach(matrix, pixels.shape[1], pixels.shape[0])
    result = pixels.copy()
    if right <= left or bottom <= top:
        return result
    faded = np.asarray(change, dtype=np.float32) * _window()[:, :, None]
    faded, inside = _coarsened(faded, matrix)
    inside[:, 2] += inside[:, :2] @ (left, top)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    size = (right - left, bottom - top)
    moved = cv2.warpAffine(faded, inside, size, flags=flags, borderMode=cv2.BORDER_CONSTANT)
    part = result[top:bottom, left:right]
    part[:] = np.clip(np.rint(part + 255.0 * moved), 0, 255).astype(np.uint8)
    return result


def lay_on(
    pixels: Pixels, landmarks: NDArray[np.float64], change: NDArray[np.floating], corrections: int = 1
) -> Pixels:
    """`paste`, so that the chip cut anew carries the change as nearly as the photo allows.

    Every resampling blurs. What the way into the photo and back has lost is added to the change and pasted again, from
    the untouched photo. Measured with noise of one chip pixel: 53 % of it is lost without, 41 % after one correction,
    36 % after two; of a smooth change 7 % either way, which is the fading border. PGD on SFace, a face of 41 px between
    the eyes: similarity -0.60 on the chip, -0.32 as pasted, -0.42 after one correction, -0.45 after two. A photo's
    pixel may so change by more than the chip's budget: by 13 levels where that was 8.

    Args:
        corrections: how often.
    """
    before = make_chip(pixels, landmarks).astype(np.float32)
    asked = np.asarray(change, dtype=np.float32)
    faded = asked * _window()[:, :, None]  # the fading is meant, so it is no loss
    carried, result = asked, paste(pixels, landmarks, asked)
    for _ in range(corrections):
        arrived = (make_chip(result, landmarks).astype(np.float32) - before) / 255.0
        carried = carried + (faded - arrived)
        result = paste(pixels, landmarks, carried)
    return result


def eye_distance(landmarks: NDArray[np.float64]) -> float:
    """Pixels of the photo between the eyes; a chip has 53."""
    return float(np.hypot(*(landmarks[1] - landmarks[0])))


def overlap(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Whether the chips cut with these landmarks share a part of the photo."""
    target = np.asarray(CHIP_LANDMARKS, dtype=np.float64)
    first, second = (_corners(similarity(points, target)).astype(np.float32) for points in (one, other))
    area, _ = cv2.intersectConvexConvex(first, second)
    return bool(area > 0)


def _window() -> NDArray[np.float32]:
    """(224, 224): 1 inside, falling to 0 along a half cosine over the last FEATHER pixels."""
    depth = np.minimum(np.arange(CHIP_SIZE), np.arange(CHIP_SIZE)[::-1])
    ramp = 0.5 - 0.5 * np.cos(np.pi * np.clip(depth / FEATHER, 0, 1))
    return np.outer(ramp, ramp).astype(np.float32)


def _corners(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4, 2): the chip's corners in the photo, in turn; `matrix` takes photo to chip."""
    corners = np.array([[0, 0], [0, CHIP_SIZE], [CHIP_SIZE, CHIP_SIZE], [CHIP_SIZE, 0]], dtype=np.float64)
    return np.asarray((corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T)


def _reach(matrix: NDArray[np.float64], width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the part of the photo that the chip covers."""
    back = _corners(matrix)
    low = np.clip(np.floor(back.min(axis=0)).astype(int) - _MARGIN, 0, [width, height])
    high = np.clip(np.ceil(back.max(axis=0)).astype(int) + _MARGIN, 0, [width, height])
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _coarsened(
    change: NDArray[np.float32], matrix: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The change at the photo's scale where that is coarser, and the map from photo pixels to its pixels.

    Sampled as it is, a change as fine as the chip's pixels would alias on a photo whose pixels cover several of them.
    """
    scale = float(np.sqrt(np.linalg.det(matrix[:, :2])))
    if scale <= 1:
        return change, matrix.copy()
    side = max(1, round(CHIP_SIZE / scale))
    factor = side / CHIP_SIZE
    smaller = cv2.resize(change, (side, side), interpolation=cv2.INTER_AREA)
    # Pixel centres: new = (old + 0.5) * factor - 0.5.
    linear, shift = matrix[:, :2] * factor, (matrix[:, 2] + 0.5) * factor - 0.5
    return np.asarray(smaller, dtype=np.float32), np.column_stack([linear, shift])
