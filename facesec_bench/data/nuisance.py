"""What differs between two photos of one person besides the person: pose, light, blur, compression."""

from __future__ import annotations

import cv2
import numpy as np

from facesec_bench.data.read import Pixels

_CORNER = 0.05  # of the side: how far a corner may be dragged; alignment undoes the affine part, perspective stays
_ANGLE_DEGREES = 12.0
_GAIN = 0.2
_GAMMA_LOG2 = 0.3
_SLOPE = 0.25  # brightness difference across the picture from light on one side
_TINT = 0.08
_BLUR_PX = 1.2  # largest standard deviation, in pixels of a 192-pixel picture
_QUALITY = (40, 95)


def rephotograph(picture: Pixels, rng: np.random.Generator, strength: float = 1.0) -> Pixels:
    """A mild random change of everything but the face: perspective, rotation, light, tint, blur, JPEG.

    Args:
        picture: (H, W, 3) uint8 RGB, a face with some surroundings, about 192 pixels a side.
        rng: decides the change; always draws the same number of values.
        strength: scales every change, in [0, 1]; 0 leaves the picture as it is but for a JPEG of the best quality.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    for change in (_pose, _light, _blur, _compress):
        picture = change(picture, rng, strength)
    return picture


def _pose(picture: Pixels, rng: np.random.Generator, strength: float) -> Pixels:
    height, width = picture.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)
    dragged = corners + strength * rng.uniform(-_CORNER, _CORNER, (4, 2)) * (width, height)
    turn, angle = np.eye(3), strength * rng.uniform(-_ANGLE_DEGREES, _ANGLE_DEGREES)
    turn[:2] = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    matrix = turn @ cv2.getPerspectiveTransform(corners, dragged.astype(np.float32))
    moved = cv2.warpPerspective(
        picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(moved, dtype=np.uint8)


def _light(picture: Pixels, rng: np.random.Generator, strength: float) -> Pixels:
    height, width = picture.shape[:2]
    angle, slope = rng.uniform(0, 2 * np.pi), strength * rng.uniform(0, _SLOPE)
    columns, rows = np.linspace(-0.5, 0.5, width), np.linspace(-0.5, 0.5, height)
    across = columns[None, :] * np.cos(angle) + rows[:, None] * np.sin(angle)
    gain = 1 + strength * rng.uniform(-_GAIN, _GAIN) + slope * across
    tint = 1 + strength * rng.uniform(-_TINT, _TINT, 3)
    gamma = 2.0 ** (strength * rng.uniform(-_GAMMA_LOG2, _GAMMA_LOG2))
    lit = (picture / 255.0) ** gamma * gain[:, :, None] * tint
    return np.asarray((lit.clip(0, 1) * 255).round(), dtype=np.uint8)


def _blur(picture: Pixels, rng: np.random.Generator, strength: float) -> Pixels:
    sigma = max(0.1, strength * rng.uniform(0, _BLUR_PX))
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), dtype=np.uint8)


def _compress(picture: Pixels, rng: np.random.Generator, strength: float) -> Pixels:
    quality = round(100 - strength * (100 - rng.uniform(*_QUALITY)))
    _, code = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), dtype=np.uint8)
    return np.ascontiguousarray(decoded[:, :, ::-1])
