"""Messages of 0 and 1: how they are drawn, and what a watermarker may be given."""

from __future__ import annotations

import torch
from torch import Tensor

from facesec_bench.errors import ConfigError


def draw(n: int, bits: int, rng: torch.Generator) -> Tensor:
    """`n` independent messages of fair coin flips, (n, bits) float32 of 0 and 1, on the generator's device.

    Raises:
        ConfigError: a negative number of messages, or messages of no bits.
    """
    if n < 0 or bits < 1:
        raise ConfigError(f"draw: found {n} messages of {bits} bits, wanted 0 or more messages of at least 1 bit.")
    return torch.randint(0, 2, (n, bits), generator=rng, device=rng.device).float()


def check(name: str, bits: int, chips: Tensor, messages: Tensor) -> None:
    """Raise unless `messages` is one message of `bits` bits, each 0 or 1, for each of the `chips`.

    Args:
        name: of the watermarker, for the error.
        chips: (B, 3, H, W).

    Raises:
        ConfigError: chips of another shape; messages of another shape or with any value but 0 and 1 (a soft bit or -1
            for 0 would be embedded as something that no decoder can call right or wrong).
    """
    check_chips(name, chips)
    if messages.shape != (len(chips), bits):
        raise ConfigError(
            f"{name}: found messages {tuple(messages.shape)}, wanted {(len(chips), bits)}: one row of {bits} bits for "
            f"each of the {len(chips)} chips (watermarks.messages.draw; watermarks.repetition carries shorter ones)."
        )
    strange = messages[(messages != 0) & (messages != 1)]
    if strange.numel():
        raise ConfigError(f"{name}: found {strange[0].item()} in a message, wanted only 0 and 1.")


def check_chips(name: str, chips: Tensor, side: int | None = None) -> None:
    """Raise unless `chips` is (B, 3, H, W), of this side in pixels where the watermarker knows only one.

    Raises:
        ConfigError: another shape.
    """
    wanted = "H, W" if side is None else f"{side}, {side}"
    right_side = side is None or chips.shape[-2:] == (side, side)
    if chips.ndim != 4 or chips.shape[1] != 3 or not right_side:
        raise ConfigError(f"{name}: found chips {tuple(chips.shape)}, wanted (B, 3, {wanted}) RGB in [0, 1].")
