"""What surrogates ask of a cloak: whom to come near, whom to leave, and when that is far enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from attacks.enrolled import enrolled
from facesec_bench.errors import ConfigError
from facesec_bench.goals import Aim
from facesec_bench.interfaces import Faces, FRTarget


@dataclass(frozen=True)
class Pull:
    """One surrogate's view of photos: whom to approach, (B, D), and what to leave, (B, N, D); either may be None.

    `strangers` (B,) is the cosine of whom it is about to other people, where it matters.
    """

    embed: Callable[[Tensor], Tensor]
    towards: Tensor | None
    away: Tensor | None
    weight: float
    strangers: Tensor | None

    def loss(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B,)."""
        seen = functional.normalize(self.embed(images), dim=1)
        near = 0.0 if self.towards is None else (seen * self.towards).sum(1)
        own = 0.0 if self.away is None else (seen[:, None] * self.away).sum(2).mean(1)
        return 1.0 + own - near

    def arrived(self, images: Tensor, stop: float) -> Tensor:
        """(B, 3, H, W) -> (B,) bool."""
        seen = self.embed(images)
        assert self.strangers is not None
        if self.away is not None:
            near = (seen[:, None] * self.away).sum(2).amax(1)
            return near - self.strangers <= stop * (1 - self.strangers)
        assert self.towards is not None
        return (seen * self.towards).sum(1) - self.strangers >= (1 - stop) * (1 - self.strangers)

    def rows(self, rows: Tensor) -> Pull:
        """For some of the photos."""
        return replace(
            self,
            towards=None if self.towards is None else self.towards[rows],
            away=None if self.away is None else self.away[rows],
            strangers=None if self.strangers is None else self.strangers[rows],
        )


@torch.no_grad()
def pull_of(
    surrogate: FRTarget, faces: Faces, aim: Aim, weight: float, *, decoy: bool = False, strangers: bool = False
) -> Pull:
    """What one surrogate asks of photos: impersonating, to come near the reference; dodging, to leave photo and
    reference; with a decoy, as CLIP2Protect publishes it, to leave the photo for whom in the gallery it is least like.

    Args:
        strangers: also find how alike strangers are, for `arrived`.

    Raises:
        ConfigError: strangers are asked for and the gallery holds nobody else.
    """
    own, reference = surrogate.embed(faces.images), surrogate.embed(aim.references)
    anchor = reference if aim.kind == "impersonate" else own
    level, others = None, own[:0]
    if decoy or strangers:
        others = enrolled(surrogate, aim.gallery)
        like = (anchor @ others.T).masked_fill(aim.labels[:, None] == aim.gallery.identities, torch.nan)
        if not bool(like.isfinite().any(1).all()):
            raise ConfigError("clip2protect: found a gallery of one person, wanted others, for decoy or stop.")
        level = like.nanmean(1)
    if aim.kind == "impersonate":
        return Pull(surrogate.embed, reference, None, weight, level)
    if not decoy:
        return Pull(surrogate.embed, None, torch.stack([own, reference], 1), weight, level)
    return Pull(surrogate.embed, others[like.nan_to_num(torch.inf).argmin(1)], own[:, None], weight, level)


def arrived(pulls: Sequence[Pull], stop: float, images: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B,) bool: under every surrogate; `stop` counts from 0, a stranger, to 1, the same photo."""
    return torch.stack([pull.arrived(images, stop) for pull in pulls]).all(0)
