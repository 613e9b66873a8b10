"""Expectation over small changes of view: what a photo looks like to a recogniser that frames, lights or mirrors it
otherwise (EOT; Athalye et al., "Synthesizing Robust Adversarial Examples", ICML 2018)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from facesec_bench.errors import ConfigError
from facesec_bench.search import Objective


@dataclass(frozen=True)
class Jitter:
    """How far a view may differ; all zero is off.

    Attributes:
        rotation: greatest angle, in radians.
        shift: greatest shift, as a share of half the side.
        scale: greatest change of size, as a share.
        flip: probability of mirroring.
        brightness: greatest change of brightness, as a share.
        noise: standard deviation of the noise added, in [0, 1] pixels.

    Raises:
        ConfigError: a negative value, or a probability above 1.
    """

    rotation: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    flip: float = 0.0
    brightness: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        values = (self.rotation, self.shift, self.scale, self.flip, self.brightness, self.noise)
        if min(values) < 0 or self.flip > 1 or self.scale >= 1:
            raise ConfigError(f"Jitter: found {self}, wanted values of 0 or more, flip up to 1 and scale below 1.")

    @property
    def off(self) -> bool:
        """Whether nothing is changed."""
        return self == Jitter()

    def seen(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """(B, 3, H, W) -> the same photos under one random view, the same for the whole batch, so that an image's
        result does not depend on its batch mates. The noise too."""
        turn, size, x, y, mirror, light = (2 * torch.rand(6, generator=rng, device=rng.device) - 1).tolist()
        angle, zoom = turn * self.rotation, 1 + size * self.scale
        side = -1.0 if (mirror + 1) / 2 < self.flip else 1.0
        matrix = torch.tensor(
            [
                [side * zoom * math.cos(angle), -zoom * math.sin(angle), x * self.shift],
                [side * zoom * math.sin(angle), zoom * math.cos(angle), y * self.shift],
            ]
        )
        grid = functional.affine_grid(matrix.to(images).expand(len(images), 2, 3), list(images.shape), False)
        view = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
        if self.brightness:
            view = view * (1 + light * self.brightness)
        if self.noise:
            grain = torch.randn(view.shape[1:], generator=rng, device=rng.device)
            view = view + self.noise * grain.to(view)
        return view.clamp(0, 1)

    def under(self, images: Tensor, view: int) -> Tensor:
        """`seen` under the view of this number, so that pictures can be compared; the images themselves if off."""
        return images if self.off else self.seen(images, torch.Generator().manual_seed(view))


def jittered(objective: Objective, jitter: Jitter, rng: torch.Generator) -> Objective:
    """`objective` of one random view at every call; the objective itself where the jitter is off."""
    if jitter.off:
        return objective
    return lambda images: objective(jitter.seen(images, rng))
