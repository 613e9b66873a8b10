"""Access: what an attacker may ask of a victim, what was asked, and how often.

An inversion gets a victim only through one of the two classes here. What its level forbids raises; what it allows is
counted, an image a query. So "label only" is a property of the run, not of an attack's good intentions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from facesec_bench.errors import AccessError, ConfigError
from facesec_bench.interfaces import FRTarget

ClassifierLevel = Literal["white", "soft_label", "hard_label"]
"""Weights and gradients; all probabilities; the most probable class. Each also has what the later ones have."""
EmbeddingLevel = Literal["white", "embedding", "similarity"]
"""Weights and gradients; the embedding; its cosine to an enrolled template that stays inside. Likewise nested."""

CLASSIFIER_LEVELS: tuple[ClassifierLevel, ...] = ("white", "soft_label", "hard_label")
EMBEDDING_LEVELS: tuple[EmbeddingLevel, ...] = ("white", "embedding", "similarity")


class Classifier(Protocol):
    """A closed-set recogniser: one logit for each of K people.

    Attributes:
        classes: K.
        digest: sha256 of the weights as loaded; enters the run's fingerprint.
    """

    name: str
    classes: int
    digest: str

    def features(self, chips: Tensor) -> Tensor:
        """(B, 3, 224, 224) RGB in [0, 1] -> (B, F), what the last layer takes; differentiable."""
        ...

    def head(self, features: Tensor) -> Tensor:
        """(B, F) -> (B, K) logits, the last layer."""
        ...


@dataclass
class Meter:
    """What was asked so far.

    Attributes:
        queries: images that went forward.
        gradients: images whose gradient came back.
        most: queries after which the next is refused; None for no end.
        kept_seconds: what was learned from the victim in an earlier run, and used again, took then.
        notes: what an attack has to say of its pictures, for every reader of the report.
    """

    queries: int = 0
    gradients: int = 0
    most: int | None = None
    kept_seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def left(self) -> int | None:
        """Queries that may still be asked; None for no end."""
        return None if self.most is None else max(0, self.most - self.queries)

    def ask(self, images: int) -> None:
        """Count a batch before it is answered.

        Raises:
            AccessError: it would exceed `most`; nothing is counted then.
        """
        if self.most is not None and self.queries + images > self.most:
            raise AccessError(
                f"Found {self.queries} queries asked and {images} more wanted, the budget is {self.most}: give "
                "the attack fewer steps, or the run a larger budget."
            )
        self.queries += images

    def watch(self, answer: Tensor) -> Tensor:
        """The same answer; a gradient that comes back through it is counted."""
        if answer.requires_grad:
            answer.register_hook(self._returned)
        return answer

    def _returned(self, gradient: Tensor) -> None:
        self.gradients += len(gradient)


class ClassifierAccess:
    """A classifier behind its level.

    Args:
        victim: stays inside.
        level: see `ClassifierLevel`.
        most: budget of queries, in images; None for no end.
        answer: what a defence makes of the logits (B, K) before anything leaves, such as rounding; white boxes have the
            weights and pass by it.

    Attributes:
        digest: of the victim's weights, so that what was trained against it can be kept under its name.

    Raises:
        ConfigError: an unknown level or a negative budget.
    """

    def __init__(
        self,
        victim: Classifier,
        level: ClassifierLevel,
        most: int | None = None,
        answer: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        _check(level, CLASSIFIER_LEVELS, most)
        self.name, self.classes, self.level, self.meter = victim.name, victim.classes, level, Meter(most=most)
        self.digest = victim.digest
        # Who has the weights asks the network itself.
        self._victim, self._answer = victim, (lambda logits: logits) if level == "white" or answer is None else answer

    def inside(self, chips: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, 224, 224) -> (B, F) what the last layer takes, and (B, K) logits; differentiable. White box only.

        Raises:
            AccessError: the level forbids it, or the budget is spent.
        """
        self._need("white", "logits")
        self.meter.ask(len(chips))
        features = self.meter.watch(self._victim.features(chips))
        return features, self._victim.head(features)

    def logits(self, chips: Tensor) -> Tensor:
        """The second of `inside`."""
        return self.inside(chips)[1]

    @torch.no_grad()
    def probabilities(self, chips: Tensor) -> Tensor:
        """(B, 3, 224, 224) -> (B, K), summing to 1, without a gradient. Soft labels; raises as `logits`."""
        self._need("soft_label", "probabilities")
        self.meter.ask(len(chips))
        return self._answer(self._victim.head(self._victim.features(chips))).softmax(1)

    @torch.no_grad()
    def labels(self, chips: Tensor) -> Tensor:
        """(B, 3, 224, 224) -> (B,) the most probable class, at every level; raises as `logits`."""
        self.meter.ask(len(chips))
        return self._answer(self._victim.head(self._victim.features(chips))).argmax(1)

    def _need(self, level: ClassifierLevel, what: str) -> None:
        _need(self.level, level, CLASSIFIER_LEVELS, self.name, what)


class EmbeddingAccess:
    """A recogniser behind its level, and the templates of the people to be recovered.

    Args:
        victim: stays inside.
        level: see `EmbeddingLevel`.
        enrolled: (N, D) unit vectors, one for each person to be recovered. At level "similarity" they stay inside.
        most: budget of queries, in images; None for no end.

    Raises:
        ConfigError: an unknown level, a negative budget, or templates that are not (N, D).
    """

    def __init__(self, victim: FRTarget, level: EmbeddingLevel, enrolled: Tensor, most: int | None = None) -> None:
        _check(level, EMBEDDING_LEVELS, most)
        if enrolled.ndim != 2 or not len(enrolled):
            raise ConfigError(f"Found templates {tuple(enrolled.shape)}, wanted (N, D), one for each person.")
        self.name, self.digest, self.level, self.meter = victim.name, victim.digest, level, Meter(most=most)
        self._victim, self._enrolled = victim, functional.normalize(enrolled.detach(), dim=1)

    @property
    def people(self) -> int:
        """N, how many templates there are."""
        return len(self._enrolled)

    @property
    def enrolled(self) -> Tensor:
        """(N, D) unit vectors.

        Raises:
            AccessError: at level "similarity".
        """
        self._need("embedding", "templates")
        return self._enrolled

    def embed(self, chips: Tensor) -> Tensor:
        """(B, 3, 224, 224) -> (B, D) unit vectors; with a gradient in the white box only.

        Raises:
            AccessError: the level forbids it, or the budget is spent.
        """
        self._need("embedding", "embeddings")
        self.meter.ask(len(chips))
        if self.level == "white":
            return self.meter.watch(self._victim.embed(chips))
        with torch.no_grad():
            return self._victim.embed(chips)

    def similarity(self, chips: Tensor, people: Tensor) -> Tensor:
        """(B, 3, 224, 224) and (B,) places among the templates -> (B,) cosines, at every level; with a gradient in the
        white box only.

        Raises:
            AccessError: the budget is spent.
        """
        self.meter.ask(len(chips))
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.level == "white"):
            found = (self._victim.embed(chips) * self._enrolled.to(chips.device)[people.to(chips.device)]).sum(1)
        return self.meter.watch(found) if self.level == "white" else found

    def _need(self, level: EmbeddingLevel, what: str) -> None:
        _need(self.level, level, EMBEDDING_LEVELS, self.name, what)


def _check(level: str, known: tuple[str, ...], most: int | None) -> None:
    if level not in known:
        raise ConfigError(f"Found the access level {level!r}, wanted one of: {', '.join(known)}.")
    if most is not None and most < 0:
        raise ConfigError(f"Found a budget of {most} queries, wanted 0 or more, or null for no end.")


def _need(found: str, wanted: str, known: tuple[str, ...], name: str, what: str) -> None:
    if known.index(found) > known.index(wanted):
        raise AccessError(
            f"{name}: found a request for {what} at access level {found!r}, wanted {wanted!r} or more. Choose an "
            "attack for this level, or say level=... in the attack's YAML."
        )
