"""The bits protocol: mark images as a system would, and see whether the mark can still be read.

A marked image is judged as it is kept, an 8-bit file, and after what happens to files: JPEG at quality 90 and 75,
shrinking to half a side and back, and a little noise, each written to 8 bits again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from facesec_bench import distortions
from facesec_bench.errors import ConfigError, FacesecError, TargetError
from facesec_bench.interfaces import Watermark
from facesec_bench.metrics import bits
from facesec_bench.metrics.quality import psnr as psnr_of
from facesec_bench.protocols.crafting import as_kept
from facesec_bench.records import Record
from facesec_bench.search import borrowed
from facesec_bench.seeds import generator

NOISE_SD_255 = 2.0
"""Noise in grey levels: 42 dB, as strong as a typical invisible mark itself (RivaGAN's lies near 42 dB)."""

PSNR_TOLERANCE = 0.05
"""How near, in dB, `gaussian_residual` comes to the PSNR asked for."""

DISTORTIONS: Mapping[str, Callable[[Tensor, int], Tensor]] = {
    "": lambda kept, seed: kept,
    "_jpeg90": lambda kept, seed: distortions.jpeg(kept, 90),
    "_jpeg75": lambda kept, seed: distortions.jpeg(kept, 75),
    "_resize": lambda kept, seed: as_kept(distortions.rescaled(kept, 0.5)),
    "_noise": lambda kept, seed: as_kept(distortions.noisy(kept, NOISE_SD_255, generator(seed, "bits", "noise"))),
}
"""By suffix of the measure: 8-bit images and a seed -> 8-bit images. The empty one is the file as kept."""

_SUFFIX = {"both": "", "watermarked": "_watermarked"}


def keep_marked(
    watermark: Watermark,
    chips: Tensor,
    messages: Tensor,
    *,
    batch_size: int = 16,
    device: torch.device | str = "cpu",
) -> Tensor:
    """The marked chips as a user would keep them, (S, 3, H, W) on the CPU, 8-bit values.

    Args:
        chips: (S, 3, H, W) in [0, 1], clean or perturbed, as kept.
        messages: (S, L) of 0 and 1.

    Raises:
        TargetError: the watermarker changes the shape, leaves [0, 1] or is not finite.
    """
    parts = [torch.empty(0, *chips.shape[1:])]
    with borrowed(watermark), torch.no_grad():
        for start in range(0, len(chips), batch_size):
            batch, bits_of = chips[start : start + batch_size], messages[start : start + batch_size]
            marked = watermark.encode(batch.to(device), bits_of.to(device)).float().cpu()
            parts.append(as_kept(_checked(watermark, marked, batch)))
    return torch.cat(parts)


def health(
    watermark: Watermark,
    marked: Mapping[str, Tensor],
    messages: Tensor,
    keys: Sequence[str],
    identities: Sequence[str],
    *,
    method: str,
    victim: str,
    seed: int,
    batch_size: int = 16,
    device: torch.device | str = "cpu",
    cells: Sequence[str] = ("both", "watermarked"),
    after: Sequence[str] = tuple(DISTORTIONS),
) -> list[Record]:
    """Whether the owner's bits can be read: one record a photo and measure.

    "bit_accuracy" and "exact_message" of the image that is perturbed and marked, "..._watermarked" of the clean marked
    one; each as kept and, with "_jpeg90", "_jpeg75", "_resize" or "_noise" appended, after that distortion. Decoding
    is most of the cost, and the clean marked photos are the same for all methods under one watermarker: a caller may
    take their records once (`cells=("watermarked",)`) and replace the method's name.

    Args:
        marked: cell -> (S, 3, H, W) as kept; only `cells` are read.
        messages: (S, L) as embedded in both.
        seed: of the noise, which is the same for both cells.
        after: which of `DISTORTIONS`; "" is the file as kept.

    Raises:
        ConfigError: a cell without images, or a cell or distortion that does not exist.
        TargetError: the decoder gives another shape than (S, L), or a score that is not finite.
    """
    _check_names(method, cells, marked, after)
    written = messages.cpu().numpy()
    records = []
    for cell in cells:
        for distortion in after:
            scores = _decode(watermark, DISTORTIONS[distortion](marked[cell], seed), messages, batch_size, device)
            found = {"bit_accuracy": bits.accuracy(scores, written), "exact_message": bits.exact(scores, written)}
            records += [
                Record(key, identity, method, victim, f"{measure}{_SUFFIX[cell]}{distortion}", float(value))
                for measure, values in found.items()
                for key, identity, value in zip(keys, identities, values, strict=True)
            ]
    return records


def gaussian_residual(chips: Tensor, psnr: Tensor, rng: torch.Generator) -> Tensor:
    """The control marking: white Gaussian noise in place of a watermark of the same strength, (S, 3, H, W), as kept.

    Clamping and rounding to 8 bits change the strength of noise, so its standard deviation is found by bisection, image
    by image, until the PSNR of the kept image meets the one asked for.

    Args:
        chips: (S, 3, H, W) in [0, 1], as kept: what would have been marked.
        psnr: (S,) in dB, of the marked chip against the chip, as kept. NaN, the PSNR of a mark that changed nothing,
            leaves the chip as it is.

    Raises:
        ConfigError: one PSNR a chip was not given.
        FacesecError: a PSNR that 8-bit noise cannot have to 0.05 dB on its chip.
    """
    wanted = psnr.detach().cpu().double().numpy()
    if wanted.shape != (len(chips),):
        raise ConfigError(f"gaussian_residual: found PSNR {wanted.shape}, wanted one for each of {len(chips)} chips.")
    kept = chips.clone()
    for row, goal in enumerate(wanted):
        noise = torch.randn(chips.shape[1:], generator=rng)  # drawn for every chip, so that none shifts the others'
        if not np.isnan(goal):
            kept[row] = _noised(chips[row], float(goal), noise)
    return kept


def _noised(chip: Tensor, wanted: float, noise: Tensor) -> Tensor:
    # Clamping weakens noise and so does rounding where it is below half a level; rounding stronger noise adds to it.
    plain = math.pow(10.0, -wanted / 20)
    low, high = plain / 4, plain * 8
    for _ in range(40):
        sd = math.sqrt(low * high)
        kept = ((chip + sd * noise).clamp(0, 1) * 255).round() / 255  # what `as_kept` reads back
        found = float(psnr_of(kept[None].numpy(), chip[None].numpy())[0])
        if abs(found - wanted) <= PSNR_TOLERANCE / 2:
            return kept
        low, high = (low, sd) if found < wanted else (sd, high)  # NaN: the noise was rounded away, so take more
    raise FacesecError(
        f"gaussian_residual: found no 8-bit noise of {wanted:g} dB on this chip, wanted one to {PSNR_TOLERANCE} dB "
        f"(nearest: {found:g} dB). Below about 10 dB clamping and above about 70 dB rounding stand in the way."
    )


def _decode(
    watermark: Watermark, images: Tensor, messages: Tensor, batch_size: int, device: torch.device | str
) -> npt.NDArray[np.float64]:
    scores = torch.empty(0, messages.shape[1], dtype=torch.float64)
    if len(images):
        with borrowed(watermark), torch.no_grad():
            parts = [watermark.decode(batch.to(device)).double().cpu() for batch in images.split(batch_size)]
        scores = torch.cat(parts)
    if scores.shape != messages.shape or not bool(scores.isfinite().all()):
        raise TargetError(
            f"{watermark.name}: found decoded scores {tuple(scores.shape)}, {int((~scores.isfinite()).sum())} of them "
            f"not finite; wanted {tuple(messages.shape)}, finite. The watermarker is at fault; nothing was scored."
        )
    return scores.numpy()


def _check_names(method: str, cells: Sequence[str], marked: Mapping[str, Tensor], after: Sequence[str]) -> None:
    missing = [cell for cell in cells if cell not in marked or cell not in _SUFFIX]
    if missing:
        raise ConfigError(f"{method}: found no marked images of the cells {missing}; wanted some of {list(_SUFFIX)}.")
    unknown = [distortion for distortion in after if distortion not in DISTORTIONS]
    if unknown:
        raise ConfigError(f"{method}: found distortions {unknown}; wanted some of {list(DISTORTIONS)}.")


def _checked(watermark: Watermark, marked: Tensor, chips: Tensor) -> Tensor:
    inside = marked.numel() == 0 or bool((marked.isfinite() & (marked >= 0) & (marked <= 1)).all())
    if marked.shape != chips.shape or not inside:
        span = f"[{marked.min():.3g}, {marked.max():.3g}]" if marked.numel() else "nothing"
        raise TargetError(
            f"{watermark.name}: found marked chips {tuple(marked.shape)} in {span}; wanted {tuple(chips.shape)}, "
            "finite, in [0, 1]. The watermarker is at fault; nothing was scored."
        )
    return marked
