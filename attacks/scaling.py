"""SI: scale invariance (Lin et al., "Nesterov Accelerated Gradient and Scale Invariance for Adversarial Attacks",
ICLR 2020)."""

from __future__ import annotations

from torch import Tensor

from facesec_bench.errors import ConfigError
from facesec_bench.search import Objective


def scale_copies(objective: Objective, copies: int) -> list[Objective]:
    """The objective on the image / 2^i for i = 0 .. copies - 1; `minimise` averages them (Eq. 7).

    Raises:
        ConfigError: fewer than one copy.
    """
    if copies < 1:
        raise ConfigError(f"SI: found {copies} copies, wanted 1 or more.")

    def darkened(by: float) -> Objective:
        def on_copy(images: Tensor) -> Tensor:
            return objective(images / by)

        return on_copy

    return [darkened(2.0**i) for i in range(copies)]
