"""A picture shown on a screen, captured there and sent on.

In a file of its own: weights trained through `distortions.py` are known by its code.
"""

from __future__ import annotations

import torch
from torch import Tensor

from facesec_bench.distortions import jpeg, rescaled

_SHOWN, _GAMMA, _GAINS, _QUALITY = 0.77, 1.06, (1.02, 1.0, 0.97), 85


def screenshot(images: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] -> the same picture from a screen; the same every time, 8-bit values.

    Shown at 77 % of its size and brought back (no whole number of pixels meets another), by a screen that is a little
    darker and warmer (gamma 1.06; red times 1.02, blue times 0.97), saved as a JPEG of quality 85. These numbers are
    ours: mild, and none of them that of another distortion here. Gradient: JPEG passes it on unchanged.
    """
    gains = torch.tensor(_GAINS).to(images).view(3, 1, 1)
    return jpeg((rescaled(images, _SHOWN).pow(_GAMMA) * gains).clamp(0, 1), _QUALITY)
