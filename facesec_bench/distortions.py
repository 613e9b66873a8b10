"""What happens to an image on its way: compression, scaling, blur, noise, fewer grey levels.

Used as measurements (does a bit or a cloak survive?), as training noise and as purifiers. Each maps (B, 3, H, W) in
[0, 1] to the same shape and range. Those without a useful gradient pass it on unchanged (BPDA, Athalye et al.,
"Obfuscated Gradients", ICML 2018); they say so.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from facesec_bench.errors import ConfigError


def pass_gradient(value: Tensor, to: Tensor) -> Tensor:
    """`value`, whose gradient goes to `to` as if the two were one (the straight-through estimator)."""
    return value.detach() + (to - to.detach())  # an exact zero is added: `value` keeps its bits and its range


def jpeg(images: Tensor, quality: int) -> Tensor:
    """A real JPEG file of this quality (libjpeg, 4:2:0 chroma), read back. Gradient: passed on unchanged.

    Raises:
        ConfigError: a quality outside 1 to 100.
    """
    if not 1 <= quality <= 100:
        raise ConfigError(f"jpeg: found quality {quality}, wanted 1 to 100.")
    files = []
    for image in (images.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu():
        buffer = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(buffer, format="JPEG", quality=quality, subsampling=2)
        with Image.open(buffer) as read:
            files.append(torch.from_numpy(np.array(read)).permute(2, 0, 1).float() / 255)
    return pass_gradient(torch.stack(files).to(images), images) if files else images


def rescaled(images: Tensor, share: float) -> Tensor:
    """Shrunk (or enlarged) to `share` of each side and back, bilinear with antialiasing. Differentiable.

    Raises:
        ConfigError: a share of 0 or less, or above 4.
    """
    if not 0 < share <= 4:
        raise ConfigError(f"rescaled: found share {share}, wanted above 0 and up to 4.")
    sides = images.shape[-2:]
    small = [max(1, round(side * share)) for side in sides]
    there = functional.interpolate(images, size=small, mode="bilinear", antialias=True)
    return functional.interpolate(there, size=list(sides), mode="bilinear", antialias=True).clamp(0, 1)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur with this standard deviation in pixels. Differentiable.

    Raises:
        ConfigError: a sigma of 0 or less, or so large that its window (3 sigma each way) leaves the mirrored image.
    """
    # Imported here: torchvision's transforms take a second to import.
    from torchvision.transforms.v2.functional import gaussian_blur

    most = (min(images.shape[-2:]) - 1) / 3
    if not 0 < sigma <= most:
        raise ConfigError(f"blurred: found sigma {sigma}, wanted above 0 and up to {most:.1f} for this image.")
    side = 2 * int(np.ceil(3 * sigma)) + 1
    return gaussian_blur(images, [side, side], [sigma, sigma]).clamp(0, 1)  # type: ignore[no-any-return]


def noisy(images: Tensor, sd_255: float, rng: torch.Generator) -> Tensor:
    """Independent Gaussian noise of this standard deviation in grey levels out of 255. Differentiable."""
    noise = torch.randn(images.shape, generator=rng, device=rng.device).to(images)
    return (images + sd_255 / 255 * noise).clamp(0, 1)


def quantised(images: Tensor, levels: int) -> Tensor:
    """Rounded to this many grey levels a channel (256 is an 8-bit file). Gradient: passed on unchanged.

    Raises:
        ConfigError: fewer than two levels.
    """
    if levels < 2:
        raise ConfigError(f"quantised: found {levels} levels, wanted at least 2.")
    return pass_gradient((images.detach() * (levels - 1)).round() / (levels - 1), images)
