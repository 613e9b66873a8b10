"""Fitting the common masks to one photo by its colours: hair, teeth and background wear no makeup.

The masks know where the eyes and the mouth are, not what lies there: a fringe over the forehead, an open mouth, the
wall beside a turned cheek. What differs too much from the photo's own skin, lips or brows is left out, softly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from facesec_bench.makeup.cielab import to_lab
from facesec_bench.makeup.regions import REGIONS, bare, mask, masks, ramp

USUAL_SKIN = 65.0
"""Lightness L of skin in the light in which colours are named."""
_LIGHT = (0.55, 1.05)
_TOLERANCE = (30.0, 9.0, 10.0)
"""By how much L, a and b of skin usually vary over a face."""
_TINY = 1e-6


@dataclass(frozen=True)
class Fit:
    """What is known of each photo before it wears anything; no gradient flows into it.

    Attributes:
        lab: (B, 3, H, W) the photo in CIELAB.
        gates: region -> (B, 1, H, W) in [0, 1]: where of its mask makeup may be put.
        level: region -> (B, 3, 1, 1) the mean colour there, in CIELAB.
        light: (B, 1, 1, 1) how colours named in usual light appear in this photo's (see `cielab.relit`).
    """

    lab: Tensor
    gates: dict[str, Tensor]
    level: dict[str, Tensor]
    light: Tensor

    def weights(self) -> dict[str, Tensor]:
        """Region -> (B, 1, H, W): its mask where this photo may wear makeup."""
        found = masks(self.lab.shape[-1], self.lab)
        return {region: found[region] * self.gates[region] for region in REGIONS}


@torch.no_grad()
def fitted(chips: Tensor, gated: bool = True) -> Fit:
    """(B, 3, S, S) square chips in [0, 1] -> their fit; without `gated`, gates are open everywhere.

    Each photo is looked at on its own: its fit does not depend on the rest of the batch.
    """
    lab = to_lab(chips)
    width = 2 * (chips.shape[-1] // 90) + 1
    smooth = functional.avg_pool2d(lab, width, 1, width // 2, count_include_pad=False)  # JPEG noise is no hair
    found = masks(chips.shape[-1], chips)
    skin = _skin_colour(smooth)
    light = ((skin[:, :1] + 16) / (USUAL_SKIN + 16)).clamp(*_LIGHT)
    everywhere = torch.ones_like(lab[:, :1])
    gates = dict.fromkeys(REGIONS, everywhere)
    if gated:
        unlike = _unlikeness(smooth, skin)
        alike = ramp(1.7 - unlike, 1.2)
        gates |= {
            "skin": alike,
            "cheeks": alike,
            "lids": ramp(2.6 - unlike, 1.2),  # lids lie in shadow, so more of them is skin than looks like it
            "lips": _lip_gate(smooth, average(smooth, found["lips"]), light),
            "brows": _brow_gate(smooth, skin, light),
        }
    level = {region: average(lab, found[region] * gates[region]) for region in REGIONS}
    return Fit(lab, gates, level, light)


@torch.no_grad()
def own_face(chips: Tensor) -> Tensor:
    """(B, 3, S, S) in [0, 1] -> (B, 1, S, S): the face of each photo, with eyes, brows and mouth, but without the hair
    that hangs into it or the background beside a turned cheek; `regions.face_mask` where the colours say nothing.
    """
    side = chips.shape[-1]
    width = 2 * (side // 90) + 1
    gate = torch.maximum(fitted(chips).gates["skin"], 1 - bare(side, chips))
    for _ in range(2):  # a gate that follows single pixels would draw its own outline
        gate = functional.avg_pool2d(gate, width, 1, width // 2, count_include_pad=False)
    return mask("face", side, like=chips) * gate


def average(values: Tensor, weights: Tensor) -> Tensor:
    """(B, C, H, W) weighted by (B or 1, 1, H, W) -> (B, C, 1, 1)."""
    return (values * weights).sum((2, 3), keepdim=True) / (weights.sum((2, 3), keepdim=True) + _TINY)


def _skin_colour(lab: Tensor) -> Tensor:
    """(B, 3, 1, 1): the mean of the middle of the face, twice taken again without what is unlike it."""
    weights = mask("face", lab.shape[-1], 40.0, lab) * bare(lab.shape[-1], lab)
    skin = average(lab, weights)
    for _ in range(2):
        skin = average(lab, weights * ramp(1.7 - _unlikeness(lab, skin), 1.2))
    return skin


def _unlikeness(lab: Tensor, skin: Tensor) -> Tensor:
    """(B, 1, H, W): distance from a colour in units of what usually varies over a face."""
    units = lab.new_tensor(_TOLERANCE).view(3, 1, 1)
    return (((lab - skin) / units).square().sum(1, keepdim=True) + _TINY).sqrt()


def _lip_gate(lab: Tensor, lips: Tensor, light: Tensor) -> Tensor:
    """Neither teeth, lighter and less red than the lips, nor the dark between them."""
    lighter, redder = lab[:, :1] - lips[:, :1], lab[:, 1:2] - lips[:, 1:2]
    teeth = ramp(lighter - 10 * light, 10.0) * ramp(-redder - 3, 6.0)
    return (1 - teeth) * ramp(lighter + 20 * light, 14.0)


def _brow_gate(lab: Tensor, skin: Tensor, light: Tensor) -> Tensor:
    """Hair, darker than the skin; a third of the colour is put on the skin between."""
    return 0.3 + 0.7 * ramp(skin[:, :1] - 9 * light - lab[:, :1], 16.0)
