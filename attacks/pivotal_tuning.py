"""Stage 1 of a latent attack: find a photo's latent, then tune a generator of its own until it paints the photo.

Roich et al., "Pivotal Tuning for Latent-based Editing of Real Images", ACM TOG 2022, as CLIP2Protect uses it: a fixed
pivot, and every weight of the generator trained on LPIPS and mean squared error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from facesec_bench.errors import ConfigError
from facesec_bench.generators.tuned import Tuned
from facesec_bench.interfaces import ImageGenerator, Latent
from facesec_bench.search import AdamStep, Part, borrowed, minimise
from facesec_bench.spaces import LatentWalk
from facesec_bench.training import fit

Distance = Callable[[Tensor, Tensor], Tensor]
"""((B, 3, H, W), (B, 3, H, W)) -> (B,), such as LPIPS."""

_EVERY = 10
"""Steps between two looks at whether a photo is near enough."""


@dataclass(frozen=True)
class Pivoting:
    """How stage 1 is done.

    Attributes:
        layers: the layers that inversion moves.
        steps: of the latent's optimisation; 0 starts from the generator's mean.
        step: its Adam step, in the layers' own units.
        tuning_steps: of the weights' training; 0 leaves the generator as it is.
        learning_rate: of that training (Adam).
        mse: weight of the mean squared error beside LPIPS.
        stop: a photo whose LPIPS is at most this is inverted or tuned no further; 0 goes to the end with all. PTI
            itself stops at 0.06 (AlexNet).

    Raises:
        ConfigError: a number out of range.
    """

    layers: Sequence[str]
    steps: int = 150
    step: float = 0.05
    tuning_steps: int = 150
    learning_rate: float = 5e-4
    mse: float = 0.1
    stop: float = 0.0

    def __post_init__(self) -> None:
        if min(self.steps, self.tuning_steps) < 0 or min(self.step, self.learning_rate) <= 0 or self.mse < 0:
            raise ConfigError(f"Pivoting: found {self}, wanted steps of 0 or more and step sizes above 0.")

    def distance(self, lpips: Distance) -> Distance:
        """LPIPS and weighted mean squared error between pictures."""
        return lambda a, b: lpips(a, b) + self.mse * (a - b).square().mean((1, 2, 3))


def invert(
    generator: ImageGenerator,
    pictures: Tensor,
    how: Pivoting,
    lpips: Distance,
    units: dict[str, float],
    rngs: Sequence[torch.Generator],
) -> dict[str, Tensor]:
    """The latent of every layer, (B, ...), whose pictures come near to `pictures`.

    Args:
        pictures: (B, 3, R, R) in [0, 1].
        units: what counts as one step in each layer.
        rngs: one for each image, for what the generator draws (noise maps); so an image's latent is its own.
    """
    starts = [generator.mean(1, rng) for rng in rngs]
    origin = {layer: torch.cat([start[layer] for start in starts]) for layer in starts[0]}
    walk = LatentWalk(origin, how.layers, generator.synthesise, units)
    distance = how.distance(lpips)

    def part(rows: Tensor) -> Part:
        wanted = pictures[rows]
        near = None if how.stop == 0 else lambda x: lpips(x, wanted) <= how.stop
        return Part([lambda x: distance(x, wanted)], walk.rows(rows, walk.picture), None, near)

    whole = part(torch.arange(len(pictures), device=pictures.device))
    with borrowed(generator, lpips):
        params = minimise(
            whole.objectives,
            whole.space,
            AdamStep(how.step),
            how.steps,
            rngs[0],
            until=whole.until,
            look_every=_EVERY,
            narrow=part if whole.until else None,
        )
    return walk.latent(params)


def tune(
    generator: ImageGenerator, latent: Latent, pictures: Tensor, how: Pivoting, lpips: Distance, rng: torch.Generator
) -> Tuned:
    """A generator for each image, trained to paint `pictures` from `latent`; the given one stays as it is.

    An image that is near enough (`how.stop`) leaves the batch, so the others go faster.

    Args:
        latent: of every layer, (B, ...).
        pictures: (B, 3, R, R) in [0, 1].
    """
    tuned, distance = Tuned(generator, len(pictures)), how.distance(lpips)
    if not how.tuning_steps or not len(pictures):
        return tuned
    rows = list(range(len(pictures)))

    def painted(which: list[int]) -> tuple[Tensor, Tensor]:
        part = tuned.rows(which).synthesise({layer: tensor[which] for layer, tensor in latent.items()})
        return part, pictures[which]

    def watch(done: int) -> dict[str, float]:
        near = lpips(*painted(rows)) <= how.stop
        rows[:] = [row for row, enough in zip(rows, near.tolist(), strict=True) if not enough]
        return {"left": float(len(rows))}

    modules: list[nn.Module] = [tuned]
    with borrowed(generator, lpips):
        fit(
            modules,
            lambda step, rng: None,
            lambda _: distance(*painted(rows)).sum(),
            optimiser=lambda parameters: torch.optim.Adam(parameters, lr=how.learning_rate),
            steps=how.tuning_steps,
            rng=rng,
            every=_EVERY,
            watch=watch if how.stop > 0 else None,
            until=(lambda measures: measures["left"] == 0) if how.stop > 0 else None,
        )
    return tuned
