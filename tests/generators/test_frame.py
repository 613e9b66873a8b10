"""The warp between chips and a generator's pictures."""

import torch
from torch.nn import functional

from facesec_bench.generators import ffhq
from facesec_bench.generators.frame import Frame
from facesec_bench.interfaces import CHIP_LANDMARKS, CHIP_SIZE

HALF = tuple(((x + 0.5) / 2 - 0.5, (y + 0.5) / 2 - 0.5) for x, y in CHIP_LANDMARKS)
"""A generator that paints the whole chip at half its size."""


def smooth(side: int) -> torch.Tensor:
    axis = torch.linspace(0, 3, side)
    wave = 0.5 + 0.4 * torch.sin(axis[:, None] * 2 + axis)
    return torch.stack([wave, wave.T, 1 - wave])[None]


def test_a_generator_of_half_the_chip_is_the_mean_of_two_by_two_pixels():
    chips = torch.rand(2, 3, CHIP_SIZE, CHIP_SIZE, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(Frame(HALF, 112).to_picture(chips), functional.avg_pool2d(chips, 2), atol=1e-5)


def test_to_the_picture_and_back_keeps_a_smooth_photo():
    chips = smooth(CHIP_SIZE)
    frame = Frame(HALF, 112)
    error = (frame.to_chip(frame.to_picture(chips)) - chips).abs()
    assert error[..., 6:-6, 6:-6].max() < 2e-3  # at the rim the border repeats


def test_landmarks_arrive_where_they_are_said_to_lie():
    """A dot on each landmark of a picture is found on the chip's landmark, for a frame that turns and shrinks."""
    points = ((22.4, 30.6), (40.6, 28.7), (31.1, 40.9), (24.9, 51.2), (39.6, 49.4))
    frame = Frame(points, 64)
    for (x, y), (u, v) in zip(points, CHIP_LANDMARKS, strict=True):
        picture = torch.zeros(1, 1, 64, 64)
        rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
        picture[0, 0] = torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 4)
        found = frame.to_chip(picture)[0, 0].clamp_min(0)
        r, c = torch.meshgrid(torch.arange(224.0), torch.arange(224.0), indexing="ij")
        centre = (found * c).sum() / found.sum(), (found * r).sum() / found.sum()
        # These points are no exact similarity of the chip's: the fit leaves a few chip pixels.
        assert abs(float(centre[0]) - u) < 5
        assert abs(float(centre[1]) - v) < 5


def test_the_window_is_open_inside_and_closed_outside_the_picture():
    points = tuple((x / 224 * 64 * 2 - 32, y / 224 * 64 * 2 - 36) for x, y in CHIP_LANDMARKS)  # the chip's inner half
    window = Frame(points, 64, feather=4.0).window[0, 0]
    assert window[112, 112] == 1
    assert window[:40].max() == 0
    assert window[:, :40].max() == 0
    assert ((window > 0) & (window < 1)).any()


def test_gradients_pass_both_ways():
    frame = Frame(HALF, 112)
    chips = torch.rand(1, 3, CHIP_SIZE, CHIP_SIZE, requires_grad=True)
    frame.to_chip(frame.to_picture(chips)).sum().backward()
    assert (chips.grad != 0).float().mean() > 0.99


def test_an_upright_face_is_cropped_as_the_paper_says():
    """Eyes 60 apart and 80 above the mouth: the side is 3.6 x 80, the centre 8 below the eyes."""
    face = ((70.0, 100.0), (130.0, 100.0), (100.0, 140.0), (75.0, 180.0), (125.0, 180.0))
    found = ffhq.landmarks(288, face)
    moved = [(x - 100 + 144, y - 108 + 144) for x, y in face]
    for (x, y), (u, v) in zip(found, moved, strict=True):
        assert abs(x - u) < 1e-6
        assert abs(y - v) < 1e-6


def test_a_tilted_face_is_cropped_upright():
    turn = complex(0.96, 0.28)
    face = ((70.0, 100.0), (130.0, 100.0), (100.0, 140.0), (75.0, 180.0), (125.0, 180.0))
    tilted = tuple(((complex(x, y) * turn).real, (complex(x, y) * turn).imag) for x, y in face)
    upright, found = ffhq.landmarks(64, face), ffhq.landmarks(64, tilted)
    assert all(abs(a - b) < 1e-6 for p, q in zip(upright, found, strict=True) for a, b in zip(p, q, strict=True))
