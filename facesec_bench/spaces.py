"""Spaces: what an attack may change, and how it becomes an image (see `interfaces.Space`): pixels, or latents."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from facesec_bench.errors import ConfigError
from facesec_bench.interfaces import Latent


def linf_radius(eps_255: float) -> float:
    """A budget in grey levels out of 255 as a radius in [0, 1] pixels."""
    return eps_255 / 255.0


def l2_radius(rms_255: float, shape: torch.Size | tuple[int, ...]) -> float:
    """A root mean square change in grey levels out of 255 as a Euclidean radius over one (B, C, H, W) image.

    An L-inf perturbation of eps has a root mean square change of at most eps, so the two budgets compare.
    """
    return rms_255 / 255.0 * math.sqrt(math.prod(shape[1:]))


@dataclass(frozen=True)
class PixelBall:
    """All images within `radius` of `origin` and within [0, 1]: parameters are pixels.

    Attributes:
        origin: (B, 3, H, W) in [0, 1].
        radius: in [0, 1] pixel units; for "l2" the Euclidean norm over a whole image.
        norm: "linf" or "l2".
        random_start: begin at a point of the ball instead of at its centre (uniform in the cube for "linf"; uniform
            direction and uniform length for "l2").

    Raises:
        ConfigError: a negative radius, an unknown norm, or an origin outside [0, 1].
    """

    origin: Tensor
    radius: float
    norm: Literal["linf", "l2"] = "linf"
    random_start: bool = False

    def __post_init__(self) -> None:
        if self.norm not in ("linf", "l2"):
            raise ConfigError(f"PixelBall: found norm {self.norm!r}, wanted 'linf' or 'l2'.")
        if not self.radius >= 0:
            raise ConfigError(f"PixelBall: found radius {self.radius}, wanted a number >= 0; check the budget.")
        if self.origin.numel() and not (self.origin.min() >= 0 and self.origin.max() <= 1):
            raise ConfigError("PixelBall: the images to perturb leave [0, 1]; pass RGB chips as floats in [0, 1].")

    def start(self, rng: torch.Generator) -> Tensor:
        """(B, 3, H, W): the origin, or a random point of the ball. Images draw one after another from `rng`, so an
        image's start depends on its place in the batch but not on what stands around it."""
        if not self.random_start:
            return self.origin.clone()
        if self.norm == "linf":
            uniform = torch.rand(self.origin.shape, generator=rng, device=rng.device, dtype=self.origin.dtype)
            return self.project(self.origin + self.radius * (2.0 * uniform.to(self.origin.device) - 1.0))
        steps = torch.zeros_like(self.origin)
        for step in steps:
            # Normal noise: its direction is uniform on the sphere, that of cube noise leans to the corners.
            noise = torch.randn(step.shape, generator=rng, device=rng.device, dtype=step.dtype)
            length = torch.rand((), generator=rng, device=rng.device, dtype=step.dtype)
            step.copy_(self.radius * length * noise / noise.norm().clamp_min(torch.finfo(step.dtype).tiny))
        return self.project(self.origin + steps)

    def render(self, params: Tensor) -> Tensor:
        """Parameters are pixels already."""
        return params

    def project(self, params: Tensor) -> Tensor:
        """(B, 3, H, W) -> the nearest image that is both in the ball and in [0, 1]."""
        if self.norm == "linf":
            low, high = (self.origin - self.radius).clamp_min(0), (self.origin + self.radius).clamp_max(1)
            return torch.minimum(torch.maximum(params, low), high)
        return project_l2(params, self.origin, self.radius)


def project_l2(params: Tensor, origin: Tensor, radius: float) -> Tensor:
    """The point of {|x - origin| <= radius} and [0, 1] nearest to `params`, per image.

    The optimality conditions give x = clip(origin + t (params - origin)) with one t in [0, 1] per image. Given which
    pixels are clipped, t has a closed form; more clipping only lengthens the others, so t grows monotonely and the
    clipped set settles in a few rounds.
    """
    start, delta = origin.flatten(1), (params - origin).flatten(1)
    scale = _shrink(delta.norm(dim=1), radius)
    for _ in range(100):  # two to five rounds in practice; every iterate is feasible, so the limit is only a guard
        moved = start + scale[:, None] * delta
        clipped = moved.clamp(0, 1) - start
        free = (moved >= 0) & (moved <= 1)
        spent = torch.where(free, 0.0, clipped).square().sum(1)
        rest = (radius**2 - spent).clamp_min(0).sqrt()
        grown = _shrink(torch.where(free, delta, 0.0).norm(dim=1), rest)
        unsettled = grown > scale * (1 + 1e-6)
        if not unsettled.any():
            break
        scale = torch.where(unsettled, grown, scale)  # a settled image does not wait for its batch mates
    return (start + scale[:, None] * delta).clamp(0, 1).view_as(origin)


def _shrink(length: Tensor, radius: Tensor | float) -> Tensor:
    """The factor, at most 1, that brings `length` to `radius`; 1 for a zero length."""
    return (radius / length.clamp_min(torch.finfo(length.dtype).tiny)).clamp_max(1.0)


@dataclass(frozen=True)
class LatentWalk:
    """A walk from a latent, over some of its layers: parameters are the change, in units of each layer.

    Parameters are (B, P), the free layers' changes side by side, each divided by its layer's unit: so one step size
    serves layers of different scale, and the squared length of the parameters is the latent regulariser.

    Attributes:
        origin: the latent where the walk begins, (B, ...) a layer.
        free: names of the layers that move; the others stay.
        picture: a latent of every layer -> (B, 3, H, W) in [0, 1], differentiable.
        units: what counts as one unit of a layer; a layer that is not named has 1.
        reach: the greatest root mean square of the parameters of an image, or None for no bound.

    Raises:
        ConfigError: a free layer that the latent does not have, none at all, or a unit or reach that is not positive.
    """

    origin: Latent
    free: Sequence[str]
    picture: Callable[[Latent], Tensor]
    units: Mapping[str, float | Tensor] | None = None
    reach: float | None = None

    def __post_init__(self) -> None:
        unknown = [layer for layer in self.free if layer not in self.origin]
        if unknown or not self.free or len(set(self.free)) < len(self.free):
            raise ConfigError(
                f"LatentWalk: found free layers {list(self.free)}, wanted some of {list(self.origin)}, each once."
            )
        if self.reach is not None and not self.reach > 0:
            raise ConfigError(f"LatentWalk: found reach {self.reach}, wanted above 0, or null for no bound.")
        for layer, unit in (self.units or {}).items():
            if not bool((torch.as_tensor(unit) > 0).all()):
                raise ConfigError(f"LatentWalk: found a unit of {layer} that is not above 0.")

    def start(self, rng: torch.Generator) -> Tensor:
        """(B, P): no change."""
        first = self.origin[self.free[0]]
        width = sum(math.prod(self.origin[layer].shape[1:]) for layer in self.free)
        return torch.zeros(len(first), width, dtype=first.dtype, device=first.device)

    def latent(self, params: Tensor) -> dict[str, Tensor]:
        """(B, P) -> the latent of every layer."""
        found, begin = dict(self.origin), 0
        for layer in self.free:
            origin = self.origin[layer]
            end = begin + math.prod(origin.shape[1:])
            unit = (self.units or {}).get(layer, 1.0)
            found[layer] = origin + unit * params[:, begin:end].view_as(origin)
            begin = end
        return found

    def render(self, params: Tensor) -> Tensor:
        """(B, P) -> (B, 3, H, W) in [0, 1]."""
        return self.picture(self.latent(params))

    def project(self, params: Tensor) -> Tensor:
        """Shorten an image's change to `reach`."""
        if self.reach is None:
            return params
        limit = self.reach * math.sqrt(params.shape[1])
        return params * _shrink(params.norm(dim=1), limit)[:, None]

    def rows(self, rows: Tensor, picture: Callable[[Latent], Tensor]) -> LatentWalk:
        """The walk of some of the images, drawn by `picture`; units must not differ from image to image."""
        origin = {layer: tensor[rows] for layer, tensor in self.origin.items()}
        return LatentWalk(origin, self.free, picture, self.units, self.reach)
