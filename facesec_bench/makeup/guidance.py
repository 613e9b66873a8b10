"""Guidance: how near an image comes to the makeup asked for, without a network (see `interfaces.Guidance`).

Both guides compare colour statistics of the regions in CIELAB; a distance of 10, which the eye sees clearly, counts 1.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from facesec_bench.data.chips import ChipMaker
from facesec_bench.data.detection import YuNet
from facesec_bench.errors import ConfigError, DataError
from facesec_bench.makeup.cielab import to_lab
from facesec_bench.makeup.colours import read_prompt
from facesec_bench.makeup.dials import dial_values
from facesec_bench.makeup.fitting import average, fitted
from facesec_bench.makeup.regions import REGIONS
from facesec_bench.makeup.renderer import HEAVY, MakeupSpace

Loss = Callable[[Tensor], Tensor]
"""(B, 3, S, S) images -> (B,)."""
_UNIT = 10.0
_LEVELS = 64
"""At how many quantiles two distributions of colour are compared."""
_TINY = 1e-6


class NoGuidance:
    """Nothing is asked for: the loss is 0 and has a gradient, which is 0."""

    def bind(self, originals: Tensor, rng: torch.Generator) -> Loss:
        """See `interfaces.Guidance`."""
        return lambda images: 0.0 * images.sum((1, 2, 3))


class PaletteGuidance:
    """A makeup in words: each region's colour shall be that of the photo with the makeup rendered on.

    Regions that the prompt does not name shall keep their colours. The loss is the sum over regions of the squared
    distance between weighted means, plus `spread` times that between weighted standard deviations, in units of 10.

    Args:
        prompt: see `makeup.colours`.
        spread: weight of the standard deviations against the means.
        rest: weight of the regions that are not named against those that are.
        fit: leave out hair, teeth and background of each photo.

    Raises:
        ConfigError: a prompt that cannot be read, or a negative weight.
    """

    def __init__(self, prompt: str, spread: float = 0.5, rest: float = 0.5, fit: bool = True) -> None:
        if not (spread >= 0 and rest >= 0):
            raise ConfigError(f"palette guidance: found spread {spread} and rest {rest}, wanted 0 or more.")
        self.prompt, self.makeup = prompt, read_prompt(prompt)
        self.spread, self.rest, self.fit = spread, rest, fit

    def bind(self, originals: Tensor, rng: torch.Generator) -> Loss:
        """See `interfaces.Guidance`."""
        with torch.no_grad():
            space = MakeupSpace(originals, HEAVY, fit=self.fit)
            weights = fitted(originals, self.fit).weights()
            worn = space.worn(dial_values(space.params_of(self.makeup)))
            wanted = {region: statistics(worn, weights[region]) for region in REGIONS}
        importance = {region: 1.0 if self.makeup.on(region) else self.rest for region in REGIONS}

        def loss(images: Tensor) -> Tensor:
            lab = to_lab(images)
            total = lab.new_zeros(len(lab))
            for region in REGIONS:
                mean, deviation = statistics(lab, weights[region])
                gap = (mean - wanted[region][0]).square().sum(1)
                wider = (deviation - wanted[region][1]).square().sum(1)
                total = total + importance[region] * (gap + self.spread * wider) / _UNIT**2
            return total

        return loss


class ReferenceGuidance:
    """A makeup by example: each region's colours shall be distributed as in a photo that wears it.

    "histogram" is the histogram matching of BeautyGAN (Li et al., ACM MM 2018): the mean squared distance between a
    region and itself remapped to the reference's histogram. Remapping by rank makes that the squared distance of equal
    quantiles, which is how it is computed here; the paper matches RGB channels with a face parser's masks, here are
    CIELAB channels and the fixed, fitted masks. "statistics" compares means and covariances.

    Args:
        photo: path of a photo, or a chip (3, S, S) or (1, 3, S, S) in [0, 1].
        by: "histogram" or "statistics".
        strength: share of the way from the photo's own colours to the reference's, in [0, 1].
        regions: what is compared, and its weight; None takes lips and lids with 1, cheeks and brows with 0.5 and skin
            with 0.2, so that a person stays as fair or dark as they are.
        detector: finds the face in a photo given as a path; None takes YuNet as it stands.
        fit: leave out hair, teeth and background.

    A region that the reference does not show (lids behind sunglasses) shall stay as it is. `digest` is the sha256 of
    the face as cut from the photo: another photo under the same name, or another detector, makes another run.

    Raises:
        ConfigError: an argument out of range, or a chip of another shape.
        DataError: the photo cannot be read or shows no face.
    """

    def __init__(
        self,
        photo: str | Path | Tensor,
        by: Literal["histogram", "statistics"] = "histogram",
        strength: float = 1.0,
        regions: Mapping[str, float] | None = None,
        detector: YuNet | None = None,
        fit: bool = True,
    ) -> None:
        if by not in ("histogram", "statistics") or not 0 <= strength <= 1:
            raise ConfigError(
                f"reference guidance: found by={by!r} and strength {strength}, wanted 'histogram' or 'statistics' and "
                "a number in [0, 1]."
            )
        self.by, self.strength, self.fit = by, strength, fit
        self.regions = _importance(regions)
        chip = photo if isinstance(photo, Tensor) else _read(Path(photo), detector)
        chip = chip[None] if chip.ndim == 3 else chip
        if chip.ndim != 4 or chip.shape[:2] != (1, 3) or chip.shape[2] != chip.shape[3]:
            raise ConfigError(f"reference guidance: found a chip {tuple(chip.shape)}, wanted (3, S, S).")
        self.chip = chip
        pixels = chip.detach().float().cpu().contiguous().numpy()
        self.digest = hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()

    def bind(self, originals: Tensor, rng: torch.Generator) -> Loss:
        """See `interfaces.Guidance`."""
        with torch.no_grad():
            weights = fitted(originals, self.fit).weights()
            chip = self.chip.to(originals)
            worn = fitted(chip, self.fit).weights()
            own, theirs = to_lab(originals), to_lab(chip)
            wanted = {region: self._summary(own, weights[region]) for region in self.regions}
            for region in self.regions:
                if bool((worn[region] > 0).any()):  # else the reference hides it, and has no colour to ask for
                    wanted[region] = wanted[region].lerp(self._summary(theirs, worn[region]), self.strength)

        def loss(images: Tensor) -> Tensor:
            lab = to_lab(images)
            total = lab.new_zeros(len(lab))
            for region, importance in self.regions.items():
                gap = (self._summary(lab, weights[region]) - wanted[region]) / _UNIT
                total = total + importance * gap.square().flatten(1).sum(1)
            return total

        return loss

    def _summary(self, lab: Tensor, weights: Tensor) -> Tensor:
        """(B, ...): what is compared, such that its squared length is in units of CIELAB squared."""
        if self.by == "histogram":
            return quantiles(lab, weights) / math.sqrt(_LEVELS)
        mean, covariance = moments(lab, weights)
        # A covariance of 10 squared weighs as much as a mean of 10.
        return torch.cat([mean[:, :, None], covariance / _UNIT], 2)


def statistics(lab: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 3, H, W) weighted by (B or 1, 1, H, W) -> mean and standard deviation of each channel, both (B, 3)."""
    mean = average(lab, weights)
    variance = average((lab - mean).square(), weights)
    return mean.flatten(1), (variance + _TINY).sqrt().flatten(1)


def moments(lab: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 3, H, W) weighted by (B or 1, 1, H, W) -> mean (B, 3) and covariance (B, 3, 3)."""
    mean = average(lab, weights)
    apart = (lab - mean).flatten(2)
    shares = (weights / (weights.sum((2, 3), keepdim=True) + _TINY)).flatten(2)
    return mean.flatten(1), torch.einsum("bip,bjp->bij", apart * shares, apart)


def quantiles(lab: Tensor, weights: Tensor, levels: int = _LEVELS) -> Tensor:
    """(B, 3, H, W) weighted by (B or 1, 1, H, W) -> (B, 3, levels): the values below which a share (i + 1/2) / levels
    of a region lies; 0 for a region of no weight. Differentiable in the values; pixels of weight 0 do not count.

    A value's share is the weight before it and half its own, and values are interpolated between shares.
    """
    kept = (weights.amax((0, 1)) > 0).flatten()  # what no image needs is left out first: sorting it would cost most
    if not kept.any():
        return lab.mean((2, 3))[:, :, None].expand(-1, -1, levels) * 0.0
    values = lab.flatten(2)[..., kept]
    mass = weights.flatten(2)[..., kept].expand_as(values)
    # Pixels that weigh in another image only go to the end, beyond the last that is read: they bend nothing.
    order = values.detach().masked_fill(mass <= 0, torch.inf).argsort(dim=-1, stable=True)
    values, mass = values.gather(-1, order), mass.gather(-1, order)
    before = mass.cumsum(-1)
    shares, total = (before - mass / 2).contiguous(), before[..., -1:]
    last = ((mass > 0).sum(-1, keepdim=True) - 1).clamp_min(0)
    wanted = (torch.arange(levels, dtype=lab.dtype, device=lab.device) + 0.5) / levels
    right = torch.minimum(torch.searchsorted(shares, (wanted * total).contiguous()), last)
    left = (right - 1).clamp_min(0)
    low, high = shares.gather(-1, left), shares.gather(-1, right)
    part = ((wanted * total - low) / (high - low).clamp_min(torch.finfo(lab.dtype).tiny)).clamp(0, 1)
    found = values.gather(-1, left).lerp(values.gather(-1, right), part)
    return torch.where(total > 0, found, 0.0 * found)


def _importance(regions: Mapping[str, float] | None) -> dict[str, float]:
    if regions is None:
        return {"lips": 1.0, "lids": 1.0, "cheeks": 0.5, "brows": 0.5, "skin": 0.2}
    wrong = {region: weight for region, weight in regions.items() if region not in REGIONS or not weight >= 0}
    if wrong or not regions:
        raise ConfigError(
            f"reference guidance: found regions {wrong or dict(regions)}, wanted some of {', '.join(REGIONS)}, each "
            "with a weight of 0 or more."
        )
    return {region: float(weight) for region, weight in regions.items()}


def _read(path: Path, detector: YuNet | None) -> Tensor:
    """(1, 3, 224, 224) in [0, 1]: the face in a photo."""
    chip, remarks, _ = ChipMaker(detector or YuNet())(path)
    if chip is None:
        reason, detail, _ = remarks[-1]
        raise DataError(f"reference photo {path}: {reason}: {detail}. Give a photo in which one face is seen clearly.")
    return torch.from_numpy(chip).permute(2, 0, 1)[None].to(torch.float32) / 255
