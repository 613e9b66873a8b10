"""A recogniser fine-tuned on cloaked photos: the tracker's answer to a cloak that it knows."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from facesec_bench.errors import ConfigError, DataError, TargetError
from facesec_bench.interfaces import FRTarget
from facesec_bench.search import borrowed
from facesec_bench.targets.identity import state_digest
from facesec_bench.training import fit

_AT_ONCE = 16


@dataclass(frozen=True)
class CloakFinetuning:
    """Makes a recogniser see a cloaked photo as it saw the uncloaked one, by distillation from itself.

    Loss of a batch: mean of (1 - cos(student(x), teacher(x))) + (1 - cos(student(y), teacher(x))), y the cloaked photo.
    The first term keeps clean accuracy; no identity label is needed. The idea is that of the adaptive trainer of
    Radiya-Dixit et al., "Data Poisoning Won't Save You From Facial Recognition", ICLR 2022, who train with labels on
    photos cloaked by the public tool; who can download a cloak can make its training set.

    The recogniser trains in eval mode: BatchNorm keeps its statistics, dropout is off, as when it is judged. Its
    thresholds are its own: calibrate it anew.

    Attributes:
        suffix: the new target is called "<name>_<suffix>".
        steps: of Adam.
        batch: photos a step; twice as many embeddings.
        learning_rate: of Adam; falls to 0 along a cosine.

    Raises:
        ConfigError: a number out of range.
    """

    suffix: str = "adapted"
    steps: int = 60
    batch: int = 16
    learning_rate: float = 1e-4

    def __post_init__(self) -> None:
        if min(self.steps, self.batch) < 1 or not self.learning_rate > 0:
            raise ConfigError(
                f"cloak_finetuning: found steps {self.steps}, batch {self.batch} and learning_rate "
                f"{self.learning_rate}, wanted at least 1 of each of the first and a rate above 0."
            )

    def __call__(self, target: FRTarget, clean: Tensor, cloaked: Tensor, rng: torch.Generator) -> FRTarget:
        """A new target; the given one keeps its bits and its state.

        Args:
            target: a recogniser that is a torch module.
            clean: (N, 3, 224, 224) in [0, 1], photos of people who are neither cloaked in the test nor used in
                calibration.
            cloaked: (N, 3, 224, 224), the same photos, cloaked, as kept.
            rng: draws the batches; the same seed gives the same weights on the same machine.

        Raises:
            TargetError: the target is no torch module with parameters.
            DataError: there are no photos, or not one cloak for each.
            TrainingError: the training broke down.
        """
        if not isinstance(target, nn.Module) or not any(True for _ in target.parameters()):
            raise TargetError(
                f"cloak_finetuning: found {type(target).__name__}, wanted a target that is a torch module with "
                "parameters, such as sface; others cannot be fine-tuned."
            )
        if not len(clean) or clean.shape != cloaked.shape:
            raise DataError(
                f"cloak_finetuning: found photos {tuple(clean.shape)} and cloaks {tuple(cloaked.shape)}, wanted some "
                "dozens of photos of other people and one cloak of each."
            )
        device = next(target.parameters()).device
        with borrowed(target), torch.no_grad():
            anchors = torch.cat([target.embed(few.to(device)).cpu() for few in clean.split(_AT_ONCE)])
        student = copy.deepcopy(target)
        self._train(student, clean.cpu(), cloaked.cpu(), anchors, rng)
        student.name = f"{target.name}_{self.suffix}"
        student.card = replace(target.card, note=f"{target.card.note}; fine-tuned on cloaked photos".lstrip("; "))
        student.digest = state_digest(student)
        return cast(FRTarget, student)

    def _train(self, student: nn.Module, clean: Tensor, cloaked: Tensor, anchors: Tensor, rng: torch.Generator) -> None:
        device, recogniser = next(student.parameters()).device, cast(FRTarget, student)

        def batches(step: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
            rows = torch.randint(len(clean), (self.batch,), generator=rng, device=rng.device).cpu()
            return torch.cat([clean[rows], cloaked[rows]]).to(device), anchors[rows].repeat(2, 1).to(device)

        def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
            photos, wanted = batch
            return 2 * (1 - (recogniser.embed(photos) * wanted).sum(1)).mean()

        fit(
            student,
            batches,
            loss,
            optimiser=lambda parameters: torch.optim.Adam(parameters, lr=self.learning_rate),
            schedule=lambda rule: torch.optim.lr_scheduler.CosineAnnealingLR(rule, self.steps),
            steps=self.steps,
            rng=rng,
            train_mode=False,
        )
