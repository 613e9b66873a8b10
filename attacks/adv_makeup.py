"""Adversarial makeup: only what a makeup bag could do, chosen by gradient.

After Yin et al., "Adv-Makeup: A New Imperceptible and Transferable Attack on Face Recognition", IJCAI 2021. There a
trained network paints eyeshadow; here a renderer of 32 parameters makes up lips, lids, cheeks, brows and skin, so that
nothing but makeup can change.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attacks.jitter import Jitter, jittered
from facesec_bench.errors import ConfigError
from facesec_bench.goals import Aim
from facesec_bench.interfaces import Faces, FRTarget
from facesec_bench.makeup.colours import read_prompt
from facesec_bench.makeup.renderer import MakeupSpace
from facesec_bench.search import AdamStep, borrowed, minimise, objectives


class AdvMakeup:
    """Adam over the makeup's parameters on the mean loss over surrogates.

    Args:
        steps: of Adam.
        step: its size, in the renderer's parameters, each within [-5, 5].
        limits: greatest opacities: "natural" or "heavy".
        prompt: where the search starts, in words; None starts from a random everyday makeup.
        jitter: views over which the loss is averaged, one a step.

    Raises:
        ConfigError: a number out of range, or a prompt that cannot be read.
    """

    def __init__(
        self,
        steps: int = 40,
        step: float = 0.3,
        limits: str = "natural",
        prompt: str | None = None,
        jitter: Jitter | None = None,
    ) -> None:
        if steps < 1 or not step > 0:
            raise ConfigError(f"adv_makeup: found steps {steps} and step {step}, wanted 1 or more and above 0.")
        self.first = None if prompt is None else read_prompt(prompt)
        self.steps, self.step, self.limits, self.prompt, self.jitter = steps, step, limits, prompt, jitter or Jitter()

    def __call__(self, faces: Faces, aim: Aim, surrogates: Sequence[FRTarget], rng: torch.Generator) -> Tensor:
        """Made-up chips (B, 3, 224, 224), see `interfaces.Evasion`."""
        space = MakeupSpace(faces.images, self.limits, self.first)
        with borrowed(*surrogates):
            parts = [jittered(objective, self.jitter, rng) for objective in objectives(aim, surrogates)]
            params = minimise(parts, space, AdamStep(self.step), self.steps, rng)
        return space.render(params).detach()
