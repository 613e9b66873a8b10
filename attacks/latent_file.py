"""Latents that were found elsewhere, as the released code of CLIP2Protect takes them: encoder4editing (Tov et al.,
"Designing an Encoder for StyleGAN Image Manipulation", ACM TOG 2021) gives the rows of W+, (18, 512) a photo.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facesec_bench.asset_download import sha256
from facesec_bench.errors import DataError
from facesec_bench.interfaces import ImageGenerator
from facesec_bench.tensor_files import read_tensors

_BETWEEN = "::"
"""Between a photo's key and a layer's name."""


class LatentFile:
    """The latents of photos by their keys (`Faces.keys`: for a folder, a photo's path below it).

    The file is .safetensors, or a torch file of a plain dict. It holds for each photo

        "KEY"         (L, D), the rows of W+ from coarse to fine, which become the layers w0, w1, ...; or
        "KEY::LAYER"  one layer as the generator names it, without the batch's axis, for any generator.

    An encoder that wrote latents (N, 18, 512) for N photos in the order `keys` gives such a file by

        torch.save(dict(zip(keys, latents.cpu().clone(), strict=True)), "latents.pt")

    The latent must be of the picture that the cloak will want painted: the face as the generator's training data
    frame it (see docs/cloaking.md).

    Args:
        path: the file; nothing in it is run.

    Raises:
        DataError: no such file, or one that is no dict of finite floating-point tensors.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self.tensors = {name: _checked(self.path, name, tensor) for name, tensor in _read(self.path).items()}
        if not self.tensors:
            raise DataError(f"{self.path}: holds nothing, wanted a latent for each photo, named by its key.")
        self.digest = sha256(self.path)

    def of(self, generator: ImageGenerator, keys: Sequence[str], rngs: Sequence[torch.Generator]) -> dict[str, Tensor]:
        """The latent of every layer, (B, ...), of the photos `keys`.

        Args:
            rngs: one for each photo, for the layers that the file does not hold (noise maps): they are as the
                generator's `mean` gives them.

        Raises:
            DataError: a photo without a latent, an unknown layer, or another shape.
        """
        absent = [key for key in keys if not self._names(key)]
        if absent:
            held = list(dict.fromkeys(name.split(_BETWEEN)[0] for name in self.tensors))
            raise DataError(
                f"{self.path}: found no latent of {len(absent)} of {len(keys)} photos, the first {absent[0]}; it holds "
                f"{len(held)}, such as {held[0]}. Wanted one for each photo, named by the photo's key."
            )
        latents = [self._one(generator, key, rng) for key, rng in zip(keys, rngs, strict=True)]
        return {layer: torch.cat([latent[layer] for latent in latents]) for layer in latents[0]}

    def _names(self, key: str) -> list[str]:
        return [name for name in self.tensors if name == key or name.startswith(key + _BETWEEN)]

    def _one(self, generator: ImageGenerator, key: str, rng: torch.Generator) -> dict[str, Tensor]:
        latent, given = generator.mean(1, rng), set[str]()
        for name in self._names(key):
            for layer, tensor in self._layers(generator.name, name, key, latent):
                if layer in given:
                    raise DataError(f"{self.path}: {key}: found layer {layer} twice, in its rows and by name.")
                latent[layer] = tensor.to(latent[layer])[None]
                given.add(layer)
        return latent

    def _layers(self, painter: str, name: str, key: str, like: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
        """What one tensor of the file gives: layers and their values."""
        tensor = self.tensors[name]
        if name == key:
            layers = [layer for layer in like if layer[:1] == "w" and layer[1:].isdigit()]
            if not layers:
                raise DataError(
                    f"{self.path}: {key}: {painter} has no rows w0, w1, ..., but {', '.join(like)}. Name the layer: "
                    f"{key}{_BETWEEN}{next(iter(like))}."
                )
            wanted, what = (len(layers), *like[layers[0]].shape[1:]), f": {layers[0]} to {layers[-1]} of {painter}"
            parts = list(zip(layers, tensor, strict=False))
        else:
            layer = name.removeprefix(key + _BETWEEN)
            if layer not in like:
                raise DataError(f"{self.path}: {key}: unknown layer {layer}; {painter} has {', '.join(like)}.")
            wanted, what, parts = tuple(like[layer].shape[1:]), "", [(layer, tensor)]
        if tuple(tensor.shape) != wanted:
            raise DataError(f"{self.path}: {name}: found {tuple(tensor.shape)}, wanted {wanted}{what}.")
        return parts


def _read(file: Path) -> Mapping[Any, Any]:
    wanted = "latents by key, .safetensors or a torch file of a dict"
    found = read_tensors(file, DataError, wanted=wanted, save="a plain dict from key to tensor")
    if isinstance(found, Tensor):
        raise DataError(
            f"{file}: found one tensor {tuple(found.shape)}, in which nothing says whose latents they are. With `keys` "
            "in the order of its rows: torch.save(dict(zip(keys, latents.clone(), strict=True)), FILE)"
        )
    if not isinstance(found, Mapping):
        raise DataError(f"{file}: found a {type(found).__name__}, wanted a dict from a photo's key to its latent.")
    return found


def _checked(file: Path, name: object, tensor: object) -> Tensor:
    if not isinstance(name, str):
        raise DataError(f"{file}: found the name {name!r}, wanted the photo's key, a text.")
    if not isinstance(tensor, Tensor):
        raise DataError(f"{file}: {name}: found a {type(tensor).__name__}, wanted a tensor.")
    if not tensor.is_floating_point():
        raise DataError(f"{file}: {name}: found {tensor.dtype}, wanted floating-point numbers.")
    if not bool(tensor.isfinite().all()):
        raise DataError(f"{file}: {name}: holds values that are not finite.")
    return tensor.detach()
