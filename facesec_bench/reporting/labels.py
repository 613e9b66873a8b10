"""What measures are called in print, whether they are proportions, and which way is better."""

from __future__ import annotations

from typing import NamedTuple


class Label(NamedTuple):
    """A measure's printed name; `higher` says which way is better for the attacker or for the image.

    `signed` is for differences of proportions, printed in points with their sign.
    """

    text: str
    proportion: bool
    higher: bool = True
    signed: bool = False


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

CELLS: dict[str, str] = {
    "clean": "clean",
    "perturbed": "perturbed only",
    "watermarked": "marked only",
    "both": "both",
}
"""The cells of the 2x2 activation table: x, x + delta, E(x, m), E(x + delta, m)."""

ACTIVATION: dict[str, Label] = {
    **{f"tar_{cell}": Label(f"TAR {text}", True) for cell, text in CELLS.items()},
    "interaction": Label("Interaction (points)", True, signed=True),
    "activation_success": Label("Activated, if accepted before", True),
    "rank1_interaction": Label("Rank-1 interaction (points)", True, signed=True),
}

SIMILARITY_AND_RANK: dict[str, Label] = {
    **{f"similarity_{cell}": Label(f"Cosine {text}", False) for cell, text in CELLS.items()},
    **{f"rank1_{cell}": Label(f"Rank-1 {text}", True) for cell, text in CELLS.items()},
}

ACTIVATION_AS_TARGET: dict[str, Label] = {
    **{f"target_accept_{cell}": Label(f"Taken for the target, {text}", True) for cell, text in CELLS.items()},
    "target_interaction": Label("Interaction (points)", True, signed=True),
    "target_activation_success": Label("Activated, if rejected before", True),
}

TARGET_AND_SELF: dict[str, Label] = {
    **{f"target_gain_{c}": Label(f"Gain, {t} (points)", True, signed=True) for c, t in CELLS.items() if c != "clean"},
    **{f"own_accept_{cell}": Label(f"Taken for themselves, {text}", True) for cell, text in CELLS.items()},
}

DROPS: dict[str, Label] = {
    f"tar_drop_{c}": Label(f"Drop, {t} (points)", True, signed=True) for c, t in CELLS.items() if c != "clean"
}

DISTORTIONS: dict[str, str] = {
    "": "unattacked",
    "_jpeg90": "JPEG 90",
    "_jpeg75": "JPEG 75",
    "_resize": "resized",
    "_noise": "noise",
}
"""What befalls a marked photo before its bits are read, by the measure's suffix."""

PICTURE: dict[str, Label] = {name: QUALITY[name] for name in ("psnr", "ssim", "lpips", "linf_255")}

PROTECTION: dict[str, Label] = {
    "dodging_psr": Label("Dodging PSR", True),
    "impersonation_psr": Label("Impersonation PSR", True),
}
"""Protection success rates of a cloak, over all pairs."""

KEPT: dict[str, str] = {
    "": "as saved",
    "_jpeg90": "JPEG 90",
    "_jpeg75": "JPEG 75",
    "_resize": "resized",
    "_blur": "blurred",
    "_screenshot": "screenshot",
}
"""What befalls a cloaked photo before it is judged, by the measure's suffix."""

CLOAKED: dict[str, Label] = {
    "lpips": QUALITY["lpips"],
    "ssim": QUALITY["ssim"],
    "psnr": QUALITY["psnr"],
    "linf_255": QUALITY["linf_255"],
    "identity_similarity": Label("Cosine to the source", False),
    "frechet_fr_dodging": QUALITY["frechet_fr_dodging"],
    "frechet_fr_impersonation": QUALITY["frechet_fr_impersonation"],
}
"""What a cloak costs the photo."""

GALLERY: dict[str, Label] = {
    "protection_baseline": Label("1-NN, no cloak", True),
    "protection_oblivious": Label("1-NN, cloaked", True),
    "protection_adaptive": Label("1-NN, cloaked, adapted", True),
}
"""How often the nearest photo of a gallery is another person's."""

RECOVERED: dict[str, Label] = {
    "top1": Label("Top-1", True),
    "top5": Label("Top-5", True),
    "top1_plausible": Label("Top-1 and a face", True),
    "plausibility": Label("Face score", False),
    "nn_distance": Label("Distance ↓", False, higher=False),
    "confidence": Label("Victim's confidence", False),
}
"""What a recovery from a recogniser shows, by the judge; the last by the victim itself."""

SPENT: dict[str, Label] = {
    "queries": Label("Queries", False, higher=False),
    "gradients": Label("Gradients", False, higher=False),
    "seconds": Label("Seconds", False, higher=False),
}
"""What a recovery costs the attacker."""

SPREAD: dict[str, Label] = {
    "frechet_fr": Label("Fréchet in FR space ↓", False, higher=False),
    "fid": Label("FID ↓", False, higher=False),
    "precision": Label("Precision", False),
    "recall": Label("Recall", False),
    "density": Label("Density", False),
    "coverage": Label("Coverage", False),
}
"""What all recoveries of an attack are beside the private photos, in the judge's embedding; FID, where the user has the
weights, in Inception-v3's."""
