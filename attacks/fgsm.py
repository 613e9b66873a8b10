"""FGSM, the one-step attack (Goodfellow et al., "Explaining and Harnessing Adversarial Examples", ICLR 2015)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attacks.budget import ball
from facesec_bench.goals import Aim
from facesec_bench.interfaces import Faces, FRTarget
from facesec_bench.search import SignStep, borrowed, minimise, objectives


class FGSM:
    """One step of the whole budget along the sign of the gradient.

    The references of an aim are other photos, so the gradient at the clean image does not vanish and no random start
    is needed.

    Args:
        eps_255: L-inf budget in grey levels out of 255, in chip pixels.
    """

    def __init__(self, eps_255: float = 8.0) -> None:
        self.eps_255 = eps_255

    def __call__(self, faces: Faces, aim: Aim, surrogates: Sequence[FRTarget], rng: torch.Generator) -> Tensor:
        """Perturbed chips (B, 3, H, W), see `interfaces.Evasion`."""
        space = ball(faces.images, eps_255=self.eps_255)
        with borrowed(*surrogates):
            return minimise(objectives(aim, surrogates), space, SignStep(space.radius), 1, rng)
