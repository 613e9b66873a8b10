"""GANs trained for an inversion on public photos, one without and one with the victim's answers; the priors of GMI and
KED-MI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from attacks.inversion_gan_keeping import kept, recipe, tensor_digest
from attacks.inversion_gan_losses import gradient_penalty, matching, semi_supervised, unlikely, wasserstein
from attacks.inversion_gan_networks import ClassCritic, Critic, fixed
from attacks.inversion_gan_priors import CriticPrior
from attacks.inversion_gan_training import (
    Duel,
    Turn,
    alternate,
    answers,
    check,
    copied,
    drawn_seed,
    framed,
    rows,
    seeded,
)
from attacks.inversion_priors import GeneratorPrior
from facesec_bench.access import ClassifierAccess
from facesec_bench.generators.dcgan import DCGAN
from facesec_bench.interfaces import ImageGenerator
from facesec_bench.training import Point


@dataclass(frozen=True)
class GeneralGan:
    """GMI's prior: a WGAN-GP on public photos, which never sees the victim (Zhang et al., CVPR 2020, Eq. 2 and 3).

    The paper trains both networks from nothing. Here the generator is given, and a critic is trained against it;
    `tune` trains a copy of the generator along.

    Attributes:
        generator: paints; keeps its bits.
        layers: of it that move.
        tune: whether its copy trains too.
        box: greatest absolute parameter in the attack; GMI clamps z to [-1, 1].
        realism: weight of -D(G(z)); 0.01, as GMI has 100 on the identity loss and 1 on this.
        penalty: weight of the gradient penalty.
        width: of the critic; the paper has 64.
        how: steps, batch and rate.
    """

    generator: ImageGenerator = field(default_factory=DCGAN)  # type: ignore[assignment]
    layers: Sequence[str] = ("z",)
    tune: bool = False
    box: float | None = 1.0
    realism: float = 0.01
    penalty: float = 10.0
    width: int = 32
    how: Duel = field(default_factory=Duel)

    def bind(self, victim: ClassifierAccess, public: Tensor, rng: torch.Generator) -> CriticPrior:
        """See `PriorMaker`; takes one draw of `rng`."""
        check("GeneralGan", public, realism=self.realism, penalty=self.penalty)
        seed = drawn_seed(rng)
        with seeded(seed):
            critic = Critic(self.generator.resolution, self.width).to(public.device)
        generator = copied(self.generator, public.device)
        painter = GeneratorPrior(generator, self.layers)
        networks: dict[str, nn.Module] = {"critic": critic} | ({"generator": generator} if self.tune else {})
        digest = kept(
            "general_gan",
            recipe(seed, public, self._settings(), type(self)),
            networks,
            lambda: self._train(critic, generator, painter, framed(public, painter.frame.to(public.device)), seed),
            victim.meter,
        )
        prior = CriticPrior(generator, self.layers, self.box, critic, lambda pictures: -critic(pictures), self.realism)
        prior.digest = digest
        return prior

    def _settings(self) -> dict[str, Any]:
        return {
            "generator": self.generator.digest,
            "layers": list(self.layers),
            "tune": self.tune,
            "penalty": self.penalty,
            "width": self.width,
            "how": self.how.settings(),
        }

    def _train(
        self, critic: Critic, generator: nn.Module, painter: GeneratorPrior, photos: Tensor, seed: int
    ) -> list[Point]:
        count = self.how.batch

        def draw(turn: Turn, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
            z = painter.draw(count, rng).to(photos.device)
            mix = torch.rand(count, generator=rng, device=rng.device).to(photos.device)
            return photos[rows(len(photos), count, rng)], z, mix

        def critic_loss(batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
            real, z, mix = batch
            with torch.no_grad():
                fake = painter.picture(z)
            scores = critic(torch.cat([real, fake])).split(count)
            return wasserstein(*scores) + self.penalty * gradient_penalty(critic, real, fake, mix)

        def generator_loss(batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
            return -fixed(critic, painter.picture(batch[1])).mean()

        losses = {"critic": critic_loss, "generator": generator_loss}
        rng = torch.Generator().manual_seed(seed)
        return alternate(critic, generator if self.tune else None, draw, losses, self.how, rng)  # type: ignore[arg-type]


@dataclass(frozen=True)
class InversionSpecificGan:
    """KED-MI's prior: a GAN whose critic also learns from the victim what tells people apart (Chen et al., ICCV 2021,
    Eq. 1 to 4).

    Minibatch discrimination compares pictures of a batch. In the attack each picture is compared with the same drawn
    ones, as many as a batch had beside it: otherwise what becomes of a picture would depend on its batch.

    Attributes:
        generator: a copy of it is trained; the paper begins with nothing.
        layers: of it that move.
        box: greatest absolute parameter in the attack; None as in KED-MI, LOMMA has 1.
        realism: weight of -log p(real); 0.01, as KED-MI has 100 on the identity loss and 1 on this.
        entropy: weight of the entropy of a batch of pictures.
        width: of the critic; the paper has 64.
        how: steps, batch and rate.
    """

    generator: ImageGenerator = field(default_factory=DCGAN)  # type: ignore[assignment]
    layers: Sequence[str] = ("z",)
    box: float | None = None
    realism: float = 0.01
    entropy: float = 1e-4
    width: int = 32
    how: Duel = field(default_factory=Duel)

    def bind(self, victim: ClassifierAccess, public: Tensor, rng: torch.Generator) -> CriticPrior:
        """See `PriorMaker`; takes one draw of `rng` and asks the victim once for each public photo.

        Raises:
            AccessError: the victim gives no probabilities, or its budget is spent.
        """
        check("InversionSpecificGan", public, realism=self.realism, entropy=self.entropy)
        seed = drawn_seed(rng)
        said = answers(victim, public)
        with seeded(seed):
            critic = ClassCritic(self.generator.resolution, victim.classes, self.width).to(public.device)
        generator = copied(self.generator, public.device)
        painter = GeneratorPrior(generator, self.layers)
        photos = framed(public, painter.frame.to(public.device))
        # What the victim answers, not its digest: a defence may stand between the two.
        settings = self._settings() | {"victim": victim.name, "answers": tensor_digest(said)}
        digest = kept(
            "inversion_specific_gan",
            recipe(seed, public, settings, type(self)),
            {"critic": critic, "generator": generator},
            lambda: self._train(critic, generator, painter, photos, said, seed),
            victim.meter,
        )
        return self._bound(generator, critic, painter, seed, digest)

    def _bound(
        self, generator: ImageGenerator, critic: ClassCritic, painter: GeneratorPrior, seed: int, digest: str
    ) -> CriticPrior:
        with torch.no_grad():
            z = painter.draw(self.how.batch - 1, torch.Generator().manual_seed(seed))
            company = critic.company(painter.picture(z.to(next(critic.parameters()).device)))

        def unreal(pictures: Tensor) -> Tensor:
            return unlikely(critic(pictures, company)[1])

        prior = CriticPrior(generator, self.layers, self.box, critic, unreal, self.realism)
        prior.digest = digest
        return prior

    def _settings(self) -> dict[str, Any]:
        return {
            "generator": self.generator.digest,
            "layers": list(self.layers),
            "entropy": self.entropy,
            "width": self.width,
            "how": self.how.settings(),
        }

    def _train(
        self,
        critic: ClassCritic,
        generator: nn.Module,
        painter: GeneratorPrior,
        photos: Tensor,
        said: Tensor,
        seed: int,
    ) -> list[Point]:
        count = self.how.batch

        def draw(turn: Turn, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            known, plain = rows(len(photos), count, rng), rows(len(photos), count, rng)
            z = painter.draw(count, rng).to(photos.device)
            return photos[known], said[known], photos[plain], z

        def critic_loss(batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
            known, wanted, plain, z = batch
            with torch.no_grad():
                fake = painter.picture(z)
            # Three passes: minibatch discrimination tells kinds apart that never share a batch.
            return semi_supervised(critic(known)[1], wanted, critic(plain)[1], critic(fake)[1])

        def generator_loss(batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
            with torch.no_grad():
                real, _ = critic(batch[2])
            features, logits = fixed(critic, painter.picture(batch[3]))
            return matching(real, features, logits, self.entropy)

        losses = {"critic": critic_loss, "generator": generator_loss}
        rng = torch.Generator().manual_seed(seed)
        return alternate(critic, generator, draw, losses, self.how, rng)  # type: ignore[arg-type]
