"""MobileFaceNet (Chen et al., MobileFaceNets, CCBR 2018), 512-d, rebuilt from its published ONNX weights."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from facesec_bench.asset_weights import install_weights, load_weights
from facesec_bench.interfaces import TargetCard
from facesec_bench.targets.template import ARCFACE_112, Template, check_range

# (output channels, expanded channels, stride) of the 15 inverted-residual blocks; stride 1 adds the shortcut.
_BLOCKS = (
    *((64, 128, 2), *((64, 128, 1),) * 4),
    *((128, 256, 2), *((128, 256, 1),) * 6),
    *((128, 512, 2), *((128, 256, 1),) * 2),
)


class _Conv(nn.Module):
    """A convolution with its BatchNorm folded in, then PReLU unless it is linear."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(Tensor(outputs, inputs // groups, kernel, kernel))
        self.bias = nn.Parameter(Tensor(outputs))
        self.slope = None if linear else nn.Parameter(Tensor(outputs))
        self.stride, self.groups = stride, groups
        self.padding = 0 if kernel == 7 else kernel // 2  # the 7x7 layer is the global depthwise pooling

    def forward(self, x: Tensor) -> Tensor:
        x = functional.conv2d(x, self.weight, self.bias, self.stride, self.padding, groups=self.groups)
        return x if self.slope is None else functional.prelu(x, self.slope)


def _layers() -> list[_Conv]:
    """The 50 convolutions in the order of the ONNX graph."""
    layers = [_Conv(3, 64, 3, 2), _Conv(64, 64, 3, groups=64)]
    channels = 64
    for outputs, wide, stride in _BLOCKS:
        layers.append(_Conv(channels, wide, 1))
        layers.append(_Conv(wide, wide, 3, stride, groups=wide))
        layers.append(_Conv(wide, outputs, 1, linear=True))
        channels = outputs
    tail = [_Conv(channels, 512, 1), _Conv(512, 512, 7, groups=512, linear=True), _Conv(512, 512, 1, linear=True)]
    return layers + tail


class MobileFaceNet(nn.Module):
    """The FR target `mobilefacenet`.

    Args:
        weights: path of a safetensors file laid out like the converted asset; None takes the asset `mobilefacenet`.
    """

    name = "mobilefacenet"
    card = TargetCard(
        dimension=512,
        input_size=112,
        preprocessing="RGB in [0, 1] -> (255 x - 127.5) / 127.5",
        template="ArcFace five points, 112 px",
        metric="cosine",
        licence="MIT",
    )

    def __init__(self, weights: str | None = None) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_layers())
        tensors, self.digest = load_weights("mobilefacenet", weights)
        install_weights(self, tensors, "mobilefacenet")
        self.template = Template(ARCFACE_112, 112)

    def features(self, crops: Tensor) -> Tensor:
        """(B, 3, 112, 112) RGB in [0, 1], aligned to the template -> (B, 512), not normalised."""
        x = self.convs[1](self.convs[0]((crops * 255 - 127.5) / 127.5))
        for index, (_, _, stride) in enumerate(_BLOCKS):
            expand, depthwise, reduce = self.convs[2 + 3 * index : 5 + 3 * index]
            y = reduce(depthwise(expand(x)))
            x = x + y if stride == 1 else y
        for layer in self.convs[-3:]:
            x = layer(x)
        return x.flatten(1)  # type: ignore[no-any-return]

    def embed(self, chips: Tensor) -> Tensor:
        """(B, 3, 224, 224) RGB in [0, 1] -> (B, 512) unit vectors, differentiable in the chips."""
        check_range(chips)
        return functional.normalize(self.features(self.template(chips)), dim=1)
