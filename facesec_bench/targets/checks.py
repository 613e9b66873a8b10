"""What a user's network must show before it may serve as a target: one embedding an image, and a usable gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from facesec_bench.errors import TargetError

TOLERANCE = 1e-4
"""Largest difference allowed, relative to the largest value."""

Network = Callable[[Tensor], Tensor]


def two_images(shape: tuple[int, ...]) -> Tensor:
    """Two fixed, different, smooth inputs of roughly normalised range, (2, *shape)."""
    ramp = torch.linspace(0, 1, int(torch.Size(shape).numel())).reshape(shape)
    return torch.stack([torch.sin(37 * ramp), torch.cos(91 * ramp)])


def far_apart(a: Tensor, b: Tensor) -> float:
    """The largest difference relative to the largest value of `b`."""
    return float((a - b).abs().max() / b.abs().max().clamp_min(1e-12))


def check_batch(name: str, network: Network, pair: Tensor) -> Tensor:
    """Embed a batch of two and its two singles and compare.

    Returns:
        (2, D) raw embeddings.

    Raises:
        TargetError: not (2, D), not finite, or the batch and the singles disagree (a Reshape to (1, -1) does that).
    """
    with torch.no_grad():
        batch = network(pair)
        if batch.ndim != 2 or len(batch) != 2:
            raise TargetError(
                f"{name}: a batch of two gives {tuple(batch.shape)}, wanted (2, D). The network merges its batch; "
                "export it with a dynamic batch axis and flatten with Flatten or Reshape to (-1, D)."
            )
        singles = torch.cat([network(pair[:1]), network(pair[1:])])
    if not bool(torch.isfinite(batch).all()):
        raise TargetError(f"{name}: the embedding holds NaN or infinity; check mean, std and the weights.")
    if singles.shape != batch.shape or far_apart(batch, singles) > TOLERANCE:
        raise TargetError(
            f"{name}: a batch of two and two single images give different embeddings; is it in eval mode?"
        )
    return batch


def check_gradient(name: str, network: Network, pair: Tensor, suspects: str = "") -> None:
    """Refuse a network through which no gradient reaches the input.

    Args:
        suspects: operators to name in the message.

    Raises:
        TargetError: the gradient is absent, zero or not finite.
    """
    found = _gradient_fault(network, pair.clone().requires_grad_(True))
    if found:
        remedy = "attacks need it; give a float32 network without rounding, argmax or quantisation"
        raise TargetError(f"{name}: the gradient to the input is {found}{suspects}; {remedy}.")


def _gradient_fault(network: Network, pair: Tensor) -> str:
    embedding = network(pair)
    if not embedding.requires_grad:
        return "absent"
    weights = torch.linspace(-1, 1, embedding.shape[1])  # a plain sum can be constant on normalised outputs
    (gradient,) = torch.autograd.grad((embedding * weights).sum(), pair, allow_unused=True)
    if gradient is None:
        return "absent"
    if not bool(torch.isfinite(gradient).all()):
        return "not finite"
    return "" if bool((gradient.flatten(1).abs().amax(dim=1) > 0).all()) else "zero"
