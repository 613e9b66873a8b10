"""Priors of an inversion: which pictures count as faces, as parameters that a search can move.

A prior's parameters are (B, P) and of unit spread where it draws them, so one step size serves all priors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from facesec_bench.errors import ConfigError
from facesec_bench.generators.frame import Frame
from facesec_bench.interfaces import CHIP_SIZE, ImageGenerator, Latent
from facesec_bench.targets.template import ARCFACE_112

_CROP = 112
"""Side of ArcFace's template."""


class PriorMaker(Protocol):
    """What gives an attack its prior: the config group `prior`. A prior that depends on no victim gives itself."""

    def bind(self, victim: object, public: Tensor, rng: torch.Generator) -> Prior:
        """The prior of one attack on one victim.

        Args:
            victim: the access that the attack has, for priors that are trained against it.
            public: (N, 3, 224, 224) photos of other people.
            rng: for priors that draw or train.
        """
        ...


class Prior(Protocol):
    """Pictures as parameters."""

    name: str

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """(count, P), as likely as the prior has it."""
        ...

    def picture(self, params: Tensor) -> Tensor:
        """(B, P) -> (B, 3, R, R) at the prior's own size, differentiable."""
        ...

    def render(self, params: Tensor) -> Tensor:
        """(B, P) -> (B, 3, 224, 224) chips in [0, 1], differentiable."""
        ...

    def project(self, params: Tensor) -> Tensor:
        """(B, P) -> the nearest parameters that the prior admits."""
        ...

    @property
    def cost(self) -> Callable[[Tensor], Tensor] | None:
        """(B, P) -> (B,), differentiable: what makes parameters unlikely; None where the prior has no such term."""
        ...

    def given(self, people: Tensor) -> Prior:
        """The prior of pictures of these classes (B,), row by row; itself where it tells no classes apart."""
        ...


def begin_of(generator: ImageGenerator, device: torch.device) -> Latent:
    """The generator's mean, one row, from a seed of its own: it may draw noise maps, which must not change between two
    looks at one picture, wherever in a batch it stands."""
    return generator.mean(1, torch.Generator(device).manual_seed(0))


def moved(begin: Latent, moves: Tensor, units: Mapping[str, float]) -> dict[str, Tensor]:
    """(B, P) -> the latent of `begin` for B pictures, the layers of `units` moved by so many of their units."""
    latent = {layer: values.expand(len(moves), *values.shape[1:]) for layer, values in begin.items()}
    start = 0
    for layer, unit in units.items():
        origin = latent[layer]
        end = start + math.prod(origin.shape[1:])
        latent[layer] = origin + unit * moves[:, start:end].view_as(origin)
        start = end
    return latent


def principal(rows: Tensor, components: int) -> tuple[Tensor, Tensor]:
    """(N, D) in float64 -> their mean (D,) and principal components (components, D), each a standard deviation long."""
    mean = rows.mean(0)
    _, sizes, axes = torch.linalg.svd(rows - mean, full_matrices=False)
    spread = sizes[:components, None] / math.sqrt(len(rows) - 1)
    return mean.float(), (spread * axes[:components]).float()


class GeneratorPrior:
    """Pictures of an image generator, over some of its layers.

    Parameters are the layers' distance from the generator's mean, in units of each layer, side by side. A picture is
    laid on the chip; outside of it its border repeats.

    Args:
        generator: paints.
        layers: that move; for DCGAN z, for StyleGAN2 rows of W+.
        box: greatest absolute parameter, as GMI's clamp of z to [-1, 1]; None for none.

    Raises:
        ConfigError: a layer that the generator does not have, or a box that is not positive.
    """

    def __init__(self, generator: ImageGenerator, layers: Sequence[str], box: float | None = None) -> None:
        units = generator.units()
        unknown = [layer for layer in layers if layer not in units]
        if unknown or not layers:
            raise ConfigError(f"prior: found layers {list(layers)}, wanted some of {generator.name}'s: {list(units)}.")
        if box is not None and not box > 0:
            raise ConfigError(f"prior: found box {box}, wanted above 0, or null for none.")
        self.generator, self.layers, self.box = generator, tuple(layers), box
        self.units = {layer: units[layer] for layer in layers}
        self.frame = Frame(generator.landmarks, generator.resolution)
        self.name, self.digest = generator.name, generator.digest  # the digest enters the run's fingerprint
        self._begin: dict[torch.device, Latent] = {}  # StyleGAN2's mean costs thousands of draws

    cost = None

    def bind(self, victim: object, public: Tensor, rng: torch.Generator) -> GeneratorPrior:
        """Itself, see `PriorMaker`, with the generator where the public photos are."""
        if isinstance(self.generator, nn.Module):
            self.generator.to(public.device)
        self._begin.clear()  # its weights may have changed since
        return self

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """See `Prior`; as the generator draws."""
        drawn, mean = self.generator.draw(count, rng), self.generator.mean(count, rng)
        parts = [((drawn[layer] - mean[layer]) / self.units[layer]).flatten(1) for layer in self.layers]
        return self.project(torch.cat(parts, 1))

    def render(self, params: Tensor) -> Tensor:
        """See `Prior`."""
        return self.frame.to(params.device).to_chip(self.picture(params)).clamp(0, 1)

    def picture(self, params: Tensor) -> Tensor:
        """(B, P) -> (B, 3, R, R), as the generator paints it."""
        if params.device not in self._begin:
            self._begin[params.device] = begin_of(self.generator, params.device)
        return self.generator.synthesise(moved(self._begin[params.device], params, self.units))

    def project(self, params: Tensor) -> Tensor:
        """See `Prior`."""
        return params if self.box is None else params.clamp(-self.box, self.box)

    def given(self, people: Tensor) -> GeneratorPrior:
        """Itself, see `Prior`."""
        return self


class PixelPrior:
    """Any picture, the smoother the likelier: total variation.

    Args:
        side: of the picture in pixels; enlarged to the chip.
        smoothness: weight of the mean absolute difference between neighbours.

    Raises:
        ConfigError: a number out of range.

    Source: Mahendran and Vedaldi, "Understanding Deep Image Representations by Inverting Them", CVPR 2015.
    """

    name = "pixels"

    def __init__(self, side: int = 64, smoothness: float = 1.0) -> None:
        if not 4 <= side <= CHIP_SIZE or not smoothness >= 0:
            raise ConfigError(f"prior: found side {side} and smoothness {smoothness}, wanted 4 to 224, and 0 or more.")
        self.side, self.smoothness = side, smoothness

    def bind(self, victim: object, public: Tensor, rng: torch.Generator) -> PixelPrior:
        """Itself, see `PriorMaker`."""
        return self

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """See `Prior`; nearly grey."""
        return 0.1 * torch.randn(count, 3 * self.side**2, generator=rng, device=rng.device)

    def picture(self, params: Tensor) -> Tensor:
        """(B, P) -> (B, 3, side, side); parameters of -2 to 2 span [0, 1]."""
        return (0.5 + 0.25 * params).view(-1, 3, self.side, self.side)

    def render(self, params: Tensor) -> Tensor:
        """See `Prior`."""
        size = (CHIP_SIZE, CHIP_SIZE)
        return functional.interpolate(self.picture(params), size, mode="bilinear", align_corners=False).clamp(0, 1)

    def project(self, params: Tensor) -> Tensor:
        """See `Prior`."""
        return params.clamp(-2, 2)

    def given(self, people: Tensor) -> PixelPrior:
        """Itself, see `Prior`."""
        return self

    def cost(self, params: Tensor) -> Tensor:
        """See `Prior`."""
        x = self.picture(params)
        down, right = (x[:, :, 1:] - x[:, :, :-1]).abs(), (x[..., 1:] - x[..., :-1]).abs()
        return self.smoothness * (down.mean((1, 2, 3)) + right.mean((1, 2, 3)))


@dataclass(frozen=True)
class Eigenfaces:
    """Gives an attack an `EigenfacePrior` of its public photos; attributes as there."""

    components: int = 100
    side: int = 56
    box: float = 3.0
    cropped: bool = False

    def bind(self, victim: object, public: Tensor, rng: torch.Generator) -> EigenfacePrior:
        """See `PriorMaker`."""
        return EigenfacePrior(public, self.components, self.side, self.box, self.cropped)


class EigenfacePrior:
    """The mean of public faces and their principal components.

    Source: Turk and Pentland, "Eigenfaces for Recognition", J. Cognitive Neuroscience 3 (1991).

    Args:
        public: (N, 3, 224, 224) photos of other people, N above `components`.
        components: how many.
        side: the pictures are averaged to this side first.
        box: greatest absolute parameter, in standard deviations of a component.
        cropped: take the faces alone, as ArcFace's 112 px template frames them, so that no component is spent on what
            is around; beyond it a picture's border repeats. Their mirror images too: a face is as likely either way.

    Raises:
        ConfigError: too few photos, or a side that does not divide 224 (cropped: 112).
    """

    name = "eigenfaces"
    cost = None

    def __init__(
        self, public: Tensor, components: int = 100, side: int = 56, box: float = 3.0, cropped: bool = False
    ) -> None:
        whole = _CROP if cropped else CHIP_SIZE
        if len(public) <= components or components < 1 or side < 1 or whole % side:
            raise ConfigError(
                f"prior: found {len(public)} photos for {components} eigenfaces of side {side}, wanted more photos "
                f"than eigenfaces, and a side that divides {whole}."
            )
        self.frame = Frame(ARCFACE_112, _CROP).to(public.device) if cropped else None
        framed = public if self.frame is None else torch.cat([self.frame.to_picture(few) for few in public.split(64)])
        small = functional.avg_pool2d(framed, whole // side)
        flat = (torch.cat([small, small.flip(-1)]) if cropped else small).flatten(1).double()
        self.side, self.box = side, box
        self.mean, self.axes = principal(flat, components)

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """See `Prior`; normal, as the photos' own parameters are spread."""
        return self.project(torch.randn(count, len(self.axes), generator=rng, device=rng.device))

    def picture(self, params: Tensor) -> Tensor:
        """(B, P) -> (B, 3, side, side)."""
        return (self.mean.to(params) + params @ self.axes.to(params)).view(-1, 3, self.side, self.side)

    def render(self, params: Tensor) -> Tensor:
        """See `Prior`."""
        side = CHIP_SIZE if self.frame is None else _CROP
        pictures = functional.interpolate(self.picture(params), (side, side), mode="bicubic", align_corners=False)
        return (pictures if self.frame is None else self.frame.to_chip(pictures)).clamp(0, 1)

    def project(self, params: Tensor) -> Tensor:
        """See `Prior`."""
        return params.clamp(-self.box, self.box)

    def given(self, people: Tensor) -> EigenfacePrior:
        """Itself, see `Prior`."""
        return self


@dataclass(frozen=True)
class PointSpace:
    """A prior's parameters as a space of a search: one point a picture."""

    prior: Prior
    begin: Tensor

    def start(self, rng: torch.Generator) -> Tensor:
        """(B, P): where it begins."""
        return self.begin.clone()

    def render(self, params: Tensor) -> Tensor:
        """See `interfaces.Space`."""
        return self.prior.render(params)

    def project(self, params: Tensor) -> Tensor:
        """See `interfaces.Space`."""
        return self.prior.project(params)


@dataclass(frozen=True)
class GaussianSpace:
    """A normal distribution over a prior's parameters for each picture: (B, 2 P), means and logarithms of variances.

    Every render is a new draw, so a search sees the distribution and not a point of it: KED-MI (Chen et al.,
    "Knowledge-Enriched Distributional Model Inversion Attacks", ICCV 2021, Eq. 5).

    Attributes:
        begin: (B, P) means to begin with; variances begin at `variance`.
        rng: draws.
    """

    prior: Prior
    begin: Tensor
    rng: torch.Generator
    variance: float = math.e

    def start(self, rng: torch.Generator) -> Tensor:
        """(B, 2 P)."""
        return torch.cat([self.begin, torch.full_like(self.begin, math.log(self.variance))], 1)

    def sample(self, params: Tensor) -> Tensor:
        """(B, 2 P) -> (B, P), a draw of each, differentiable in both halves."""
        mean, log_variance = params.chunk(2, 1)
        noise = torch.randn(mean.shape, generator=self.rng, device=self.rng.device).to(mean)
        return self.prior.project(mean + (0.5 * log_variance).exp() * noise)

    def render(self, params: Tensor) -> Tensor:
        """(B, 2 P) -> (B, 3, 224, 224), of a new draw."""
        return self.prior.render(self.sample(params))

    def project(self, params: Tensor) -> Tensor:
        """Whatever it is; draws are what the prior admits."""
        return params


def modules_of(prior: Prior) -> list[nn.Module]:
    """The networks of a prior, to be borrowed."""
    held = [getattr(prior, name, None) for name in ("generator", "critic")]
    return [part for part in held if isinstance(part, nn.Module)]
