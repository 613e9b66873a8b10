"""Where a generator's picture lies on a chip: one constant similarity, both ways, and how a picture changes a photo."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from facesec_bench.interfaces import CHIP_LANDMARKS, CHIP_SIZE
from facesec_bench.targets.template import Point, similarity


class Frame(nn.Module):
    """Carries pictures to chips and chips to pictures.

    Chips have their landmarks at the same place, and so, on average, has a generator of aligned faces: the warp between
    them is a constant.

    Args:
        landmarks: where the five landmarks lie in the generator's pictures, as (x, y) pixels.
        resolution: side R of its pictures.
        feather: width, in pixels of the picture, over which a picture fades out at its border.
    """

    on_chip: Tensor
    on_picture: Tensor
    window: Tensor

    def __init__(self, landmarks: Sequence[Point], resolution: int, feather: float = 6.0) -> None:
        super().__init__()
        to_picture = similarity(CHIP_LANDMARKS, landmarks)
        to_chip = similarity(landmarks, CHIP_LANDMARKS)
        scale = float(torch.linalg.det(to_chip[:, :2]).sqrt())
        # A picture pixel that covers several chip pixels is their mean: sampled finely, then averaged.
        self.finer = max(1, math.ceil(scale))
        self.resolution = resolution
        places = _places(CHIP_SIZE) @ to_picture.T
        self.register_buffer("on_picture", _normalised(places, resolution), persistent=False)
        fine = (_places(resolution * self.finer, self.finer)) @ to_chip.T
        self.register_buffer("on_chip", _normalised(fine, CHIP_SIZE), persistent=False)
        inside = torch.minimum(places + 0.5, resolution - 0.5 - places).amin(-1)
        self.register_buffer("window", (inside / feather).clamp(0, 1).float()[None, None], persistent=False)

    def to_picture(self, chips: Tensor) -> Tensor:
        """(B, 3, 224, 224) -> (B, 3, R, R): the part of the chip that the generator would paint; beyond the chip its
        border repeats."""
        grid = self.on_chip.to(chips).expand(len(chips), -1, -1, -1)
        fine = functional.grid_sample(chips, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return functional.avg_pool2d(fine, self.finer)

    def to_chip(self, pictures: Tensor) -> Tensor:
        """(B, C, R, R) -> (B, C, 224, 224), bicubic; outside the picture its border repeats, see `window`."""
        grid = self.on_picture.to(pictures).expand(len(pictures), -1, -1, -1)
        return functional.grid_sample(pictures, grid, mode="bicubic", padding_mode="border", align_corners=False)


def _places(side: int, finer: int = 1) -> Tensor:
    """(side, side, 3) float64: pixel centres as (x, y, 1), in pixels `finer` times as large."""
    axis = (torch.arange(side, dtype=torch.float64) + 0.5) / finer - 0.5
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)], dim=-1)


def _normalised(places: Tensor, side: int) -> Tensor:
    """(H, W, 2) pixels -> (1, H, W, 2) float32 in [-1, 1], -1 and 1 being the outer edges of an image of `side`."""
    return ((2 * places + 1) / side - 1).to(torch.float32)[None]
