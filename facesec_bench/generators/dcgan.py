"""DCGAN: the embedded default face generator, 64x64 (Radford et al., ICLR 2016; trained on the DigiFace faces)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from facesec_bench.asset_weights import install_weights, load_weights

LATENT = 100
"""Length of a latent."""

_CHANNELS = (LATENT, 512, 256, 128, 64, 3)


class DCGAN(nn.Module):
    """Five transposed convolutions with BatchNorm folded in.

    A latent z ~ N(0, 1) is an identity, and z + s * noise another photo of it: the SFace similarity is 0.95 at s = 0.1,
    0.86 at 0.2, 0.77 at 0.3 and 0.62 at 0.5, against 0.19 (sd 0.11) between different latents.

    Args:
        weights: path of a safetensors file laid out like the converted asset; None takes the asset `dcgan`.
    """

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
        x = z[:, :, None, None]
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return (torch.tanh(self.layers[-1](x)) + 1) / 2
