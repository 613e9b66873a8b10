"""VMI: variance tuning (Wang and He, "Enhancing the Transferability of Adversarial Attacks through Variance Tuning",
CVPR 2021)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from facesec_bench.search import GradientAt, Rule


@dataclass
class VarianceTuned:
    """A rule whose gradients are corrected by the gradient variance of the step before (Algorithm 1).

    The variance V is the mean gradient at `neighbours` random points around the current one less the gradient there.

    Attributes:
        rule: the rule that moves; it is shown gradient + V.
        neighbours: number of sampled points, N in the paper.
        reach: half side, in pixel units, of the cube they are drawn from: beta * eps in the paper.
        rng: draws them.
    """

    rule: Rule
    neighbours: int
    reach: float
    rng: torch.Generator
    variance: Tensor | None = field(default=None, init=False)

    def reset(self) -> None:
        """Forget the search."""
        self.rule.reset()
        self.variance = None

    def step(self, params: Tensor, gradient_at: GradientAt) -> Tensor:
        """The inner rule's step with tuned gradients; then V is taken anew where the gradient was."""
        return self.rule.step(params, lambda at: self._tuned(at, gradient_at))

    def _tuned(self, at: Tensor, gradient_at: GradientAt) -> Tensor:
        plain = gradient_at(at)
        tuned = plain if self.variance is None else plain + self.variance
        around = torch.zeros_like(plain)
        for _ in range(self.neighbours):
            uniform = torch.rand(at.shape, generator=self.rng, device=self.rng.device, dtype=at.dtype).to(at.device)
            around += gradient_at(at + self.reach * (2 * uniform - 1)) / self.neighbours
        self.variance = around - plain
        return tuned
