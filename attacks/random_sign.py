"""The control: a random perturbation of the same budget. What it achieves, the budget alone achieves."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attacks.budget import ball
from facesec_bench.goals import Aim
from facesec_bench.interfaces import Faces, FRTarget


class RandomSign:
    """Every pixel of every channel moves by plus or minus the whole budget, by a fair coin; no surrogate is asked.

    Args:
        eps_255: L-inf budget in grey levels out of 255, in chip pixels.
    """

    def __init__(self, eps_255: float = 8.0) -> None:
        self.eps_255 = eps_255

    def __call__(self, faces: Faces, aim: Aim, surrogates: Sequence[FRTarget], rng: torch.Generator) -> Tensor:
        """Perturbed chips (B, 3, H, W), see `interfaces.Evasion`."""
        space = ball(faces.images, eps_255=self.eps_255)
        coins = torch.rand(faces.images.shape, generator=rng, device=rng.device).to(faces.images.device) < 0.5
        return space.project(faces.images + space.radius * torch.where(coins, -1.0, 1.0))
