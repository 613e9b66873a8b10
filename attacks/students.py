"""Students: classifiers that learn to answer as the victim does, so that a picture is not made for the victim's
weights alone (LOMMA's model augmentation: Nguyen et al., CVPR 2023, Eq. 5)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from attacks.identity_losses import IdentityLoss, LogitLoss
from facesec_bench.access import ClassifierAccess
from facesec_bench.closed_set_training import Schooling, imitate
from facesec_bench.errors import ConfigError
from facesec_bench.targets.closed_set import ClosedSet, CosineLayer, RecogniserTrunk, SmallTrunk

_AT_ONCE = 32


@dataclass(frozen=True)
class Students:
    """Taught by the victim's answers on public photos; no private photo is seen.

    The paper's students are three EfficientNets that know ImageNet; here they are the trunks given, such as small
    networks of several widths, or a public recogniser that the evaluator is not.

    Attributes:
        trunks: one for each student; copied, so the given ones keep their bits.
        how: how long and how fast.
        scale: logits are so many times cosines, so that a student pulls no harder than a victim of that scale does;
            None for a linear layer.
        temperature: victim's and students' logits are divided by it while they learn (Hinton et al., 2015); the paper
            has 1. At 1 a victim whose logits are 64 cosines tells a student hardly more than its first guess.
        loss: taken on each student; the paper regularises features on the victim only.

    Raises:
        ConfigError: no trunk, a temperature not above 0, or one other than 1 for a linear layer.
    """

    trunks: Sequence[SmallTrunk | RecogniserTrunk]
    how: Schooling = field(default_factory=lambda: Schooling(steps=400, learning_rate=3e-3))
    scale: float | None = 64.0
    temperature: float = 1.0
    loss: IdentityLoss = field(default_factory=lambda: LogitLoss(weight=0.0))

    def __post_init__(self) -> None:
        if not self.trunks:
            raise ConfigError("students: found no trunk, wanted one for each student.")
        if not self.temperature > 0 or (self.scale is None and self.temperature != 1):
            raise ConfigError(
                f"students: found temperature {self.temperature} and scale {self.scale}, wanted a temperature above 0, "
                "and 1 for a linear layer, which finds its own scale."
            )

    @property
    def uses(self) -> tuple[str, ...]:
        """Names of the recognisers that students are made of: a picture was fitted to them too."""
        return tuple(trunk.target.name for trunk in self.trunks if isinstance(trunk, RecogniserTrunk))

    def __call__(
        self, victim: ClassifierAccess, public: Tensor, rng: torch.Generator
    ) -> list[tuple[ClassifierAccess, IdentityLoss]]:
        """The students, each as a white box of its own, and the loss on them.

        Args:
            victim: asked once for every public photo.
            public: (N, 3, 224, 224) photos of other people.
            rng: draws weights and batches.

        Raises:
            AccessError: the victim gives no logits.
        """
        with torch.no_grad():
            logits = torch.cat([victim.logits(few) for few in public.split(_AT_ONCE)])
        answers = (logits / self.temperature).softmax(1).cpu()
        return [
            (self._taught(i, trunk, victim, public, answers, rng), self.loss) for i, trunk in enumerate(self.trunks)
        ]

    def _taught(
        self,
        place: int,
        trunk: SmallTrunk | RecogniserTrunk,
        victim: ClassifierAccess,
        public: Tensor,
        answers: Tensor,
        rng: torch.Generator,
    ) -> ClassifierAccess:
        seed = int(torch.randint(2**31, (), generator=rng, device=rng.device))
        soft = None if self.scale is None else self.scale / self.temperature
        student = ClosedSet(f"{victim.name}_student_{place}", copy.deepcopy(trunk), victim.classes, soft, seed)
        student = student.to(public.device)
        imitate(student, public, answers, self.how, rng)
        if isinstance(student.last, CosineLayer) and self.scale is not None:
            student.scale = student.last.scale = self.scale
        # Its own search shall not change it; `minimise` asks for gradients in the picture only.
        for parameter in student.parameters():
            parameter.requires_grad_(False)
        return ClassifierAccess(student.eval(), "white")
