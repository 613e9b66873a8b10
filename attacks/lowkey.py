"""LowKey (Cherepanova et al., "LowKey: Leveraging Adversarial Attacks to Protect Social Media Users from Facial
Recognition", ICLR 2021)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from attacks.budget import ball
from attacks.translation import gaussian_kernel, smoothed
from facesec_bench.asset_cache import read_sidecar, usable
from facesec_bench.assets import lookup
from facesec_bench.errors import ConfigError
from facesec_bench.goals import Aim
from facesec_bench.interfaces import Faces, FRTarget
from facesec_bench.perception.lpips import LPIPS
from facesec_bench.search import Objective, SignStep, borrowed, minimise, objectives


class LowKey:
    """A cloak that moves a photo's features, and those of its smoothed copy, away from where they were, at a price for
    what is seen (LPIPS).

    Dodge is the paper's aim: away from the clean photo's own embedding, so the aim's reference is not used. On unit
    vectors the paper's squared displacement is 2 - 2 cos, and half the sum of both is what is maximised. Impersonate is
    our extension: both copies towards the person to be taken for, at the same price.

    Against the paper: features are unit embeddings; there is no random start, as the smoothed copy has a direction at
    the photo itself; the whole chip is changed and measured.

    Args:
        eps_255: an L-inf budget in grey levels out of 255, or null for none, as in the paper's objective.
        steps: number of signed steps.
        step_255: their length in grey levels out of 255.
        weight: of LPIPS.
        net: the backbone of LPIPS.
        kernel: side of the Gaussian window of the smoothed copy in chip pixels, odd.
        sigma: its standard deviation in chip pixels.

    Raises:
        ConfigError: a setting out of range.
        AssetError: when called, LPIPS's weights are not in the cache and cannot be fetched.
    """

    def __init__(
        self,
        eps_255: float | None = None,
        steps: int = 20,
        step_255: float = 0.6375,
        weight: float = 0.05,
        net: Literal["alex", "vgg"] = "alex",
        kernel: int = 7,
        sigma: float = 3.0,
    ) -> None:
        if steps < 1 or step_255 <= 0 or weight < 0:
            raise ConfigError(
                f"LowKey: found steps {steps}, step_255 {step_255} and weight {weight}; wanted at least 1 step of a "
                "length above 0, and no negative weight."
            )
        self.eps_255, self.steps, self.step_255, self.weight = eps_255, steps, step_255, weight
        if net not in ("alex", "vgg"):
            raise ConfigError(f"LowKey: found net {net!r}, wanted 'alex' or 'vgg'.")
        self.net, self.kernel = net, gaussian_kernel(kernel, sigma)

    @property
    def digest(self) -> str:
        """sha256 of what LPIPS's weights are made from, the pinned file or the user's own; nothing is loaded for it."""
        asset = lookup(f"lpips_{self.net}")
        source = read_sidecar(asset).source_sha256 if usable(asset) else asset.sha256
        return hashlib.sha256(f"lowkey {asset.converter} {source}".encode()).hexdigest()

    @cached_property
    def lpips(self) -> LPIPS:
        """Loaded when first needed: a constructor reads no weights."""
        return LPIPS(self.net)

    def __call__(self, faces: Faces, aim: Aim, surrogates: Sequence[FRTarget], rng: torch.Generator) -> Tensor:
        """Perturbed chips (B, 3, H, W), see `interfaces.Evasion`."""
        origin = faces.images
        space = ball(origin, eps_255=255.0 if self.eps_255 is None else self.eps_255)
        lpips = self.lpips.to(origin.device)
        # Dodging, the anchor is the photo itself: what the paper calls displacement.
        aim = aim if aim.kind == "impersonate" else Aim("dodge", origin, aim.labels, aim.gallery)
        with borrowed(*surrogates):
            parts = [with_smoothed(part, self.kernel) for part in objectives(aim, surrogates)]
            rule = SignStep(self.step_255 / 255)
            return minimise(
                parts, space, rule, self.steps, rng, penalty=lambda images: self.weight * lpips(images, origin)
            )


def with_smoothed(objective: Objective, kernel: Tensor) -> Objective:
    """`objective` of an image and of its smoothed copy, summed; mirrored at the edges."""
    half = len(kernel) // 2

    def both(images: Tensor) -> Tensor:
        padded = functional.pad(images, (half,) * 4, mode="reflect")
        copy = smoothed(padded, kernel)[..., half:-half, half:-half] if half else images
        return objective(images) + objective(copy)

    return both
