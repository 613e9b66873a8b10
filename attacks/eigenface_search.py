"""Faces recovered from a black box by eigenfaces (Razzhigaev et al., "Darker than Black-Box: Face Reconstruction from
Similarity Queries", 2021): the search by blobs, with combinations of public faces in their place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from attacks.greedy import climb
from attacks.inversion_priors import PointSpace, Prior, PriorMaker, modules_of
from attacks.jitter import Jitter
from facesec_bench.access import EmbeddingAccess, EmbeddingLevel
from facesec_bench.errors import ConfigError
from facesec_bench.search import borrowed

_AT_ONCE = 32
"""Pictures painted together at the end."""


@dataclass(frozen=True)
class EigenfaceSearch:
    """Adds one random combination of eigenfaces at a time: of `proposals`, the one that makes the picture most alike.

    Against the released code: it limits pixels, while our prior limits coordinates, so a picture stays a face; its
    amplitude is in units of its own eigenfaces, ours in standard deviations of the public photos along each.

    Attributes:
        prior: gives the eigenfaces; another prior makes it a random search over its parameters.
        steps: after the first rounds.
        proposals: queries a step; 80 as released.
        starts, start_steps: so many pictures are begun for each one asked for, at the mean face, and the best goes on;
            10 of 100 as released.
        amplitude: standard deviation of a proposal in each parameter.
        jitter: see `attacks.blobs.Blobs`.

    Raises:
        ConfigError: a number out of range.
    """

    prior: PriorMaker
    steps: int = 115
    proposals: int = 80
    starts: int = 1
    start_steps: int = 10
    amplitude: float = 0.2
    jitter: Jitter = field(default_factory=Jitter)
    level: EmbeddingLevel = "similarity"
    asks: ClassVar[str] = "embedding"

    def __post_init__(self) -> None:
        if min(self.steps, self.start_steps) < 0 or min(self.proposals, self.starts) < 1 or not self.amplitude > 0:
            raise ConfigError(
                f"eigenface search: found {self}, wanted steps of 0 or more and the other numbers above 0."
            )

    @property
    def queries(self) -> int:
        """For each picture."""
        return self.proposals * (self.steps + self.starts * self.start_steps)

    def __call__(self, people: Tensor, victim: EmbeddingAccess, public: Tensor, rng: torch.Generator) -> Tensor:
        """One picture for each row.

        Args:
            people: (B,) places among the victim's templates.
            victim: asked for similarities.
            public: (N, 3, 224, 224) photos of other people.

        Returns:
            (B, 3, 224, 224) chips in [0, 1].

        Raises:
            AccessError: the victim's budget is spent.
            ConfigError: too few public photos for the prior.
        """
        prior = self.prior.bind(victim, public, rng)
        begin = torch.zeros_like(prior.draw(1, rng)).to(people.device).repeat(len(people), 1)
        with borrowed(*modules_of(prior)), torch.no_grad():
            found = climb(
                begin,
                people,
                victim,
                lambda begin: PointSpace(prior, begin),
                lambda params, alike, rng: self.propose(prior, params, rng),
                rng,
                steps=self.steps,
                starts=self.starts,
                start_steps=self.start_steps,
                jitter=self.jitter,
            )
            return torch.cat([prior.render(few) for few in found.split(_AT_ONCE)])

    def propose(self, prior: Prior, params: Tensor, rng: torch.Generator) -> Tensor:
        """(B, P) -> (B, N, P): each with a random combination added, within what the prior admits."""
        shape = (len(params), self.proposals, params.shape[1])
        noise = torch.randn(shape, generator=rng, device=rng.device).to(params)
        return prior.project((params[:, None] + self.amplitude * noise).flatten(0, 1)).view(shape)
