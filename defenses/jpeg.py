"""JPEG as a purifier (Das et al., "Keeping the Bad Guys Out", 2017; Dziugaite et al., 2016)."""

from __future__ import annotations

import torch
from torch import Tensor

from facesec_bench.distortions import jpeg
from facesec_bench.interfaces import CHIP_SIZE


class Jpeg:
    """Every photo is saved as a JPEG file and read back before it is looked at, see `interfaces.Purifier`.

    Its gradient is passed on unchanged (BPDA): the rounding of coefficients has none.

    Args:
        quality: of libjpeg, 1 to 100, with 4:2:0 chroma.

    Raises:
        ConfigError: a quality outside 1 to 100.
    """

    differentiable = False

    def __init__(self, quality: int = 75) -> None:
        self.quality = quality
        self.name = f"jpeg{quality}"
        self(torch.zeros(1, 3, CHIP_SIZE, CHIP_SIZE))  # a wrong setting is refused here, not in the middle of a study

    def __call__(self, chips: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> the same shape, on the 8-bit grid."""
        return jpeg(chips, self.quality)
