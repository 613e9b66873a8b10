"""The embeddings of a gallery, a few photos at a time: a gallery grows with the study, a batch must not."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from facesec_bench.interfaces import Faces, FRTarget

AT_ONCE = 32
"""Photos that are embedded at once."""


@torch.no_grad()
def enrolled(surrogate: FRTarget, gallery: Faces) -> Tensor:
    """(N, D) unit vectors of all photos of the gallery, on their device, without gradients."""
    return functional.normalize(torch.cat([surrogate.embed(part) for part in gallery.images.split(AT_ONCE)]), dim=1)
