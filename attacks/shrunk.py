"""A generator whose pictures are larger than anything that looks at them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from facesec_bench.errors import ConfigError
from facesec_bench.interfaces import ImageGenerator, Latent


class Shrunk(nn.Module):
    """Its pictures averaged over squares of pixels, down to `side`. An `interfaces.ImageGenerator`.

    A chip has 224 pixels, so of a picture of 1024 it would take every fifth; and LPIPS on 256, as CLIP2Protect's
    released code has it, costs a sixteenth.

    Raises:
        ConfigError: a generator that is no torch module, or a side that does not divide its own.
    """

    def __init__(self, generator: ImageGenerator, side: int) -> None:
        super().__init__()
        if not isinstance(generator, nn.Module) or side < 1 or generator.resolution % side:
            raise ConfigError(
                f"Found pictures of {generator.resolution} pixels and side {side}; wanted a torch module and a side "
                "that divides its own."
            )
        self.generator, self.factor, self.resolution = generator, generator.resolution // side, side
        self.name, self.digest = generator.name, generator.digest
        # Places count from the middle of the first pixel.
        places = ((x + 0.5, y + 0.5) for x, y in generator.landmarks)
        self.landmarks = tuple((x / self.factor - 0.5, y / self.factor - 0.5) for x, y in places)

    def units(self) -> dict[str, float]:
        """Those of the generator."""
        return self.generator.units()

    def draw(self, count: int, rng: torch.Generator) -> dict[str, Tensor]:
        """As the generator draws."""
        return self.generator.draw(count, rng)

    def mean(self, count: int, rng: torch.Generator) -> dict[str, Tensor]:
        """As the generator begins."""
        return self.generator.mean(count, rng)

    def synthesise(self, latent: Latent) -> Tensor:
        """A latent of every layer -> (B, 3, side, side) RGB in [0, 1]."""
        return functional.avg_pool2d(self.generator.synthesise(latent), self.factor)


def shrunk(generator: ImageGenerator, side: int) -> ImageGenerator:
    """The generator, its pictures at most `side` pixels a side."""
    return generator if generator.resolution <= side else Shrunk(generator, side)
