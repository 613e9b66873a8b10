"""From chip to a target's own crop: one constant affine warp, differentiable in the chip.

Points are (x, y) in pixels with the centre of the top-left pixel at (0, 0), as detectors and OpenCV give them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from facesec_bench.errors import TargetError
from facesec_bench.interfaces import CHIP_LANDMARKS, CHIP_SIZE

Point = tuple[float, float]

ARCFACE_112: tuple[Point, ...] = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
"""The five-point template of ArcFace (Deng et al., CVPR 2019) in a 112 px crop, in the order of `CHIP_LANDMARKS`."""

DLIB_EYES_150: tuple[Point, ...] = ((47.7, 47.1), (100.3, 47.1))
"""Eye centres in dlib's 150 px face chip (get_face_chip_details, padding 0.25)."""


def similarity(source: Sequence[Point], destination: Sequence[Point]) -> Tensor:
    """The least-squares similarity (rotation, scale, shift) that takes `source` to `destination`.

    Args:
        source, destination: two or more points each.

    Returns:
        (2, 3) float64: destination = A @ (x, y, 1).

    Source: the normal equations of x' = a x - b y + c, y' = b x + a y + d.
    """
    rows, values = [], []
    for (x, y), (u, v) in zip(source, destination, strict=True):
        rows += [[x, -y, 1.0, 0.0], [y, x, 0.0, 1.0]]
        values += [u, v]
    system = torch.tensor(rows, dtype=torch.float64)
    a, b, c, d = torch.linalg.lstsq(system, torch.tensor(values, dtype=torch.float64)[:, None]).solution[:, 0].tolist()
    return torch.tensor([[a, -b, c], [b, a, d]], dtype=torch.float64)


class Template(nn.Module):
    """Warps chips to a target's crop.

    Args:
        points: where chip landmarks must lie in the crop; two (the eyes) or five, in the order of `CHIP_LANDMARKS`.
        size: side of the crop in pixels.
        padding: what lies outside the chip, "zeros" (black) or "border" (its outermost pixels).

    Plain bilinear sampling: the reduction is at most 1.5 times, and the attacks see the same sampling as the judge.
    """

    grid: Tensor

    def __init__(self, points: Sequence[Point], size: int, padding: str = "zeros") -> None:
        super().__init__()
        self.padding = padding
        back = similarity(points, CHIP_LANDMARKS[: len(points)])  # for each crop pixel, where in the chip to look
        self.register_buffer("grid", _grid(back, size), persistent=False)

    @classmethod
    def whole(cls, size: int) -> Template:
        """The whole chip resized to `size`, outer edges on outer edges (half-pixel centres)."""
        scale = size / CHIP_SIZE
        points = [((x + 0.5) * scale - 0.5, (y + 0.5) * scale - 0.5) for x, y in CHIP_LANDMARKS]
        return cls(points, size, padding="border")  # an enlarged rim must not fade to black

    def forward(self, chips: Tensor) -> Tensor:
        """(B, 3, 224, 224) -> (B, 3, size, size).

        Raises:
            TargetError: another shape, or numbers that are not floating point.
        """
        if chips.ndim != 4 or tuple(chips.shape[1:]) != (3, CHIP_SIZE, CHIP_SIZE):
            raise TargetError(
                f"embed wants chips (B, 3, {CHIP_SIZE}, {CHIP_SIZE}); found {tuple(chips.shape)}. "
                "Align faces with a loader of facesec_bench.data first."
            )
        if not chips.is_floating_point():
            raise TargetError(
                f"embed wants floating-point RGB in [0, 1]; found {chips.dtype}. Divide 8-bit data by 255."
            )
        grid = self.grid.to(chips.dtype).expand(len(chips), -1, -1, -1)
        return functional.grid_sample(chips, grid, mode="bilinear", padding_mode=self.padding, align_corners=False)


def _grid(back: Tensor, size: int) -> Tensor:
    """(1, size, size, 2) float32 sampling positions in [-1, 1], -1 and 1 being the outer edges of the chip."""
    axis = torch.arange(size, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    crop = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    chip = crop @ back.T
    return (((2 * chip + 1) / CHIP_SIZE) - 1).to(torch.float32)[None]


def check_range(chips: Tensor) -> None:
    """Refuse images in 0..255, the usual mistake.

    Attacks that look ahead (NI) or around (VMI) leave [0, 1] by a fraction on purpose and are let through unaltered.

    Raises:
        TargetError: a value is NaN, below -1 or above 2.
    """
    if chips.numel() == 0:
        return
    low, high = (float(bound) for bound in torch.aminmax(chips.detach()))
    if not (low >= -1 and high <= 2):
        raise TargetError(
            f"embed wants RGB in [0, 1]; found values from {low:.3g} to {high:.3g}. Divide 8-bit data by 255."
        )
