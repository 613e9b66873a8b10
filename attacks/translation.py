"""TI: translation-invariant gradients (Dong et al., "Evading Defenses to Transferable Adversarial Examples by
Translation-Invariant Attacks", CVPR 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from facesec_bench.errors import ConfigError
from facesec_bench.search import GradientAt, Rule


def gaussian_kernel(size: int, sigma: float) -> Tensor:
    """(size,) Gaussian samples of standard deviation `sigma` pixels, summing to 1; the outer square is the paper's W.

    Raises:
        ConfigError: an even size, or a sigma that is not positive.
    """
    if size < 1 or size % 2 == 0 or sigma <= 0:
        raise ConfigError(f"TI: found kernel size {size} and sigma {sigma}, wanted an odd size and a positive sigma.")
    x = torch.arange(size, dtype=torch.float64) - size // 2
    weights = torch.exp(-0.5 * (x / sigma) ** 2)
    return (weights / weights.sum()).float()


def smoothed(gradient: Tensor, kernel: Tensor) -> Tensor:
    """(B, C, H, W) convolved with the outer square of `kernel`, zeros outside; separable, so two cheap passes."""
    channels, half = gradient.shape[1], len(kernel) // 2
    line = kernel.to(gradient).expand(channels, 1, 1, -1)
    rows = functional.conv2d(gradient, line, padding=(0, half), groups=channels)
    return functional.conv2d(rows, line.transpose(2, 3), padding=(half, 0), groups=channels)


@dataclass
class TranslationInvariant:
    """A rule whose gradients are smoothed first: the gradient over shifted copies of the image, to first order (Eq. 7).

    Attributes:
        rule: the rule that moves.
        kernel: (K,) from `gaussian_kernel`.
    """

    rule: Rule
    kernel: Tensor

    def reset(self) -> None:
        """Forget the search."""
        self.rule.reset()

    def step(self, params: Tensor, gradient_at: GradientAt) -> Tensor:
        """The inner rule's step with smoothed gradients."""
        return self.rule.step(params, lambda at: smoothed(gradient_at(at), self.kernel))
