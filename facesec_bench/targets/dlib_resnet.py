"""dlib's face-recognition ResNet (King 2017, dlib.net; a cut-down ResNet-34 of He et al., CVPR 2016)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from facesec_bench.asset_weights import install_weights, load_weights
from facesec_bench.interfaces import TargetCard
from facesec_bench.targets.template import DLIB_EYES_150, Template, check_range

# (channels, down) of the 14 residual blocks, from the input end.
_BLOCKS = (
    *((32, False),) * 3,
    *((64, True), (64, False), (64, False), (64, False)),
    *((128, True), (128, False), (128, False)),
    *((256, True), (256, False), (256, False), (256, True)),
)
_MEAN = (122.782, 117.001, 104.298)


def _padded(x: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """`x` (B, C, H, W) with zeros behind it up to (C, H, W) = `shape`, as dlib's add layer does."""
    channels, height, width = (want - have for want, have in zip(shape, x.shape[1:], strict=True))
    if channels == height == width == 0:
        return x
    return functional.pad(x, (0, width, 0, height, 0, channels))


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut, each with its affine layer folded in.

    A "down" block halves the side: its first convolution has stride 2 and no padding (dlib pads only at stride 1), its
    shortcut is a 2x2 average pool, and the smaller summand is padded with zeros.
    """

    def __init__(self, inputs: int, outputs: int, down: bool) -> None:
        super().__init__()
        self.down = down
        self.first = nn.Conv2d(inputs, outputs, 3, stride=2 if down else 1, padding=0 if down else 1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H', W')."""
        y = self.second(torch.relu(self.first(x)))
        shortcut = functional.avg_pool2d(x, 2) if self.down else x
        largest = [max(a, b) for a, b in zip(y.shape[1:], shortcut.shape[1:], strict=True)]
        shape = (largest[0], largest[1], largest[2])
        return torch.relu(_padded(y, shape) + _padded(shortcut, shape))


class DlibResNet(nn.Module):
    """The FR target `dlib_resnet`.

    Args:
        weights: path of a safetensors file laid out like the converted asset; None takes the asset `dlib_resnet`.
    """

    name = "dlib_resnet"
    card = TargetCard(
        dimension=128,
        input_size=150,
        preprocessing="RGB in [0, 1] -> (255 x - (122.782, 117.001, 104.298)) / 256",
        template="dlib's eye positions, 150 px",
        metric="cosine",
        licence="CC0-1.0",
        note="dlib judges by the Euclidean distance of the raw output (0.6); here by cosine, as every target",
    )
    mean: Tensor

    def __init__(self, weights: str | None = None) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 7, stride=2)
        inputs = [32, *(channels for channels, _ in _BLOCKS)]
        self.blocks = nn.Sequential(*(Residual(i, o, down) for i, (o, down) in zip(inputs, _BLOCKS, strict=False)))
        self.linear = nn.Linear(256, 128, bias=False)
        tensors, self.digest = load_weights("dlib_resnet", weights)
        install_weights(self, {_module_name(key): tensor for key, tensor in tensors.items()}, "dlib_resnet")
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None], persistent=False)
        self.template = Template(DLIB_EYES_150, 150)

    def features(self, crops: Tensor) -> Tensor:
        """(B, 3, 150, 150) RGB in [0, 1], aligned to the template -> (B, 128), dlib's raw descriptor."""
        x = (crops * 255 - self.mean) / 256
        x = functional.max_pool2d(torch.relu(self.stem(x)), 3, stride=2)
        return self.linear(self.blocks(x).mean(dim=(2, 3)))  # type: ignore[no-any-return]

    def embed(self, chips: Tensor) -> Tensor:
        """(B, 3, 224, 224) RGB in [0, 1] -> (B, 128) unit vectors, differentiable in the chips."""
        check_range(chips)
        return functional.normalize(self.features(self.template(chips)), dim=1)


def _module_name(key: str) -> str:
    """`convs.{i}.x` of the file -> the module's own name: 0 is the stem, then two for each block."""
    if not key.startswith("convs."):
        return key
    _, number, leaf = key.split(".")
    if number == "0":
        return f"stem.{leaf}"
    block, second = divmod(int(number) - 1, 2)
    return f"blocks.{block}.{'second' if second else 'first'}.{leaf}"
