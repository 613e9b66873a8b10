"""A prior of an inversion: the directions in which what a generator computes differs most from picture to picture.

Source: Härkönen et al., "GANSpace: Discovering Interpretable GAN Controls", NeurIPS 2020, Section 2.2. A recogniser's
answers show the way through 150 such directions far sooner than through a whole feature map, and better than through a
latent: what a picture may not be, the later layers still see to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from attacks.inversion_priors import begin_of, moved, principal
from facesec_bench import seeds
from facesec_bench.errors import ConfigError
from facesec_bench.generators.frame import Frame
from facesec_bench.interfaces import ImageGenerator, Latent


class ReadableGenerator(ImageGenerator, Protocol):
    """A generator that tells what it computes."""

    def values(self, latent: Latent) -> dict[str, Tensor]:
        """Layer -> what it is: the latent's own where it is one, a feature map with its offset where it is that."""
        ...


@dataclass(frozen=True)
class GeneratorComponents:
    """Gives an attack a `ComponentPrior`; attributes as there. The pictures that it is learned from are seed 0's."""

    generator: ReadableGenerator
    layers: Sequence[str]
    components: int = 150
    pictures: int = 1000
    box: float = 6.0

    def bind(self, victim: object, public: Tensor, rng: torch.Generator) -> ComponentPrior:
        """See `PriorMaker`; the generator moves to where the public photos are."""
        if isinstance(self.generator, nn.Module):
            self.generator.to(public.device)
        return ComponentPrior(self.generator, self.layers, self.components, self.pictures, self.box)


class ComponentPrior:
    """Pictures of a generator, over the principal components of some of its layers.

    Parameters are in standard deviations of a component; all 0 is the mean of what the generator computes.

    Args:
        generator: paints.
        layers: that move together; none may be computed from another: one map of DCGAN, rows of W+ of StyleGAN2.
        components: how many.
        pictures: drawn to learn the components from, more than `components`.
        box: greatest absolute parameter.

    Raises:
        ConfigError: a generator that does not tell what it computes, a layer that it does not have, layers computed
            from one another, or a number out of range.
    """

    name = "components"
    cost = None

    @torch.no_grad()
    def __init__(
        self,
        generator: ReadableGenerator,
        layers: Sequence[str],
        components: int = 150,
        pictures: int = 1000,
        box: float = 6.0,
    ) -> None:
        if not hasattr(generator, "values"):
            raise ConfigError(
                f"components: found {generator.name}, which does not tell what it computes; wanted dcgan or stylegan2."
            )
        has = list(generator.units())
        if not layers or set(layers) - set(has):
            raise ConfigError(f"components: found layers {list(layers)}, wanted some of {generator.name}'s: {has}.")
        if not 0 < components < pictures or not box > 0:
            raise ConfigError(
                f"components: found {components} of {pictures} pictures and box {box}, wanted 1 or more, more pictures "
                "than components, and a box above 0."
            )
        self.generator, self.layers, self.box = generator, tuple(layers), box
        self.frame = Frame(generator.landmarks, generator.resolution)
        device = next(generator.parameters()).device if isinstance(generator, nn.Module) else torch.device("cpu")
        self.begin = begin_of(generator, device)
        drawn = generator.draw(pictures, seeds.generator(0, "components", device=device))
        values = torch.cat([self._flat(_rows(drawn, few)) for few in torch.arange(pictures).split(64)])
        self.centre, self.axes = principal(values.double(), components)
        self.origin = self._flat(self.begin)[0]
        ones = torch.ones(1, components, device=device)
        if not torch.allclose(self._flat(self._latent(ones)), self.centre + ones @ self.axes, rtol=1e-3, atol=1e-3):
            raise ConfigError(
                f"components: found layers {list(layers)} of {generator.name}, one computed from another; wanted "
                "layers that can move together, as one map of dcgan or rows of stylegan2."
            )

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """(count, P), normal, as the components are spread."""
        return self.project(torch.randn(count, len(self.axes), generator=rng, device=rng.device))

    def picture(self, params: Tensor) -> Tensor:
        """(B, P) -> (B, 3, R, R), differentiable."""
        return self.generator.synthesise(self._latent(params))

    def render(self, params: Tensor) -> Tensor:
        """(B, P) -> (B, 3, 224, 224) chips in [0, 1], differentiable."""
        return self.frame.to(params.device).to_chip(self.picture(params)).clamp(0, 1)

    def project(self, params: Tensor) -> Tensor:
        """(B, P) -> the nearest within the box."""
        return params.clamp(-self.box, self.box)

    def given(self, people: Tensor) -> ComponentPrior:
        """Itself: it tells no classes apart."""
        return self

    def _latent(self, params: Tensor) -> dict[str, Tensor]:
        """The mean's, with the layers where the parameters want them."""
        moves = self.centre - self.origin + params @ self.axes
        return moved(self.begin, moves, dict.fromkeys(self.layers, 1.0))

    def _flat(self, latent: Latent) -> Tensor:
        values = self.generator.values(latent)
        return torch.cat([values[layer].flatten(1) for layer in self.layers], 1)


def _rows(latent: Latent, which: Tensor) -> dict[str, Tensor]:
    return {layer: values[which.to(values.device)] for layer, values in latent.items()}
