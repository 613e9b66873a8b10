"""Stages of an inversion: which parameters of a prior move, and how far from where they stood.

A generator's features may move once its latent has been found: IF-GMI (Qiu et al., "A Closer Look at GAN Priors:
Exploiting Intermediate Features for Enhanced Model Inversion Attacks", ECCV 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.inversion_priors import GeneratorPrior, PointSpace, Prior
from facesec_bench.errors import ConfigError


@dataclass(frozen=True)
class Stage:
    """One part of the search; parameters are in the prior's units.

    Attributes:
        steps: moves.
        layers: of the generator that move; empty for all parameters of the prior.
        reach: greatest move of a parameter from where the stage begins; None for any.
        ball: greatest sum of absolute moves of a layer, as in IF-GMI; None for any.

    Raises:
        ConfigError: a number out of range, or both bounds.
    """

    steps: int
    layers: Sequence[str] = ()
    reach: float | None = None
    ball: float | None = None

    def __post_init__(self) -> None:
        bounds = [bound for bound in (self.reach, self.ball) if bound is not None]
        if self.steps < 0 or len(bounds) > 1 or not all(bound > 0 for bound in bounds):
            raise ConfigError(
                f"stage: found {self}, wanted steps of 0 or more and one bound above 0, or null for any move."
            )

    @property
    def free(self) -> bool:
        """Whether every parameter may go anywhere."""
        return not self.layers and self.reach is None and self.ball is None


@dataclass(frozen=True)
class Near:
    """A prior's parameters near where they begin; see `interfaces.Space`.

    Attributes:
        points: the beginnings, and the prior.
        parts: for each layer that moves its columns; every other column rests.
        stage: the bounds.
    """

    points: PointSpace
    parts: Sequence[slice]
    stage: Stage

    def start(self, rng: torch.Generator) -> Tensor:
        """(B, P)."""
        return self.points.start(rng)

    def render(self, params: Tensor) -> Tensor:
        """(B, P) -> (B, 3, 224, 224)."""
        return self.points.render(params)

    def project(self, params: Tensor) -> Tensor:
        """What the prior admits, then within the bounds."""
        begin = self.points.begin
        moved, kept = self.points.project(params) - begin, torch.zeros_like(begin)
        for part in self.parts:
            kept[:, part] = self._bounded(moved[:, part])
        return begin + kept

    def _bounded(self, move: Tensor) -> Tensor:
        if self.stage.ball is not None:
            return within_l1(move, self.stage.ball)
        return move if self.stage.reach is None else move.clamp(-self.stage.reach, self.stage.reach)


def near(prior: Prior, begin: Tensor, stage: Stage) -> Near | PointSpace:
    """The space of a stage.

    Raises:
        ConfigError: a layer that the prior does not have.
    """
    points = PointSpace(prior, begin)
    return points if stage.free else Near(points, columns(prior, begin, stage.layers), stage)


def columns(prior: Prior, params: Tensor, layers: Sequence[str]) -> list[slice]:
    """The columns of each of these layers in (B, P) parameters; all of them, as one, for no layer.

    Raises:
        ConfigError: a layer that the prior does not have.
    """
    if not layers:
        return [slice(0, params.shape[1])]
    known = list(prior.layers) if isinstance(prior, GeneratorPrior) else []
    unknown = [layer for layer in layers if layer not in known]
    if unknown or not isinstance(prior, GeneratorPrior):
        raise ConfigError(f"stage: found layers {list(layers)}, wanted some of the prior's own: {known}.")
    one = prior.generator.mean(1, torch.Generator(params.device).manual_seed(0))
    found, begin = {}, 0
    for layer in known:
        end = begin + one[layer].numel()
        found[layer], begin = slice(begin, end), end
    return [found[layer] for layer in layers]


def apart(prior: Prior, params: Tensor) -> list[slice]:
    """The columns of each layer of a generator's prior; all of them, as one, of another prior."""
    return columns(prior, params, prior.layers if isinstance(prior, GeneratorPrior) else ())


def within_l1(move: Tensor, radius: float) -> Tensor:
    """(B, P) -> the nearest rows whose absolute values sum to at most `radius` (Duchi et al., "Efficient Projections
    onto the l1-Ball for Learning in High Dimensions", ICML 2008, Figure 1)."""
    size = move.abs()
    ordered, _ = size.sort(dim=1, descending=True)
    count = torch.arange(1, move.shape[1] + 1, device=move.device, dtype=move.dtype)
    excess = (ordered.cumsum(1) - radius) / count
    last = (ordered > excess).sum(1, keepdim=True).clamp_min(1)
    cut = excess.gather(1, last - 1)
    outside = size.sum(1, keepdim=True) > radius
    return torch.where(outside, move.sign() * (size - cut).clamp_min(0), move)
