"""Greedy search by proposals: what is left of a search where no gradient may be asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from facesec_bench.search import GradientAt

Propose = Callable[[Tensor, Tensor, torch.Generator], Tensor]
"""(params (B, ...), how good they are (B,), rng) -> proposals (B, N, ...), N of each."""
Ask = Callable[[Tensor, Tensor], Tensor]
"""(params (M, ...), rows (M,) of the batch they belong to) -> (M,), higher is better; counts as M queries."""


@dataclass
class GreedyRule:
    """A `search.Rule` that moves to the best of some proposals, also where none is better than what there is, and
    never asks for a gradient.

    Attributes:
        at_once: proposals asked about together.
        score: (B,) of the present parameters, once a step was made.
    """

    propose: Propose
    ask: Ask
    rng: torch.Generator
    at_once: int = 160
    score: Tensor | None = field(default=None, init=False)

    def reset(self) -> None:
        """Forget the scores."""
        self.score = None

    def step(self, params: Tensor, gradient_at: GradientAt) -> Tensor:
        """Each row's best proposal."""
        score = params.new_zeros(len(params)) if self.score is None else self.score
        proposals = self.propose(params, score, self.rng)
        count = proposals.shape[1]
        rows = torch.arange(len(params), device=params.device).repeat_interleave(count)
        with torch.no_grad():
            pairs = zip(proposals.flatten(0, 1).split(self.at_once), rows.split(self.at_once), strict=True)
            found = torch.cat([self.ask(few, whose) for few, whose in pairs]).view(len(params), count)
        self.score, best = found.max(1)
        return proposals[torch.arange(len(params), device=params.device), best]
