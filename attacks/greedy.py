"""Greedy search by proposals: what is left of a search where no gradient may be asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from facesec_bench.access import EmbeddingAccess
from facesec_bench.interfaces import Space
from facesec_bench.search import GradientAt, minimise

Propose = Callable[[Tensor, Tensor, torch.Generator], Tensor]
"""(params (B, ...), how good they are (B,), rng) -> proposals (B, N, ...), N of each, as the space admits them."""
Ask = Callable[[Tensor, Tensor], Tensor]
"""(params (M, ...), rows (M,) of the batch they belong to) -> (M,), higher is better; counts as M queries."""


@dataclass
class GreedyRule:
    """A `search.Rule` that moves to the best of some proposals and never asks for a gradient.

    Attributes:
        at_once: proposals asked about together.
        never_worse: stay where no proposal is better than what there is; else the best is taken whatever it is.
        score: (B,) of the present parameters, once a step was made.
    """

    propose: Propose
    ask: Ask
    rng: torch.Generator
    at_once: int = 160
    never_worse: bool = False
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
        alike, best = found.max(1)
        moved = proposals[torch.arange(len(params), device=params.device), best]
        if self.never_worse and self.score is not None:
            stays = alike < self.score
            moved = torch.where(stays.view(-1, *[1] * (params.ndim - 1)), params, moved)
            alike = torch.where(stays, self.score, alike)
        self.score = alike
        return moved


def climb(
    begin: Tensor,
    people: Tensor,
    victim: EmbeddingAccess,
    space: Callable[[Tensor], Space],
    propose: Propose,
    rng: torch.Generator,
    *,
    steps: int,
    starts: int,
    start_steps: int,
    never_worse: bool = False,
) -> Tensor:
    """Greedy search with several starts: the most alike after the first steps goes on alone.

    Args:
        begin: (B, ...) where each row's starts begin.
        people: (B,) places among the victim's templates.
        space: beginnings -> the space of a search from there.
        starts, start_steps: so many searches are begun for each row, of so many steps.
        never_worse: see `GreedyRule`.
        steps: of the one that goes on.

    Returns:
        (B, ...) parameters. Every proposal is a query: N (steps + starts * start_steps) for each row, where N are
        proposed.

    Raises:
        AccessError: the victim's budget is spent.
    """

    def go(begin: Tensor, who: Tensor, steps: int) -> tuple[Tensor, Tensor | None]:
        inside = space(begin)
        rule = GreedyRule(
            propose, lambda few, rows: victim.similarity(inside.render(few), who[rows]), rng, never_worse=never_worse
        )
        return minimise(no_gradient, inside, rule, steps, rng), rule.score

    begun, alike = go(begin.repeat_interleave(starts, 0), people.repeat_interleave(starts), start_steps)
    if alike is None:
        return go(begin, people, steps)[0]
    best = alike.view(len(people), starts).argmax(1) + starts * torch.arange(len(people), device=people.device)
    return go(begun[best], people, steps)[0]


def no_gradient(images: Tensor) -> Tensor:
    """The objective of a search that asks otherwise."""
    raise AssertionError("A search by proposals asks for no gradient.")
