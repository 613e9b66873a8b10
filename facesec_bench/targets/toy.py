"""A toy target: the interface of a face recogniser, none of its skill. For tests, by name only."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn
from torch.nn import functional

from facesec_bench.interfaces import TargetCard
from facesec_bench.seeds import numpy_generator
from facesec_bench.targets.template import check_range


class ToyTarget(nn.Module):
    """A small fixed random embedder, differentiable, fast and the same on every machine.

    It pools the chip, standardises it, and sends it through two random layers. Smooth images that look alike embed
    alike, and a gradient attack of a few grey levels moves the embedding, so attacks and protocols can be tried on it
    without any weights. It knows nothing of faces: no figure obtained on it says anything about a recogniser.

    Args:
        seed: draws the random layers; two seeds give two targets that do not agree (surrogate and victim).
        name: the name under which records and reports show it.
    """

    def __init__(self, seed: int = 0, name: str = "toy") -> None:
        super().__init__()
        self.name = name
        rng = numpy_generator(seed, "toy target")
        first = torch.from_numpy(rng.standard_normal((12, 3, 5, 5)).astype("float32"))
        # Zero-mean filters see edges, not brightness: that is what makes a recogniser (and this toy) easy to attack.
        self.first = nn.Parameter(functional.normalize((first - first.mean((2, 3), keepdim=True)).flatten(1)))
        second = torch.from_numpy(rng.standard_normal((64, 12 * 12 * 12)).astype("float32"))
        self.second = nn.Parameter(second / second.shape[1] ** 0.5)
        self.card = TargetCard(
            dimension=64,
            input_size=48,
            preprocessing="average pooling to 48 x 48, each chip standardised",
            template="the whole chip",
            metric="cosine",
            licence="MIT (random weights)",
            note="TOY target with random weights: its numbers say nothing about face recognition.",
        )
        self.digest = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in self.parameters())).hexdigest()
        self.eval()

    def embed(self, chips: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1] -> (B, 64) unit vectors; H and W at least 48."""
        check_range(chips)
        fits = chips.shape[-2] == chips.shape[-1] and chips.shape[-1] % 48 == 0
        # The same pooling either way; the adaptive one is four times as slow and chips (224) do not need it.
        small = (
            functional.avg_pool2d(chips, chips.shape[-1] // 48) if fits else functional.adaptive_avg_pool2d(chips, 48)
        )
        centred = small - small.mean((1, 2, 3), keepdim=True)
        # The floor keeps a flat image (a hypothesis favourite) from dividing by zero.
        standard = centred / centred.square().mean((1, 2, 3), keepdim=True).add(1e-4).sqrt()
        edges = functional.conv2d(standard, self.first.view(12, 3, 5, 5), stride=4, padding=2)
        # The shift gives a flat image, which has no edges, a unit vector too.
        features = torch.tanh(edges + 0.1).flatten(1) @ self.second.T
        return functional.normalize(features, dim=1)

    def forward(self, chips: Tensor) -> Tensor:
        """`embed`, so that the target can be used as a plain torch module."""
        return self.embed(chips)
