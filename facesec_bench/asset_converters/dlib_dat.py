"""dlib's face-recognition ResNet: raw tensors out of dlib's own serialisation."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facesec_bench.errors import AssetError

Array = NDArray[np.float32]

_TAGS = re.compile(rb"con_4|affine_|fc_2")
_VERSION = 2
_SETTINGS_BYTES = 256  # longer than the settings any layer writes between its tag and its tensor


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """dlib's variable-length integer: a byte with the count in its low 4 bits and the sign in bit 7, then the bytes."""
    head = data[at]
    count = head & 0x0F
    value = int.from_bytes(data[at + 1 : at + 1 + count], "little")
    return (-value if head & 0x80 else value), at + 1 + count


def _tensor(data: bytes, at: int) -> Array | None:
    """The float32 tensor whose header starts at `at`, flat; None where no header stands there."""
    if at >= len(data):
        return None
    version, at = _integer(data, at)
    if version != _VERSION:
        return None
    shape = []
    for _ in range(4):
        side, at = _integer(data, at)
        shape.append(side)
    size = int(np.prod(shape))
    if min(shape) < 1 or at + 4 * size > len(data):
        return None
    return np.frombuffer(data, dtype="<f4", count=size, offset=at).copy()


def _find_tensor(data: bytes, start: int) -> Array:
    """The first tensor of more than one value behind a tag; small layer settings stand between the two."""
    for at in range(start, start + _SETTINGS_BYTES):
        tensor = _tensor(data, at)
        if tensor is not None and tensor.size >= 64:
            return tensor
    raise AssetError("A layer tag without a tensor behind it: this is not dlib's face-recognition ResNet.")


def dlib_resnet(member: Path) -> dict[str, Array]:
    """`convs.{i}.weight|bias` (29, from the input end, the affine layer behind each folded in) and `linear.weight`.

    A `con_4` tensor holds weights (out, in, k, k) then biases, an `affine_` tensor gamma then beta; `fc_2` is
    (256, 128) with y = x W and is stored transposed.
    """
    data = member.read_bytes()
    found = [(match.group().decode(), _find_tensor(data, match.end())) for match in _TAGS.finditer(data)]
    convs = [tensor for tag, tensor in found if tag == "con_4"]
    affines = [tensor for tag, tensor in found if tag == "affine_"]
    linears = [tensor for tag, tensor in found if tag == "fc_2"]
    if (len(convs), len(affines), len(linears)) != (29, 29, 1):
        raise AssetError(
            f"{member.name}: found {len(convs)} convolutions, {len(affines)} affine and {len(linears)} linear layers, "
            "wanted 29, 29 and 1."
        )
    tensors: dict[str, Array] = {}
    inputs = 3
    for index, (conv, affine) in enumerate(zip(convs, affines, strict=True)):
        outputs, side = affine.size // 2, 7 if index == 0 else 3
        gamma, beta = affine[:outputs].astype(np.float64), affine[outputs:].astype(np.float64)
        weight = conv[:-outputs].reshape(outputs, inputs, side, side).astype(np.float64)
        tensors[f"convs.{index}.weight"] = (weight * gamma[:, None, None, None]).astype(np.float32)
        tensors[f"convs.{index}.bias"] = (conv[-outputs:] * gamma + beta).astype(np.float32)
        inputs = outputs
    tensors["linear.weight"] = linears[0].reshape(256, 128).T
    return tensors
