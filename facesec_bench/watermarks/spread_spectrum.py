"""Spread spectrum: each bit is the sign of a correlation with its own noise-like pattern; everything in closed form."""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor, nn

from facesec_bench.errors import ConfigError
from facesec_bench.interfaces import CHIP_SIZE
from facesec_bench.seeds import generator
from facesec_bench.watermarks.messages import check, check_chips


def cosine_matrix(side: int) -> Tensor:
    """The orthonormal DCT-II as a matrix C, (side, side) float64: the coefficients of an image Y are C Y C^T."""
    index = torch.arange(side, dtype=torch.float64)
    matrix = torch.cos(math.pi / side * (index[None, :] + 0.5) * index[:, None]) * math.sqrt(2 / side)
    matrix[0] /= math.sqrt(2)
    return matrix


def band_places(low: int, high: int) -> Tensor:
    """Where the coefficients (u, v) with low <= sqrt(u^2 + v^2) < high lie in a flattened chip of them, in order."""
    index = torch.arange(CHIP_SIZE)
    radius_squared = index[:, None] ** 2 + index[None, :] ** 2
    return ((radius_squared >= low**2) & (radius_squared < high**2)).flatten().nonzero().flatten()


class SpreadSpectrum(nn.Module):
    """The watermark `spread_spectrum`: informed embedding along orthonormal patterns p_i.

    x_w = x + sum_i (strength (2 m_i - 1) - <x, p_i>) p_i, cut off at 0 and 1; a bit is read as the sign of <x_w, p_i>.
    The second term removes the picture's own share, so every score is `strength` in size until something happens to the
    image (Malvar and Florencio, "Improved Spread Spectrum", IEEE Trans. Signal Processing 2003, with lambda = 1).

    A pattern lives in a band of the chip's cosine transform, after Cox et al. ("Secure Spread Spectrum Watermarking for
    Multimedia", IEEE Trans. Image Processing 1997): below it the picture is strong, above it JPEG leaves little. Every
    coefficient of the band belongs to one bit and has a random sign, so the patterns are orthonormal by construction.
    They are grey, because JPEG halves the resolution of colours, and have mean zero.

    Args:
        bits: length of a message.
        strength: size of a score, in units of a chip's Euclidean norm with pixels in [0, 1]. What it costs in dB is
            about 10 log10(150528 / (bits strength^2)), less the share of the picture that is removed.
        low: first radius of the band, in half cycles per side.
        high: the radius at which the band ends.
        seed: decides which coefficient carries which bit, and the signs: the owner's key.

    Raises:
        ConfigError: a strength of 0 or less, no bits, or a band that is empty or has fewer coefficients than bits.
    """

    name = "spread_spectrum"
    differentiable = True
    cosines: Tensor
    places: Tensor
    signs: Tensor

    def __init__(self, bits: int = 32, strength: float = 0.4, low: int = 32, high: int = 80, seed: int = 0) -> None:
        super().__init__()
        if bits < 1 or not strength > 0 or not 0 < low < high:
            raise ConfigError(
                f"spread_spectrum: found {bits} bits, strength {strength}, band {low} to {high}; wanted at least 1 "
                f"bit, a strength above 0 and 0 < low < high."
            )
        self.bits, self.strength = bits, strength
        band = band_places(low, high)
        each = len(band) // bits
        if not each:
            raise ConfigError(
                f"spread_spectrum: found {len(band)} coefficients from {low} to {high} for {bits} bits, wanted at "
                f"least one a bit; widen the band."
            )
        rng = generator(seed, "spread_spectrum")  # on the CPU whatever the device, so that a key means one thing
        chosen = band[torch.randperm(len(band), generator=rng)[: bits * each]]
        signs = torch.randint(0, 2, (bits, each), generator=rng) * 2 - 1
        self.register_buffer("cosines", cosine_matrix(CHIP_SIZE).float())
        self.register_buffer("places", chosen.view(bits, each))
        self.register_buffer("signs", signs.float() / math.sqrt(each))
        settings = f"spread_spectrum/1 {bits} {strength} {low} {high} {seed}"
        self.digest = hashlib.sha256(settings.encode()).hexdigest()

    def encode(self, chips: Tensor, messages: Tensor) -> Tensor:
        """Mark the chips; differentiable in them.

        Args:
            chips: (B, 3, 224, 224) in [0, 1].
            messages: (B, bits) of 0 and 1.

        Returns:
            (B, 3, 224, 224) in [0, 1].

        Raises:
            ConfigError: a wrong shape, or a message of anything but 0 and 1.
        """
        check(self.name, self.bits, chips, messages)
        missing = self.strength * (messages.to(chips) * 2 - 1) - self.decode(chips)
        return (chips + self._combine(missing)).clamp(0, 1)

    def decode(self, chips: Tensor) -> Tensor:
        """(B, 3, 224, 224) -> (B, bits): <x, p_i> for each pattern, `strength` in size when untouched.

        Raises:
            ConfigError: a wrong shape.
        """
        check_chips(self.name, chips, CHIP_SIZE)
        grey = chips.sum(dim=1) / math.sqrt(3)
        coefficients = self.cosines @ grey @ self.cosines.T
        return (coefficients.flatten(1)[:, self.places] * self.signs).sum(dim=2)

    def patterns(self) -> Tensor:
        """The patterns p_i as images, (bits, 3, 224, 224); for looking at them and for tests."""
        return self._combine(torch.eye(self.bits).to(self.signs))

    def _combine(self, weights: Tensor) -> Tensor:
        """sum_i weights_i p_i: (B, bits) -> (B, 3, 224, 224)."""
        values = (weights[:, :, None] * self.signs).flatten(1)
        coefficients = weights.new_zeros(len(weights), CHIP_SIZE**2)
        coefficients = coefficients.index_copy(1, self.places.flatten(), values)
        grey = self.cosines.T @ coefficients.view(-1, CHIP_SIZE, CHIP_SIZE) @ self.cosines
        return (grey / math.sqrt(3))[:, None].expand(-1, 3, -1, -1)
