"""EfficientNet-B0 + ArcFace and the DCGAN: torch files read with weights_only=True, so that no code in them can run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facesec_bench.errors import AssetError

Array = NDArray[np.float64]

_EPSILON = 1e-5  # torch's default for BatchNorm, which both networks were built with


def _read(member: Path) -> Any:
    import torch

    return torch.load(member, map_location="cpu", weights_only=True)


def _arrays(state: Any) -> dict[str, Array]:
    return {name: tensor.double().numpy() for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


def _fold(weight: Array, state: dict[str, Array], norm: str, axis: int) -> tuple[Array, Array]:
    """The convolution with the BatchNorm behind it folded in: weight scaled along `axis` (output channels), bias."""
    scale = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + _EPSILON)
    shape = [1] * weight.ndim
    shape[axis] = -1
    return weight * scale.reshape(shape), state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale


def effnet_arcface(member: Path) -> dict[str, Array]:
    """`features.*` in torchvision's names without BatchNorm, `neck.weight|bias`, `scale`, `shift`; no ArcFace head.

    torchvision's pair (`<block>.0` convolution, `<block>.1` BatchNorm) becomes `<block>.0.weight|bias`. The
    BatchNorm1d on the pooled features becomes `scale` and `shift` (384,).
    """
    state = _arrays(_read(member))
    tensors: dict[str, Array] = {}
    for name, array in state.items():
        if array.ndim != 4:
            continue
        owner = name.removesuffix(".weight")
        out = owner.replace("backbone.", "features.") if owner != "neck.0" else "neck"
        norm = re.sub(r"\.0$", ".1", owner)
        if f"{norm}.running_var" in state:
            tensors[f"{out}.weight"], tensors[f"{out}.bias"] = _fold(array, state, norm, axis=0)
        else:  # squeeze-and-excitation: no BatchNorm, its own bias
            tensors[f"{out}.weight"], tensors[f"{out}.bias"] = array, state[f"{owner}.bias"]
    scale, shift = _fold(np.ones(384), state, "embedding.1", axis=0)
    return tensors | {"scale": scale, "shift": shift}


def dcgan(member: Path) -> dict[str, Array]:
    """`layers.{0..4}.weight|bias` of the five transposed convolutions, BatchNorm folded into the first four."""
    state = _arrays(_read(member)["netG_state_dict"])
    tensors: dict[str, Array] = {}
    for index in range(5):
        weight = state[f"main.{3 * index}.weight"]
        bias = np.zeros(weight.shape[1])
        if index < 4:
            weight, bias = _fold(weight, state, f"main.{3 * index + 1}", axis=1)
        tensors[f"layers.{index}.weight"], tensors[f"layers.{index}.bias"] = weight, bias
    if tensors["layers.4.weight"].shape != (64, 3, 4, 4):
        raise AssetError(f"{member.name}: the last layer is {tensors['layers.4.weight'].shape}, wanted (64, 3, 4, 4).")
    return tensors
