"""A recogniser fine-tuned on cloaked photos: the tracker's answer to a cloak that it knows."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from defenses.distillation import Batch, anchors, christen, device_of, distil, trainable
from facesec_bench.errors import ConfigError, DataError
from facesec_bench.interfaces import FRTarget


@dataclass(frozen=True)
class CloakFinetuning:
    """Makes a recogniser see a cloaked photo as it saw the uncloaked one, by distillation from itself.

    `distillation.distil`, the altered photo being the cloaked one, every other step mirrored. Cosines are counted from
    the mean of the uncloaked photos, and those among the photos of a batch are kept too: without, a recogniser taught
    by a few dozen photos takes everybody for everybody else. The idea is that of the adaptive trainer of Radiya-Dixit
    et al., "Data Poisoning Won't Save You From Facial Recognition", ICLR 2022, who train with labels on photos cloaked
    by the public tool; who can download a cloak can make its training set. The new recogniser's thresholds are its own:
    calibrate it anew.

    Attributes:
        suffix: the new target is called "<name>_<suffix>".
        steps: of Adam.
        batch: photos a step; twice as many embeddings.
        learning_rate: of Adam; falls to 0 along a cosine.
        relations: weight of the cosines among the photos of a batch, see `distillation.distil`.

    Raises:
        ConfigError: a number out of range.
    """

    suffix: str = "adapted"
    steps: int = 100
    batch: int = 16
    learning_rate: float = 2e-5
    relations: float = 5.0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch) < 1 or not self.learning_rate > 0 or not self.relations >= 0:
            raise ConfigError(
                f"cloak_finetuning: found steps {self.steps}, batch {self.batch}, learning_rate {self.learning_rate} "
                f"and relations {self.relations}, wanted at least 1 of each of the first two, a rate above 0 and a "
                "weight of 0 or more."
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
            DataError: there are fewer than two photos, or not one cloak for each.
            TrainingError: the training broke down.
        """
        trainable(target, "cloak_finetuning")
        if len(clean) < 2 or clean.shape != cloaked.shape:
            raise DataError(
                f"cloak_finetuning: found photos {tuple(clean.shape)} and cloaks {tuple(cloaked.shape)}, wanted some "
                "dozens of photos of other people and one cloak of each."
            )
        device, clean, cloaked = device_of(target), clean.cpu(), cloaked.cpu()
        student, seen = copy.deepcopy(target), [anchors(target, chips) for chips in (clean, clean.flip(-1))]

        def batches(step: int, rng: torch.Generator) -> Batch:
            rows = torch.randperm(len(clean), generator=rng, device=rng.device)[: self.batch].cpu()
            x, y, mirrored = clean[rows], cloaked[rows], step % 2
            if mirrored:
                x, y = x.flip(-1), y.flip(-1)
            return Batch(*(part.to(device) for part in (x, y, seen[mirrored][rows])))

        distil(
            student,
            batches,
            steps=self.steps,
            learning_rate=self.learning_rate,
            rng=rng,
            centre=seen[0].mean(0).to(device),
            relations=self.relations,
        )
        return christen(student, target, self.suffix, "fine-tuned on cloaked photos")
