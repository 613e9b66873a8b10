"""A recogniser seen as a classifier over a gallery: what attack libraries and closed-set methods expect."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from facesec_bench.errors import ConfigError
from facesec_bench.interfaces import Faces, FRTarget


class GalleryClassifier(nn.Module):
    """Logits = scale x cosine to one template per gallery identity, averaged over the targets.

    A template is the mean embedding of an identity's gallery photos, of unit length. Columns are the gallery's
    identities in ascending order; `columns` translates labels.

    Args:
        targets: one target or several (an ensemble by average logits, Liu et al., ICLR 2017).
        gallery: at least one photo of each identity.
        scale: the logit scale; 64 is ArcFace's (Deng et al., CVPR 2019), which saturates cross-entropy.

    Raises:
        ConfigError: no target, or fewer than two identities.
    """

    def __init__(self, targets: FRTarget | Sequence[FRTarget], gallery: Faces, scale: float = 16.0) -> None:
        super().__init__()
        self.targets: list[FRTarget] = list(targets) if isinstance(targets, Sequence) else [targets]
        if not self.targets:
            raise ConfigError("A gallery classifier found no target, wanted one or more.")
        self.identities, rows = _unique(gallery.identities)
        if len(self.identities) < 2:
            raise ConfigError(f"A gallery classifier found {len(self.identities)} identity, wanted two or more.")
        self.scale = scale
        # Registered so that mode changes and device queries of a library reach the torch modules among them.
        self.modules_of_targets = nn.ModuleList([t for t in self.targets if isinstance(t, nn.Module)])
        for index, target in enumerate(self.targets):
            self.register_buffer(f"templates_{index}", _templates(target, gallery, rows, len(self.identities)))

    def columns(self, labels: Tensor) -> Tensor:
        """(B,) identities -> (B,) logit columns.

        Raises:
            ConfigError: a label that the gallery does not hold.
        """
        found = labels[:, None] == self.identities[None, :]
        if not found.any(1).all():
            missing = sorted(set(labels[~found.any(1)].tolist()))
            raise ConfigError(f"Identities {missing} are not in the gallery; enrol a photo of each.")
        return found.int().argmax(1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, N) logits."""
        logits = [t.embed(images) @ self.get_buffer(f"templates_{i}").T for i, t in enumerate(self.targets)]
        return self.scale * torch.stack(logits).mean(0)


def _unique(identities: Tensor) -> tuple[Tensor, Tensor]:
    """The identities in ascending order, and each photo's place among them."""
    present: Tensor = torch.tensor(sorted(set(identities.tolist())), dtype=torch.int64, device=identities.device)
    return present, torch.searchsorted(present, identities)


@torch.no_grad()
def _templates(target: FRTarget, gallery: Faces, rows: Tensor, n: int) -> Tensor:
    embeddings = target.embed(gallery.images)
    sums = torch.zeros(n, embeddings.shape[1], dtype=embeddings.dtype, device=embeddings.device)
    return functional.normalize(sums.index_add(0, rows.to(embeddings.device), embeddings), dim=1)
