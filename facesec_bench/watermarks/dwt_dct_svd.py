"""DWT-DCT-SVD: bits in the largest singular values of small blocks (the invisible-watermark library's dwtDctSvd)."""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor
from torch.nn import functional

from facesec_bench.errors import ConfigError
from facesec_bench.watermarks.messages import check, check_chips

BLOCK = 4
"""Side of a block in the LL band; 8 pixels in the chip."""
U_WEIGHTS = (-0.492 * 0.299, -0.492 * 0.587, 0.492 * (1 - 0.114))
"""U = 0.492 (B - Y) with Y = 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), in grey levels around 128."""
FROM_U = (0.0, -0.395, 2.032)
"""What one unit of U adds to R, G and B while Y and V stay."""


def low_band(channel: Tensor) -> Tensor:
    """The LL band of one Haar step: (B, H, W) -> (B, H/2, W/2), half the sum of each 2x2 square."""
    return functional.avg_pool2d(channel, 2) * 2


def to_blocks(band: Tensor) -> Tensor:
    """(B, H, W) -> (B, N, 4, 4), row by row."""
    rows = band.unfold(1, BLOCK, BLOCK).unfold(2, BLOCK, BLOCK)
    return rows.flatten(1, 2)


def from_blocks(blocks: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `to_blocks`, to (B, height, width)."""
    grid = blocks.view(len(blocks), height // BLOCK, width // BLOCK, BLOCK, BLOCK)
    return grid.transpose(2, 3).reshape(len(blocks), height, width)


class DwtDctSvd:
    """The watermark `dwt_dct_svd`: no network and no gradient.

    The U channel goes through one Haar step; of each 4x4 block of its LL band, cosine-transformed, the largest singular
    value s becomes (floor(s / scale) + 1/4 + m/2) scale. So the bit m sits in the residue of s modulo `scale`. Blocks
    carry the bits in turn, row by row.

    Two steps of the library are left out because they change nothing: the cosine transform is an orthonormal change of
    basis on both sides of a block, which leaves singular values alone and cancels on the way back; and only the LL band
    changes, so the other bands need not be computed. Where the library rounds YUV to 8 bits and counts votes, this
    stays in floats and averages -sin(2 pi s / scale), which is +1 and -1 at the two sent values.

    Args:
        bits: length of a message; at most one bit for each 8x8 square of the chip, 784 at 224 px.
        scale: the quantiser's step, in grey levels times 8; the library's default.

    Raises:
        ConfigError: no bits, or a scale of 0 or less.
    """

    name = "dwt_dct_svd"
    differentiable = False

    def __init__(self, bits: int = 32, scale: float = 36) -> None:
        if bits < 1 or not scale > 0:
            raise ConfigError(f"dwt_dct_svd: found {bits} bits and scale {scale}, wanted at least 1 and above 0.")
        self.bits, self.scale = bits, float(scale)
        self.digest = hashlib.sha256(f"dwt_dct_svd/1 {bits} {scale}".encode()).hexdigest()

    @torch.no_grad()
    def encode(self, chips: Tensor, messages: Tensor) -> Tensor:
        """Mark the chips; no gradient.

        Args:
            chips: (B, 3, H, W) in [0, 1]; a margin beyond the last whole 8x8 square stays unmarked.
            messages: (B, bits) of 0 and 1.

        Returns:
            (B, 3, H, W) in [0, 1].

        Raises:
            ConfigError: a wrong shape, a chip with fewer squares than bits, or a message of anything but 0 and 1.
        """
        check(self.name, self.bits, chips, messages)
        blocks = self._blocks(chips)
        left, sizes, right = torch.linalg.svd(blocks)
        largest = sizes[..., 0]
        sent = messages.to(chips)[:, self._carriers(blocks)]
        change = (torch.floor(largest / self.scale) + 0.25 + 0.5 * sent) * self.scale - largest
        moved = change[..., None, None] * left[..., :, :1] * right[..., :1, :]
        return self._add_to_u(chips, moved)

    @torch.no_grad()
    def decode(self, chips: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, bits) scores in [-1, 1], positive reads as 1; no gradient.

        Raises:
            ConfigError: a wrong shape, or a chip with fewer squares than bits.
        """
        check_chips(self.name, chips)
        blocks = self._blocks(chips)
        votes = -torch.sin(2 * math.pi / self.scale * torch.linalg.matrix_norm(blocks, ord=2))
        carried = functional.one_hot(self._carriers(blocks), self.bits).to(votes)
        return votes @ (carried / carried.sum(dim=0))

    def _blocks(self, chips: Tensor) -> Tensor:
        """(B, N, 4, 4): the LL band of U in grey levels, in blocks."""
        height, width = (side // (2 * BLOCK) * 2 * BLOCK for side in chips.shape[-2:])
        if height * width // (2 * BLOCK) ** 2 < self.bits:
            raise ConfigError(
                f"dwt_dct_svd: found chips of {tuple(chips.shape[-2:])} px, wanted at least {self.bits} squares of 8x8 "
                f"for {self.bits} bits; use larger chips or fewer bits."
            )
        weights = torch.tensor(U_WEIGHTS).to(chips)
        channel = 128 + 255 * torch.einsum("c,bchw->bhw", weights, chips[:, :, :height, :width])
        return to_blocks(low_band(channel))

    def _carriers(self, blocks: Tensor) -> Tensor:
        """(N,): which bit each block carries."""
        return torch.arange(blocks.shape[1], device=blocks.device) % self.bits

    def _add_to_u(self, chips: Tensor, blocks: Tensor) -> Tensor:
        """The chips with (B, N, 4, 4) added to the LL band of U; Haar's inverse gives each of its four pixels half."""
        height, width = (side // (2 * BLOCK) * BLOCK for side in chips.shape[-2:])
        change = from_blocks(blocks, height, width).repeat_interleave(2, dim=1).repeat_interleave(2, dim=2) / 2
        change = functional.pad(change, (0, chips.shape[-1] - 2 * width, 0, chips.shape[-2] - 2 * height)) / 255
        weights = torch.tensor(FROM_U).to(chips)
        return (chips + weights[:, None, None] * change[:, None]).clamp(0, 1)
