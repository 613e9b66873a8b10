"""Random frequencies: a recogniser that is shown a face only in part of its fine detail (PartialFace)."""

from __future__ import annotations

import copy
import math
import zlib
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from torch import Tensor, nn

from defenses.distillation import Batch, anchors, device_of, distil, trainable
from facesec_bench.errors import ConfigError, DataError
from facesec_bench.interfaces import FRTarget
from facesec_bench.seeds import generator
from facesec_bench.targets.identity import state_digest, target_digest
from facesec_bench.targets.template import check_range

_SIDE = 8
_CHANNELS = _SIDE**2


@dataclass(frozen=True)
class RandomFrequency:
    """Wraps a recogniser: low frequencies go, and of the others a random choice stays.

    A chip is cut into blocks of 8 x 8 pixels; each is written as cosines; the lowest frequencies, which the eye lives
    by, are left out, and of the rest `keep` stay, the same in all blocks and colours. What is left, around middle grey,
    goes to the recogniser.

    Source: Mi et al., "Privacy-Preserving Face Recognition Using Random Frequency Components", ICCV 2023. There the
    recogniser takes frequencies, not a picture, and is trained on them; here any recogniser serves, and a short
    distillation takes the place of that training.

    Attributes:
        low: how many frequencies are left out, along the diagonals from the block's mean, which always goes.
        keep: how many of the other 64 - `low` stay.
        key: "photo" chooses for each photo, by its pixels at 8 bits; "one" makes one choice for all.
        seed: of the choice; the system keeps it to itself.
        steps: of the distillation; 0 leaves the recogniser as it is.
        batch: photos a step; twice as many embeddings.
        learning_rate: of Adam; falls to 0 along a cosine.

    Raises:
        ConfigError: a number out of range.
    """

    low: int = 1
    keep: int = 56
    key: Literal["photo", "one"] = "photo"
    seed: int = 0
    steps: int = 0
    batch: int = 8
    learning_rate: float = 1e-4

    def __post_init__(self) -> None:
        if not 1 <= self.low < _CHANNELS or not 1 <= self.keep <= _CHANNELS - self.low:
            raise ConfigError(
                f"random_frequency: found low {self.low} and keep {self.keep}, wanted 1 to {_CHANNELS - 1}, and 1 to "
                f"{_CHANNELS} less low."
            )
        if self.key not in ("photo", "one") or self.steps < 0 or self.batch < 1 or not self.learning_rate > 0:
            raise ConfigError(
                f"random_frequency: found {self}, wanted the key 'photo' or 'one', steps of 0 or more, and a batch and "
                "a rate above 0."
            )

    def __call__(
        self, target: FRTarget, chips: Tensor | None = None, rng: torch.Generator | None = None
    ) -> PartialTarget:
        """A new target, "<name>_partial"; the given one keeps its bits. Calibrate it anew.

        Args:
            target: any; a torch module where it is to be taught.
            chips: (N, 3, 224, 224) photos of other people, for the distillation; unused without.
            rng: draws batches and choices for it; None takes one of `seed`.

        Raises:
            TargetError: it cannot be taught.
            DataError: there are no photos to teach it with.
        """
        inner = copy.deepcopy(target)
        if self.steps:
            if chips is None or len(chips) < 2:
                raise DataError("random_frequency: found no photos to teach with, wanted some dozens of other people.")
            self._teach(inner, target, chips.cpu(), rng or generator(self.seed, "frequency distillation"))
        return PartialTarget(inner, self.low, self.keep, self.key, self.seed)

    def _teach(self, student: FRTarget, teacher: FRTarget, chips: Tensor, rng: torch.Generator) -> None:
        trainable(teacher, "random_frequency")
        device, seen = device_of(teacher), anchors(teacher, chips)

        def batches(step: int, rng: torch.Generator) -> Batch:
            rows = torch.randint(len(chips), (self.batch,), generator=rng, device=rng.device).cpu()
            one, two = (filtered(chips[rows], choices(self.batch, self.low, self.keep, rng)) for _ in range(2))
            return Batch(one.to(device), two.to(device), seen[rows].to(device))

        distil(student, batches, steps=self.steps, learning_rate=self.learning_rate, rng=rng, relations=5.0)
        student.digest = state_digest(cast(nn.Module, student))


class PartialTarget(nn.Module):
    """The recogniser behind the filter; arguments as the attributes of `RandomFrequency`."""

    def __init__(self, target: FRTarget, low: int, keep: int, key: str = "photo", seed: int = 0) -> None:
        super().__init__()
        self.target, self.low, self.keep, self.key, self.seed = target, low, keep, key, seed
        self.name = f"{target.name}_partial"
        note = f"sees {keep} of the {_CHANNELS - low} upper block frequencies, chosen at random"
        self.card = replace(target.card, note=f"{target.card.note}; {note}".lstrip("; "))
        self.digest = target_digest(target.digest, {"low": low, "keep": keep, "key": key, "seed": seed}, [__name__])

    def seen(self, chips: Tensor) -> Tensor:
        """(B, 3, 224, 224) in [0, 1] -> what the recogniser is shown, the same shape and range."""
        return filtered(chips, self._choices(chips).to(chips))

    def embed(self, chips: Tensor) -> Tensor:
        """(B, 3, 224, 224) RGB in [0, 1] -> (B, D) unit vectors, differentiable; the choice of frequencies is not."""
        check_range(chips)
        return self.target.embed(self.seen(chips))

    def _choices(self, chips: Tensor) -> Tensor:
        if self.key == "one":
            return choices(1, self.low, self.keep, generator(self.seed, "frequencies")).expand(len(chips), -1, -1)
        photos = (chips.detach() * 255).round().clamp(0, 255).to(torch.uint8).cpu()
        keys = [zlib.crc32(photo.numpy().tobytes()) for photo in photos]
        rows = [choices(1, self.low, self.keep, generator(self.seed, "frequencies", key)) for key in keys]
        return torch.cat(rows) if rows else torch.zeros(0, _SIDE, _SIDE)


def choices(count: int, low: int, keep: int, rng: torch.Generator) -> Tensor:
    """(count, 8, 8) of 0 and 1: `keep` random ones among all but the `low` lowest frequencies."""
    order = sorted(range(_CHANNELS), key=lambda c: (c // _SIDE + c % _SIDE, c))
    upper = torch.tensor(order[low:])
    found = torch.zeros(count, _CHANNELS)
    for row in found:
        row[upper[torch.randperm(len(upper), generator=rng, device=rng.device).cpu()[:keep]]] = 1
    return found.view(count, _SIDE, _SIDE)


def filtered(chips: Tensor, kept: Tensor) -> Tensor:
    """(B, 3, H, W), sides multiples of 8, and (B, 8, 8) of 0 and 1 -> these frequencies of every block around 0.5."""
    basis = cosines().to(chips)
    b, c, h, w = chips.shape
    blocks = chips.view(b, c, h // _SIDE, _SIDE, w // _SIDE, _SIDE).transpose(3, 4)
    written = basis @ blocks @ basis.T * kept.to(chips).view(b, 1, 1, 1, _SIDE, _SIDE)
    return (basis.T @ written @ basis).transpose(3, 4).reshape(b, c, h, w).add(0.5).clamp(0, 1)


def cosines() -> Tensor:
    """(8, 8): the orthonormal cosine transform (DCT-II), a frequency a row."""
    place, frequency = torch.arange(_SIDE) + 0.5, torch.arange(_SIDE)[:, None]
    rows = (math.pi / _SIDE * frequency * place).cos() * math.sqrt(2 / _SIDE)
    rows[0] /= math.sqrt(2)
    return rows
