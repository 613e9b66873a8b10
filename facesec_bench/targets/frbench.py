"""FRBench's models as targets: an optional extra that downloads its own weights from its makers' releases."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from facesec_bench.asset_cache import offline
from facesec_bench.errors import MissingPackageError, TargetError
from facesec_bench.interfaces import TargetCard
from facesec_bench.targets.identity import state_digest
from facesec_bench.targets.preparation import template_named
from facesec_bench.targets.template import check_range


class FRBenchTarget(nn.Module):
    """One of FRBench's recognisers on this project's chips; its own detector is not used.

    Written against frbench 1.1.3 and not run with its weights here: they are no registry package.

    Args:
        model: "<backbone>_<loss>_<dataset>", as FRBench lists them, e.g. "mobilefacenet_arcface_ms1m".
        name: how records and reports call it; the model's name when None.

    Raises:
        MissingPackageError: frbench is not installed.
        TargetError: FACESEC_OFFLINE is set, FRBench knows no such model, or it cannot be loaded.
    """

    def __init__(self, model: str, name: str | None = None) -> None:
        super().__init__()
        parts = model.split("_", 2)
        if len(parts) != 3:
            raise TargetError(f"model: found {model!r}, wanted <backbone>_<loss>_<dataset>; see: frbench list")
        self.name = name or model
        self.pipeline = _load(parts, model)
        size = int(self.pipeline.input_size[0])
        self.template = template_named("arcface", size)
        self.pipeline.requires_grad_(False)
        self.digest = state_digest(self.pipeline.backbone)
        self.card = TargetCard(
            dimension=int(self.pipeline.embedding_dim),
            input_size=size,
            preprocessing="FRBench's own mean and deviation",
            template=f"ArcFace five points, {size} px",
            metric="cosine",
            licence="MIT (FRBench); see the training set's terms",
            note="weights downloaded by frbench from its makers' releases",
        )

    def embed(self, chips: Tensor) -> Tensor:
        """(B, 3, 224, 224) RGB in [0, 1] -> (B, D) unit vectors, differentiable in the chips."""
        check_range(chips)
        crops = self.template(chips).clamp(0, 1) * 255
        found = self.pipeline(crops, need_crop=False, tta=())  # no flip average: one forward pass, one gradient
        return functional.normalize(found.embeddings, dim=1)


def _load(parts: list[str], model: str) -> Any:
    if offline():
        raise TargetError(f"{model}: frbench asks the network for its list of models, and FACESEC_OFFLINE is set.")
    try:
        import frbench
    except ImportError as error:
        raise MissingPackageError("FRBench is not installed; run: pip install 'facesec-bench[frbench]'") from error
    frbench.set_update_check(False)
    try:
        return frbench.FR(*parts, eager_load=True).eval()
    except (frbench.FRBenchError, OSError, ValueError) as error:
        raise TargetError(f"{model}: FRBench cannot load it: {error}") from error
