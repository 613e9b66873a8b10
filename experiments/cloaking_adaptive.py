"""The tracker who knows the cloak: makes cloaks of other people, adapts the recogniser, and looks again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.cloaking_judge import Judge
from experiments.cloaking_training import Training
from experiments.setting import Setting, embed_roles
from facesec_bench.errors import FacesecError
from facesec_bench.interfaces import Evasion, FRTarget
from facesec_bench.progress import track
from facesec_bench.protocols import cloaking
from facesec_bench.protocols.calibration import calibrate
from facesec_bench.protocols.crafting import Entry, as_kept, craft
from facesec_bench.protocols.embedding import embed_all
from facesec_bench.records import Outcome, Record
from facesec_bench.seeds import generator

Retrainer = Callable[[FRTarget, Tensor, Tensor, torch.Generator], FRTarget]
"""(target, photos (N, 3, 224, 224), their cloaks, rng) -> a new target: the config group `retrainer`."""


@dataclass(frozen=True)
class Tracker:
    """Adapts every victim to one method at a time.

    Attributes:
        setting: what thresholds are calibrated on.
        owned: names of the recognisers that the tracker crafts on, the victims included.
        training: photos of other people.
        far, fars: the rate that judges, and all that are calibrated.
    """

    judge: Judge
    setting: Setting
    owned: tuple[str, ...]
    retrainer: Retrainer
    training: Training
    far: float
    fars: tuple[float, ...]

    def __call__(
        self, name: str, method: Evasion, kept: Mapping[str, Tensor], failed: Callable[[str, FacesecError], None]
    ) -> Outcome:
        """Adapt to one method: its cloaks of other people are made once and shared by all victims.

        Args:
            name: the method's, with its budget.
            kept: by victim, the test cloaks that the victim is to judge again.
            failed: told of a victim on which something could not run; the others go on.

        Raises:
            FacesecError: the method cannot cloak the training photos.
        """
        outcome = Outcome()
        if not kept:  # the method could not run, and said so
            return outcome
        clean, cloaked = self._training_cloaks(name, method)
        for victim, images in track(list(kept.items()), f"adapting to {name}"):
            try:
                rng = generator(self.judge.fixed.seed, "retrain", name, victim)
                adapted = self.retrainer(self.judge.fixed.targets[victim], clean, cloaked, rng)
                part = self._judged(name, victim, adapted, images)
            except FacesecError as error:
                failed(victim, error)
                continue
            outcome.records += part.records
            outcome.scores |= part.scores
        return outcome

    def _training_cloaks(self, name: str, method: Evasion) -> tuple[Tensor, Tensor]:
        """(photos of other people, their cloaks), (N, 3, 224, 224) as kept."""
        e, faces, roles = self.judge.fixed, self.training.data.faces, self.training.roles
        entry = Entry(name, method, self.owned, (), None)
        chips = craft(entry, faces, roles, "dodge", e.targets, seed=e.seed, batch_size=e.batch_size, device=e.device)
        return faces.images[list(roles.sources)], as_kept(chips)

    def _judged(self, name: str, victim: str, adapted: FRTarget, images: Tensor) -> Outcome:
        e, outcome = self.judge.fixed, Outcome()
        data, known = self.setting.calibrated_on, e.clean[victim]
        everyone = embed_all(adapted, data.faces.images, device=e.device, batch_size=e.batch_size)
        found = calibrate(adapted, data, everyone, sorted({*self.fars, self.far}, reverse=True))
        for measure, score in found.measures().items():  # beside, not among, the victim's own
            outcome.whole_set(f"adapted_{measure}", name, victim, score)
        threshold = found.threshold(self.far)
        clean = embed_roles(adapted, self.setting.dataset, e.roles, e.device, e.batch_size)
        embedded = embed_all(adapted, images, device=e.device, batch_size=e.batch_size)

        def judged(sources: Tensor, enrolled: Tensor, at: float) -> list[Record]:
            return cloaking.success(
                e.faces, e.roles, "dodge", sources, enrolled, method=name, victim=victim, threshold=at
            )

        outcome.records += [r._replace(measure=f"adaptive_{r.measure}") for r in judged(embedded, clean, threshold)]
        rows = list(e.roles.sources)
        # A clean pair that is rejected more often than before is a genuine one lost.
        before, after = (
            cloaking.only_psr(found, "dodge", "adaptive_tar_cost")
            for found in (judged(known[rows], known, e.thresholds[victim]), judged(clean[rows], clean, threshold))
        )
        outcome.records += [now._replace(value=now.value - then.value) for then, now in zip(before, after, strict=True)]
        outcome.records += cloaking.protection(
            e.faces, e.roles, embedded, clean, measure=cloaking.PROTECTION[2], method=name, victim=victim
        )
        return outcome
