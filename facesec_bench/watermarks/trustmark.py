"""TrustMark: 100 bits by a U-Net.

Bui et al., "TrustMark: Robust Watermarking and Watermark Removal for Arbitrary Resolution Images", ICCV 2025. An
optional extra with the user's own weights. Never run with the weights: they are in no package registry. Written against
the sources of trustmark 0.9.2 and tested with stand-ins for its networks.
"""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from facesec_bench.asset_download import sha256
from facesec_bench.errors import AssetError, ConfigError, MissingPackageError
from facesec_bench.watermarks.messages import check, check_chips

ENCODER_SIDE = 256
DECODER_SIDES = {"Q": 245, "B": 245, "C": 245, "P": 224}
"""The sides in pixels at which the package runs its networks, by variant."""
STRENGTHS = {"Q": 1.0, "B": 1.0, "C": 1.0, "P": 1.25}
"""What the package multiplies the residual by."""


def _networks() -> ModuleType:
    """The package's module of networks; importing it asks no network, unlike making its `TrustMark`."""
    try:
        return importlib.import_module("trustmark.unet")
    except ImportError as error:
        raise MissingPackageError(
            f"trustmark cannot be imported ({error}); run: pip install 'facesec-bench[trustmark]'"
        ) from error


def _resized(images: Tensor, side: int) -> Tensor:
    """(B, 3, H, W) -> (B, 3, side, side), bilinear as the package's library of images does it (antialiased)."""
    return functional.interpolate(images, size=[side, side], mode="bilinear", antialias=True)


def _read(file: Path) -> Any:
    """A .yaml as a dict, or the state dict of a .ckpt, read without running any code that it holds."""
    from omegaconf import OmegaConf

    if not file.is_file():
        raise AssetError(
            f"{file}: no such file; wanted TrustMark's weights. On a machine with a network, "
            f"python -c 'from trustmark import TrustMark; TrustMark(loadRemover=False)' fetches them into its "
            f"folder models; copy the .yaml and the .ckpt files and set watermark.folder to where they are."
        )
    if file.suffix == ".yaml":
        return OmegaConf.to_container(OmegaConf.load(file))
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
        return dict(found.get("state_dict", found))
    except Exception as error:
        raise AssetError(f"{file} cannot be read as a checkpoint of plain tensors: {error}") from error


def _network(params: dict[str, Any], part: str, resolution: int, file: Path) -> nn.Module:
    """One network as the configuration describes it, with the checkpoint's weights.

    Raises:
        AssetError: a network that the package does not have, or weights that do not fill it.
    """
    described = params[f"secret_{part}_config"]
    module, _, name = described["target"].rpartition(".")
    unet = _networks()
    if module != "trustmark.unet" or not hasattr(unet, name):
        raise AssetError(f"{described['target']}: found as the {part}, wanted a network of trustmark.unet.")
    network: nn.Module = getattr(unet, name)(
        resolution=resolution, secret_len=params["secret_len"], **described.get("params", {})
    )
    head = f"{part}."
    weights = {key.removeprefix(head): value for key, value in _read(file).items() if key.startswith(head)}
    missing = network.load_state_dict(weights, strict=False).missing_keys
    if missing:
        raise AssetError(
            f"{file}: found no weights for {missing[0]} ({len(missing)} missing), wanted TrustMark's {part}."
        )
    return network.requires_grad_(False).eval()


class TrustMark(nn.Module):
    """The watermark `trustmark`: the package's networks called directly, so that gradients flow; no error correction.

    The residual is made at 256 px, freed of its mean colour and scaled to the chip, as the package does; its fading of
    the outermost 1 % of the picture is left out. Never run with the weights.

    Args:
        folder: where `trustmark_<variant>.yaml`, `encoder_<variant>.ckpt` and `decoder_<variant>.ckpt` lie.
        variant: Q (default of the package), B, C (small) or P (best picture).
        strength: multiplies the residual, on top of the variant's own factor.

    Raises:
        MissingPackageError: trustmark is not installed.
        AssetError: a file is missing, or is not TrustMark's.
        ConfigError: an unknown variant or a strength of 0 or less.
    """

    name = "trustmark"
    differentiable = True

    def __init__(self, folder: str, variant: str = "Q", strength: float = 1.0) -> None:
        super().__init__()
        if variant not in STRENGTHS or not strength > 0:
            raise ConfigError(
                f"trustmark: found variant {variant!r} and strength {strength}, wanted one of {', '.join(STRENGTHS)} "
                f"and a strength above 0."
            )
        _networks()
        place = Path(folder).expanduser()
        files = [place / f"trustmark_{variant}.yaml", *(place / f"{p}_{variant}.ckpt" for p in ("encoder", "decoder"))]
        try:
            params = _read(files[0])["model"]["params"]
            self.bits = int(params["secret_len"])
            self.encoder = _network(params, "encoder", ENCODER_SIDE, files[1])
            self.decoder = _network(params, "decoder", 224, files[2])
        except (KeyError, TypeError) as error:
            raise AssetError(
                f"{files[0]}: found no {error}, wanted the configuration that TrustMark fetches."
            ) from error
        self.strength = strength * STRENGTHS[variant]
        self.side = DECODER_SIDES[variant]
        settings = " ".join(["trustmark/1", variant, str(strength), *map(sha256, files)])
        self.digest = hashlib.sha256(settings.encode()).hexdigest()

    def encode(self, chips: Tensor, messages: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] and (B, 100) of 0 and 1 -> the marked chips; differentiable in them.

        Raises:
            ConfigError: a wrong shape, or a message of anything but 0 and 1.
        """
        check(self.name, self.bits, chips, messages)
        small = _resized(chips, ENCODER_SIDE) * 2 - 1
        made = self.encoder(small, messages.to(chips))
        marked = small + made if getattr(self.encoder, "return_residual", False) else made
        residual = marked.clamp(-1, 1) - small
        residual = residual - residual.mean(dim=(2, 3), keepdim=True)
        # The package shrinks its residual without antialiasing, and pictures with it.
        residual = functional.interpolate(residual, size=list(chips.shape[-2:]), mode="bilinear")
        return (chips + self.strength / 2 * residual).clamp(0, 1)

    def decode(self, chips: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, 100) scores, positive reads as 1; differentiable.

        Raises:
            ConfigError: a wrong shape.
        """
        check_chips(self.name, chips)
        return self.decoder(_resized(chips, self.side) * 2 - 1)  # type: ignore[no-any-return]
