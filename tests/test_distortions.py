"""Compression, scaling, blur, noise and grey levels, against PIL, SciPy and closed forms."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from facesec_bench.distortions import blurred, jpeg, noisy, pass_gradient, quantised, rescaled
from facesec_bench.errors import ConfigError
from facesec_bench.screenshot import screenshot
from facesec_bench.seeds import generator


def pictures(n: int = 2, side: int = 48) -> torch.Tensor:
    """Smooth 8-bit pictures with grain, from black to white."""
    rng = generator(0, "pictures")
    coarse = torch.rand(n, 3, 6, 6, generator=rng)
    smooth = torch.nn.functional.interpolate(coarse, side, mode="bicubic")
    grain = 0.05 * torch.randn(smooth.shape, generator=rng)
    return ((1.4 * smooth - 0.2 + grain).clamp(0, 1) * 255).round() / 255


def test_what_passes_a_gradient_on_keeps_its_bits_and_its_range():
    value, to = pictures().sqrt(), torch.rand(2, 3, 48, 48, generator=generator(1, "to"))
    assert torch.equal(pass_gradient(value, to), value)


@pytest.mark.parametrize("quality", [10, 75, 90])
def test_jpeg_is_the_file_that_pil_writes(quality):
    images = pictures()
    for image, ours in zip(images, jpeg(images, quality), strict=True):
        buffer = io.BytesIO()
        Image.fromarray((image * 255).byte().permute(1, 2, 0).numpy()).save(buffer, "jpeg", quality=quality)
        theirs = np.asarray(Image.open(io.BytesIO(buffer.getvalue()))).transpose(2, 0, 1)
        assert np.array_equal((ours * 255).round().byte().numpy(), theirs)


def test_jpeg_loses_more_at_a_lower_quality_and_something_at_any():
    images = pictures()
    loss = [float((jpeg(images, quality) - images).square().mean()) for quality in (10, 50, 90)]
    assert loss[0] > 2 * loss[1] and loss[1] > loss[2] > 0


@pytest.mark.parametrize("distort", [lambda x: jpeg(x, 75), lambda x: quantised(x, 16)], ids=["jpeg", "quantised"])
def test_rounding_passes_its_gradient_on_unchanged(distort):
    images = pictures().requires_grad_(True)
    weights = torch.randn(images.shape, generator=generator(2, "weights"))
    (distort(images) * weights).sum().backward()
    assert torch.equal(images.grad, weights)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.3])
def test_blur_is_scipys_gaussian_filter(sigma):
    images = pictures().double()
    radius = int(np.ceil(3 * sigma))
    theirs = ndimage.gaussian_filter(images.numpy(), (0, 0, sigma, sigma), mode="mirror", radius=(0, 0, radius, radius))
    assert np.abs(blurred(images, sigma).numpy() - theirs).max() < 1e-6


def test_quantised_takes_the_nearest_of_its_levels():
    ramp = torch.linspace(0, 1, 1001).view(1, 1, 1, -1).expand(1, 3, 1, -1)
    two, five = quantised(ramp, 2), quantised(ramp, 5)
    assert torch.equal(two, (ramp > 0.5).float())
    assert five.unique().tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert (five - ramp).abs().max() <= 0.125 + 1e-6


def test_256_levels_leave_an_eight_bit_picture_alone():
    assert torch.allclose(quantised(pictures(), 256), pictures(), atol=1e-7)


def test_noise_has_the_stated_standard_deviation_and_comes_from_the_generator():
    grey = torch.full((4, 3, 64, 64), 0.5)
    change = 255 * (noisy(grey, 4.0, generator(3, "noise")) - grey)
    assert change.std().item() == pytest.approx(4.0, rel=0.02) and abs(change.mean().item()) < 0.1
    again = noisy(grey, 4.0, generator(3, "noise"))
    assert torch.equal(again, noisy(grey, 4.0, generator(3, "noise")))
    assert not torch.equal(again, noisy(grey, 4.0, generator(4, "noise")))


@pytest.mark.parametrize("share", [0.25, 0.4, 2.0])
def test_rescaling_is_pils_bilinear_resize_there_and_back(share):
    images = pictures(1, 40)
    small = round(40 * share)
    for plane, ours in zip(images[0], rescaled(images, share)[0], strict=True):
        there = Image.fromarray(plane.numpy()).resize((small, small), Image.Resampling.BILINEAR)
        theirs = np.asarray(there.resize((40, 40), Image.Resampling.BILINEAR))
        assert np.abs(ours.numpy() - theirs).max() < 1e-5


def test_rescaling_by_one_changes_nothing_and_by_a_half_averages_detail_away():
    images = pictures()
    assert torch.allclose(rescaled(images, 1.0), images, atol=1e-6)
    board = (torch.arange(48)[:, None] + torch.arange(48)[None]).remainder(2).float().expand(1, 3, 48, 48)
    assert (rescaled(board, 0.5) - 0.5).abs().max() < 0.02, "a one-pixel chequerboard is grey at half the size"


def test_a_screenshot_is_a_file_of_the_picture_as_a_warm_screen_shows_it():
    images = pictures()
    taken = screenshot(images)
    assert torch.equal(taken, screenshot(images)), "nothing is drawn"
    assert torch.allclose(taken, (taken * 255).round() / 255, atol=1e-7)
    grey = torch.full((1, 3, 48, 48), 128 / 255)
    red, green, blue = (255 * screenshot(grey).mean((0, 2, 3))).tolist()
    shown = 255 * (128 / 255) ** 1.06
    assert [red, green, blue] == pytest.approx([1.02 * shown, shown, 0.97 * shown], abs=2)
    detail = images - blurred(images, 2.0)
    left = taken - blurred(taken, 2.0)
    assert left.square().mean() < 0.7 * detail.square().mean(), "scaling costs detail"


@pytest.mark.parametrize(
    "distort",
    [
        screenshot,
        lambda x: jpeg(x, 30),
        lambda x: rescaled(x, 0.3),
        lambda x: blurred(x, 1.5),
        lambda x: noisy(x, 30.0, generator(0, "n")),
        lambda x: quantised(x, 3),
    ],
    ids=["screenshot", "jpeg", "rescaled", "blurred", "noisy", "quantised"],
)
def test_shape_and_range_are_kept_and_the_input_is_not_touched(distort):
    images = pictures(3, 40)
    before = images.clone()
    result = distort(images)
    assert result.shape == images.shape and result.dtype == images.dtype
    assert result.min() >= 0 and result.max() <= 1
    assert torch.equal(images, before) and not torch.equal(result, images)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: jpeg(x, 0),
        lambda x: jpeg(x, 101),
        lambda x: rescaled(x, 0.0),
        lambda x: rescaled(x, 5.0),
        lambda x: blurred(x, 0.0),
        lambda x: blurred(x, float("nan")),
        lambda x: blurred(x, 40.0),
        lambda x: quantised(x, 1),
    ],
)
def test_a_setting_out_of_range_is_refused_with_what_was_wanted(wrong):
    with pytest.raises(ConfigError, match=r"found .* wanted"):
        wrong(pictures(1))
