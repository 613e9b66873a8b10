"""Fidelity: how far the kept image is from its source, as pixels, as structure, and as perception."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from facesec_bench.metrics.quality import frechet_distance, linf_255, psnr, ssim
from facesec_bench.records import Record

Distance = Callable[[Tensor, Tensor], Tensor]


def judge(
    kept: Tensor,
    sources: Tensor,
    keys: Sequence[str],
    identities: Sequence[str],
    *,
    method: str,
    victim: str,
    lpips: Distance | None,
    device: torch.device | str = "cpu",
    batch_size: int = 16,
) -> list[Record]:
    """Per image: "psnr" (dB), "ssim", "linf_255" and, if given, "lpips", of the kept image against its source.

    Args:
        kept, sources: (B, 3, H, W) in [0, 1].
        batch_size: images measured together; changes no number, only the memory it takes.
    """
    parts = zip(kept.split(batch_size), sources.split(batch_size), strict=True)
    found = [_measured(some, of, lpips, device) for some, of in parts]
    return [
        Record(key, identity, method, victim, measure, value)
        for measure in (found[0] if found else ())
        for key, identity, value in zip(keys, identities, [x for part in found for x in part[measure]], strict=True)
    ]


def _measured(
    kept: Tensor, sources: Tensor, lpips: Distance | None, device: torch.device | str
) -> dict[str, list[float]]:
    pair = kept.numpy(), sources.numpy()
    measured = {"psnr": psnr(*pair), "ssim": ssim(*pair), "linf_255": linf_255(*pair)}
    if lpips is not None:
        with torch.no_grad():
            measured["lpips"] = lpips(kept.to(device), sources.to(device)).cpu().numpy()
    return {measure: [float(x) for x in values] for measure, values in measured.items()}


def frechet(kept: Tensor, sources: Tensor) -> float:
    """Frechet distance of two feature sets (N, D): of the victim ("frechet_fr_<goal>") or Inception ("fid_<goal>").

    Biased for small N, so it is only compared between methods at the same N. NaN for fewer than two images.
    """
    if len(kept) < 2 or len(sources) < 2:
        return float("nan")
    return frechet_distance(kept.double().numpy(), sources.double().numpy())
