"""Where makeup lies in a chip: soft shapes in closed form, placed from the landmarks that all chips share.

Every shape is a signed distance to its edge in chip pixels, positive inside, turned into a mask by a smooth ramp. They
are drawn on one half of the face and mirrored about the line between the eyes. What a shape leaves open (how high a
lid, how full a lip) is an argument and may be a tensor with gradients.

The numbers were fitted by eye to the mean of 100 aligned LFW chips and to overlays on single ones; the landmarks fix
the eyes and the mouth of every chip, but brows, hairline and jaw differ between people by some 5 to 10 pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from facesec_bench.errors import ConfigError
from facesec_bench.interfaces import CHIP_LANDMARKS, CHIP_SIZE

REGIONS = ("skin", "cheeks", "lids", "brows", "lips")
"""The regions that wear makeup, in the order in which it is put on."""
SOFTNESS = {"skin": 14.0, "cheeks": 22.0, "lids": 7.0, "brows": 5.0, "lips": 3.5, "face": 14.0}
"""Width of the ramp at the edge of each mask where nothing else is asked for, in chip pixels."""

_EYES, _NOSE, _CORNERS = CHIP_LANDMARKS[:2], CHIP_LANDMARKS[2], CHIP_LANDMARKS[3:]
AXIS = (_EYES[0][0] + _EYES[1][0]) / 2
"""The x about which every mask is symmetric."""
EYE_Y = (_EYES[0][1] + _EYES[1][1]) / 2
EYE_X = (_EYES[1][0] - _EYES[0][0]) / 2
"""How far an eye lies from the axis."""
MOUTH_Y = (_CORNERS[0][1] + _CORNERS[1][1]) / 2
MOUTH_X = (_CORNERS[1][0] - _CORNERS[0][0]) / 2

Number = float | Tensor
"""A shape's argument: a number, or (B, 1, 1, 1), one for each image."""


def grid(side: int = CHIP_SIZE, like: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Distance from the axis (1, 1, 1, side) and y (1, 1, side, 1) of each pixel's centre, in chip pixels.

    A chip of another size shows the same face: its pixel i covers 224 / side pixels of a chip.

    Raises:
        ConfigError: a side below 1.
    """
    if side < 1:
        raise ConfigError(f"makeup: found a mask of side {side}, wanted at least 1.")
    like = torch.empty(0) if like is None else like
    centres = (torch.arange(side, dtype=like.dtype, device=like.device) + 0.5) * (CHIP_SIZE / side) - 0.5
    return (centres - AXIS).abs().view(1, 1, 1, side), centres.view(1, 1, side, 1)


def ramp(distance: Tensor, softness: Number) -> Tensor:
    """A mask from a signed distance: 1/2 on the edge, exactly 0 and 1 from half of `softness` on either side.

    6 t^5 - 15 t^4 + 10 t^3, twice continuously differentiable.
    """
    t = (distance / softness + 0.5).clamp(0, 1)
    return (t * t * t * (t * (6 * t - 15) + 10)).clamp(0, 1)  # rounding may pass 1


def lips(x: Tensor, y: Tensor, fullness: Number = 1.0) -> Tensor:
    """Both lips with a cupid's bow, less a thin lens where they part; `fullness` scales their heights."""
    u = x / (MOUTH_X + 3.0)
    arc = 1 - u * u
    bow = 1 - 0.22 * torch.exp(-((u / 0.22) ** 2))
    middle = MOUTH_Y - 1.0 + 1.5 * u * u
    upper = torch.minimum(y - (middle - 8.0 * fullness * arc * bow), middle - 1.0 * arc - y)
    lower = torch.minimum(y - (middle + 1.2 * arc), middle + 13.5 * fullness * arc - y)
    return torch.minimum(torch.maximum(upper, lower), (1 - u) * MOUTH_X)


def mouth(x: Tensor, y: Tensor) -> Tensor:
    """What foundation stays off: lips and the opening between them."""
    u = x / (MOUTH_X + 6.0)
    arc = 1 - u * u
    return torch.minimum(torch.minimum(y - (MOUTH_Y - 11 * arc), MOUTH_Y + 16 * arc - y), (1 - u) * MOUTH_X)


def lids(x: Tensor, y: Tensor, height: Number = 8.5, width: Number = 16.0) -> Tensor:
    """The crescent above each eye: from the lashes to `height` pixels above, `width` pixels to either side.

    It rises a little outwards, as eyeshadow is worn.
    """
    u = (x - (EYE_X + 1.5)) / width
    arc = 1 - u * u
    base = EYE_Y + 0.5 - 1.5 * u
    return torch.minimum(torch.minimum(base - 4.5 * arc - y, y - (base - (4.5 + height) * arc)), (1 - u.abs()) * width)


def eyes(x: Tensor, y: Tensor) -> Tensor:
    """The openings of the eyes with the lashes."""
    return _ellipse(x - EYE_X, y - EYE_Y, 14.5, 6.0)


def brows(x: Tensor, y: Tensor, thickness: Number = 7.0) -> Tensor:
    """A band above each eye, tapering and falling outwards; `thickness` pixels high at the inner end."""
    u = (x - (EYE_X + 2.0)) / 19.0
    middle = EYE_Y - 14.5 - 2.0 * u + 5.0 * u * u
    half = thickness * (0.42 - 0.16 * u)
    return torch.minimum(half - (y - middle).abs(), (1 - u.abs()) * 19.0)


def cheeks(x: Tensor, y: Tensor, outwards: Number = 0.0, down: Number = 0.0, size: Number = 1.0) -> Tensor:
    """An ellipse on each cheek whose long axis rises to the ear, moved by `outwards` and `down` pixels."""
    across, along = x - (35.0 + outwards), y - (_NOSE[1] - 3.0 + down)
    tilted = 0.87 * across - 0.5 * along, 0.5 * across + 0.87 * along
    return _ellipse(*tilted, 17.0 * size, 11.5 * size)


def oval(x: Tensor, y: Tensor) -> Tensor:
    """The face from hairline to chin, narrower at the jaw."""
    jaw = ((y - 120.0) / 70.0).clamp(0, 1)
    return _ellipse(x, y - 113.0, 53.0 - 5.0 * jaw * jaw, 79.0)


def _ellipse(x: Tensor, y: Tensor, a: Number, b: Number) -> Tensor:
    """Signed distance to first order: (1 - q) / |grad q| with q the radius in units of the ellipse, kept smooth at its
    centre."""
    x, y = x / a, y / b
    square = x * x + y * y
    slope = ((x / a) ** 2 + (y / b) ** 2 + 1e-4).sqrt()
    return (1 - square) / (2 * slope)


_SHAPES: dict[str, Callable[..., Tensor]] = {"cheeks": cheeks, "lids": lids, "brows": brows, "lips": lips}


def mask(region: str, side: int = CHIP_SIZE, softness: Number | None = None, like: Tensor | None = None) -> Tensor:
    """(1, 1, side, side) in [0, 1]: one of `REGIONS`, or "face", which holds them all.

    Args:
        softness: width of the ramp at the edge, in chip pixels; None takes `SOFTNESS`.
        like: a tensor whose type and device the mask shall have.

    Raises:
        ConfigError: an unknown region, a softness that is not above 0 or a side below 1.
    """
    if region not in SOFTNESS:
        raise ConfigError(f"makeup: found region {region!r}, wanted one of {', '.join(SOFTNESS)}.")
    if softness is None:
        softness = SOFTNESS[region]
    if not bool((torch.as_tensor(softness) > 0).all()):
        raise ConfigError(f"makeup: found a softness of {softness} pixels, wanted above 0.")
    x, y = grid(side, like)
    if region in _SHAPES:
        return ramp(_SHAPES[region](x, y), softness)
    whole = ramp(oval(x, y), softness)
    return whole * bare(side, like) if region == "skin" else whole


def bare(side: int = CHIP_SIZE, like: Tensor | None = None) -> Tensor:
    """(1, 1, side, side): 1 but for eyes, brows and mouth, where no foundation is put."""
    x, y = grid(side, like)
    kept = [1 - ramp(shape(x, y), 4.0) for shape in (eyes, brows, mouth)]
    return kept[0] * kept[1] * kept[2]


def masks(side: int = CHIP_SIZE, like: Tensor | None = None) -> dict[str, Tensor]:
    """Every one of `REGIONS` -> its mask, (1, 1, side, side) in [0, 1]."""
    return {region: mask(region, side, like=like) for region in REGIONS}


def face_mask(side: int = CHIP_SIZE, softness: float | None = None) -> Tensor:
    """(1, 1, side, side) in [0, 1]: the face from hairline to chin."""
    return mask("face", side, softness)
