"""A GAN that paints each of the victim's classes, trained on the public photos that the victim takes for them: the
prior of PLG-MI."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from attacks import identity_losses, jitter
from attacks.identity_losses import Margin
from attacks.inversion_gan_keeping import kept, recipe
from attacks.inversion_gan_losses import hinge, pseudo_labels
from attacks.inversion_gan_networks import ConditionalDCGAN, ProjectionCritic, fixed
from attacks.inversion_gan_priors import ConditionalPrior
from attacks.inversion_gan_training import Duel, Turn, alternate, answers, check, drawn_seed, framed, rows, seeded
from attacks.jitter import Jitter
from facesec_bench.access import ClassifierAccess
from facesec_bench.generators.dcgan import DCGAN
from facesec_bench.generators.frame import Frame
from facesec_bench.training import Point


@dataclass(frozen=True)
class PseudoLabelGan:
    """PLG-MI's prior: a GAN that paints each class, whose examples are the public photos that the victim takes for it
    (Yuan et al., AAAI 2023).

    The paper trains residual networks from nothing for 30000 steps, which needs a GPU. Here the generator is a DCGAN
    that can paint faces already, with a gain and a bias for each class, so that some hundred steps on a CPU tell
    classes apart; and the critic is small.

    Attributes:
        generator: a DCGAN; a copy of it is trained.
        top: public photos for each class.
        alpha: weight of the victim's margin loss in the generator's; 0 asks the victim for pseudo-labels alone.
        augment: view under which the victim sees a picture in training. The paper crops 80 to 100 % of the area, turns
            by 5 degrees, mirrors, and changes colours by 20 %; here brightness stands for colours.
        box: greatest absolute latent in the attack; None as in the paper.
        reach: how much faster gains and biases move than weights.
        width: of the critic; the paper has 64.
        how: steps, batch and rate.
    """

    generator: DCGAN = field(default_factory=DCGAN)
    top: int = 30
    alpha: float = 0.2
    augment: Jitter = field(
        default_factory=lambda: Jitter(rotation=0.087, shift=0.1, scale=0.1, flip=0.5, brightness=0.2)
    )
    box: float | None = None
    reach: float = 10.0
    width: int = 32
    how: Duel = field(default_factory=lambda: Duel(betas=(0.0, 0.9)))

    def bind(self, victim: ClassifierAccess, public: Tensor, rng: torch.Generator) -> ConditionalPrior:
        """See `PriorMaker`; takes one draw of `rng`, asks the victim once for each public photo and, with gradients,
        once for each picture of the generator's steps.

        Raises:
            AccessError: the victim is no white box, or its budget is spent.
            ConfigError: a generator that is no DCGAN.
            DataError: fewer than `top` photos.
        """
        check("PseudoLabelGan", public, alpha=self.alpha, reach=self.reach)
        seed = drawn_seed(rng)
        generator = ConditionalDCGAN(self.generator, victim.classes, self.reach).to(public.device)
        examples = pseudo_labels(answers(victim, public), self.top).cpu()
        with seeded(seed):
            critic = ProjectionCritic(self.generator.resolution, victim.classes, self.width).to(public.device)
        laid = Frame(self.generator.landmarks, self.generator.resolution).to(public.device)
        settings = self._settings() | {
            "victim": [victim.name, victim.digest],
            "examples": examples.tolist(),
        }
        digest = kept(
            "pseudo_label_gan",
            recipe(seed, public, settings, type(self), identity_losses, jitter),
            {"generator": generator},
            lambda: self._train(critic, generator, laid, public, examples, victim, seed),
            victim.meter,
        )
        return ConditionalPrior(generator, laid, "pseudo_label_gan", digest, self.box)

    def _settings(self) -> dict[str, Any]:
        return {
            "generator": self.generator.digest,
            "alpha": self.alpha,
            "augment": asdict(self.augment),
            "reach": self.reach,
            "width": self.width,
            "how": self.how.settings(),
        }

    def _train(
        self,
        critic: ProjectionCritic,
        generator: ConditionalDCGAN,
        laid: Frame,
        public: Tensor,
        examples: Tensor,
        victim: ClassifierAccess,
        seed: int,
    ) -> list[Point]:
        photos, count = framed(public, laid), self.how.batch
        rng = torch.Generator().manual_seed(seed)
        margin = Margin().bind(victim, public, rng)

        def draw(turn: Turn, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            real_of, fake_of = rows(len(examples), count, rng), rows(len(examples), count, rng)
            which = rows(self.top, count, rng)
            z = torch.randn((count, generator.latent), generator=rng)
            parts = (photos[examples[real_of, which]], real_of, z, fake_of)
            return tuple(part.to(photos.device) for part in parts)  # type: ignore[return-value]

        def critic_loss(batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
            real, real_of, z, fake_of = batch
            with torch.no_grad():
                fake = generator(z, fake_of)
            scores = critic(torch.cat([real, fake]), torch.cat([real_of, fake_of]))
            return hinge(*scores.split(count))

        def generator_loss(batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
            _, _, z, people = batch
            pictures = generator(z, people)
            unreal = -fixed(critic, pictures, people).mean()
            if self.alpha == 0:
                return unreal
            chips = self.augment.seen(laid.to_chip(pictures).clamp(0, 1), rng)
            return unreal + self.alpha * margin(chips, people).mean()

        losses = {"critic": critic_loss, "generator": generator_loss}
        return alternate(critic, generator, draw, losses, self.how, rng)  # type: ignore[arg-type]
