"""A step that shrinks over the search: large ones find, small ones settle between two goals that pull apart."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from facesec_bench.errors import ConfigError
from facesec_bench.search import GradientAt, SignStep


@dataclass
class Annealed:
    """A sign step whose size falls linearly from its own to `last` times that, over `steps` moves.

    Raises:
        ConfigError: `last` outside (0, 1], or fewer steps than one.
    """

    rule: SignStep
    steps: int
    last: float
    done: int = field(default=0, init=False)
    first: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        if not 0 < self.last <= 1 or self.steps < 1:
            raise ConfigError(f"Annealed: found last {self.last} and steps {self.steps}, wanted (0, 1] and 1 or more.")
        self.first = self.rule.size

    def reset(self) -> None:
        """Begin anew with the first size and no momentum."""
        self.done = 0
        self.rule.size = self.first
        self.rule.reset()

    def step(self, params: Tensor, gradient_at: GradientAt) -> Tensor:
        """One sign step of the present size."""
        share = self.done / max(1, self.steps - 1)
        self.rule.size = self.first * (1 + (self.last - 1) * share)
        self.done += 1
        return self.rule.step(params, gradient_at)
