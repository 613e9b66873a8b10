"""Fawkes (Shan et al., "Fawkes: Protecting Privacy against Unauthorized Deep Learning Models", USENIX Sec. 2020)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from attacks.budget import ball
from attacks.enrolled import enrolled
from attacks.translation import gaussian_kernel
from facesec_bench.errors import ConfigError
from facesec_bench.goals import Aim
from facesec_bench.interfaces import Faces, FRTarget
from facesec_bench.search import AdamStep, borrowed, minimise, objectives

WINDOW, SIGMA, C1, C2 = 11, 1.5, 0.01**2, 0.03**2
"""The window and the constants of SSIM for a peak of 1 (Wang et al., IEEE TIP 13, 2004)."""


class Fawkes:
    """A cloak that moves the features to those of somebody unlike the person, within a budget of visible structure.

    Under dodge that somebody is, of the gallery, the person whose photo lies farthest from the photo in the mean over
    the surrogates; under impersonate it is the person to be taken for. While the budget is exceeded the excess is
    charged (its square, as in the released code); what exceeds it still at the end is scaled back, so it holds;
    rounding to 8 bits may add a little.

    Against the paper: features are unit embeddings; the search runs on pixels rather than on their arctanh, by Adam
    rather than Adadelta; the last image is returned rather than the best; people to choose from are the aim's gallery,
    one photo each, rather than a data set of their own.

    Args:
        dssim: budget of structural dissimilarity, (1 - SSIM) / 2, in (0, 1]; the paper's modes low, mid and high are
            .004, .012 and .017.
        eps_255: a further L-inf budget in grey levels out of 255, or null for none, as in the paper.
        steps: number of Adam steps.
        step_255: their length in grey levels out of 255.
        weight: of the squared excess over the budget. The released code's 1e5 suits its many steps: in few steps of
            Adam one large charge shortens all that follow, and the budget is left unspent.

    Raises:
        ConfigError: a setting out of range; when called, a gallery that holds nobody else.
    """

    def __init__(
        self,
        dssim: float = 0.012,
        eps_255: float | None = None,
        steps: int = 20,
        step_255: float = 1.0,
        weight: float = 1e3,
    ) -> None:
        if not 0 < dssim <= 1 or steps < 1 or step_255 <= 0 or weight < 0:
            raise ConfigError(
                f"Fawkes: found dssim {dssim}, steps {steps}, step_255 {step_255} and weight {weight}; wanted a dssim "
                "above 0 and up to 1, at least 1 step of a length above 0, and no negative weight."
            )
        self.dssim, self.eps_255, self.steps = dssim, eps_255, steps
        self.step_255, self.weight = step_255, weight

    def __call__(self, faces: Faces, aim: Aim, surrogates: Sequence[FRTarget], rng: torch.Generator) -> Tensor:
        """Perturbed chips (B, 3, H, W), see `interfaces.Evasion`."""
        origin = faces.images
        space = ball(origin, eps_255=255.0 if self.eps_255 is None else self.eps_255)
        distance = dissimilarity(origin)

        def excess(images: Tensor) -> Tensor:
            return self.weight * (distance(images) - self.dssim).clamp_min(0).square()

        with borrowed(*surrogates):
            away = aim if aim.kind == "impersonate" else farthest(faces, aim, surrogates)
            rule = AdamStep(self.step_255 / 255)
            images = minimise(objectives(away, surrogates), space, rule, self.steps, rng, penalty=excess)
        return within(images, origin, distance, self.dssim)


@torch.no_grad()
def farthest(faces: Faces, aim: Aim, surrogates: Sequence[FRTarget]) -> Aim:
    """To be taken for the person of the gallery who is least like each photo, in the mean over the surrogates.

    Raises:
        ConfigError: there is nobody else in the gallery, or no surrogate.
    """
    other = aim.gallery.identities[None, :] != aim.labels[:, None]
    if not surrogates or not other.any(1).all():
        raise ConfigError("Fawkes moves towards another person: name a surrogate and enrol at least two people.")

    def similarity(surrogate: FRTarget) -> Tensor:
        return functional.normalize(surrogate.embed(faces.images), dim=1) @ enrolled(surrogate, aim.gallery).T

    mean = torch.stack([similarity(surrogate) for surrogate in surrogates]).mean(0)
    chosen = mean.masked_fill(~other, torch.inf).argmin(1)
    return Aim("impersonate", aim.gallery.images[chosen], aim.gallery.identities[chosen], aim.gallery)


def dissimilarity(origin: Tensor) -> Callable[[Tensor], Tensor]:
    """(B, 3, H, W) in [0, 1] -> the function (B, 3, H, W) -> (B,): DSSIM to `origin`, (1 - SSIM) / 2, differentiable.

    SSIM as `metrics.quality.ssim` has it: Gaussian window of 11 pixels and sigma 1.5, edges mirrored, mean over pixels
    and channels. (The released code leaves out the windows that cross the edge.)
    """
    channels, half = origin.shape[1], WINDOW // 2
    line = gaussian_kernel(WINDOW, SIGMA).to(origin).expand(channels, 1, 1, -1)

    def mean(images: Tensor) -> Tensor:
        padded = functional.pad(images, (half,) * 4, mode="reflect")
        return functional.conv2d(
            functional.conv2d(padded, line, groups=channels), line.transpose(2, 3), groups=channels
        )

    mean_o, square_o = mean(origin), mean(origin.square())
    spread_o = (square_o - mean_o.square()).clamp_min(0)

    def dssim(images: Tensor) -> Tensor:
        mean_x = mean(images)
        spread_x = (mean(images.square()) - mean_x.square()).clamp_min(0)
        shared = mean(images * origin) - mean_x * mean_o
        light = (2 * mean_x * mean_o + C1) / (mean_x.square() + mean_o.square() + C1)
        structure = (2 * shared + C2) / (spread_x + spread_o + C2)
        return (1 - (light * structure).mean((1, 2, 3))) / 2

    return dssim


@torch.no_grad()
def within(images: Tensor, origin: Tensor, distance: Callable[[Tensor], Tensor], budget: float) -> Tensor:
    """The change of each image shortened, where it must be, until `distance` is at most `budget`; (B, 3, H, W).

    Halving an interval twenty times finds the share of the change to one in a million; 0 is always within.
    """
    change = images - origin
    low, high = torch.zeros(len(images)).to(origin), torch.ones(len(images)).to(origin)
    low = torch.where(distance(images) <= budget, high, low)
    for _ in range(20):
        if bool((low == 1).all()):
            break
        middle = (low + high) / 2
        fits = distance(origin + middle.view(-1, 1, 1, 1) * change) <= budget
        low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
    # Where nothing is shortened, the image itself: origin + (image - origin) may differ in the last bit.
    share = low.view(-1, 1, 1, 1)
    return torch.where(share == 1, images, (origin + share * change).clamp(0, 1))
