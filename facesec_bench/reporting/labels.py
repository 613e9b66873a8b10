"""What measures are called in print, whether they are proportions, and which way is better."""

from __future__ import annotations

from typing import NamedTuple


class Label(NamedTuple):
    """A measure's printed name; `higher` says which way is better for the attacker or for the image."""

    text: str
    proportion: bool
    higher: bool = True


SUCCESS: dict[str, Label] = {
    "dodging_success": Label("Dodging", True),
    "impersonation_success": Label("Impersonation", True),
    "rank1_untargeted": Label("Rank-1 miss", True),
    "rank5_untargeted": Label("Rank-5 miss", True),
    "rank1_targeted": Label("Rank-1 as target", True),
    "rank5_targeted": Label("Rank-5 as target", True),
}

QUALITY: dict[str, Label] = {
    "psnr": Label("PSNR (dB) ↑", False),
    "ssim": Label("SSIM ↑", False),
    "lpips": Label("LPIPS ↓", False, higher=False),
    "linf_255": Label("L∞ (/255) ↓", False, higher=False),
    "frechet_fr_dodging": Label("Fréchet in FR space, dodging ↓", False, higher=False),
    "frechet_fr_impersonation": Label("Fréchet in FR space, impersonation ↓", False, higher=False),
    "fid_dodging": Label("FID, dodging ↓", False, higher=False),
    "fid_impersonation": Label("FID, impersonation ↓", False, higher=False),
}

CLEAN: dict[str, Label] = {
    "auc": Label("AUC", False),
    "eer": Label("EER", True),
    "rank1_accuracy": Label("Rank-1 accuracy", True),
    "tar_at_far_1e-1": Label("TAR at FAR 10%", True),
    "tar_at_far_1e-2": Label("TAR at FAR 1%", True),
    "tar_at_far_1e-3": Label("TAR at FAR 0.1%", True),
}

BASE = {"dodging_success": "base_dodging", "impersonation_success": "base_impersonation"}
"""The clean measure that stands beside a success rate."""
