"""A recogniser taught to see altered photos as it saw the unaltered ones: what fine-tuning defences share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from facesec_bench.errors import TargetError
from facesec_bench.interfaces import FRTarget
from facesec_bench.search import borrowed
from facesec_bench.targets.identity import state_digest
from facesec_bench.training import fit

AT_ONCE = 16
"""Photos embedded or altered together outside training."""


class Batch(NamedTuple):
    """Photos, the same ones altered, and the teacher's embeddings of the former: (B, 3, H, W) twice, (B, D)."""

    clean: Tensor
    altered: Tensor
    anchors: Tensor


def trainable(target: FRTarget, whose: str) -> nn.Module:
    """The target as what it must be to be trained.

    Raises:
        TargetError: it is no torch module with parameters.
    """
    if not isinstance(target, nn.Module) or not any(True for _ in target.parameters()):
        raise TargetError(
            f"{whose}: found {type(target).__name__}, wanted a target that is a torch module with parameters, such as "
            "sface; others cannot be fine-tuned."
        )
    return target


def device_of(target: FRTarget) -> torch.device:
    """Where a target's weights lie."""
    return next(cast(nn.Module, target).parameters()).device


@torch.no_grad()
def anchors(target: FRTarget, chips: Tensor) -> Tensor:
    """(N, 3, 224, 224), anywhere -> (N, D) in CPU memory: where the teacher sees them, a few at a time."""
    with borrowed(target):
        return torch.cat([target.embed(few.to(device_of(target))).cpu() for few in chips.split(AT_ONCE)])


def distil(
    student: FRTarget,
    batches: Callable[[int, torch.Generator], Batch],
    *,
    steps: int,
    learning_rate: float,
    rng: torch.Generator,
    centre: Tensor | None = None,
    relations: float = 0.0,
) -> None:
    """Train in place on the mean of (1 - cos(student(x), anchor)) + (1 - cos(student(y), anchor)), y the altered x.

    The first term keeps clean accuracy; no identity label is needed. Adam, its rate falling to 0 along a cosine, in
    eval mode: BatchNorm keeps its statistics, dropout is off, as when the recogniser is judged.

    Args:
        centre: (D,); if given, cosines are of what is left when it is taken away. Some recognisers see all faces in one
            corner of the sphere, where every cosine is near 1 and tells little.
        relations: weight of a further term, the mean squared difference between the cosines of every two photos of the
            batch, x and y alike, under student and teacher (Tung and Mori, "Similarity-Preserving Knowledge
            Distillation", ICCV 2019, there of activations), so that strangers stay strangers.
    """

    def loss(batch: Batch) -> Tensor:
        seen = student.embed(torch.cat([batch.clean, batch.altered]))
        return departure(seen, batch.anchors.repeat(2, 1), centre, relations)

    fit(
        cast(nn.Module, student),
        batches,
        loss,
        optimiser=lambda parameters: torch.optim.Adam(parameters, lr=learning_rate),
        schedule=lambda rule: torch.optim.lr_scheduler.CosineAnnealingLR(rule, steps),
        steps=steps,
        rng=rng,
        train_mode=False,
    )


def departure(seen: Tensor, known: Tensor, centre: Tensor | None = None, relations: float = 0.0) -> Tensor:
    """What `distil` minimises: of embeddings (2B, D), seen by the student, from where they should be; (), 0 there."""
    if centre is not None:
        seen, known = (functional.normalize(part - centre, dim=1) for part in (seen, known))
    near = 2 * (1 - (seen * known).sum(1)).mean()
    return near + relations * (seen @ seen.T - known @ known.T).square().mean() if relations else near


def christen(student: FRTarget, target: FRTarget, suffix: str, note: str) -> FRTarget:
    """Name the trained copy of `target`: "<name>_<suffix>", a card that says what was done, a digest of its own."""
    student.name = f"{target.name}_{suffix}"
    student.card = replace(target.card, note=f"{target.card.note}; {note}".lstrip("; "))
    student.digest = state_digest(cast(nn.Module, student))
    return student
