"""Identity losses: how far a picture is from being taken for a person, as the inversion papers put it.

Each is bound to a victim once and then asked of pictures and the people wanted in them; lower is nearer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from facesec_bench.access import ClassifierAccess, EmbeddingAccess
from facesec_bench.errors import ConfigError

Loss = Callable[[Tensor, Tensor], Tensor]
"""((B, 3, 224, 224) chips, (B,) classes wanted) -> (B,)."""


class IdentityLoss(Protocol):
    """A loss on a victim.

    Attributes:
        asks: "classifier" (its victim is a `ClassifierAccess`) or "embedding" (an `EmbeddingAccess`).
    """

    @property
    def asks(self) -> str:
        """See the class."""

    def bind(self, victim: Any, public: Tensor, rng: torch.Generator) -> Loss:
        """The loss on one victim.

        Args:
            public: (N, 3, 224, 224) photos of other people, for losses that ask what features usually are.
            rng: for losses that draw.
        """
        ...


@dataclass(frozen=True)
class CrossEntropy:
    """-log p_y: GMI (Zhang et al., "The Secret Revealer", CVPR 2020), KED-MI (Chen et al., ICCV 2021)."""

    asks: ClassVar[str] = "classifier"

    def bind(self, victim: ClassifierAccess, public: Tensor, rng: torch.Generator) -> Loss:
        """See `IdentityLoss`."""
        return lambda chips, people: functional.cross_entropy(victim.logits(chips), people, reduction="none")


@dataclass(frozen=True)
class LogitLoss:
    """-l_y + weight * mean |f - p_reg|^2, f being what the last layer takes: LOMMA (Nguyen et al., "Re-thinking Model
    Inversion Attacks Against Deep Neural Networks", CVPR 2023, Eq. 3 and 4).

    Cross-entropy also lowers the other logits, which says nothing of the person; the second term stops the features
    from growing without end.

    Attributes:
        weight: of the second term.
        p_reg: "mean", of the features of public photos, as the released code comes to do; "gaussian" draws
            one for each picture at every step from their mean and standard deviation, as the paper says.

    Raises:
        ConfigError: a negative weight, or another p_reg.
    """

    weight: float = 1.0
    p_reg: Literal["mean", "gaussian"] = "mean"
    asks: ClassVar[str] = "classifier"

    def __post_init__(self) -> None:
        if not self.weight >= 0 or self.p_reg not in ("mean", "gaussian"):
            raise ConfigError(
                f"logit: found weight {self.weight} and p_reg {self.p_reg!r}, wanted 0 or more, 'mean' or 'gaussian'."
            )

    def bind(self, victim: ClassifierAccess, public: Tensor, rng: torch.Generator) -> Loss:
        """See `IdentityLoss`; asks the victim for the features of every public photo."""
        if len(public) < 2:
            raise ConfigError(f"logit: found {len(public)} public photos, wanted some hundreds, for p_reg.")
        with torch.no_grad():
            known = torch.cat([victim.inside(few)[0] for few in public.split(16)])
        mean, spread = known.mean(0), known.std(0)

        def loss(chips: Tensor, people: Tensor) -> Tensor:
            features, logits = victim.inside(chips)
            wanted = mean.expand_as(features)
            if self.p_reg == "gaussian":
                drawn = torch.randn(features.shape, generator=rng, device=rng.device).to(features)
                wanted = wanted + drawn * spread
            return self.weight * (features - wanted).square().mean(1) - logits.gather(1, people[:, None])[:, 0]

        return loss


@dataclass(frozen=True)
class Margin:
    """-l_y + max_{j != y} l_j: PLG-MI (Yuan et al., "Pseudo Label-Guided Model Inversion Attack via Conditional
    Generative Adversarial Network", AAAI 2023)."""

    asks: ClassVar[str] = "classifier"

    def bind(self, victim: ClassifierAccess, public: Tensor, rng: torch.Generator) -> Loss:
        """See `IdentityLoss`."""

        def loss(chips: Tensor, people: Tensor) -> Tensor:
            logits = victim.logits(chips)
            own = functional.one_hot(people, victim.classes).bool()
            return logits.masked_fill(own, -torch.inf).amax(1) - logits[own]

        return loss


@dataclass(frozen=True)
class Poincare:
    """arccosh(1 + 2 |u - v|^2 / ((1 - |u|^2) (1 - |v|^2))), u the logits over the sum of their sizes, v the one-hot
    vector less `inset`: PPA (Struppek et al., "Plug & Play Attacks", ICML 2022, Eq. 3).

    Attributes:
        inset: keeps v inside the ball; 1e-4 as in the paper.
    """

    inset: float = 1e-4
    asks: ClassVar[str] = "classifier"

    def bind(self, victim: ClassifierAccess, public: Tensor, rng: torch.Generator) -> Loss:
        """See `IdentityLoss`."""

        def loss(chips: Tensor, people: Tensor) -> Tensor:
            return self.distance(victim.logits(chips), people)

        return loss

    def distance(self, logits: Tensor, people: Tensor) -> Tensor:
        """(B, K) logits, (B,) classes -> (B,)."""
        u = logits / logits.abs().sum(1, keepdim=True)
        v = (functional.one_hot(people, logits.shape[1]).to(u) - self.inset).clamp(0, 1)
        room = (1 - u.square().sum(1)) * (1 - v.square().sum(1))
        return torch.acosh(1 + 2 * (u - v).square().sum(1) / room)


@dataclass(frozen=True)
class Cosine:
    """1 - cosine to the person's template: the loss of inversion from embeddings."""

    asks: ClassVar[str] = "embedding"

    def bind(self, victim: EmbeddingAccess, public: Tensor, rng: torch.Generator) -> Loss:
        """See `IdentityLoss`."""
        return lambda chips, people: 1 - victim.similarity(chips, people)
