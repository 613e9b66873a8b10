"""From chip to the input of a user's network: template, channel order, normalisation, layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from facesec_bench.errors import ConfigError
from facesec_bench.targets.template import ARCFACE_112, DLIB_EYES_150, Point, Template, check_range

TemplateName = Literal["arcface", "dlib", "chip"]


def template_named(name: str, size: int) -> Template:
    """The template by its name in the configuration.

    Args:
        name: "arcface" (five points, 112 px), "dlib" (eyes, 150 px), both scaled to `size`; "chip", the whole chip.
        size: side of the crop in pixels.
    """
    if name == "chip":
        return Template.whole(size)
    named: dict[str, tuple[tuple[Point, ...], int]] = {"arcface": (ARCFACE_112, 112), "dlib": (DLIB_EYES_150, 150)}
    if name not in named:
        raise ConfigError(f"template: found {name!r}, wanted arcface, dlib or chip.")
    points, side = named[name]
    scale = size / side
    return Template([((x + 0.5) * scale - 0.5, (y + 0.5) * scale - 0.5) for x, y in points], size)


def _per_channel(name: str, value: float | Sequence[float]) -> Tensor:
    numbers = [float(value)] * 3 if isinstance(value, int | float) else [float(number) for number in value]
    if len(numbers) != 3:
        raise ConfigError(f"{name}: found {len(numbers)} numbers, wanted one, or one for each of three channels.")
    return torch.tensor(numbers)[:, None, None]


class Preparation(nn.Module):
    """x = (255 * chip - mean) / std on the template's crop.

    Args:
        template: "arcface", "dlib" or "chip".
        input_size: side of the network's input in pixels.
        mean, std: on the 0..255 scale and in the network's channel order; a number or three.
        channels: the network's channel order.
        layout: "nchw", or "nhwc" for networks exported from TensorFlow.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        template: str = "arcface",
        input_size: int = 112,
        mean: float | Sequence[float] = 127.5,
        std: float | Sequence[float] = 127.5,
        channels: str = "rgb",
        layout: str = "nchw",
    ) -> None:
        super().__init__()
        if channels not in ("rgb", "bgr") or layout not in ("nchw", "nhwc"):
            raise ConfigError(f"found channels={channels!r}, layout={layout!r}; wanted rgb or bgr, nchw or nhwc.")
        self.template = template_named(template, input_size)
        self.register_buffer("mean", _per_channel("mean", mean), persistent=False)
        self.register_buffer("std", _per_channel("std", std), persistent=False)
        if bool((self.std <= 0).any()):
            raise ConfigError(f"std: found {std}, wanted positive numbers.")
        self.bgr, self.nhwc = channels == "bgr", layout == "nhwc"
        self.words = f"255 x - {mean}, divided by {std}; {channels}, {layout}"

    def forward(self, chips: Tensor) -> Tensor:
        """(B, 3, 224, 224) RGB in [0, 1] -> the network's input."""
        check_range(chips)
        return self.from_crops(self.template(chips))

    def from_crops(self, crops: Tensor) -> Tensor:
        """(B, 3, S, S) RGB in [0, 1] -> the network's input."""
        x = (crops.flip(1) if self.bgr else crops) * 255
        x = (x - self.mean) / self.std
        return x.permute(0, 2, 3, 1) if self.nhwc else x
