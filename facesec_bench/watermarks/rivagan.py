"""RivaGAN: 32 bits by attention (Zhang et al., "Robust Invisible Video Watermarking with Attention", 2019)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from facesec_bench import assets
from facesec_bench.errors import AssetError, ConfigError
from facesec_bench.watermarks.messages import check, check_chips

RESIDUAL = 0.016
"""Largest change of a pixel, in the network's range [-1, 1]: 0.008 in [0, 1], 2.04 grey levels of 255."""


class Affine(nn.Module):
    """BatchNorm in evaluation, y = scale * x + shift for each channel.

    It stays a layer of its own: it follows a tanh, and folding its shift into the next convolution would be wrong at
    the border, where that convolution pads with zeros.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, weights: dict[str, Tensor], name: str) -> None:
        super().__init__()
        gamma, beta, mean, variance = (
            weights[f"{name}.{w}"] for w in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / torch.sqrt(variance + 1e-5)
        self.register_buffer("scale", scale[:, None, None])
        self.register_buffer("shift", (beta - mean * scale)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return torch.addcmul(self.shift, x, self.scale)


class Convolution(nn.Conv2d):
    """A convolution that may run in bfloat16 while, and only while, a gradient is taken.

    Where few channels come in, input and weights are sums of two bfloat16 numbers each (the product of the two small
    ones is left out): the first layers see changes of a grey level, which one such number of 8 bits would round away.
    """

    coarse = False
    narrow = 8  # channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, H, W), float32."""
        if not (self.coarse and torch.is_grad_enabled() and x.requires_grad):
            return super().forward(x)
        assert self.bias is not None  # they all have one; for type checkers
        inputs, weights = _halves(x), _halves(self.weight)
        if self.in_channels <= self.narrow:
            large, small = weights
            y = _product(torch.cat([*inputs, inputs[0]], dim=1), torch.cat([large, large, small], dim=1), self.padding)
        else:
            y = _product(inputs[0], weights[0], self.padding)
        return y.to(x.dtype) + self.bias[:, None, None]


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """`x` as the sum of two bfloat16 tensors, the second one small."""
    large = x.to(torch.bfloat16)
    return large, (x - large.to(x.dtype)).to(torch.bfloat16)


def _product(x: Tensor, weight: Tensor, padding: str | tuple[int, ...]) -> Tensor:
    return functional.conv2d(x, weight, padding=padding)


def bfloat16_is_fast() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in hardware (AMX)."""
    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)  # no public name for it as of torch 2.14
    return bool(probe and probe())


def _convolution(weights: dict[str, Tensor], name: str) -> Convolution:
    """An 11x11 convolution that keeps the size, from the published 1x11x11 one over (frame, row, column)."""
    kernel = weights[f"{name}.weight"].squeeze(2)
    layer = Convolution(kernel.shape[1], kernel.shape[0], kernel.shape[2], padding=kernel.shape[2] // 2)
    layer.load_state_dict({"weight": kernel, "bias": weights[f"{name}.bias"]})
    return layer


def _branch(weights: dict[str, Tensor], name: str, last_norm: bool) -> nn.Sequential:
    """Convolution, tanh, norm, convolution; then again tanh and norm where the graph has them."""
    layers = [_convolution(weights, f"{name}.0"), nn.Tanh(), Affine(weights, f"{name}.2")]
    layers.append(_convolution(weights, f"{name}.3"))
    return nn.Sequential(*layers, *([nn.Tanh(), Affine(weights, f"{name}.5")] if last_norm else []))


def initialisers(file: Path) -> dict[str, Tensor]:
    """The named weights of an ONNX graph, float32.

    Raises:
        AssetError: the file lacks RivaGAN's layers.
    """
    import onnx
    from onnx import numpy_helper

    found = {t.name: numpy_helper.to_array(t) for t in onnx.load(str(file)).graph.initializer}
    weights = {name: torch.from_numpy(array.copy()) for name, array in found.items() if "." in name}
    if not {"_attention.5.weight", "_conv.2.weight", "_conv.3.weight"} <= set(weights):
        raise AssetError(
            f"{file.name}: found the weights {sorted(weights)[:4]}..., wanted RivaGAN's; run: facesec assets verify"
        )
    return weights


class RivaGAN(nn.Module):
    """The watermark `rivagan`: the pretrained networks of the invisible-watermark package, as torch modules.

    Attention maps say at each pixel how much of each of the 32 bits it carries; the encoder adds at most 2.04 grey
    levels. Both networks are frozen; gradients flow to the chips.

    The decoder's own output flips at 0 (it was trained with cross-entropy on logits): on LFW chips marked at 224 px it
    lies at +14 for a 1 and -14 for a 0 (standard deviation 6), on unmarked ones at -0.3 (2.2). The invisible-watermark
    package cuts at 0.6 instead.

    Args:
        gradients: precision of the convolutions while a gradient is taken: "float32", "bfloat16" (four times faster on
            a CPU that has it in hardware; on photos the gradient's cosine to the exact one is 0.998), or "auto" for
            bfloat16 where it is fast. Marking and reading without a gradient are float32 in any case, so results are
            judged exactly. It is part of the digest.

    Raises:
        ConfigError: another precision.
    """

    name = "rivagan"
    bits = 32
    differentiable = True

    def __init__(self, gradients: Literal["auto", "float32", "bfloat16"] = "auto") -> None:
        super().__init__()
        if gradients not in ("auto", "float32", "bfloat16"):
            raise ConfigError(f"rivagan: found gradients {gradients!r}, wanted auto, float32 or bfloat16.")
        coarse = gradients == "bfloat16" or (gradients == "auto" and bfloat16_is_fast())
        encoder, decoder = (initialisers(assets.path(f"rivagan_{part}")) for part in ("encoder", "decoder"))
        self.encoder_attention = _branch(encoder, "_attention", last_norm=True)
        self.encoder_residual = _branch(encoder, "_conv", last_norm=False)
        self.decoder_attention = _branch(decoder, "_attention", last_norm=True)
        self.decoder_bits = _branch(decoder, "_conv", last_norm=False)
        self.requires_grad_(False)
        files = "".join(assets.digest(f"rivagan_{part}") for part in ("encoder", "decoder"))
        for layer in self.modules():
            if isinstance(layer, Convolution):
                layer.coarse = coarse
        self.digest = hashlib.sha256(f"{files} {coarse}".encode()).hexdigest()

    def encode(self, chips: Tensor, messages: Tensor) -> Tensor:
        """Mark the chips; differentiable in them (except where the result is cut off at 0 or 1).

        Args:
            chips: (B, 3, H, W) in [0, 1].
            messages: (B, 32) of 0 and 1.

        Returns:
            (B, 3, H, W) in [0, 1], within 0.008 of `chips`.

        Raises:
            ConfigError: a wrong shape, or a message of anything but 0 and 1.
        """
        return self.encode_each(chips, [messages])[0]

    def encode_each(self, chips: Tensor, messages: Sequence[Tensor]) -> list[Tensor]:
        """Mark the same chips with several messages; the attention, four fifths of the work, is shared.

        Args:
            chips: (B, 3, H, W) in [0, 1].
            messages: each (B, 32) of 0 and 1.

        Returns:
            For each of the messages what `encode` gives.

        Raises:
            ConfigError: as `encode`.
        """
        for message in messages:
            check(self.name, self.bits, chips, message)
        frames = chips * 2 - 1
        attention = self.encoder_attention(frames).softmax(dim=1)
        return [self._marked(chips, frames, attention, message) for message in messages]

    def _marked(self, chips: Tensor, frames: Tensor, attention: Tensor, messages: Tensor) -> Tensor:
        signs = messages.to(chips)[:, :, None, None] * 2 - 1
        data = (attention * signs).sum(dim=1, keepdim=True)
        residual = RESIDUAL * torch.tanh(self.encoder_residual(torch.cat([frames, data], dim=1)))
        return (chips + residual / 2).clamp(0, 1)

    def decode(self, chips: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, 32) scores, positive reads as 1; differentiable.

        Raises:
            ConfigError: a wrong shape.
        """
        check_chips(self.name, chips)
        frames = chips * 2 - 1
        attention = self.decoder_attention(frames).softmax(dim=1)
        return (attention * self.decoder_bits(frames)).mean(dim=(2, 3))  # type: ignore[no-any-return]
