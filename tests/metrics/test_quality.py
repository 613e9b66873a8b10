"""Image quality and the Frechet distance against closed forms and other implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.ndimage import correlate1d

from facesec_bench.metrics.quality import frechet_distance, linf_255, psnr, ssim


def test_psnr_of_a_constant_shift_is_the_closed_form() -> None:
    a = np.full((2, 3, 8, 8), 0.5)
    b = a + np.array([0.1, 0.01]).reshape(2, 1, 1, 1)
    assert psnr(b, a) == pytest.approx([20.0, 40.0])


def test_psnr_of_identical_images_is_nan_and_of_others_untouched() -> None:
    a = np.zeros((2, 3, 4, 4))
    b = a.copy()
    b[1] += 0.1
    values = psnr(b, a)
    assert math.isnan(values[0]) and values[1] == pytest.approx(20.0)


def test_linf_is_the_largest_single_change_in_steps_of_255() -> None:
    a = np.full((2, 3, 4, 4), 0.5)
    b = a.copy()
    b[0, 1, 2, 3] -= 8 / 255
    assert linf_255(b, a) == pytest.approx([8.0, 0.0])


def _reference_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al. equation 13 with an 11-pixel Gaussian of sigma 1.5, over the windows that fit inside."""
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()

    def blur(x: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(x, taps, axis=-1), taps, axis=-2)[..., 5:-5, 5:-5]

    mu_a, mu_b = blur(a), blur(b)
    var_a, var_b, cov = blur(a * a) - mu_a**2, blur(b * b) - mu_b**2, blur(a * b) - mu_a * mu_b
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mu_a * mu_b + c1) * (2 * cov + c2)
    return float((top / ((mu_a**2 + mu_b**2 + c1) * (var_a + var_b + c2))).mean())


def test_ssim_agrees_with_the_papers_formula_image_by_image() -> None:
    rng = np.random.default_rng(0)
    a = rng.random((3, 3, 24, 20))
    b = np.clip(a + rng.normal(0, [[[[0.0]]], [[[0.05]]], [[[0.3]]]], a.shape), 0, 1)
    expected = [_reference_ssim(x, y) for x, y in zip(a, b, strict=True)]
    # torchmetrics also averages windows that overlap its mirrored border.
    assert ssim(b, a) == pytest.approx(expected, abs=0.03)
    assert ssim(a, a) == pytest.approx([1.0] * 3)
    assert ssim(b[:1], a[:1]).shape == (1,)


def _exact_gaussians(rng: np.random.Generator, d: int, n: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Samples whose *sample* mean and covariance are exactly the ones returned."""
    x = rng.normal(size=(n, d))
    x -= x.mean(0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.atleast_2d(np.cov(x, rowvar=False)))).T
    mean, factor = rng.normal(size=d), rng.normal(size=(d, d))
    return x @ factor.T + mean, mean, factor @ factor.T


@pytest.mark.parametrize("d", [1, 2, 7])
def test_frechet_distance_of_gaussians_is_the_closed_form(d: int) -> None:
    rng = np.random.default_rng(d)
    x, mean_x, cov_x = _exact_gaussians(rng, d)
    y, mean_y, cov_y = _exact_gaussians(rng, d)
    expected = ((mean_x - mean_y) ** 2).sum() + np.trace(cov_x + cov_y - 2 * np.real(sqrtm(cov_x @ cov_y)))
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_is_the_shift_squared_and_zero_on_itself_even_when_singular() -> None:
    x = np.random.default_rng(1).normal(size=(5, 30))
    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-4)
    assert frechet_distance(x, x + 2.0) == pytest.approx(4.0 * 30, abs=1e-4)


def test_frechet_distance_needs_two_rows() -> None:
    with pytest.raises(ValueError, match="N, M >= 2"):
        frechet_distance(np.zeros((1, 3)), np.zeros((5, 3)))


def test_batches_of_different_shapes_are_refused_instead_of_broadcast() -> None:
    with pytest.raises(ValueError, match="one shape"):
        psnr(np.zeros((2, 3, 4, 4)), np.zeros((1, 3, 4, 4)))
