"""Random generators derived by purpose, so that adding one draw never shifts another."""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def derive(seed: int, *purpose: object) -> int:
    """A 63-bit seed from `seed` and the words that say what it is for; stable across machines and versions."""
    text = "\x1f".join([str(int(seed)), *(str(part) for part in purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: object, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator for one purpose: `generator(seed, "attack", "pgd", key)`."""
    return torch.Generator(device=device).manual_seed(derive(seed, *purpose))


def numpy_generator(seed: int, *purpose: object) -> np.random.Generator:
    """The numpy twin of `generator`, for code that is arithmetic and no torch."""
    return np.random.default_rng(derive(seed, *purpose))
