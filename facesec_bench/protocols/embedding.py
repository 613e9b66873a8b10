"""Embed whole sets in batches, the model on loan."""

from __future__ import annotations

import torch
from torch import Tensor

from facesec_bench.errors import TargetError
from facesec_bench.interfaces import FRTarget
from facesec_bench.progress import track
from facesec_bench.search import borrowed


def embed_all(
    target: FRTarget, chips: Tensor, *, device: torch.device | str = "cpu", batch_size: int = 32, label: str = ""
) -> Tensor:
    """(N, 3, 224, 224) chips -> (N, D) unit embeddings on the CPU, without gradients.

    Raises:
        TargetError: where an embedding is not finite or not a unit vector; it is never scored.
    """
    parts = []
    with borrowed(target), torch.no_grad():
        for start in track(range(0, len(chips), batch_size), label or f"embedding with {target.name}"):
            parts.append(target.embed(chips[start : start + batch_size].to(device)).float().cpu())
    embeddings = torch.cat(parts) if parts else torch.empty(0, target.card.dimension)
    norms = embeddings.norm(dim=1)
    if not torch.allclose(norms, torch.ones_like(norms), atol=1e-3):
        worst = norms[(norms - 1).abs().nan_to_num(nan=torch.inf).argmax()].item()
        raise TargetError(
            f"{target.name}: found an embedding of norm {worst:.4g}, wanted unit vectors. "
            "Normalise in embed(), or check the weights."
        )
    return embeddings
