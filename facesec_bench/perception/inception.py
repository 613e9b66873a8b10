"""Inception-v3 features for FID (Heusel et al., NeurIPS 2017), where the user has weights: none are fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from facesec_bench.asset_download import sha256
from facesec_bench.errors import AssetError

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Inception(nn.Module):
    """Pooled features of torchvision's `inception_v3`, with weights that the user names.

    Published FID figures mostly use weights ported from TensorFlow; a distance from torchvision's weights is comparable
    within a table, not with those. It is biased for small sets.

    Args:
        weights: torchvision's `inception_v3` state dict, as .safetensors or saved by torch (read with weights_only).

    Raises:
        AssetError: no such file, or not that state dict.
    """

    def __init__(self, weights: str) -> None:
        super().__init__()
        from torchvision.models import inception_v3  # half a second, and only where FID is asked for

        path = Path(weights).expanduser()
        if not path.is_file():
            raise AssetError(
                f"{path}: no such file; FID wants torchvision's inception_v3 state dict, or inception=null."
            )
        # The weights want (x - 0.5) / 0.5. torchvision's preset normalises as for its other networks, and its factory
        # forces transform_input, which turns that back, whenever weights are given; without weights it does not.
        network: Any = inception_v3(weights=None, transform_input=True, aux_logits=True, init_weights=False)
        try:
            network.load_state_dict(_read(path))
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise AssetError(f"{path}: not torchvision's inception_v3 state dict ({str(error)[:300]}).") from error
        network.fc = nn.Identity()
        self.network = network.eval().requires_grad_(False)
        self.digest = sha256(path)
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(_STD)[:, None, None], persistent=False)
        self.mean: Tensor
        self.std: Tensor

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1] -> (B, 2048), images enlarged to 299 px."""
        resized = functional.interpolate(images, size=(299, 299), mode="bilinear", antialias=True)
        parts = [self.network((batch - self.mean) / self.std) for batch in resized.split(16)]
        return torch.cat(parts)


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise TypeError(f"found a {type(state).__name__}, wanted a dict of tensors")
    return state
