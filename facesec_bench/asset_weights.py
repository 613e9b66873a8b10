"""Weights into a module: from an asset, or from a safetensors file of the same layout that the user names."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from facesec_bench import assets
from facesec_bench.asset_download import sha256
from facesec_bench.errors import TargetError


def load_weights(asset: str, weights: str | None) -> tuple[dict[str, Tensor], str]:
    """The tensors and their sha256.

    Args:
        asset: the asset to use when `weights` is None.
        weights: path of a safetensors file with the tensor names of the converted asset.

    Raises:
        AssetError: the asset is missing and cannot be fetched.
        TargetError: `weights` is no readable safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if weights is None:
        return load_file(assets.path(asset)), assets.digest(asset)
    path = Path(weights).expanduser()
    if not path.is_file():
        raise TargetError(
            f"{path}: no such file; wanted a safetensors file for {asset}, or weights=null for the asset."
        )
    try:
        return load_file(path), sha256(path)
    except SafetensorError as error:
        raise TargetError(
            f"{path}: not a safetensors file ({error}); wanted one with the tensors of {asset}."
        ) from error


def install_weights(module: nn.Module, tensors: dict[str, Tensor], asset: str) -> None:
    """Copy `tensors` into `module`, then freeze it in evaluation mode: a target is on loan to attacks by default.

    Raises:
        TargetError: a tensor is missing, superfluous or of another shape.
    """
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise TargetError(f"The weights do not fit {asset}: {error}") from error
    module.eval().requires_grad_(False)
