"""What every attack of another library passes through: its randomness lent and taken back, its errors named, its result
checked."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from facesec_bench.errors import ConfigError, FacesecError, TargetError
from facesec_bench.spaces import PixelBall


@contextmanager
def seeded_globally(rng: torch.Generator) -> Iterator[None]:
    """Seed the global generators of torch, numpy and Python from `rng` inside; restore them after.

    Attack libraries draw from these and take no generator: without this the same seed would not give the same bits.
    """
    seed = int(torch.randint(0, 2**31 - 1, (1,), generator=rng, device=rng.device))
    numpy_state, python_state = np.random.get_state(), random.getstate()
    # By name: fork_rng of older torch versions takes CUDA to be the only accelerator.
    accelerator = torch.accelerator.current_accelerator()
    with torch.random.fork_rng(device_type=accelerator.type if accelerator else "cuda"):
        try:
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)


@contextmanager
def named_errors(attack: str) -> Iterator[None]:
    """Whatever a library raises inside becomes a TargetError that begins with `attack`, so that one method cannot end a
    study; errors of this project pass through as they are."""
    try:
        yield
    except FacesecError:
        raise
    except Exception as error:
        raise TargetError(f"{attack}: {type(error).__name__}: {error}") from error


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
