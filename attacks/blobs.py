"""Faces recovered from a black box by Gaussian blobs (Razzhigaev et al., "Black-Box Face Recovery from Identity
Features", ECCV Workshops 2020): nothing is asked but how alike a picture is, and no face was ever seen before."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from attacks.greedy import climb
from attacks.jitter import Jitter
from facesec_bench.access import EmbeddingAccess, EmbeddingLevel
from facesec_bench.errors import ConfigError
from facesec_bench.generators.frame import Frame
from facesec_bench.targets.template import ARCFACE_112

SIDE = 112
_SIDES, _TOP = 20, 5
"""Margins in which no blob has its centre, in pixels."""


@dataclass(frozen=True)
class Blobs:
    """Adds one grey blob, mirrored, at a time: of `proposals` random ones, the one that makes the picture most alike.

    Against the paper: its objective also has the squared difference of the embeddings' lengths, which a verifier does
    not give out; ours is the cosine alone, as in the authors' follow-up. The first blob of the paper, which fades, is
    a plain grey.

    Attributes:
        steps: after the first rounds.
        proposals: queries a step.
        starts, start_steps: so many pictures are begun for each person, and the best goes on.
        amplitude: greatest change a blob makes, in [0, 1] pixels; its mirrored copy as much.
        symmetric: whether a blob comes with its mirror image.
        jitter: the view under which all proposals of a step are asked about, another one each step, for no more
            queries; ours. What one view alone likes does not last, so that more of the picture is of the person.

    Raises:
        ConfigError: a number out of range.
    """

    steps: int = 1150
    proposals: int = 80
    starts: int = 10
    start_steps: int = 10
    amplitude: float = 0.01
    symmetric: bool = True
    jitter: Jitter = field(default_factory=Jitter)
    level: EmbeddingLevel = "similarity"
    asks: ClassVar[str] = "embedding"

    def __post_init__(self) -> None:
        if min(self.steps, self.start_steps) < 0 or min(self.proposals, self.starts) < 1 or not self.amplitude > 0:
            raise ConfigError(f"blobs: found {self}, wanted steps of 0 or more and the other numbers above 0.")

    @property
    def queries(self) -> int:
        """For each picture."""
        return self.proposals * (self.steps + self.starts * self.start_steps)

    def __call__(self, people: Tensor, victim: EmbeddingAccess, public: Tensor, rng: torch.Generator) -> Tensor:
        """One picture for each row.

        Args:
            people: (B,) places among the victim's templates.
            victim: asked for similarities.
            public: not looked at: this attack needs no faces.

        Returns:
            (B, 3, 224, 224) chips in [0, 1], grey.

        Raises:
            AccessError: the victim's budget is spent.
        """
        frame = Frame(ARCFACE_112, SIDE).to(people.device)
        begin = torch.full((len(people), 1, SIDE, SIDE), 0.5, device=people.device)
        pictures = climb(
            begin,
            people,
            victim,
            lambda begin: Pictures(begin, frame),
            self._propose,
            rng,
            steps=self.steps,
            starts=self.starts,
            start_steps=self.start_steps,
            jitter=self.jitter,
        )
        return Pictures(begin, frame).render(pictures)

    def _propose(self, pictures: Tensor, alike: Tensor, rng: torch.Generator) -> Tensor:
        """(B, 1, S, S) -> (B, N, 1, S, S): each with one more blob, the finer the more alike the picture is.

        sigma = sqrt(10 + U(0, 150) + max(0, 300 - 550 max(0, cos)^0.3)) / 2 pixels, as in the released code.
        """
        shape = (len(pictures), self.proposals)
        drawn = torch.rand(4, *shape, generator=rng, device=rng.device).to(pictures)
        coarse = (300 - 550 * alike.clamp_min(0) ** 0.3).clamp_min(0)[:, None]
        sigma = (10 + 150 * drawn[0] + coarse).sqrt() / 2
        x = _SIDES + drawn[1] * (SIDE - 1 - 2 * _SIDES)
        y = _TOP + drawn[2] * (SIDE - 1 - _TOP)
        axis = torch.arange(SIDE, device=pictures.device, dtype=pictures.dtype)
        across, down = _bell(axis, x, sigma), _bell(axis, y, sigma)
        if self.symmetric:
            across = across + across.flip(-1)
        blob = down[..., :, None] * across[..., None, :]
        change = self.amplitude * (2 * drawn[3] - 1)[..., None, None] * blob
        return (pictures[:, None] + change[:, :, None]).clamp(0, 1)


@dataclass(frozen=True)
class Pictures:
    """Grey pictures as the parameters of a search; see `interfaces.Space`."""

    begin: Tensor
    frame: Frame

    def start(self, rng: torch.Generator) -> Tensor:
        """(B, 1, S, S)."""
        return self.begin.clone()

    def render(self, params: Tensor) -> Tensor:
        """(B, 1, S, S) -> (B, 3, 224, 224) chips in [0, 1]."""
        return self.frame.to_chip(params).clamp(0, 1).expand(-1, 3, -1, -1)

    def project(self, params: Tensor) -> Tensor:
        """Within [0, 1]."""
        return params.clamp(0, 1)


def _bell(axis: Tensor, centre: Tensor, sigma: Tensor) -> Tensor:
    """(S,), (B, N), (B, N) -> (B, N, S): exp(-(axis - centre)^2 / (2 sigma^2))."""
    return torch.exp(-((axis - centre[..., None]) ** 2) / (2 * sigma[..., None] ** 2))
