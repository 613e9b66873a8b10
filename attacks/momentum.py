"""The iterative transfer family: momentum (MI) with diversity (DI), translation (TI), look-ahead (NI), scale (SI) and
variance tuning (VMI) as switches. Each YAML is one published combination.

MI: Dong et al., "Boosting Adversarial Attacks with Momentum", CVPR 2018, Algorithm 1. The others: see the files of
their names.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attacks.budget import ball
from attacks.diversity import diverse
from attacks.scaling import scale_copies
from attacks.translation import TranslationInvariant, gaussian_kernel
from attacks.variance import VarianceTuned
from facesec_bench.errors import ConfigError
from facesec_bench.goals import Aim
from facesec_bench.interfaces import Faces, FRTarget
from facesec_bench.search import Objective, Rule, SignStep, borrowed, minimise, objectives


class Momentum:
    """Iterated sign steps with the published aids to transfer, each off unless named; one budget, one loop.

    Args:
        eps_255: L-inf budget in grey levels out of 255, in chip pixels.
        steps: number of steps; scale copies and neighbours multiply the gradients of each.
        step: step length as a share of the budget; null is the papers' 1 / steps.
        decay: momentum factor mu; 0 is plain iterated FGSM.
        look_ahead: NI, the gradient where momentum would lead.
        diversity: DI, the probability of transforming the input; 0 is off.
        smallest: DI, the lower end of the random side length, as a share of the chip's.
        kernel: TI, side of the Gaussian kernel in chip pixels, odd; 0 is off.
        sigma: TI, its standard deviation in chip pixels.
        copies: SI, number of scale copies; 1 is off.
        neighbours: VMI, number of sampled points; 0 is off.
        reach: VMI, half side of the sampled cube as a multiple of the budget.

    Raises:
        ConfigError: a switch out of range.
    """

    def __init__(
        self,
        eps_255: float = 8.0,
        steps: int = 10,
        step: float | None = None,
        decay: float = 1.0,
        look_ahead: bool = False,
        diversity: float = 0.0,
        smallest: float = 0.9,
        kernel: int = 0,
        sigma: float = 3.0,
        copies: int = 1,
        neighbours: int = 0,
        reach: float = 1.5,
    ) -> None:
        if steps < 1 or neighbours < 0:
            raise ConfigError(f"Found steps {steps} and neighbours {neighbours}, wanted at least 1 and 0.")
        self.eps_255, self.steps = eps_255, steps
        self.step = 1.0 / steps if step is None else step
        self.decay, self.look_ahead = decay, look_ahead
        self.diversity, self.smallest = diversity, smallest
        self.kernel = gaussian_kernel(kernel, sigma) if kernel else None
        self.copies, self.neighbours, self.reach = copies, neighbours, reach

    def __call__(self, faces: Faces, aim: Aim, surrogates: Sequence[FRTarget], rng: torch.Generator) -> Tensor:
        """Perturbed chips (B, 3, H, W), see `interfaces.Evasion`."""
        space = ball(faces.images, eps_255=self.eps_255)
        with borrowed(*surrogates):
            parts = [part for plain in objectives(aim, surrogates) for part in self._parts(plain, rng)]
            return minimise(parts, space, self._rule(space.radius, rng), self.steps, rng)

    def _parts(self, objective: Objective, rng: torch.Generator) -> list[Objective]:
        """The objective behind its input transforms: every scale copy is transformed anew."""
        if self.diversity:
            objective = diverse(objective, self.diversity, self.smallest, rng)
        return scale_copies(objective, self.copies)

    def _rule(self, radius: float, rng: torch.Generator) -> Rule:
        """Tuning outermost, smoothing inside it: what is smoothed is the tuned gradient, as in the code of VMI-TI."""
        rule: Rule = SignStep(self.step * radius, self.decay, self.look_ahead)
        if self.kernel is not None:
            rule = TranslationInvariant(rule, self.kernel)
        if self.neighbours:
            rule = VarianceTuned(rule, self.neighbours, self.reach * radius, rng)
        return rule
