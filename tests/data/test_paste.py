"""The change of a chip arrives in the photo where the chip was cut, and nowhere else."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facesec_bench.data.align import make_chip, similarity
from facesec_bench.data.paste import FEATHER, eye_distance, lay_on, overlap, paste
from facesec_bench.interfaces import CHIP_LANDMARKS, CHIP_SIZE

TEMPLATE = np.array(CHIP_LANDMARKS)
SIDE = 300
INNER = slice(FEATHER + 4, CHIP_SIZE - FEATHER - 4)


def landmarks(eyes, angle=0.0, centre=(SIDE / 2, SIDE / 2)):
    """Chip landmarks turned by `angle`, with the eyes `eyes` pixels apart, about `centre`."""
    z = (TEMPLATE - TEMPLATE.mean(axis=0)) @ (1, 1j) * np.exp(1j * angle) * eyes / eye_distance(TEMPLATE)
    return np.stack([z.real, z.imag], axis=1) + centre


def smooth_photo(side=SIDE, seed=0):
    small = np.random.default_rng(seed).integers(100, 150, (12, 12, 3)).astype(np.uint8)
    return cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)


def chip_places(points, height=SIDE, width=SIDE):
    """(H, W, 2): where each photo pixel lies in the chip, in chip pixels."""
    matrix = similarity(points, TEMPLATE)
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(float)
    return grid @ matrix[:, :2].T + matrix[:, 2]


POSES = {"eyes": st.floats(8, 150), "angle": st.floats(-3.1, 3.1), "x": st.floats(-50, 350), "y": st.floats(-50, 350)}


@given(**POSES)
@settings(max_examples=30, deadline=None)
def test_no_change_leaves_the_photo_to_the_bit(eyes, angle, x, y):
    photo = smooth_photo()
    assert np.array_equal(lay_on(photo, landmarks(eyes, angle, (x, y)), np.zeros((CHIP_SIZE, CHIP_SIZE, 3))), photo)


@given(**POSES, level=st.integers(-50, 50))
@settings(max_examples=40, deadline=None)
def test_a_constant_change_arrives_inside_the_chip_and_nothing_outside(eyes, angle, x, y, level):
    photo, points = smooth_photo(), landmarks(eyes, angle, (x, y))
    change = paste(photo, points, np.full((CHIP_SIZE, CHIP_SIZE, 3), level / 255)).astype(int) - photo
    depth = np.minimum(chip_places(points), CHIP_SIZE - 1 - chip_places(points)).min(axis=-1)
    coarse = max(1.0, eye_distance(TEMPLATE) / eyes)  # chip pixels in one photo pixel
    assert (change[depth > FEATHER + 3 * coarse] == level).all()
    assert (change[depth < -3 * coarse] == 0).all()


def test_the_change_fades_without_a_step():
    photo = np.full((SIDE, SIDE, 3), 128, np.uint8)
    change = paste(photo, landmarks(53.0), np.full((CHIP_SIZE, CHIP_SIZE, 3), 40 / 255)).astype(int) - 128
    steps = np.abs(np.diff(change[:, :, 0], axis=1))
    assert change.max() == 40 and steps.max() <= np.ceil(40 * np.pi / 2 / FEATHER) + 1


@pytest.mark.parametrize("eyes", [20.0, 53.0, 120.0])
def test_a_spot_in_the_chip_becomes_a_spot_at_its_place_in_the_photo(eyes):
    photo, points = np.full((SIDE, SIDE, 3), 100, np.uint8), landmarks(eyes, 0.7, (140.0, 155.0))
    spot = np.array([90.0, 130.0])
    y, x = np.mgrid[:CHIP_SIZE, :CHIP_SIZE]
    change = 0.5 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * 6.0**2))
    got = paste(photo, points, np.repeat(change[:, :, None], 3, axis=2)).astype(float)[:, :, 0] - 100
    rows, columns = np.mgrid[:SIDE, :SIDE]
    centre = np.array([(got * columns).sum(), (got * rows).sum()]) / got.sum()
    matrix = similarity(points, TEMPLATE)
    assert np.allclose(centre, np.linalg.solve(matrix[:, :2], spot - matrix[:, 2]), atol=0.15)


@pytest.mark.parametrize("eyes", [20.0, 53.0, 100.0, 300.0])
def test_a_smooth_change_survives_the_way_into_the_photo_and_back(eyes):
    side = max(SIDE, int(6 * eyes))
    photo, points = smooth_photo(side), landmarks(eyes, 0.3, (side / 2 + 0.3, side / 2 - 0.2))
    rng = np.random.default_rng(1)
    change = cv2.resize(rng.normal(0, 8 / 255, (14, 14, 3)), (CHIP_SIZE, CHIP_SIZE), interpolation=cv2.INTER_CUBIC)
    before = make_chip(photo, points).astype(float)
    arrived = (make_chip(lay_on(photo, points, change), points) - before) / 255
    wrong = (arrived - change)[INNER, INNER]
    rounding = 0.5 / 255
    assert np.sqrt((wrong**2).mean()) < 0.04 * np.sqrt((change[INNER, INNER] ** 2).mean()) + rounding


@pytest.mark.parametrize("eyes", [53.0, 100.0, 300.0])
def test_correcting_once_brings_more_of_a_fine_change_across(eyes):
    side = max(SIDE, int(6 * eyes))
    photo, points = smooth_photo(side), landmarks(eyes, 0.3, (side / 2 + 0.3, side / 2 - 0.2))
    change = np.random.default_rng(1).choice([-8, 8], (CHIP_SIZE, CHIP_SIZE, 3)) / 255
    before = make_chip(photo, points).astype(float)
    lost = []
    for corrections in (0, 1):
        arrived = (make_chip(lay_on(photo, points, change, corrections), points) - before) / 255
        lost.append(np.sqrt(((arrived - change)[INNER, INNER] ** 2).mean()) / (8 / 255))
    assert lost[1] < 0.85 * lost[0] and lost[1] < 0.46


def test_a_change_finer_than_the_photo_does_not_alias():
    """Stripes of one chip pixel on a photo four times coarser average to nothing; sampled, they would be stripes."""
    photo = np.full((SIDE, SIDE, 3), 128, np.uint8)
    stripes = np.where(np.arange(CHIP_SIZE)[None, :, None] % 2, 0.4, -0.4) * np.ones((CHIP_SIZE, CHIP_SIZE, 3))
    change = paste(photo, landmarks(53 / 4), stripes).astype(int) - 128
    assert np.abs(change).max() <= 8, "of 102"


def test_a_chip_wholly_beyond_the_photo_changes_nothing_and_the_given_photo_is_not_written_to():
    photo = smooth_photo()
    untouched = photo.copy()
    assert np.array_equal(paste(photo, landmarks(20.0, 0.0, (-500.0, 900.0)), np.ones((224, 224, 3))), photo)
    paste(photo, landmarks(40.0), np.ones((224, 224, 3)))
    assert np.array_equal(photo, untouched)


def test_values_stop_at_black_and_white():
    photo = smooth_photo()
    for level, end in ((1.0, 255), (-1.0, 0)):
        result = paste(photo, landmarks(60.0), np.full((CHIP_SIZE, CHIP_SIZE, 3), level))
        assert (result[140:160, 140:160] == end).all()


def test_chips_overlap_where_their_squares_do():
    side = CHIP_SIZE * 53.0 / eye_distance(TEMPLATE)
    for shift, touching in ((0.98, True), (1.02, False)):
        assert overlap(landmarks(53.0), landmarks(53.0, centre=(150 + shift * side, 150))) == touching
    turned = landmarks(53.0, np.pi / 4, (150 + 1.15 * side, 150))
    assert overlap(landmarks(53.0), turned), "a square on its corner is wider"
