"""CIELAB (CIE 1976, D65) and back, differentiable: the space in which colours are mixed and compared.

Equal distances look about equally large, and dimming the light scales L + 16, a and b by one factor, which is how a
colour is carried from the light it was named in to the light of a photo.
"""

from __future__ import annotations

import torch
from torch import Tensor

_TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
"""Linear sRGB to XYZ (IEC 61966-2-1)."""
_KNEE = 6.0 / 29.0


def to_lab(rgb: Tensor) -> Tensor:
    """(..., 3, H, W) sRGB in [0, 1] -> L in [0, 100], a and b within some 110 of 0; also defined beyond [0, 1]."""
    white, matrix = _white(rgb), _matrix(rgb)
    high = rgb > 0.04045
    linear = torch.where(high, ((torch.where(high, rgb, 1.0) + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    t = torch.einsum("ij,...jhw->...ihw", matrix, linear) / white
    high = t > _KNEE**3
    f = torch.where(high, torch.where(high, t, 1.0) ** (1 / 3), t / (3 * _KNEE**2) + 4 / 29)
    x, y, z = f.unbind(-3)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -3)


def to_rgb(lab: Tensor) -> Tensor:
    """(..., 3, H, W) CIELAB -> sRGB, not clipped: a colour that no screen shows leaves [0, 1]."""
    lightness, a, b = lab.unbind(-3)
    y = (lightness + 16) / 116
    f = torch.stack([y + a / 500, y, y - b / 200], -3)
    t = torch.where(f > _KNEE, f**3, 3 * _KNEE**2 * (f - 4 / 29)) * _white(lab)
    linear = torch.einsum("ij,...jhw->...ihw", torch.linalg.inv(_matrix(lab)), t)
    high = linear > 0.0031308
    return torch.where(high, 1.055 * torch.where(high, linear, 1.0) ** (1 / 2.4) - 0.055, 12.92 * linear)


def colour_lab(rgb: tuple[float, float, float]) -> tuple[float, float, float]:
    """One sRGB colour in [0, 1] -> its L, a, b."""
    found = to_lab(torch.tensor(rgb, dtype=torch.float64).view(3, 1, 1)).flatten().tolist()
    return (found[0], found[1], found[2])


def relit(lab: Tensor, factor: Tensor | float) -> Tensor:
    """The same colours, (..., 3, H, W), in light `factor` cubed times as bright."""
    offset = lab.new_tensor([16.0, 0.0, 0.0]).view(3, 1, 1)
    return (lab + offset) * factor - offset


def as_pigment(lab: Tensor) -> Tensor:
    """What a colour named on a screen looks like as a powder or a cream, (..., 3, H, W).

    No pigment is as pure as a screen's primaries: of a chroma beyond 50, three tenths are kept, and it darkens by a
    quarter of what is lost. The red of CSS becomes the red of a lipstick; colours of chroma up to 50 stay.
    """
    chroma = (lab[..., 1:, :, :].square().sum(-3, keepdim=True) + 1e-12).sqrt()
    lost = 0.7 * (chroma - 50).clamp_min(0)
    return torch.cat([lab[..., :1, :, :] - 0.25 * lost, lab[..., 1:, :, :] * (1 - lost / chroma)], -3)


def _matrix(like: Tensor) -> Tensor:
    return torch.tensor(_TO_XYZ, dtype=like.dtype, device=like.device)


def _white(like: Tensor) -> Tensor:
    """XYZ of white, so that grey has a and b of 0 to rounding."""
    return _matrix(like).sum(1).view(3, 1, 1)
