"""Closed-set recognisers: a logit for each of K people, over a recogniser's embedding or a small network of their own.

They satisfy `access.Classifier`. How they are trained is told in `closed_set_training`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from facesec_bench.errors import ConfigError, TargetError
from facesec_bench.interfaces import CHIP_LANDMARKS, FRTarget
from facesec_bench.targets.identity import state_digest
from facesec_bench.targets.template import Template, check_range


class SmallTrunk(nn.Module):
    """A small network for 64-pixel crops: four stages of convolution, normalisation and pooling, then 128 features.

    The crop is the chip's middle, 160 of 224 px a side: forehead to chin, without most of the hair. GroupNorm, not
    BatchNorm: a batch of few people would move its statistics, and per-photo gradients (DP-SGD) need none of them.

    Args:
        width: channels of the first stage; each further one has twice as many.
        seed: of the weights it starts with.
    """

    features_out = 128

    def __init__(self, width: int = 16, seed: int = 0) -> None:
        super().__init__()
        if width < 4 or width % 4:
            raise ConfigError(f"small trunk: found width {width}, wanted a multiple of 4.")
        channels = [3, width, 2 * width, 4 * width, 8 * width]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.stages = nn.ModuleList(
                nn.Sequential(
                    nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                    nn.GroupNorm(4, outputs),
                    nn.ReLU(),
                    nn.MaxPool2d(2),
                )
                for inputs, outputs in pairwise(channels)
            )
            self.last = nn.Linear(channels[-1] * 16, self.features_out)
        corner, edge = 32.0, 191.0
        self.template = Template([((x - corner) * 64 / 160, (y - corner) * 64 / 160) for x, y in CHIP_LANDMARKS], 64)
        assert edge - corner + 1 == 160

    def hidden(self, chips: Tensor) -> list[Tensor]:
        """(B, 3, 224, 224) in [0, 1] -> what each stage gives, then (B, 128) features."""
        found, x = [], (self.template(chips) - 0.5) / 0.25
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return [*found, self.last(x.flatten(1))]


class RecogniserTrunk(nn.Module):
    """A recogniser's embedding as features; it trains along unless `frozen`.

    Raises:
        TargetError: the recogniser is no torch module.
    """

    def __init__(self, target: FRTarget, frozen: bool = True) -> None:
        super().__init__()
        if not isinstance(target, nn.Module):
            raise TargetError(f"Found {type(target).__name__}, wanted a target that is a torch module, such as sface.")
        self.target, self.frozen, self.features_out = target, frozen, target.card.dimension

    def hidden(self, chips: Tensor) -> list[Tensor]:
        """(B, 3, 224, 224) in [0, 1] -> [(B, D) unit vectors]."""
        return [self.target.embed(chips)]


class ClosedSet(nn.Module):
    """A trunk and a last layer.

    Args:
        name: under which records and reports show it.
        trunk: chips to features.
        classes: K people.
        scale: logits are `scale` times cosines, as in the margin losses of face recognition; None for a linear layer.
        seed: of the weights of the last layer.
    """

    def __init__(
        self,
        name: str,
        trunk: SmallTrunk | RecogniserTrunk,
        classes: int,
        scale: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if classes < 2:
            raise ConfigError(f"{name}: found {classes} people, wanted two or more.")
        self.name, self.trunk, self.classes, self.scale = name, trunk, classes, scale
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.last = nn.Linear(trunk.features_out, classes, bias=scale is None)

    @property
    def digest(self) -> str:
        """sha256 of the weights as they are now."""
        return state_digest(self)

    def hidden(self, chips: Tensor) -> Sequence[Tensor]:
        """(B, 3, 224, 224) in [0, 1] -> what the stages give, the last one being `features`."""
        check_range(chips)
        return self.trunk.hidden(chips)

    def features(self, chips: Tensor) -> Tensor:
        """(B, 3, 224, 224) RGB in [0, 1] -> (B, F), differentiable."""
        return self.hidden(chips)[-1]

    def head(self, features: Tensor) -> Tensor:
        """(B, F) -> (B, K) logits."""
        if self.scale is None:
            return self.last(features)  # type: ignore[no-any-return]
        return self.scale * functional.normalize(features, dim=1) @ functional.normalize(self.last.weight, dim=1).T

    def forward(self, chips: Tensor) -> Tensor:
        """(B, 3, 224, 224) -> (B, K) logits."""
        return self.head(self.features(chips))
