"""The warp from chip to crop: landmarks land where the template says, pixels are those of an independent resampler."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from facesec_bench.errors import TargetError
from facesec_bench.interfaces import CHIP_LANDMARKS, CHIP_SIZE
from facesec_bench.targets.template import ARCFACE_112, DLIB_EYES_150, Template, check_range, similarity
from facesec_bench.targets.toy import ToyTarget


def spot(x: float, y: float) -> torch.Tensor:
    """A chip with a Gaussian spot (sigma 4) at (x, y)."""
    axis = torch.arange(CHIP_SIZE, dtype=torch.float64)
    spot = torch.exp(-((axis[None, :] - x) ** 2 + (axis[:, None] - y) ** 2) / (2 * 4.0**2))
    return spot.expand(1, 3, -1, -1)


def centre(image: torch.Tensor) -> tuple[float, float]:
    plane = image[0, 0]
    axis_y, axis_x = (torch.arange(side, dtype=plane.dtype) for side in plane.shape)
    return float((plane.sum(0) * axis_x).sum() / plane.sum()), float((plane.sum(1) * axis_y).sum() / plane.sum())


@pytest.mark.parametrize(("points", "size"), [(ARCFACE_112, 112), (DLIB_EYES_150, 150)])
def test_a_landmark_of_the_chip_lands_where_the_template_says(
    points: tuple[tuple[float, float], ...], size: int
) -> None:
    template = Template(points, size)
    for (x, y), (u, v) in zip(CHIP_LANDMARKS, points, strict=False):
        got = centre(template(spot(x, y)))
        # The chip is the ArcFace template scaled and its eyes level, so the five points fit to within 0.01 px.
        assert got == pytest.approx((u, v), abs=0.01)


def test_the_warp_equals_opencvs_affine_warp() -> None:
    chip = np.random.default_rng(0).random((CHIP_SIZE, CHIP_SIZE, 3)).astype(np.float32)
    chip = cv2.GaussianBlur(chip, (0, 0), 2)
    matrix = similarity(CHIP_LANDMARKS, ARCFACE_112).numpy()
    wanted = cv2.warpAffine(chip, matrix, (112, 112), flags=cv2.INTER_LINEAR)
    got = Template(ARCFACE_112, 112)(torch.from_numpy(chip).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    # OpenCV rounds positions to 1/32 px, so the bound is its own and not rounding error.
    assert np.abs(got - wanted).max() < 0.01


def test_a_similarity_is_recovered_exactly() -> None:
    a, b, c, d = 0.8, -0.3, 5.0, 7.0
    source = [(0.0, 0.0), (10.0, 3.0), (-4.0, 8.0)]
    moved = [(a * x - b * y + c, b * x + a * y + d) for x, y in source]
    assert torch.allclose(similarity(source, moved), torch.tensor([[a, -b, c], [b, a, d]], dtype=torch.float64))


def test_the_whole_chip_at_its_own_size_is_the_chip() -> None:
    chips = torch.rand(2, 3, CHIP_SIZE, CHIP_SIZE)
    assert torch.allclose(Template.whole(CHIP_SIZE)(chips), chips, atol=1e-4)


def test_the_whole_chip_enlarged_is_torchs_own_resize() -> None:
    chips = torch.rand(1, 3, CHIP_SIZE, CHIP_SIZE)
    wanted = torch.nn.functional.interpolate(chips, size=(256, 256), mode="bilinear", align_corners=False)
    assert torch.allclose(Template.whole(256)(chips), wanted, atol=1e-4)


def test_gradients_reach_every_chip_pixel_that_the_crop_shows() -> None:
    chips = torch.rand(1, 3, CHIP_SIZE, CHIP_SIZE, requires_grad=True)
    Template(ARCFACE_112, 112)(chips).sum().backward()
    assert chips.grad is not None
    inner = chips.grad[0, :, 40:130, 40:150]
    # Bilinear sampling every 1.5 px touches each pixel's neighbourhood: no 2x2 block may be without gradient.
    assert bool((torch.nn.functional.max_pool2d(inner, 2) > 0).all())


@pytest.mark.parametrize("shape", [(3, 224, 224), (1, 3, 112, 112), (1, 1, 192, 192)])
def test_another_shape_is_refused_in_words(shape: tuple[int, ...]) -> None:
    with pytest.raises(TargetError, match="224"):
        Template(ARCFACE_112, 112)(torch.zeros(shape))


def test_eight_bit_values_are_refused() -> None:
    with pytest.raises(TargetError, match="Divide 8-bit"):
        Template(ARCFACE_112, 112)(torch.zeros(1, 3, 224, 224, dtype=torch.uint8))
    with pytest.raises(TargetError, match="255"):
        check_range(torch.tensor([0.0, 255.0]))
    with pytest.raises(TargetError):
        check_range(torch.tensor([float("nan")]))
    check_range(torch.empty(0, 3, 224, 224))


def test_an_attack_may_look_a_little_beyond_black_and_white() -> None:
    check_range(torch.tensor([-0.05, 1.05]))
    for wrong in ([-1.5, 0.5], [0.0, 3.0]):  # normalised to mean 0, or 8-bit and dark
        with pytest.raises(TargetError, match=r"\[0, 1\]"):
            check_range(torch.tensor(wrong))


def test_the_toy_target_refuses_what_a_recogniser_would_refuse() -> None:
    with pytest.raises(TargetError, match="255"):
        ToyTarget().embed(torch.full((1, 3, CHIP_SIZE, CHIP_SIZE), 255.0))
