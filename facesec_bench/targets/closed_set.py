"""Closed-set recognisers: a logit for each of K people, over a recogniser's embedding or a small network of their own.

They satisfy `access.Classifier`. How they are trained is told in `closed_set_training`.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from facesec_bench.errors import ConfigError, TargetError
from facesec_bench.interfaces import CHIP_LANDMARKS, FRTarget
from facesec_bench.seeds import generator
from facesec_bench.targets.identity import state_digest, target_digest
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

    Args:
        target: embeds.
        frozen: keep its weights.
        stages: names of parts of it, as `named_modules` has them, whose outputs count as hidden; for sface some of
            convs.0 to convs.26.

    Raises:
        TargetError: the recogniser is no torch module, or has no part of such a name.
    """

    def __init__(self, target: FRTarget, frozen: bool = True, stages: Sequence[str] = ()) -> None:
        super().__init__()
        if not isinstance(target, nn.Module):
            raise TargetError(f"Found {type(target).__name__}, wanted a target that is a torch module, such as sface.")
        known = [name for name, _ in target.named_modules() if name]
        unknown = [stage for stage in stages if stage not in known]
        if unknown:
            raise TargetError(f"{target.name}: found the stages {unknown}, wanted some of: {', '.join(known)}.")
        self.target, self.frozen, self.features_out = target, frozen, target.card.dimension
        self.stages = tuple(stages)

    def hidden(self, chips: Tensor) -> list[Tensor]:
        """(B, 3, 224, 224) in [0, 1] -> what each stage gives, in the order they run, then (B, D) unit vectors."""
        found: list[Tensor] = []

        def see(module: nn.Module, given: object, output: Tensor) -> None:
            found.append(output)

        hooks = [self.target.get_submodule(stage).register_forward_hook(see) for stage in self.stages]
        try:
            last = self.target.embed(chips)
        finally:
            for hook in hooks:
                hook.remove()
        return [*found, last]


class BottleneckTrunk(nn.Module):
    """Another trunk's features as a normal distribution of few dimensions; its mean is what the last layer takes.

    Args:
        trunk: chips to features.
        width: dimensions; None takes half of the trunk's.
        noisy: the last layer takes a draw instead of the mean. Noise depends on `seed` and on the photo at 8 bits, so
            the same photo is answered alike at every look, whoever else is in its batch.
        seed: of the weights and of that noise.

    Source: Alemi et al., "Deep Variational Information Bottleneck", ICLR 2017.
    """

    def __init__(
        self, trunk: SmallTrunk | RecogniserTrunk, width: int | None = None, noisy: bool = False, seed: int = 0
    ) -> None:
        super().__init__()
        self.features_out = trunk.features_out // 2 if width is None else width
        if self.features_out < 1:
            raise ConfigError(f"bottleneck: found width {width}, wanted 1 or more, or null for half of the features.")
        self.trunk, self.noisy, self.seed = trunk, noisy, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.statistics = nn.Linear(trunk.features_out, 2 * self.features_out)

    def distribution(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, F) of the trunk -> mean and standard deviation, (B, width) each; the latter starts near 0.007."""
        mean, spread = self.statistics(features).chunk(2, 1)
        return mean, functional.softplus(spread - 5)

    def hidden(self, chips: Tensor) -> list[Tensor]:
        """(B, 3, 224, 224) in [0, 1] -> what the trunk gives, then (B, width)."""
        found = self.trunk.hidden(chips)
        mean, deviation = self.distribution(found[-1])
        return [*found, mean + deviation * self._noise(chips) if self.noisy else mean]

    def _noise(self, chips: Tensor) -> Tensor:
        photos = (chips.detach() * 255).round().clamp(0, 255).to(torch.uint8).cpu()
        keys = [zlib.crc32(photo.numpy().tobytes()) for photo in photos]
        rows = [torch.randn(self.features_out, generator=generator(self.seed, "bottleneck", key)) for key in keys]
        return torch.stack(rows).to(chips) if rows else chips.new_zeros(0, self.features_out)


class CosineLayer(nn.Linear):
    """`scale` times the cosines between features and each person's weights."""

    def __init__(self, features: int, classes: int, scale: float) -> None:
        super().__init__(features, classes, bias=False)
        self.scale = scale

    def forward(self, input: Tensor) -> Tensor:
        """(B, F) -> (B, K)."""
        return self.scale * functional.normalize(input, dim=1) @ functional.normalize(self.weight, dim=1).T


Trunk = SmallTrunk | RecogniserTrunk | BottleneckTrunk


class ClosedSet(nn.Module):
    """A trunk and a last layer.

    Args:
        name: under which records and reports show it.
        trunk: chips to features.
        classes: K people.
        scale: logits are `scale` times cosines, as in the margin losses of face recognition; None for a linear layer.
        seed: of the weights of the last layer.

    Attributes:
        epsilon, delta: of the differential privacy with which it was trained; only there where it was.
    """

    epsilon: float
    delta: float

    def __init__(
        self,
        name: str,
        trunk: Trunk,
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
            self.last = (
                nn.Linear(trunk.features_out, classes)
                if scale is None
                else CosineLayer(trunk.features_out, classes, scale)
            )

    @property
    def digest(self) -> str:
        """sha256 of the weights as they are now, and of what else decides an answer."""
        return target_digest(state_digest(self), {"scale": self.scale, **_settings(self.trunk)}, [__name__])

    def hidden(self, chips: Tensor) -> Sequence[Tensor]:
        """(B, 3, 224, 224) in [0, 1] -> what the stages give, the last one being `features`."""
        check_range(chips)
        return self.trunk.hidden(chips)

    def features(self, chips: Tensor) -> Tensor:
        """(B, 3, 224, 224) RGB in [0, 1] -> (B, F), differentiable."""
        return self.hidden(chips)[-1]

    def head(self, features: Tensor) -> Tensor:
        """(B, F) -> (B, K) logits."""
        return self.last(features)  # type: ignore[no-any-return]

    def forward(self, chips: Tensor) -> Tensor:
        """(B, 3, 224, 224) -> (B, K) logits."""
        return self.head(self.features(chips))


def _settings(trunk: Trunk) -> dict[str, Any]:
    """What decides a trunk's features beside its weights."""
    if isinstance(trunk, BottleneckTrunk):
        return {"noisy": trunk.noisy, "seed": trunk.seed, "inner": _settings(trunk.trunk)}
    if isinstance(trunk, RecogniserTrunk):
        return {"target": str(getattr(trunk.target, "digest", ""))}
    return {}
