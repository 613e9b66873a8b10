"""Images seen in perspective: the augmentation under which a text should still be recognised."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def perspective(images: Tensor, corners: Tensor) -> Tensor:
    """(B, 3, H, W) seen in perspective: its corners go where `corners` says, what is beyond is black. Differentiable
    in the images.

    Args:
        corners: (4, 2) of (x, y) in [-1, 1]: where the top left, top right, bottom right and bottom left corner of the
            image land; (-1, -1) is the top left corner itself.
    """
    # In float64 on the CPU: some devices (MPS) have none, and only the grid, once made, need go there.
    corners = corners.detach().cpu().double()
    square = corners.new_tensor([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    back = _homography(corners, square)
    height, width = images.shape[-2:]
    y, x = ((2 * torch.arange(n, dtype=torch.float64) + 1) / n - 1 for n in (height, width))
    grid = torch.stack(
        [x.expand(height, width), y[:, None].expand(height, width), torch.ones_like(x).expand(height, width)], -1
    )
    seen = grid @ back.T
    places = (seen[..., :2] / seen[..., 2:]).to(images.dtype).to(images.device)
    return functional.grid_sample(images, places.expand(len(images), -1, -1, -1), align_corners=False)


def _homography(start: Tensor, end: Tensor) -> Tensor:
    """The (3, 3) projective map that takes four points (4, 2) to four others; its last entry is 1."""
    x, y, one, zero = start[:, 0], start[:, 1], torch.ones_like(start[:, 0]), torch.zeros_like(start[:, 0])
    u, v = end[:, 0], end[:, 1]
    rows = [
        torch.stack([x, y, one, zero, zero, zero, -u * x, -u * y], dim=1),
        torch.stack([zero, zero, zero, x, y, one, -v * x, -v * y], dim=1),
    ]
    solved = torch.linalg.solve(torch.cat(rows), torch.cat([u, v]))
    return torch.cat([solved, solved.new_ones(1)]).view(3, 3)


def random_perspective(images: Tensor, rng: torch.Generator, distortion: float = 0.5) -> Tensor:
    """`perspective` with each corner moved inwards by up to `distortion` of half the side, uniformly.

    One draw for the whole batch, so that what an image becomes does not depend on the others.
    """
    square = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    inwards = torch.rand(4, 2, generator=rng, device=rng.device).cpu()
    return perspective(images, square * (1 - distortion * inwards))
