"""Shrinking and enlarging as a purifier.

Xie et al., "Mitigating Adversarial Effects Through Randomization", ICLR 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor

from facesec_bench.distortions import rescaled
from facesec_bench.interfaces import CHIP_SIZE


class Rescale:
    """Every photo is shrunk and enlarged again before it is looked at, see `interfaces.Purifier`. Differentiable.

    The paper draws the size at random and pads; here it is fixed, so the attacker knows it and needs no expectation.

    Args:
        share: of each side that is kept in between, above 0 and up to 4.

    Raises:
        ConfigError: a share out of range.
    """

    differentiable = True

    def __init__(self, share: float = 0.5) -> None:
        self.share = share
        self.name = f"rescale{share:g}"
        self(torch.zeros(1, 3, CHIP_SIZE, CHIP_SIZE))  # a wrong setting is refused here, not in the middle of a study

    def __call__(self, chips: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> the same shape and range."""
        return rescaled(chips, self.share)
