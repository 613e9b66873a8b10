"""MIRROR's black box: inversion from soft labels by a genetic algorithm (An et al., "MIRROR: Model Inversion for Deep
Learning Network with High Fidelity", NDSS 2022)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from attacks.greedy import no_gradient
from attacks.inversion_priors import PointSpace, Prior, PriorMaker, modules_of
from facesec_bench.access import ClassifierAccess, ClassifierLevel
from facesec_bench.errors import ConfigError
from facesec_bench.search import GradientAt, borrowed, minimise

Fitness = Callable[[Tensor], Tensor]
"""(M, P) -> (M, K), how fit each is for each person, higher is fitter; M queries."""

_AT_ONCE = 64
"""Pictures asked about together."""


@dataclass
class GeneticRule:
    """A `search.Rule`: each row has a population; the fittest stay, the others are their children.

    A child takes each parameter from one of two parents at random; each parent is the fitter of two drawn. Then each
    parameter is moved with probability `mutation` by a normal step of size `spread`.

    Attributes:
        people: (B,) whom each row is for.
        population: members of each row; the first is drawn from the prior and serves all rows.
        elite: share of a population that stays as it is; these are not asked about again.
        stop: a row this fit rests; None for none.
        members, fit: (B, N, P) and (B, N), the fittest first; None before any step.
    """

    prior: Prior
    fitness: Fitness
    people: Tensor
    rng: torch.Generator
    population: int
    mutation: float
    spread: float
    elite: float
    stop: float | None = None
    members: Tensor | None = field(default=None, init=False)
    fit: Tensor | None = field(default=None, init=False)

    def reset(self) -> None:
        """Forget the populations."""
        self.members = self.fit = None

    def step(self, params: Tensor, gradient_at: GradientAt) -> Tensor:
        """One generation; gives each row's fittest."""
        if self.members is None or self.fit is None:
            first = self.prior.draw(self.population, self.rng).to(params)
            fit = self.fitness(first)[:, self.people].T
            self._keep(first.expand(len(params), -1, -1), fit)
        else:
            rows = [i for i in range(len(params)) if self.stop is None or self.fit[i, 0] < self.stop]
            for i in rows:
                self._breed(i)
        assert self.members is not None
        return self.members[:, 0]

    def _breed(self, row: int) -> None:
        assert self.members is not None and self.fit is not None
        stay = max(1, round(self.elite * self.population))
        children = self.children(self.members[row], self.population - stay)
        members = torch.cat([self.members[row, :stay], children])
        fit = torch.cat([self.fit[row, :stay], self.fitness(children)[:, self.people[row]]])
        order = fit.argsort(descending=True, stable=True)
        self.members[row], self.fit[row] = members[order], fit[order]

    def children(self, members: Tensor, count: int) -> Tensor:
        """(N, P), the fittest first -> (count, P)."""
        rng, size = self.rng, (count, members.shape[1])
        # Of two places drawn, the lower is the fitter.
        drawn = torch.randint(len(members), (2, 2, count), generator=rng, device=rng.device).amin(0).to(members.device)
        coin = torch.rand(size, generator=rng, device=rng.device).to(members) < 0.5
        child = torch.where(coin, members[drawn[0]], members[drawn[1]])
        moved = torch.rand(size, generator=rng, device=rng.device).to(members) < self.mutation
        step = self.spread * torch.randn(size, generator=rng, device=rng.device).to(members)
        return self.prior.project(torch.where(moved, child + step, child))

    def _keep(self, members: Tensor, fit: Tensor) -> None:
        order = fit.argsort(dim=1, descending=True, stable=True)
        self.members = members.gather(1, order[..., None].expand_as(members)).clone()
        self.fit = fit.gather(1, order)


@dataclass(frozen=True)
class Genetic:
    """The attack.

    Against the paper: it bounds StyleGAN's activations within a standard deviation of their mean; a DCGAN's latent is
    normal as it is, so the prior's `box` of 1 is the same bound. Population, generations and mutation are the paper's;
    how parents are chosen and how far a mutation goes are ours.

    Attributes:
        prior: which pictures count as faces, with the bound.
        generations: after the first.
        stop: confidence at which a person's search rests; None for all generations.
        population, mutation, spread, elite: see `GeneticRule`.

    Raises:
        ConfigError: a number out of range.
    """

    prior: PriorMaker
    generations: int = 100
    population: int = 1000
    mutation: float = 0.1
    spread: float = 1.0
    elite: float = 0.1
    stop: float | None = None
    level: ClassifierLevel = "soft_label"
    asks: ClassVar[str] = "classifier"

    def __post_init__(self) -> None:
        if self.generations < 0 or self.population < 2 or not self.spread > 0:
            raise ConfigError(
                f"genetic: found {self.generations} generations, population {self.population} and spread "
                f"{self.spread}, wanted 0 generations or more, two members or more, and a spread above 0."
            )
        if not 0 <= self.mutation <= 1 or not 0 <= self.elite < 1:
            raise ConfigError(
                f"genetic: found mutation {self.mutation} and elite {self.elite}, wanted a mutation of 0 to 1 and an "
                "elite of 0 to below 1."
            )

    def __call__(self, people: Tensor, victim: ClassifierAccess, public: Tensor, rng: torch.Generator) -> Tensor:
        """One picture for each row, see `inversion.Inversion`.

        Raises:
            AccessError: the victim's level forbids probabilities, or its budget is spent.
        """
        prior = self.prior.bind(victim, public, rng)

        def fitness(params: Tensor) -> Tensor:
            return torch.cat([victim.probabilities(prior.render(few)) for few in params.split(_AT_ONCE)])

        rule = GeneticRule(
            prior, fitness, people, rng, self.population, self.mutation, self.spread, self.elite, self.stop
        )  # fmt: skip
        with borrowed(*modules_of(prior)), torch.no_grad():
            # The first step replaces the beginning by the first population.
            begin = torch.zeros_like(prior.draw(1, rng)).to(people.device).repeat(len(people), 1)
            found = minimise(no_gradient, PointSpace(prior, begin), rule, self.generations + 1, rng)
            return torch.cat([prior.render(few) for few in found.split(_AT_ONCE)])
