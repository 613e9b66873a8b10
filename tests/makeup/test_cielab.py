"""CIELAB against published coordinates of sRGB's corners, OpenCV, and its own inverse."""

import cv2
import numpy as np
import pytest
import torch

from facesec_bench.makeup.cielab import as_pigment, colour_lab, relit, to_lab, to_rgb
from facesec_bench.seeds import generator


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((1, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 1, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 1), (32.30, 79.19, -107.86)),
    ],
)
def test_corners_have_their_published_coordinates(rgb, lab):
    assert colour_lab(rgb) == pytest.approx(lab, abs=0.03)


def test_it_agrees_with_opencv_to_the_precision_of_its_tables():
    pixels = torch.rand(3, 20, 20, generator=generator(0, "lab"))
    theirs = cv2.cvtColor(pixels.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2Lab)
    assert np.abs(to_lab(pixels).permute(1, 2, 0).numpy() - theirs).max() < 0.5


def test_there_and_back_is_the_identity_with_finite_gradients():
    pixels = torch.rand(2, 3, 9, 9, generator=generator(0, "lab"), dtype=torch.float64)
    pixels[..., 0, 0], pixels[..., 0, 1] = 0, 1
    pixels.requires_grad_()
    back = to_rgb(to_lab(pixels))
    assert torch.allclose(back, pixels, atol=1e-9)
    (gradient,) = torch.autograd.grad(back.sum(), pixels)
    assert torch.allclose(gradient, torch.ones_like(gradient), atol=1e-3)


def test_dimming_the_light_is_relighting():
    pixels = 0.2 + 0.7 * torch.rand(3, 9, 9, generator=generator(0, "lab"), dtype=torch.float64)
    linear = ((pixels + 0.055) / 1.055) ** 2.4 * 0.5
    dim = 1.055 * linear ** (1 / 2.4) - 0.055
    assert torch.allclose(relit(to_lab(pixels), 0.5 ** (1 / 3)), to_lab(dim), atol=1e-6)


def test_pigment_keeps_what_is_muted_and_tames_what_is_pure():
    muted = torch.tensor([60.0, 30.0, 40.0]).view(3, 1, 1)
    assert torch.allclose(as_pigment(muted), muted)
    pure = torch.tensor([50.0, 60.0, 80.0]).view(3, 1, 1)  # of chroma 100: 50 + 0.3 * 50 are left
    assert torch.allclose(as_pigment(pure).flatten(), torch.tensor([50 - 0.25 * 35, 60 * 0.65, 80 * 0.65]))
