"""Faces recovered from similarities by evolution: CMA-ES (Hansen, "The CMA Evolution Strategy: A Tutorial", 2016) over
a prior's parameters. Our own entry, for few queries; the library `cma` does the evolving."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from attacks.greedy import Ask, no_gradient
from attacks.inversion_choice import best_of_pool_scored
from attacks.inversion_priors import PointSpace, Prior, PriorMaker, modules_of
from attacks.jitter import Jitter
from facesec_bench.access import EmbeddingAccess, EmbeddingLevel
from facesec_bench.errors import ConfigError
from facesec_bench.search import GradientAt, borrowed, minimise

_AT_ONCE = 64
"""Pictures asked about together."""


@dataclass
class EvolutionRule:
    """A `search.Rule`: each row has a population of its own, whose mean and spread follow its most alike members.

    A step asks about one population of every row that has not arrived and gives each row's best picture so far. Where
    each population is seen under a view of its own, the best is best by luck of its view: then a step gives the means
    about which the next populations will be born.

    Attributes:
        ask: how alike; asked about projected parameters only, a population under one view.
        spread: standard deviation of the first populations.
        population: members.
        diagonal: learn a variance for each parameter and no covariances (sep-CMA-ES, Ros and Hansen, PPSN 2008).
        pull: weight of the mean square of the parameters, taken from likeness: towards what the prior has most of.
        stop: a row this alike rests and asks no more; None for none.
        views: whether the views of populations differ.
        known: (B,) score of where each row begins, if that was asked before.
        score: (B,) of the best so far, -inf before anything was asked; with views, the last population's mean score.
    """

    prior: Prior
    ask: Ask
    rng: torch.Generator
    spread: float
    population: int
    diagonal: bool = False
    pull: float = 0.0
    stop: float | None = None
    views: bool = False
    known: Tensor | None = None
    score: Tensor | None = field(default=None, init=False)
    _strategies: list[Any] = field(default_factory=list, init=False)

    def reset(self) -> None:
        """Forget the populations."""
        self.score, self._strategies = None, []

    def step(self, params: Tensor, gradient_at: GradientAt) -> Tensor:
        """Ask about one generation of each row."""
        if self.score is None:
            self.score = params.new_full((len(params),), -torch.inf) if self.known is None else self.known.clone()
            self._strategies = [self._strategy(row) for row in params]
        rows = [i for i in range(len(params)) if self.stop is None or self.score[i] < self.stop]
        if not rows:
            return params
        born = [self._strategies[i].ask() for i in rows]
        members = torch.from_numpy(np.stack([np.stack(few) for few in born])).to(params)
        admitted = self.prior.project(members.flatten(0, 1)).view_as(members)
        alike = self._asked(admitted, torch.tensor(rows, device=params.device))
        # What was cut off costs as much as it was far, so that the mean does not drift beyond what the prior admits.
        cost = self.pull * admitted.square().mean(2) + (members - admitted).square().mean(2)
        best = params.clone()
        for place, i in enumerate(rows):
            self._strategies[i].tell(born[place], (cost - alike)[place].tolist())
            score, which = alike[place].max(0)
            if self.views:
                mean = torch.from_numpy(self._strategies[i].mean).to(params)
                self.score[i], best[i] = alike[place].mean(), self.prior.project(mean[None])[0]
            elif score > self.score[i]:
                self.score[i], best[i] = score, admitted[place, which]
        return best

    def _asked(self, members: Tensor, rows: Tensor) -> Tensor:
        """(R, N, P) -> (R, N)."""
        whose = rows.repeat_interleave(members.shape[1])
        view = int(torch.randint(2**31, (), generator=self.rng, device=self.rng.device)) if self.views else 0
        pairs = zip(members.flatten(0, 1).split(_AT_ONCE), whose.split(_AT_ONCE), strict=True)
        return torch.cat([self.ask(few, who, view) for few, who in pairs]).view(members.shape[:2])

    def _strategy(self, begin: Tensor) -> Any:
        """The library's state, with random numbers of our own: it would seed numpy's for everybody."""
        import cma

        seed = int(torch.randint(2**62, (), generator=self.rng, device=self.rng.device))
        options = {
            "popsize": self.population,
            "CMA_diagonal": self.diagonal,
            "randn": _Normal(seed),
            "seed": float("nan"),
            "verbose": -9,
        }
        return cma.CMAEvolutionStrategy(begin.double().cpu().numpy(), self.spread, options)


class _Normal:
    """Normal draws in the shape asked for, from a seed."""

    def __init__(self, seed: int) -> None:
        self.source = np.random.default_rng(seed)

    def __call__(self, *shape: int) -> Any:
        return self.source.standard_normal(shape)


@dataclass(frozen=True)
class Evolution:
    """The attack: the best of a drawn pool is where each person's evolution begins.

    Attributes:
        prior: which pictures count as faces.
        queries: for each picture asked for, at most; the pool is part of it.
        pool: pictures drawn, one pool for all; each is asked about for each person once. 0 draws none and begins where
            all parameters are 0, as at the mean face of eigenfaces.
        population, spread, diagonal, pull: see `EvolutionRule`.
        stop: cosine at which a picture is good enough; None spends all queries.
        jitter: how far the views of populations differ, one view for each, for no more queries; with it, a picture is
            the mean that its populations came to, which nobody was asked about.

    Raises:
        ConfigError: a number out of range, or a pool that leaves no query for a population.
    """

    prior: PriorMaker
    queries: int = 5000
    pool: int = 200
    population: int = 20
    spread: float = 0.5
    diagonal: bool = False
    pull: float = 0.0
    stop: float | None = None
    jitter: Jitter = field(default_factory=Jitter)
    level: EmbeddingLevel = "similarity"
    asks: ClassVar[str] = "embedding"

    def __post_init__(self) -> None:
        if self.pool < 0 or self.population < 4 or not self.spread > 0 or not self.pull >= 0:
            raise ConfigError(
                f"evolution: found pool {self.pool}, population {self.population}, spread {self.spread} and pull "
                f"{self.pull}, wanted pool and pull of 0 or more, a spread above 0 and 4 members or more."
            )
        if self.queries < self.pool + self.population:
            raise ConfigError(
                f"evolution: found {self.queries} queries, wanted {self.pool + self.population} or more: the pool and "
                "one population."
            )

    def __call__(self, people: Tensor, victim: EmbeddingAccess, public: Tensor, rng: torch.Generator) -> Tensor:
        """One picture for each row, the most alike that was asked about (with jitter, see there).

        Args:
            people: (B,) places among the victim's templates; one may be asked for more than once.
            victim: asked for similarities.
            public: (N, 3, 224, 224) photos of other people, for priors that need them.

        Returns:
            (B, 3, 224, 224) chips in [0, 1].

        Raises:
            AccessError: the victim's budget is spent.
        """
        prior = self.prior.bind(victim, public, rng)

        def ask(params: Tensor, rows: Tensor, view: int) -> Tensor:
            return victim.similarity(self.jitter.under(prior.render(params), view), people[rows])

        rule = EvolutionRule(
            prior,
            ask,
            rng,
            self.spread,
            self.population,
            self.diagonal,
            self.pull,
            self.stop,
            not self.jitter.off,
        )
        with borrowed(*modules_of(prior)), torch.no_grad():
            pool = prior.draw(max(self.pool, 1), rng).to(people.device)
            if self.pool:
                begin, rule.known = best_of_pool_scored(prior, pool, victim, people)
            else:
                begin = torch.zeros_like(pool).expand(len(people), -1)
            space = PointSpace(prior, begin)
            found = minimise(no_gradient, space, rule, (self.queries - self.pool) // self.population, rng)
            return torch.cat([prior.render(few) for few in found.split(_AT_ONCE)])
