"""Goals: success as a per-image loss and as a per-image verdict.

An `Aim` is what the attacker wants before any model is named (photos only); `Aim.on(target)` expresses it in one
target's embedding space as a `Goal`, so an ensemble holds one goal per surrogate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from facesec_bench.interfaces import Faces, FRTarget, Goal


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=-1)


@dataclass(frozen=True)
class Impersonate:
    """Be taken for the victim. `victims`: (B, D) unit embeddings of the people to be taken for."""

    victims: Tensor

    def loss(self, embeddings: Tensor) -> Tensor:
        """(B, D) -> (B,): 1 - cosine to the victim, in [0, 2]."""
        return 1.0 - _cosine(embeddings, self.victims)

    def reached(self, embeddings: Tensor, threshold: float) -> Tensor:
        """(B, D) -> (B,) bool: the verifier accepts the pair, cosine >= threshold."""
        return _cosine(embeddings, self.victims) >= threshold


@dataclass(frozen=True)
class Dodge:
    """Not be recognised. `sources`: (B, D) unit embeddings of the attackers' own identities."""

    sources: Tensor

    def loss(self, embeddings: Tensor) -> Tensor:
        """(B, D) -> (B,): 1 + cosine to one's own identity, in [0, 2]."""
        return 1.0 + _cosine(embeddings, self.sources)

    def reached(self, embeddings: Tensor, threshold: float) -> Tensor:
        """(B, D) -> (B,) bool: the verifier rejects the pair, cosine < threshold."""
        return _cosine(embeddings, self.sources) < threshold


@dataclass(frozen=True)
class Aim:
    """What the attacker wants and the photos they hold; no model is named yet.

    Attributes:
        kind: "dodge" or "impersonate".
        references: (B, 3, H, W) chips: for each attacked photo, another photo of the same person (dodge) or a photo of
            the person to be taken for (impersonate).
        labels: (B,) int64: the identity of each reference, in the numbering of `gallery.identities`.
        gallery: one photo for each identity the attacker knows of, for methods that need a classifier or decoys.
    """

    kind: Literal["dodge", "impersonate"]
    references: Tensor
    labels: Tensor
    gallery: Faces

    def on(self, target: FRTarget) -> Goal:
        """The goal in the embedding space of `target`; no gradient flows into the references."""
        with torch.no_grad():
            anchors = functional.normalize(target.embed(self.references), dim=1)
        return Dodge(anchors) if self.kind == "dodge" else Impersonate(anchors)
