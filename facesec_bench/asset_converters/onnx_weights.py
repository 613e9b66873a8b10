"""SFace and MobileFaceNet: weights out of an ONNX graph, dequantised, with BatchNorm folded in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facesec_bench.errors import AssetError

Array = NDArray[np.float64]


def _attributes(node: Any) -> dict[str, Any]:
    import onnx

    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _dequantise(values: Array, scale: Array, zero: Array, axis: int, block: int) -> Array:
    """y = (x - zero) * scale, each scale serving `block` values along `axis` (ONNX DequantizeLinear, opset 21)."""
    length = values.shape[axis]
    scale = np.repeat(scale, block, axis=axis).take(range(length), axis=axis)
    zero = np.repeat(zero, block, axis=axis).take(range(length), axis=axis)
    return (values - zero) * scale


def _constants(model: Any) -> dict[str, Array]:
    """Initialisers in float64, with those that the graph dequantises and reshapes evaluated."""
    from onnx import numpy_helper

    constants = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer}
    for node in model.graph.node:
        known = all(name in constants for name in node.input)
        if node.op_type == "DequantizeLinear" and known:
            attributes = _attributes(node)
            values, scale, zero = (constants[name] for name in node.input)
            constants[node.output[0]] = _dequantise(values, scale, zero, attributes["axis"], attributes["block_size"])
        elif node.op_type == "Reshape" and known:
            shape = [int(side) for side in constants[node.input[1]]]
            constants[node.output[0]] = constants[node.input[0]].reshape(shape)
    return constants


def _batchnorm(node: Any, constants: dict[str, Array]) -> tuple[Array, Array]:
    """BatchNorm in evaluation as y = scale * x + shift."""
    gamma, beta, mean, variance = (constants[name] for name in node.input[1:5])
    scale = gamma / np.sqrt(variance + _attributes(node)["epsilon"])
    return scale, beta - mean * scale


def sface(member: Path) -> dict[str, Array]:
    """`convs.{i}.weight|bias|slope` (27, in order of the graph) and `linear.weight|bias`.

    Each BatchNorm after a convolution is folded into it; the one before and the one after the linear layer are folded
    into the linear layer.
    """
    import onnx

    model = onnx.load(str(member))
    constants = _constants(model)
    tensors: dict[str, Array] = {}
    weight = bias = slope = None
    count = 0
    scale = shift = None
    for node in model.graph.node:
        if node.op_type == "Conv":
            weight = constants[node.input[1]]
        elif node.op_type == "BatchNormalization" and weight is not None:
            scale, shift = _batchnorm(node, constants)
            weight, bias = weight * scale[:, None, None, None], shift
        elif node.op_type == "PRelu":
            slope = constants[node.input[1]].reshape(-1)
            tensors |= _conv(count, weight, bias, slope)
            weight, count = None, count + 1
        elif node.op_type == "BatchNormalization" and "linear.weight" not in tensors:
            scale, shift = _batchnorm(node, constants)
        elif node.op_type == "Gemm":
            if scale is None or shift is None:
                raise AssetError(f"{member.name}: no BatchNorm before the linear layer, so this is not SFace.")
            matrix, offset = constants[node.input[1]], constants[node.input[2]]
            pixels = matrix.shape[1] // scale.size
            tensors["linear.bias"] = offset + matrix @ np.repeat(shift, pixels)
            tensors["linear.weight"] = matrix * np.repeat(scale, pixels)[None, :]
        elif node.op_type == "BatchNormalization":
            scale, shift = _batchnorm(node, constants)
            tensors["linear.weight"] = tensors["linear.weight"] * scale[:, None]
            tensors["linear.bias"] = tensors["linear.bias"] * scale + shift
    if count != 27:
        raise AssetError(f"{member.name}: found {count} convolutions, wanted SFace's 27.")
    return tensors


def _conv(index: int, weight: Array | None, bias: Array | None, slope: Array) -> dict[str, Array]:
    if weight is None or bias is None:
        raise AssetError("A PReLU without a convolution and BatchNorm before it: this is not SFace.")
    return {f"convs.{index}.weight": weight, f"convs.{index}.bias": bias, f"convs.{index}.slope": slope}


def mobilefacenet(member: Path) -> dict[str, Array]:
    """`convs.{i}.weight|bias` (50, in order of the graph), with `convs.{i}.slope` where a PReLU follows (33)."""
    import onnx

    model = onnx.load(str(member))
    constants = _constants(model)
    tensors: dict[str, Array] = {}
    index = -1
    for node in model.graph.node:
        if node.op_type == "Conv":
            index += 1
            tensors[f"convs.{index}.weight"] = constants[node.input[1]]
            tensors[f"convs.{index}.bias"] = constants[node.input[2]]
        elif node.op_type == "PRelu":
            tensors[f"convs.{index}.slope"] = constants[node.input[1]].reshape(-1)
    if len(tensors) != 50 * 2 + 33:
        raise AssetError(f"{member.name}: found {len(tensors)} tensors, wanted MobileFaceNet's 133.")
    return tensors
