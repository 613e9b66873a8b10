"""Priors of trained GANs: a generator whose pictures a critic judges, and one that is told whom to paint."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from attacks.inversion_gan_networks import ConditionalDCGAN
from attacks.inversion_priors import GeneratorPrior
from facesec_bench.errors import ConfigError
from facesec_bench.generators.frame import Frame
from facesec_bench.interfaces import ImageGenerator


class CriticPrior(GeneratorPrior):
    """Pictures of a generator, at a price where they look unreal.

    Args:
        generator, layers, box: as of `GeneratorPrior`.
        critic: judges; held so that a search can borrow it.
        unreal: (B, 3, R, R) pictures -> (B,), how unreal each looks to the critic.
        realism: weight of that.

    Raises:
        ConfigError: as `GeneratorPrior`, or a negative weight.
    """

    def __init__(
        self,
        generator: ImageGenerator,
        layers: Sequence[str],
        box: float | None,
        critic: nn.Module,
        unreal: Callable[[Tensor], Tensor],
        realism: float,
    ) -> None:
        super().__init__(generator, layers, box)
        if not realism >= 0:
            raise ConfigError(f"prior: found realism {realism}, wanted 0 or more.")
        self.critic, self.unreal, self.realism = critic, unreal, realism

    def cost(self, params: Tensor) -> Tensor:  # type: ignore[override]
        """(B, P) -> (B,), see `Prior`."""
        return self.realism * self.unreal(self.picture(params))


class ConditionalPrior:
    """Pictures of a generator of each class, over its latent. Unbound to people it can draw but not paint.

    Args:
        generator: paints.
        frame: lays its pictures on chips.
        name, digest: of the whole.
        box: greatest absolute latent; None for none.

    Raises:
        ConfigError: a box that is not positive.
    """

    cost = None

    def __init__(
        self, generator: ConditionalDCGAN, frame: Frame, name: str, digest: str, box: float | None = None
    ) -> None:
        if box is not None and not box > 0:
            raise ConfigError(f"prior: found box {box}, wanted above 0, or null for none.")
        self.generator, self.frame, self.box = generator, frame, box
        self.name, self.digest = name, digest
        self.people: Tensor | None = None  # (B,), see `given`

    def bind(self, victim: object, public: Tensor, rng: torch.Generator) -> ConditionalPrior:
        """Itself, see `PriorMaker`."""
        return self

    def given(self, people: Tensor) -> ConditionalPrior:
        """See `Prior`; the networks are shared.

        Raises:
            ConfigError: classes that the generator does not have.
        """
        if people.ndim != 1 or (
            len(people) and not 0 <= int(people.min()) <= int(people.max()) < self.generator.classes
        ):
            raise ConfigError(
                f"{self.name}: found people {people.tolist()[:10]}, wanted a list of classes from 0 to "
                f"{self.generator.classes - 1}."
            )
        told = copy.copy(self)
        told.people = people
        return told

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """See `Prior`; normal."""
        return self.project(torch.randn((count, self.generator.latent), generator=rng, device=rng.device))

    def picture(self, params: Tensor) -> Tensor:
        """See `Prior`; row i is of the class of row i.

        Raises:
            ConfigError: no people were given, or another number of them.
        """
        if self.people is None:
            raise ConfigError(
                f"{self.name}: found no people, and this prior paints nobody in general: call given(people) first; an "
                "attack that looks at pictures before it has people (pool) needs another prior."
            )
        if len(params) != len(self.people):
            raise ConfigError(f"{self.name}: found {len(params)} rows of parameters for {len(self.people)} people.")
        return self.generator(params, self.people.to(params.device))  # type: ignore[no-any-return]

    def render(self, params: Tensor) -> Tensor:
        """See `Prior`; raises as `picture`."""
        return self.frame.to(params.device).to_chip(self.picture(params)).clamp(0, 1)

    def project(self, params: Tensor) -> Tensor:
        """See `Prior`."""
        return params if self.box is None else params.clamp(-self.box, self.box)
