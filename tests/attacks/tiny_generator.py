"""A generator small enough to check latent attacks by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facesec_bench.interfaces import CHIP_LANDMARKS

SIDE = 28


class TinyGenerator(nn.Module):
    """Layers "z" (B, 6) and "f7" (B, 5, 7, 7), an offset; paints the whole chip at an eighth of its side."""

    name = "tiny"
    resolution = SIDE
    digest = "tiny"
    landmarks = tuple(((x + 0.5) / 8 - 0.5, (y + 0.5) / 8 - 0.5) for x, y in CHIP_LANDMARKS)

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first = nn.Linear(6, 5 * 49)
            self.last = nn.ConvTranspose2d(5, 3, 4, stride=4)

    def units(self) -> dict[str, float]:
        return {"z": 1.0, "f7": 0.5}

    def mean(self, count: int, rng: torch.Generator) -> dict[str, Tensor]:
        return {"z": torch.zeros(count, 6), "f7": torch.zeros(count, 5, 7, 7)}

    def draw(self, count: int, rng: torch.Generator) -> dict[str, Tensor]:
        return self.mean(count, rng) | {"z": torch.randn(count, 6, generator=rng)}

    def synthesise(self, latent: dict[str, Tensor]) -> Tensor:
        features = torch.tanh(self.first(latent["z"])).view(-1, 5, 7, 7) + latent["f7"]
        return torch.sigmoid(self.last(features))


def squared(a: Tensor, b: Tensor) -> Tensor:
    """In place of LPIPS: a distance that needs no weights."""
    return 10 * (a - b).square().mean((1, 2, 3))
