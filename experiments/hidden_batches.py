"""What a watermarker practises on: chips varied until they could be any photo, messages, and noise layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from facesec_bench import distortions
from facesec_bench.watermarks.messages import draw

Distortion = Callable[[Tensor], Tensor]


class Lesson(NamedTuple):
    """One batch: (B, 3, H, W) chips, (B, L) messages, the noise layer, and how many times too loud a mark may be."""

    chips: Tensor
    messages: Tensor
    distortion: Distortion
    louder: float


@dataclass(frozen=True)
class Practice:
    """Lessons from a set of chips, for `training.fit`; the curriculum goes from loud and undisturbed to the real task.

    Attributes:
        chips: (N, 3, H, W) in [0, 1].
        bits: length of a message.
        batch_size: chips a lesson.
        steps: how long the training is; distortions begin after `quiet` of it.
        loudest: how much louder than its limit the mark is at first; falls to 1 within a quarter of the training.
        quiet: share of the training without distortions.
        device: where lessons are needed.
    """

    chips: Tensor
    bits: int
    batch_size: int
    steps: int
    loudest: float = 2.0
    quiet: float = 0.1
    device: torch.device | str = "cpu"

    def __call__(self, step: int, rng: torch.Generator) -> Lesson:
        """The lesson of this step, drawn from `rng` (a CPU generator)."""
        rows = torch.randint(len(self.chips), (self.batch_size,), generator=rng)
        chips = varied(self.chips[rows], rng)
        messages = draw(self.batch_size, self.bits, rng)
        mishap = distortion(rng)
        louder = 1 + (self.loudest - 1) * max(0.0, 1 - 4 * step / self.steps)
        quiet = step < self.quiet * self.steps
        return Lesson(chips.to(self.device), messages.to(self.device), nothing if quiet else mishap, louder)


def nothing(images: Tensor) -> Tensor:
    """Nothing happens."""
    return images


def distortion(rng: torch.Generator) -> Distortion:
    """One of: nothing (25 %), JPEG at quality 40 to 95 (30 %), rescaling, blur, noise (15 % each), for a whole batch.

    One noise layer a batch, as in Zhu et al. (2018), section 3.
    """
    kind, strength = torch.rand(2, generator=rng).tolist()
    if kind < 0.25:
        return lambda images: distortions.quantised(images, 256)
    if kind < 0.55:
        return lambda images: distortions.jpeg(images, round(40 + 55 * strength))
    if kind < 0.70:
        return lambda images: distortions.rescaled(images, 0.4 + 0.5 * strength)
    if kind < 0.85:
        return lambda images: distortions.blurred(images, 0.3 + 1.2 * strength)
    return lambda images: distortions.noisy(images, 1 + 9 * strength, rng)


def varied(chips: Tensor, rng: torch.Generator) -> Tensor:
    """(B, 3, H, W) -> the same shape, 8-bit values: mirrored, relit, sharpened, textured and noisy at random.

    Generated faces are smooth; a decoder that never saw texture takes it for bits.
    """

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(len(chips), 1, 1, 1, generator=rng)

    images = torch.where(uniform(0, 1) < 0.5, chips.flip(3), chips)
    images = (images - 0.5) * uniform(0.6, 1.3) + 0.5 + uniform(-0.1, 0.1)
    images = images + uniform(0, 3) * (images - functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False))
    rich = uniform(0, 1) < 0.6
    images = images + torch.where(rich, uniform(0, 0.15), uniform(0, 0.02)) * fractal(images.shape, rng)
    images = images + uniform(0, 0.03) * torch.randn(images.shape, generator=rng)
    return (images.clamp(0, 1) * 255).round() / 255


def fractal(shape: torch.Size, rng: torch.Generator) -> Tensor:
    """Cloudy noise of about the spectrum of photos (amplitude falls with frequency, as natural images' does), mean 0.

    Field, Journal of the Optical Society of America A (1987), measured that spectrum.
    """
    n, _, height, width = shape
    total = torch.zeros(shape)
    for side in (2, 4, 8, 16, 32, 64, 128, max(height, width)):
        grey = torch.randn(n, 1, side, side, generator=rng)
        colour = torch.randn(n, 3, side, side, generator=rng)
        weight = 1.2 * side**-0.7 * torch.rand(n, 1, 1, 1, generator=rng)
        total += weight * functional.interpolate(grey + 0.5 * colour, size=(height, width), mode="bilinear")
    return total
