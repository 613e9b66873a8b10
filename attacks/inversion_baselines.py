"""What an inversion is compared with: attacks that search nothing, on a classifier or an embedding alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from attacks.inversion_choice import best_of_pool
from attacks.inversion_priors import PriorMaker, modules_of
from facesec_bench.access import ClassifierAccess, EmbeddingAccess
from facesec_bench.errors import ConfigError
from facesec_bench.search import borrowed


def _both(classifier: str, embedding: str) -> dict[str, str]:
    return {"classifier": classifier, "embedding": embedding}


@dataclass(frozen=True)
class RandomLatent:
    """Pictures as the prior draws them; nobody is asked. By chance one in K shows the person.

    Attributes:
        level: of access, by what is asked.
    """

    prior: PriorMaker
    asks: ClassVar[str] = "any"
    level: Mapping[str, str] = field(default_factory=lambda: _both("hard_label", "similarity"))

    def __call__(
        self, people: Tensor, victim: ClassifierAccess | EmbeddingAccess, public: Tensor, rng: torch.Generator
    ) -> Tensor:
        """One picture for each row of `people`, (B, 3, 224, 224) in [0, 1]."""
        prior = self.prior.bind(victim, public, rng).given(people)
        with borrowed(*modules_of(prior)), torch.no_grad():
            return prior.render(prior.draw(len(people), rng).to(people.device))


@dataclass(frozen=True)
class BestOfRandom:
    """The best of a pool of drawn pictures for each person: what selection alone achieves.

    Attributes:
        pool: pictures drawn; each is asked about once, of a classifier for everybody, of an embedding for each person.
        level: of access, by what is asked.

    Raises:
        ConfigError: no pool.
    """

    prior: PriorMaker
    pool: int = 400
    asks: ClassVar[str] = "any"
    level: Mapping[str, str] = field(default_factory=lambda: _both("soft_label", "similarity"))

    def __post_init__(self) -> None:
        if self.pool < 1:
            raise ConfigError(f"best of random: found a pool of {self.pool}, wanted 1 or more.")

    def __call__(
        self, people: Tensor, victim: ClassifierAccess | EmbeddingAccess, public: Tensor, rng: torch.Generator
    ) -> Tensor:
        """As `RandomLatent`; a person's second picture is their second best.

        Raises:
            ConfigError: more pictures of one person than the pool has.
            AccessError: the victim's budget is spent.
        """
        most = int(people.bincount().max())
        if most > self.pool:
            raise ConfigError(f"best of random: found {most} pictures of one person, the pool is {self.pool}.")
        prior = self.prior.bind(victim, public, rng)
        with borrowed(*modules_of(prior)), torch.no_grad():
            drawn = prior.draw(self.pool, rng).to(people.device)
            return prior.given(people).render(best_of_pool(prior, drawn, victim, people))


@dataclass(frozen=True)
class MeanFace:
    """The mean of the public photos, for everybody.

    Attributes:
        level: of access, by what is asked.
    """

    asks: ClassVar[str] = "any"
    level: Mapping[str, str] = field(default_factory=lambda: _both("hard_label", "similarity"))

    def __call__(
        self, people: Tensor, victim: ClassifierAccess | EmbeddingAccess, public: Tensor, rng: torch.Generator
    ) -> Tensor:
        """As `RandomLatent`; all pictures are the same one."""
        return public.mean(0, keepdim=True).expand(len(people), -1, -1, -1).clone()
