"""Fewer grey levels as a purifier (Xu et al., "Feature Squeezing", NDSS 2018, colour depth)."""

from __future__ import annotations

import torch
from torch import Tensor

from facesec_bench.distortions import quantised
from facesec_bench.interfaces import CHIP_SIZE


class Quantise:
    """Every photo is rounded to a few grey levels before it is looked at, see `interfaces.Purifier`.

    Its gradient is passed on unchanged (BPDA): that of rounding is zero.

    Args:
        levels: grey levels a channel, at least 2; the paper's b bits are 2^b levels.

    Raises:
        ConfigError: fewer than two levels.
    """

    differentiable = False

    def __init__(self, levels: int = 16) -> None:
        self.levels = levels
        self.name = f"quantise{levels}"
        self(torch.zeros(1, 3, CHIP_SIZE, CHIP_SIZE))  # a wrong setting is refused here, not in the middle of a study

    def __call__(self, chips: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> the nearest of `levels` values from 0 to 1."""
        return quantised(chips, self.levels)
