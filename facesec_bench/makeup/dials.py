"""The dials of the renderer: what each of its parameters sets, and within which ends."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from facesec_bench.makeup import regions
from facesec_bench.makeup.regions import REGIONS

BOX = 5.0
"""Parameters are projected to [-BOX, BOX], where a stretched sigmoid takes its ends."""


class Dial(NamedTuple):
    """One parameter: what it sets, from `low` to `high`; at 0 it stands in the middle."""

    region: str
    name: str
    low: float
    high: float


EXTENTS: dict[str, tuple[tuple[str, float, float], ...]] = {
    "skin": (),
    "cheeks": (("outwards", -6.0, 6.0), ("down", -8.0, 8.0), ("size", 0.7, 1.3)),
    "lids": (("height", 5.0, 12.0), ("width", 13.0, 19.0)),
    "brows": (("thickness", 5.0, 9.0),),
    "lips": (("fullness", 0.85, 1.15),),
}
"""What a region's shape leaves open: arguments of its function in `regions`, in order."""
DIALS: tuple[Dial, ...] = tuple(
    Dial(region, name, low, high)
    for region in REGIONS
    for name, low, high in (
        *((channel, 0.0, 1.0) for channel in ("red", "green", "blue")),
        ("opacity", 0.0, 1.0),  # a share of the layer's limit
        ("softness", 0.6 * regions.SOFTNESS[region], 1.4 * regions.SOFTNESS[region]),
        *EXTENTS[region],
    )
)
"""What the columns of the parameters (B, 32) mean."""
COLUMN = {(dial.region, dial.name): i for i, dial in enumerate(DIALS)}
"""Region and name of a dial -> its column."""


def unit(params: Tensor) -> Tensor:
    """[-BOX, BOX] -> [0, 1], both ends exactly: a sigmoid, stretched. Beyond the box it goes on."""
    params = params.contiguous()  # so that equal numbers take equal paths through the processor, to the last bit
    low = torch.sigmoid(torch.full_like(params, -BOX))
    return (torch.sigmoid(params) - low) / (1 - 2 * low)


def unit_inverse(values: Tensor) -> Tensor:
    """[0, 1] -> [-BOX, BOX]."""
    low = torch.sigmoid(torch.full_like(values, -BOX))
    return torch.logit(low + values * (1 - 2 * low)).clamp(-BOX, BOX)


def dial_values(params: Tensor) -> dict[tuple[str, str], Tensor]:
    """(B, 32) -> (region, name) of each dial -> what it sets, (B, 1, 1, 1)."""
    shares = unit(params)
    return {
        (dial.region, dial.name): (dial.low + (dial.high - dial.low) * shares[:, i]).view(-1, 1, 1, 1)
        for i, dial in enumerate(DIALS)
    }
