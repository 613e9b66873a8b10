"""LPIPS backbones: plain pickles of nested dicts of numpy arrays, read without ever running code from the file."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facesec_bench.errors import AssetError

Array = NDArray[np.float32]

_ADMITTED = {("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}


class ArrayUnpickler(pickle.Unpickler):
    """Admits the three names that rebuild a numpy array and refuses every other, so nothing in the file can be run."""

    def find_class(self, module: str, name: str) -> Any:
        """Look up one global of the pickle.

        Raises:
            AssetError: the name is not one of numpy's array reconstruction.
        """
        if (module, name) not in _ADMITTED:
            raise AssetError(f"The pickle asks for {module}.{name}; only numpy arrays are admitted. Not loaded.")
        if name == "_reconstruct":
            from numpy._core.multiarray import _reconstruct  # where numpy 2 keeps it

            return _reconstruct
        return getattr(np, name)


def read(path: Path) -> Any:
    """The nested dicts of arrays in `path`."""
    with path.open("rb") as file:
        return ArrayUnpickler(file).load()


def lpips(member: Path) -> dict[str, Array]:
    """`convs.{i}.weight|bias` (out, in, k, k) of the backbone in order; `heads.{i}` (channels,) of the 5 heads."""
    layers = read(member)
    (backbone,) = (value for name, value in layers.items() if not name.startswith("NetLinLayer"))
    tensors: dict[str, Array] = {}
    for index in range(len(backbone)):
        conv = backbone[f"Conv_{index}"]
        tensors[f"convs.{index}.weight"] = np.asarray(conv["kernel"]).transpose(3, 2, 0, 1)  # HWIO to OIHW
        tensors[f"convs.{index}.bias"] = np.asarray(conv["bias"])
    for index in range(5):
        tensors[f"heads.{index}"] = np.asarray(layers[f"NetLinLayer_{index}"]["Conv_0"]["kernel"]).reshape(-1)
    return tensors
