"""Greedy search by proposals: what is left of a search where no gradient may be asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from attacks.jitter import Jitter
from facesec_bench.access import EmbeddingAccess
from facesec_bench.interfaces import Space
from facesec_bench.search import GradientAt, minimise

Propose = Callable[[Tensor, Tensor, torch.Generator], Tensor]
"""(params (B, ...), how good they are (B,), rng) -> proposals (B, N, ...), N of each, as the space admits them."""
Ask = Callable[[Tensor, Tensor, int], Tensor]
"""(params (M, ...), rows (M,) of the batch they belong to, the step's seed) -> (M,), higher is better; M queries. All
proposals of a step come with one seed, so that they can be seen under one random view and compared."""


@dataclass
class GreedyRule:
    """A `search.Rule` that moves to the best of some proposals, also where none is better than what there is, and
    never asks for a gradient.

    Attributes:
        at_once: proposals asked about together.
        known: (B,) score of where each row begins, if that was asked before.
        score: (B,) of the present parameters, once a step was made.
    """

    propose: Propose
    ask: Ask
    rng: torch.Generator
    at_once: int = 160
    known: Tensor | None = None
    score: Tensor | None = field(default=None, init=False)

    def reset(self) -> None:
        """Back to what was known at the beginning."""
        self.score = self.known

    def step(self, params: Tensor, gradient_at: GradientAt) -> Tensor:
        """Each row's best proposal."""
        score = params.new_zeros(len(params)) if self.score is None else self.score
        proposals = self.propose(params, score, self.rng)
        count = proposals.shape[1]
        rows = torch.arange(len(params), device=params.device).repeat_interleave(count)
        view = int(torch.randint(2**31, (), generator=self.rng, device=self.rng.device))
        with torch.no_grad():
            pairs = zip(proposals.flatten(0, 1).split(self.at_once), rows.split(self.at_once), strict=True)
            found = torch.cat([self.ask(few, whose, view) for few, whose in pairs]).view(len(params), count)
        self.score, best = found.max(1)
        return proposals[torch.arange(len(params), device=params.device), best]


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
    jitter: Jitter,
) -> Tensor:
    """Greedy search with several starts: the most alike after the first steps goes on alone.

    Args:
        begin: (B, ...) where each row's starts begin.
        people: (B,) places among the victim's templates.
        space: beginnings -> the space of a search from there.
        starts, start_steps: so many searches are begun for each row, of so many steps.
        steps: of the one that goes on.
        jitter: the view under which all proposals of a step are asked about, another one each step.

    Returns:
        (B, ...) parameters. Every proposal is a query: N (steps + starts * start_steps) for each row, where N are
        proposed.

    Raises:
        AccessError: the victim's budget is spent.
    """

    def go(begin: Tensor, who: Tensor, steps: int, known: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        inside = space(begin)

        def ask(few: Tensor, rows: Tensor, view: int) -> Tensor:
            return victim.similarity(jitter.under(inside.render(few), view), who[rows])

        rule = GreedyRule(propose, ask, rng, known=known)
        return minimise(no_gradient, inside, rule, steps, rng), rule.score

    begun, alike = go(begin.repeat_interleave(starts, 0), people.repeat_interleave(starts), start_steps)
    if alike is None:
        return go(begin, people, steps)[0]
    best = alike.view(len(people), starts).argmax(1) + starts * torch.arange(len(people), device=people.device)
    return go(begun[best], people, steps, alike[best])[0]


def no_gradient(images: Tensor) -> Tensor:
    """The objective of a search that asks otherwise."""
    raise AssertionError("A search by proposals asks for no gradient.")
