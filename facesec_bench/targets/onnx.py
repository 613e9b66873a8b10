"""A user's ONNX embedder as a differentiable target, through onnx2torch and checked against onnxruntime at load."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from facesec_bench.errors import TargetError
from facesec_bench.interfaces import TargetCard
from facesec_bench.targets.checks import TOLERANCE, check_batch, check_gradient, far_apart, two_images
from facesec_bench.targets.identity import target_digest
from facesec_bench.targets.preparation import Preparation

_NO_GRADIENT = {
    *("ArgMax", "ArgMin", "Ceil", "Floor", "Round", "Sign", "NonZero", "NonMaxSuppression", "TopK", "OneHot"),
    *("QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"),
}


class OnnxTarget(nn.Module):
    """An FR target from an ONNX file with one image input.

    Args:
        path: the ONNX file, float32.
        name: how records and reports call it.
        input_size, template, mean, std, channels, layout: see `Preparation`.
        output: name of the output that holds the embedding; needed only where there are several.
        licence: of the weights, for the report.

    Raises:
        TargetError: unreadable; an operator without conversion or gradient; torch and onnxruntime disagree; a batch
            of two differs from two singles.
    """

    def __init__(
        self,
        path: str,
        name: str = "onnx",
        input_size: int = 112,
        template: str = "arcface",
        mean: float | Sequence[float] = 127.5,
        std: float | Sequence[float] = 127.5,
        channels: str = "rgb",
        layout: str = "nchw",
        output: str | None = None,
        licence: str = "not stated",
    ) -> None:
        super().__init__()
        self.name = name
        self.preparation = Preparation(template, input_size, mean, std, channels, layout)
        file = Path(path).expanduser()
        graph = _read(file, name, output)
        # Of the graph as loaded: weights may lie in a file beside it, which the file's own bytes do not show.
        loaded = hashlib.sha256(graph.SerializeToString()).hexdigest()
        reference = _runtime(graph, name)
        shape = (input_size, input_size, 3) if layout == "nhwc" else (3, input_size, input_size)
        pair = two_images(shape)
        wanted = _singles(reference, pair, name)
        self.network = _convert(_with_free_batch(graph, wanted.shape[1]), name).eval().requires_grad_(False)
        got = check_batch(name, self.network, pair)
        if far_apart(got, wanted) > TOLERANCE:
            raise TargetError(
                f"{name}: torch and onnxruntime differ by {far_apart(got, wanted):.1e} (relative), wanted {TOLERANCE}. "
                "Export the network again in float32, or bring it as torch code (target=torch_factory)."
            )
        check_gradient(name, self.network, pair, _suspects(graph))
        settings = {
            "input_size": input_size,
            "template": template,
            "mean": mean,
            "std": std,
            "channels": channels,
            "layout": layout,
            "output": output,
            "licence": licence,
        }
        self.digest = target_digest(loaded, settings)
        self.card = TargetCard(
            dimension=int(got.shape[1]),
            input_size=input_size,
            preprocessing=self.preparation.words,
            template=f"{template}, {input_size} px",
            metric="cosine",
            licence=licence,
            note="a user's ONNX file",
        )

    def embed(self, chips: Tensor) -> Tensor:
        """(B, 3, 224, 224) RGB in [0, 1] -> (B, D) unit vectors, differentiable in the chips."""
        return functional.normalize(self.network(self.preparation(chips)), dim=1)


def _read(file: Path, name: str, output: str | None) -> Any:
    """The graph with one input and one output, weights no longer listed among the inputs."""
    import onnx

    if not file.is_file():
        raise TargetError(f"{name}: {file}: no such file; wanted an ONNX file (path=...).")
    try:
        model = onnx.load(str(file))
    except Exception as error:  # protobuf raises its own type, which onnx does not re-export
        raise TargetError(f"{name}: {file} is not a readable ONNX file: {error}") from error
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    outputs = [value for value in model.graph.output if output in (None, value.name)]
    if len(inputs) != 1 or len(outputs) != 1:
        raise TargetError(
            f"{name}: found inputs {[i.name for i in inputs]} and outputs {[o.name for o in model.graph.output]}, "
            f"wanted one image input and one embedding (output={output!r}); name the embedding with output=NAME."
        )
    del model.graph.input[:], model.graph.output[:]
    model.graph.input.extend(inputs)
    model.graph.output.extend(outputs)
    return model


def _runtime(model: Any, name: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise TargetError(f"{name}: onnxruntime cannot load the graph: {error}") from error


def _singles(session: Any, pair: Tensor, name: str) -> Tensor:
    """(2, D): onnxruntime's embedding of each image by itself."""
    key = session.get_inputs()[0].name
    try:
        rows = [session.run(None, {key: pair[i : i + 1].numpy()})[0] for i in range(2)]
    except Exception as error:
        raise TargetError(f"{name}: onnxruntime refuses an input of {tuple(pair[:1].shape)}: {error}") from error
    return torch.from_numpy(np.stack([np.asarray(row, dtype=np.float32).reshape(-1) for row in rows]))


def _with_free_batch(model: Any, dimension: int) -> Any:
    """Free a batch axis fixed at one, and turn a final Reshape to (1, -1) or (1, D) into (-1, D).

    Such a Reshape, common in exported embedders, silently merges a batch into one row.
    """
    from onnx import numpy_helper

    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
    last = next((node for node in model.graph.node if model.graph.output[0].name in node.output), None)
    if last is None or last.op_type != "Reshape":
        return model
    for tensor in model.graph.initializer:
        if tensor.name == last.input[1] and numpy_helper.to_array(tensor).tolist() in ([1, -1], [1, dimension]):
            free = numpy_helper.from_array(np.array([-1, dimension], dtype=np.int64), f"{tensor.name}_free_batch")
            last.input[1] = free.name
            model.graph.initializer.append(free)
            break
    return model


def _convert(model: Any, name: str) -> nn.Module:
    import onnx2torch

    try:
        return onnx2torch.convert(model)  # type: ignore[no-any-return]
    except NotImplementedError as error:
        raise TargetError(
            f"{name}: an operator has no differentiable conversion: {error}. Export the network in float32 with plain "
            "operators, or bring it as torch code (target=torch_factory)."
        ) from error


def _suspects(model: Any) -> str:
    """The operators of the graph that pass no gradient, for the message."""
    found = sorted({node.op_type for node in model.graph.node} & _NO_GRADIENT)
    return f" (operators without a gradient: {', '.join(found)})" if found else ""
