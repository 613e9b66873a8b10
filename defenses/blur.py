"""Gaussian blur as a purifier (Xu et al., "Feature Squeezing", NDSS 2018, spatial smoothing)."""

from __future__ import annotations

import torch
from torch import Tensor

from facesec_bench.distortions import blurred
from facesec_bench.interfaces import CHIP_SIZE


class Blur:
    """Every photo is blurred before it is looked at, see `interfaces.Purifier`. Differentiable.

    The paper smooths with a median or a non-local mean; the Gaussian is the linear one and has an exact gradient.

    Args:
        sigma: standard deviation in chip pixels, above 0.

    Raises:
        ConfigError: a sigma of 0 or less, or one that a chip cannot hold.
    """

    differentiable = True

    def __init__(self, sigma: float = 1.0) -> None:
        self.sigma = sigma
        self.name = f"blur{sigma:g}"
        self(torch.zeros(1, 3, CHIP_SIZE, CHIP_SIZE))  # a wrong setting is refused here, not in the middle of a study

    def __call__(self, chips: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> the same shape and range."""
        return blurred(chips, self.sigma)
