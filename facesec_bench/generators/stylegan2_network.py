"""The networks of StyleGAN2, configuration F, in plain torch operations.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020 (Sections 2 and 4), and for the
mapping network, its constants and the truncation Karras et al., "A Style-Based Generator Architecture for GANs",
CVPR 2019. Modules bear the names of the widespread PyTorch file layout (`g_ema` of rosinality's port), so that its
state dicts load as they are.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from facesec_bench.errors import ConfigError

SLOPE = 0.2
"""Of the leaky ReLU; its output is multiplied by the square root of 2, which keeps the variance."""
MAPPING_RATE = 0.01
"""Learning rate of the mapping network relative to the rest: its weights are stored divided by it."""
TINY = 1e-8


class Layout(NamedTuple):
    """The sizes of a StyleGAN2.

    Attributes:
        style_dim: length of z and w.
        depth: layers of the mapping network.
        widths: channels of the feature maps of side 4, 8, 16, ..., the resolution.
    """

    style_dim: int
    depth: int
    widths: tuple[int, ...]

    @property
    def resolution(self) -> int:
        """Side of the images in pixels."""
        return int(4 * 2 ** (len(self.widths) - 1))

    @property
    def rows(self) -> int:
        """Rows of W+: 18 at 1024 pixels."""
        return 2 * len(self.widths)

    @property
    def noise_sides(self) -> list[int]:
        """The side of each noise map: one for 4, two for every larger side."""
        return [4] + [4 * 2**level for level in range(1, len(self.widths)) for _ in range(2)]

    @classmethod
    def of_resolution(
        cls, resolution: int, style_dim: int = 512, depth: int = 8, channel_multiplier: int = 2, widest: int = 512
    ) -> Layout:
        """The widths of configuration F: `channel_multiplier` * 16384 / side, at most `widest`.

        Raises:
            ConfigError: a resolution that is no power of two of at least 8, or a size below 1.
        """
        if resolution < 8 or resolution & (resolution - 1):
            raise ConfigError(f"StyleGAN2: found resolution {resolution}, wanted a power of two, at least 8.")
        if min(style_dim, depth, channel_multiplier, widest) < 1:
            raise ConfigError("StyleGAN2: found a style_dim, depth, channel_multiplier or widest below 1.")
        sides = [4 * 2**level for level in range(int(math.log2(resolution)) - 1)]
        return cls(style_dim, depth, tuple(max(1, min(widest, 16384 * channel_multiplier // side)) for side in sides))


def lifted(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2, times the square root of 2."""
    return functional.leaky_relu(x, SLOPE) * math.sqrt(2)


class PixelNorm(nn.Module):
    """(B, C) -> (B, C) of root mean square 1."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + TINY)


class EqualLinear(nn.Module):
    """A linear layer with equalised learning rate: stored weights ~ N(0, 1 / rate), scaled at run time."""

    def __init__(self, inputs: int, outputs: int, rate: float = 1.0, bias: float = 0.0, activate: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs))
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.rate, self.activate = rate, activate

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        scale = self.rate / math.sqrt(self.weight.shape[1])
        x = functional.linear(x, self.weight * scale, self.bias * self.rate)
        return lifted(x) if self.activate else x


class Filter(nn.Module):
    """The low-pass filter [1, 3, 3, 1] in both directions; its sum is 4, as it follows a doubling by zeros."""

    def __init__(self) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
        self.register_buffer("kernel", torch.outer(taps, taps))
        self.kernel: Tensor

    def blur(self, x: Tensor) -> Tensor:
        """(B, C, 2H + 1, 2W + 1), what a transposed convolution of kernel 3 leaves -> (B, C, 2H, 2W)."""
        channels = x.shape[1]
        kernel = self.kernel.flip(0, 1).expand(channels, 1, 4, 4)
        return functional.conv2d(x, kernel, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, 2H, 2W): zeros between the pixels, then the filter."""
        channels = x.shape[1]
        kernel = self.kernel.expand(channels, 1, 4, 4)
        return functional.conv_transpose2d(x, kernel, stride=2, padding=1, groups=channels)


class ModulatedConv(nn.Module):
    """A convolution whose weights a style scales, with demodulation (CVPR 2020, Equations 1 to 3).

    The weights of image b are s_i w_oik, divided by their norm over i and k. Scaling the input by s and the output by
    the inverse norm is the same and needs no weights of its own for each image.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, style_dim: int, demodulate: bool, up: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, outputs, inputs, kernel, kernel))
        self.modulation = EqualLinear(style_dim, inputs, bias=1.0)
        self.demodulate, self.up = demodulate, up
        if up:
            self.blur = Filter()

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """(B, I, H, W) and (B, style_dim) -> (B, O, H, W), or twice as large."""
        style = self.modulation(w)
        weight = self.weight[0] / math.sqrt(self.weight[0, 0].numel())
        x = x * style[:, :, None, None]
        if self.up:
            x = self.blur.blur(functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2))
        else:
            x = functional.conv2d(x, weight, padding=weight.shape[-1] // 2)
        if self.demodulate:
            energy = functional.linear(style.square(), weight.square().sum(dim=(2, 3)))
            x = x * torch.rsqrt(energy + TINY)[:, :, None, None]
        return x


class Strength(nn.Module):
    """The one number by which the noise of a layer is scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class Bias(nn.Module):
    """The bias of a layer, one number a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))


class StyledConv(nn.Module):
    """Modulated convolution, noise, bias, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, style_dim: int, up: bool = False) -> None:
        super().__init__()
        self.conv = ModulatedConv(inputs, outputs, 3, style_dim, demodulate=True, up=up)
        self.noise = Strength()
        self.activate = Bias(outputs)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor) -> Tensor:  # noqa: D102
        x = self.conv(x, w) + self.noise.weight * noise
        return lifted(x + self.activate.bias[:, None, None])


class ToRGB(nn.Module):
    """Features to colour, added to the enlarged colour of the level below."""

    def __init__(self, inputs: int, style_dim: int, up: bool = True) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        self.conv = ModulatedConv(inputs, 3, 1, style_dim, demodulate=False, up=False)
        if up:
            self.upsample = Filter()

    def forward(self, x: Tensor, w: Tensor, below: Tensor | None = None) -> Tensor:  # noqa: D102
        colour: Tensor = self.conv(x, w) + self.bias
        return colour if below is None else colour + self.upsample(below)


class Constant(nn.Module):
    """The learned input of side 4."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.zeros(1, channels, 4, 4))


class Network(nn.Module):
    """Mapping and synthesis network; all weights zero until a state dict fills them.

    The buffers `noises` are the maps that a file brings along. They are kept so that a file comes back whole, and are
    not used: noise is a part of the latent here.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        d, widths = layout.style_dim, layout.widths
        mapping = [EqualLinear(d, d, MAPPING_RATE, activate=True) for _ in range(layout.depth)]
        self.style = nn.Sequential(PixelNorm(), *mapping)
        self.input = Constant(widths[0])
        self.conv1 = StyledConv(widths[0], widths[0], d)
        self.to_rgb1 = ToRGB(widths[0], d, up=False)
        self.convs, self.to_rgbs = nn.ModuleList(), nn.ModuleList()
        for inputs, outputs in pairwise(widths):
            self.convs.append(StyledConv(inputs, outputs, d, up=True))
            self.convs.append(StyledConv(outputs, outputs, d))
            self.to_rgbs.append(ToRGB(outputs, d))
        self.noises = nn.Module()
        for i, side in enumerate(layout.noise_sides):
            self.noises.register_buffer(f"noise_{i}", torch.zeros(1, 1, side, side))

    def paint(self, w: list[Tensor], noise: list[Tensor]) -> Tensor:
        """Rows of W+, each (B, style_dim), and noise maps, each (B, 1, s, s) -> (B, 3, R, R), about [-1, 1]."""
        x = self.input.input.expand(len(w[0]), -1, -1, -1)
        x = self.conv1(x, w[0], noise[0])
        colour = self.to_rgb1(x, w[1])
        for level, to_rgb in enumerate(self.to_rgbs):
            first = 2 * level + 1  # the colour of a level and the first convolution of the next share a row
            x = self.convs[2 * level](x, w[first], noise[first])
            x = self.convs[2 * level + 1](x, w[first + 1], noise[first + 1])
            colour = to_rgb(x, w[first + 2], colour)
        return colour  # type: ignore[no-any-return]
