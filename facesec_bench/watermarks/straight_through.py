"""A watermarker seen through BPDA: its true marks forwards, the identity backwards."""

from __future__ import annotations

import torch
from torch import Tensor

from facesec_bench.distortions import pass_gradient
from facesec_bench.interfaces import Watermark


class StraightThrough:
    """What an attacker has who can run a watermarker but takes no gradient through it.

    The marked chip is the watermarker's own; its gradient goes to the chip as if the mark did not depend on it, which
    is exact for an additive watermark (BPDA, Athalye et al., "Obfuscated Gradients", ICML 2018). Decoding gives no
    gradient.
    """

    differentiable = True  # a gradient there is, though not the watermarker's

    def __init__(self, watermark: Watermark) -> None:
        self.watermark = watermark
        self.name, self.bits, self.digest = watermark.name, watermark.bits, watermark.digest

    def encode(self, chips: Tensor, messages: Tensor) -> Tensor:
        """The marked chips, (B, 3, H, W); backwards the identity."""
        with torch.no_grad():
            marked = self.watermark.encode(chips.detach(), messages)
        return pass_gradient(marked, chips)

    def decode(self, chips: Tensor) -> Tensor:
        """(B, L) scores, without a gradient."""
        with torch.no_grad():
            return self.watermark.decode(chips.detach())
