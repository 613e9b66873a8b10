"""DCGAN: the embedded default face generator, 64x64 (Radford et al., ICLR 2016; trained on the DigiFace faces)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from facesec_bench.asset_weights import install_weights, load_weights
from facesec_bench.generators.latents import check_latent
from facesec_bench.interfaces import Latent

LATENT = 100
"""Length of a latent."""

_CHANNELS = (LATENT, 512, 256, 128, 64, 3)

SHAPES: dict[str, tuple[int, ...]] = {
    "z": (LATENT,),
    "f4": (512, 4, 4),
    "f8": (256, 8, 8),
    "f16": (128, 16, 16),
}
"""The layers and the shape of one image's row: the latent, then offsets to the feature maps of those sides."""


class DCGAN(nn.Module):
    """The generator `dcgan`: five transposed convolutions with BatchNorm folded in. An `interfaces.ImageGenerator`.

    A latent z ~ N(0, 1) is an identity, and z + s * noise another photo of it: the SFace similarity is 0.95 at s = 0.1,
    0.86 at 0.2, 0.77 at 0.3 and 0.62 at 0.5, against 0.19 (sd 0.11) between different latents.

    Args:
        weights: path of a safetensors file laid out like the converted asset; None takes the asset `dcgan`.
    """

    name = "dcgan"
    resolution = 64
    # Means over the 295 of 300 random images in which YuNet finds a face, made symmetric; they scatter by about 2 px.
    landmarks = ((22.4, 29.7), (40.6, 29.7), (31.5, 40.9), (24.1, 50.3), (38.9, 50.3))

    def __init__(self, weights: str | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ConvTranspose2d(inputs, outputs, 4, stride=1 if i == 0 else 2, padding=0 if i == 0 else 1)
            for i, (inputs, outputs) in enumerate(pairwise(_CHANNELS))
        )
        tensors, self.digest = load_weights("dcgan", weights)
        install_weights(self, tensors, "dcgan")

    def generate(self, z: Tensor) -> Tensor:
        """(B, 100) latents, N(0, 1) -> (B, 3, 64, 64) RGB in [0, 1], differentiable in z.

        Raises:
            ValueError: another shape.
        """
        if z.ndim != 2 or z.shape[1] != LATENT:
            raise ValueError(f"DCGAN wants latents (B, {LATENT}); found {tuple(z.shape)}.")
        return self._paint(z, ())

    def draw(self, count: int, rng: torch.Generator) -> dict[str, Tensor]:
        """z ~ N(0, 1) and offsets of 0 for `count` images, see `interfaces.ImageGenerator`."""
        latent = self.mean(count, rng)
        z = torch.randn(latent["z"].shape, generator=rng, device=rng.device)
        return latent | {"z": z.to(latent["z"])}

    def mean(self, count: int, rng: torch.Generator) -> dict[str, Tensor]:
        """Zeros: the centre of the latents, and no offset. Draws nothing."""
        like = next(self.parameters())
        return {
            layer: torch.zeros(count, *shape, device=like.device, dtype=like.dtype) for layer, shape in SHAPES.items()
        }

    @torch.no_grad()
    def units(self) -> dict[str, float]:
        """1 for z; for offsets the standard deviation of the feature map they are added to, over 64 latents."""
        x = torch.randn(64, LATENT, 1, 1, generator=torch.Generator().manual_seed(0)).to(next(self.parameters()))
        found = {"z": 1.0}
        for name, layer in zip(list(SHAPES)[1:], self.layers[:-1], strict=False):
            x = torch.relu(layer(x))
            found[name] = float(x.std())
        return found

    def synthesise(self, latent: Latent) -> Tensor:
        """z and offsets, added to the feature maps after their ReLU -> (B, 3, 64, 64) RGB in [0, 1].

        With offsets of 0 it is `generate(z)` to the bit. Differentiable in the latent and the weights.

        Raises:
            ValueError: a missing or unknown layer, or a wrong shape.
        """
        check_latent(self.name, latent, SHAPES)
        return self._paint(latent["z"], [latent[layer] for layer in SHAPES if layer != "z"])

    def values(self, latent: Latent) -> dict[str, Tensor]:
        """What each layer is: z itself, and the feature maps with their offsets, (B, ...) as in SHAPES."""
        check_latent(self.name, latent, SHAPES)
        found, x = {"z": latent["z"]}, latent["z"][:, :, None, None]
        for name, layer in zip(list(SHAPES)[1:], self.layers[:-1], strict=False):
            x = found[name] = torch.relu(layer(x)) + latent[name]
        return found

    def _paint(self, z: Tensor, offsets: tuple[Tensor, ...] | list[Tensor]) -> Tensor:
        x = z[:, :, None, None]
        for i, layer in enumerate(self.layers[:-1]):
            x = torch.relu(layer(x))
            if i < len(offsets):
                x = x + offsets[i]
        return (torch.tanh(self.layers[-1](x)) + 1) / 2
