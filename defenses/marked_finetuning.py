"""A recogniser fine-tuned on marked photos, plainly or adversarially (derived here from two known recipes)."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from defenses.distillation import AT_ONCE, Batch, anchors, christen, device_of, distil, trainable
from facesec_bench.errors import ConfigError, DataError
from facesec_bench.interfaces import FRTarget, Watermark
from facesec_bench.search import SignStep, borrowed, minimise
from facesec_bench.spaces import PixelBall, linf_radius
from facesec_bench.watermarks.messages import draw

_OVERSTEP = 1.25
"""Step of the single-step attack as a share of eps (Wong, Rice and Kolter, ICLR 2020, Section 5)."""


class Pairs(NamedTuple):
    """Training photos with their marked copies and where the recogniser saw them at first, in CPU memory.

    Attributes:
        clean: (N, 3, 224, 224).
        marked: (M * N, 3, 224, 224), M copies one after another, each with a random message of its own.
        anchors: (N, D) the teacher's unit embeddings of `clean`.
    """

    clean: Tensor
    marked: Tensor
    anchors: Tensor


@dataclass(frozen=True)
class MarkedFinetuning:
    """Makes a recogniser see a marked photo as it saw the unmarked one, by distillation from itself.

    `distillation.distil`, the altered photo y being the marked one, E(x, m), or with `eps_255` the worst point that one
    gradient step finds around it. Plainly it is watermark augmentation (Yao, Jain and Liu, "Hide and
    Seek", 2024, find that it helps little); with `eps_255` it is fast adversarial training (Wong, Rice and Kolter,
    "Fast is Better than Free", ICLR 2020: random start, one step of 1.25 eps) on the activation loss. In that step the
    mark is held fixed, E(x + d) taken for E(x) + d, which saves the watermarker's backward pass; an attack on the
    outcome must go through the true watermarker and the fine-tuned recogniser.

    The new recogniser's thresholds are its own: calibrate it anew.

    Attributes:
        suffix: the new target is called "<name>_<suffix>".
        steps: of Adam.
        batch: photos a step; twice as many embeddings.
        learning_rate: of Adam; falls to 0 along a cosine.
        messages: marked copies of each training photo, made once, as a watermarker costs more than a recogniser; more
            copies than steps x batch are not used up.
        eps_255: L-inf radius of the adversarial step in grey levels out of 255, in chip pixels; None trains plainly.

    Raises:
        ConfigError: a number out of range.
    """

    suffix: str = "marked"
    steps: int = 40
    batch: int = 16
    learning_rate: float = 1e-4
    messages: int = 1
    eps_255: float | None = None

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.messages) < 1 or not self.learning_rate > 0:
            raise ConfigError(
                f"marked_finetuning: found steps {self.steps}, batch {self.batch}, messages {self.messages} and "
                f"learning_rate {self.learning_rate}, wanted at least 1 of each of the first and a rate above 0."
            )
        if self.eps_255 is not None and not self.eps_255 > 0:
            raise ConfigError(f"marked_finetuning: found eps_255 {self.eps_255}, wanted above 0, or null for none.")

    def __call__(self, target: FRTarget, watermark: Watermark, chips: Tensor, rng: torch.Generator) -> FRTarget:
        """A new target; the given one keeps its bits and its state.

        Args:
            target: a recogniser that is a torch module.
            watermark: the watermarker whose marks it shall overlook; it need not be differentiable, and runs where the
                target's weights lie.
            chips: (N, 3, 224, 224) in [0, 1], photos of people who are neither attacked nor used in calibration.
            rng: draws messages, batches and starts; the same seed gives the same weights on the same machine.

        Raises:
            TargetError: the target is no torch module with parameters.
            DataError: there are no photos.
            TrainingError: the training broke down.
        """
        trainable(target, "marked_finetuning")
        if not len(chips):
            raise DataError("marked_finetuning: found no training photos, wanted some hundred of other people.")
        with borrowed(target, watermark):
            pairs = prepare(target, watermark, chips, self.messages, rng)
        student: FRTarget = copy.deepcopy(target)
        self._train(student, pairs, rng)
        how = "plainly" if self.eps_255 is None else f"adversarially at {self.eps_255:g}/255"
        return christen(student, target, self.suffix, f"fine-tuned {how} on {watermark.name} marks")

    def _train(self, student: FRTarget, pairs: Pairs, rng: torch.Generator) -> None:
        device = device_of(student)

        def batches(step: int, rng: torch.Generator) -> Batch:
            rows = torch.randint(len(pairs.marked), (self.batch,), generator=rng, device=rng.device).cpu()
            own = rows % len(pairs.clean)
            clean, marked, seen = (
                part.to(device) for part in (pairs.clean[own], pairs.marked[rows], pairs.anchors[own])
            )
            return Batch(clean, self._hardened(student, marked, seen, rng), seen)

        distil(student, batches, steps=self.steps, learning_rate=self.learning_rate, rng=rng)

    def _hardened(self, student: FRTarget, marked: Tensor, anchors: Tensor, rng: torch.Generator) -> Tensor:
        """(B, 3, H, W) -> where one step from a random start in the ball makes the student see someone else."""
        if self.eps_255 is None:
            return marked
        space = PixelBall(marked, linf_radius(self.eps_255), "linf", random_start=True)
        rule = SignStep(_OVERSTEP * space.radius)
        return minimise(lambda images: (student.embed(images) * anchors).sum(1), space, rule, 1, rng)


@torch.no_grad()
def prepare(target: FRTarget, watermark: Watermark, chips: Tensor, messages: int, rng: torch.Generator) -> Pairs:
    """Mark each chip `messages` times and embed it once, a few at a time where the target's weights lie.

    Args:
        chips: (N, 3, 224, 224) in [0, 1], anywhere.
        messages: marked copies of each.
        rng: draws the messages.
    """
    device, chips = device_of(target), chips.cpu()
    words = draw(messages * len(chips), watermark.bits, rng).to(chips)
    copies = zip(chips.repeat(messages, 1, 1, 1).split(AT_ONCE), words.split(AT_ONCE), strict=True)
    marked = torch.cat([watermark.encode(few.to(device), message.to(device)).cpu() for few, message in copies])
    return Pairs(chips, marked, anchors(target, chips))
