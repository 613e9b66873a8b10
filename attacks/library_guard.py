"""What every attack of another library passes through: its randomness lent and taken back, its result checked."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from facesec_bench.errors import ConfigError, TargetError
from facesec_bench.spaces import PixelBall


@contextmanager
def seeded_globally(rng: torch.Generator) -> Iterator[None]:
    """Seed the global generators of torch, numpy and Python from `rng` inside; restore them after.

    Attack libraries draw from these and take no generator: without this the same seed would not give the same bits.
    """
    seed = int(torch.randint(0, 2**31 - 1, (1,), generator=rng, device=rng.device))
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng():
        try:
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)


def checked(result: Tensor, space: PixelBall | None, images: Tensor, method: str) -> Tensor:
    """`result` if it is finite and keeps to [0, 1] and to `space` (None: no declared budget).

    Float dust (1e-5 of a pixel or of the radius) is projected away; more is an error: a budget is not a library's to
    break.

    Raises:
        TargetError: NaN or infinity, which a library makes of a vanishing gradient.
        ConfigError: the result left its budget.
    """
    allowed = space or PixelBall(images, 1.0)
    result = result.detach().to(images)
    if result.shape != images.shape or not result.isfinite().all():
        raise TargetError(f"{method} gave images that are not finite or of another shape than {tuple(images.shape)}.")
    inside = allowed.project(result)
    excess = float((result - inside).flatten(1).abs().amax()) if len(result) else 0.0
    if excess > 1e-5 * max(1.0, allowed.radius):
        raise ConfigError(f"{method} left its declared budget by {excess * 255:.3g} grey levels; see its arguments.")
    return inside
