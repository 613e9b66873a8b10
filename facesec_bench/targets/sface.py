"""SFace: a MobileNet-like recogniser from the OpenCV zoo (Zhong et al., SFace, IEEE TIP 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from facesec_bench.asset_weights import install_weights, load_weights
from facesec_bench.interfaces import TargetCard
from facesec_bench.targets.template import ARCFACE_112, Template, check_range

# (output channels, stride) of the 13 depthwise-separable blocks after the first convolution.
_BLOCKS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)),
)


class ConvPReLU(nn.Module):
    """A convolution with its BatchNorm folded in, then PReLU with one slope a channel."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(Tensor(outputs, inputs // groups, kernel, kernel))
        self.bias = nn.Parameter(Tensor(outputs))
        self.slope = nn.Parameter(Tensor(outputs))
        self.stride, self.groups, self.padding = stride, groups, kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        x = functional.conv2d(x, self.weight, self.bias, self.stride, self.padding, groups=self.groups)
        return functional.prelu(x, self.slope)


class SFace(nn.Module):
    """The FR target `sface`.

    Args:
        weights: path of a safetensors file laid out like the converted asset; None takes the asset `sface`.
    """

    name = "sface"
    card = TargetCard(
        dimension=128,
        input_size=112,
        preprocessing="RGB in [0, 1] -> (255 x - 127.5) / 128",
        template="ArcFace five points, 112 px",
        metric="cosine",
        licence="Apache-2.0 (OpenCV zoo)",
        note="int8 block-quantised weights, dequantised; the quantisation is part of the model",
    )

    def __init__(self, weights: str | None = None) -> None:
        super().__init__()
        layers = [ConvPReLU(3, 32, 3)]
        channels = 32
        for outputs, stride in _BLOCKS:
            layers += [ConvPReLU(channels, channels, 3, stride, groups=channels), ConvPReLU(channels, outputs, 1)]
            channels = outputs
        self.convs = nn.Sequential(*layers)
        self.linear = nn.Linear(channels * 7 * 7, 128)
        tensors, self.digest = load_weights("sface", weights)
        install_weights(self, tensors, "sface")
        self.template = Template(ARCFACE_112, 112)

    def features(self, crops: Tensor) -> Tensor:
        """(B, 3, 112, 112) RGB in [0, 1], aligned to the template -> (B, 128), not normalised."""
        pixels = (crops * 255 - 127.5) / 128
        # With channels last a CPU takes a quarter to a third less time: PReLU keeps the layout that convolutions want.
        maps = self.convs(pixels.contiguous(memory_format=torch.channels_last))
        return self.linear(maps.flatten(1))  # type: ignore[no-any-return]

    def embed(self, chips: Tensor) -> Tensor:
        """(B, 3, 224, 224) RGB in [0, 1] -> (B, 128) unit vectors, differentiable in the chips."""
        check_range(chips)
        return functional.normalize(self.features(self.template(chips)), dim=1)
