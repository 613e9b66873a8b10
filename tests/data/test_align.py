"""The similarity and the warp, against closed forms."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from facesec_bench.data.align import make_chip, misfit, similarity
from facesec_bench.interfaces import CHIP_LANDMARKS, CHIP_SIZE

TEMPLATE = np.array(CHIP_LANDMARKS)


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def umeyama(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Equations 40 to 42 of the 1991 paper, by SVD: an independent route to the same matrix."""
    s, t = source - source.mean(0), target - target.mean(0)
    u, d, vt = np.linalg.svd(t.T @ s / len(s))
    signs = np.array([1, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ np.diag(signs) @ vt
    scale = (d * signs).sum() / s.var(0).sum()
    return np.column_stack([scale * rotation, target.mean(0) - scale * rotation @ source.mean(0)])


@given(st.floats(-3.1, 3.1), st.floats(0.05, 20), st.floats(-500, 500), st.floats(-500, 500))
def test_a_similarity_is_recovered_exactly(angle: float, scale: float, x: float, y: float) -> None:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    true = np.array([[c, -s, x], [s, c, y]])
    np.testing.assert_allclose(similarity(TEMPLATE, apply(true, TEMPLATE)), true, atol=1e-7)


@given(st.integers(0, 10_000))
def test_noisy_points_give_the_matrix_of_umeyama(seed: int) -> None:
    noisy = TEMPLATE * 2 + np.random.default_rng(seed).normal(0, 8, (5, 2))
    np.testing.assert_allclose(similarity(noisy, TEMPLATE), umeyama(noisy, TEMPLATE), atol=1e-8)


def smooth(width: int, height: int, unit: float) -> np.ndarray:
    """A picture defined on the plane, so that any scale of it can be drawn without resampling."""
    x, y = (np.arange(width) + 0.5) / unit, (np.arange(height)[:, None] + 0.5) / unit
    waves = [np.sin(x * f + p) * np.cos(y * f - p) for f, p in ((0.11, 0), (0.17, 1), (0.23, 2))]
    return np.stack([127 + 100 * wave for wave in waves], axis=2).round().astype(np.uint8)


def test_landmarks_at_the_template_leave_the_photo_as_it_is() -> None:
    picture = smooth(CHIP_SIZE, CHIP_SIZE, 1)
    np.testing.assert_array_equal(make_chip(picture, TEMPLATE), picture)


def test_a_photo_of_another_scale_gives_the_same_chip() -> None:
    wanted = smooth(CHIP_SIZE, CHIP_SIZE, 1).astype(float)
    for unit in (0.5, 1.3, 3.0, 7.7):  # pixels of the photo for one of the chip
        side = int(CHIP_SIZE * unit)
        landmarks = (TEMPLATE + 0.5) * unit - 0.5
        chip = make_chip(smooth(side, side, unit), landmarks).astype(float)
        inner = np.s_[8:-8, 8:-8]
        assert np.abs(chip[inner] - wanted[inner]).mean() < 1.5, unit


def test_a_large_face_is_averaged_down_and_not_sampled_with_gaps() -> None:
    board = (np.indices((CHIP_SIZE * 8, CHIP_SIZE * 8)).sum(0) % 2 * 255).astype(
        np.uint8
    )  # finer than the chip can show: grey
    chip = make_chip(np.repeat(board[:, :, None], 3, 2), (TEMPLATE + 0.5) * 8 - 0.5)
    assert np.abs(chip.astype(float) - 127.5).max() < 3


def test_a_rotated_photo_is_turned_back() -> None:
    wide = smooth(448, 448, 1)
    matrix = cv2.getRotationMatrix2D((224, 224), 30, 1.0)
    turned = cv2.warpAffine(wide, matrix, (448, 448), flags=cv2.INTER_CUBIC)
    inside = TEMPLATE + 112
    difference = make_chip(turned, apply(matrix, inside)).astype(float) - make_chip(wide, inside)
    assert np.abs(difference[8:-8, 8:-8]).mean() < 1.0


def test_a_chip_beyond_the_photo_repeats_its_edge() -> None:
    picture = np.full((60, 60, 3), 90, np.uint8)
    assert (make_chip(picture, TEMPLATE - 60) == 90).all()
    assert (make_chip(picture, TEMPLATE + 500) == 90).all()


def test_a_photo_wider_than_opencv_can_warp_still_gives_its_chip() -> None:
    picture = np.zeros((240, 40_000, 3), np.uint8)
    picture[:CHIP_SIZE, 39_000 : 39_000 + CHIP_SIZE] = smooth(CHIP_SIZE, CHIP_SIZE, 1)
    chip = make_chip(picture, TEMPLATE + np.array([39_000, 0]))
    np.testing.assert_array_equal(chip[:, 4:-4], smooth(CHIP_SIZE, CHIP_SIZE, 1)[:, 4:-4])


def test_misfit_is_nothing_for_the_template_and_grows_as_the_nose_turns() -> None:
    assert misfit(TEMPLATE * 3 + 7) < 1e-9
    turned = TEMPLATE.copy()
    turned[2, 0] += 30
    assert misfit(turned) > 6
