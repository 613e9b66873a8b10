"""Conversions of downloaded members to safetensors, one source format per file. No pickle is executed.

Every conversion is elementwise float64 arithmetic rounded once to float32, so it gives the same bytes on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facesec_bench.errors import AssetError

Tensors = dict[str, NDArray[np.float32]]


def convert(converter: str, member: Path) -> Tensors:
    """The tensors that the loader of an asset reads.

    Args:
        converter: name and version, as in the manifest ("sface/1").
        member: the file as it came out of the archive.

    Raises:
        AssetError: the file does not have the structure that the conversion knows.
    """
    from facesec_bench.asset_converters import dlib_dat, onnx_weights, pickled_arrays, torch_files

    conversions: dict[str, Callable[[Path], Mapping[str, NDArray[Any]]]] = {
        "sface/1": onnx_weights.sface,
        "mobilefacenet/1": onnx_weights.mobilefacenet,
        "dlib_resnet/1": dlib_dat.dlib_resnet,
        "effnet_arcface/3": torch_files.effnet_arcface,
        "dcgan/1": torch_files.dcgan,
        "lpips_alex/1": pickled_arrays.lpips,
        "lpips_vgg/1": pickled_arrays.lpips,
    }
    with _denormals_kept():
        try:
            tensors = conversions[converter](member)
        except AssetError:
            raise
        except Exception as error:  # any parser's own error means the same to a user: this is not the file
            raise AssetError(f"{member.name}: not a file that the {converter} conversion knows: {error!r}") from error
        return {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in tensors.items()}


@contextmanager
def _denormals_kept() -> Iterator[None]:
    """Numbers below 1e-38 stay inside, also in a process that takes them for zero, as runs do."""
    flushed = bool(np.float32(1e-30) * np.float32(1e-9) == 0)
    if flushed:
        import torch

        torch.set_flush_denormal(False)
    try:
        yield
    finally:
        if flushed:
            torch.set_flush_denormal(True)
