"""The budget of a pixel attack: from what YAML states to the ball that holds it."""

from __future__ import annotations

from torch import Tensor

from facesec_bench.errors import ConfigError
from facesec_bench.spaces import PixelBall, l2_radius, linf_radius


def ball(
    images: Tensor, *, eps_255: float | None = None, rms_255: float | None = None, random: bool = False
) -> PixelBall:
    """The ball around `images` (B, 3, H, W) of exactly one stated budget.

    Args:
        eps_255: L-inf radius in grey levels out of 255, in chip pixels.
        rms_255: root mean square change in grey levels out of 255; the L2 radius is rms_255 / 255 * sqrt(3 H W).
        random: start at a random point of the ball.

    Raises:
        ConfigError: neither or both budgets, or a negative one.
    """
    if (eps_255 is None) == (rms_255 is None):
        raise ConfigError(f"Found eps_255 = {eps_255} and rms_255 = {rms_255}, wanted exactly one of the two.")
    if eps_255 is not None:
        return PixelBall(images, linf_radius(eps_255), "linf", random)
    assert rms_255 is not None  # by the check above; for type checkers
    return PixelBall(images, l2_radius(rms_255, images.shape), "l2", random)
