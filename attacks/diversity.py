"""DI: input diversity (Xie et al., "Improving Transferability of Adversarial Examples with Input Diversity",
CVPR 2019)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from facesec_bench.errors import ConfigError
from facesec_bench.search import Objective


def diverse(objective: Objective, probability: float, smallest: float, rng: torch.Generator) -> Objective:
    """`objective` behind the paper's transform: with `probability`, shrink the image to a random size and pad it with
    zeros, at a random place, back to its own size.

    One draw serves a whole batch, as in the paper, so an image's result does not depend on its batch mates.

    Args:
        probability: of transforming at all, in [0, 1]; the paper's 0.5 for its main results.
        smallest: the lower end of the random side length as a share of the image's, in (0, 1]; the paper's is
            299 / 330 = 0.906 (it enlarges 299 to at most 330 and pads to 330; here the chip keeps its size).

    Raises:
        ConfigError: a value out of range.
    """
    if not (0 <= probability <= 1 and 0 < smallest <= 1):
        raise ConfigError(f"Found probability {probability} and smallest {smallest}, wanted [0, 1] and (0, 1].")

    def transformed(images: Tensor) -> Tensor:
        draws = torch.rand(4, generator=rng, device=rng.device).tolist()
        if draws[0] >= probability:
            return objective(images)
        return objective(resized_and_padded(images, smallest, *draws[1:]))

    return transformed


def resized_and_padded(images: Tensor, smallest: float, size: float, x: float, y: float) -> Tensor:
    """Shrink (B, 3, H, W) and pad it with zeros to (B, 3, H, W).

    Args:
        size: in [0, 1): 0 the smallest side length, 1 the image's own.
        x: in [0, 1): the horizontal place within the free margin; `y` the vertical one.
    """
    height, width = images.shape[-2:]
    share = smallest + (1 - smallest) * size
    h, w = max(1, round(height * share)), max(1, round(width * share))
    small = functional.interpolate(images, size=(h, w), mode="bilinear", align_corners=False)
    left, top = int((width - w + 1) * x), int((height - h + 1) * y)
    return functional.pad(small, (left, width - w - left, top, height - h - top))
