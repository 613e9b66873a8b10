"""PGD (Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attacks.budget import ball
from facesec_bench.goals import Aim
from facesec_bench.interfaces import Faces, FRTarget
from facesec_bench.search import L2Step, SignStep, borrowed, minimise, objectives


class PGD:
    """Projected gradient descent in an L-inf or an L2 ball; exactly one budget is given.

    Args:
        eps_255: L-inf budget in grey levels out of 255, in chip pixels.
        rms_255: L2 budget as a root mean square change in grey levels out of 255.
        steps: number of gradient steps.
        step: step length as a share of the budget.
        random_start: begin at a random point of the ball.
    """

    def __init__(
        self,
        eps_255: float | None = None,
        rms_255: float | None = None,
        steps: int = 10,
        step: float = 0.25,
        random_start: bool = True,
    ) -> None:
        self.eps_255, self.rms_255 = eps_255, rms_255
        self.steps, self.step, self.random_start = steps, step, random_start

    def __call__(self, faces: Faces, aim: Aim, surrogates: Sequence[FRTarget], rng: torch.Generator) -> Tensor:
        """Perturbed chips (B, 3, H, W), see `interfaces.Evasion`."""
        space = ball(faces.images, eps_255=self.eps_255, rms_255=self.rms_255, random=self.random_start)
        size = self.step * space.radius
        rule = SignStep(size) if space.norm == "linf" else L2Step(size)
        with borrowed(*surrogates):
            return minimise(objectives(aim, surrogates), space, rule, self.steps, rng)
