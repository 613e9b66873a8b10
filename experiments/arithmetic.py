"""How a process computes: the same bits for the same seed, and no time lost on numbers next to nothing or on memory
that comes and goes."""

from __future__ import annotations

import ctypes
import os

import torch

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Names of glibc's mallopt(3)."""


def settle() -> None:
    """Deterministic algorithms, denormal numbers taken for zero, and freed memory kept. Before the first computation:
    threads that torch has started by then keep what they began with."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # warn_only: the backward pass of grid_sample has no deterministic CUDA kernel; on the CPU everything has one.
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Below 1e-38 a processor computes some hundred times as slowly, and squares of small gradients (Adam's second
    # moments) get there: a cloak of one photo took 439 s with such numbers and 10 s without.
    torch.set_flush_denormal(True)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """glibc gives every large tensor back to the system and asks for it anew a moment later: a fifth of SFace's
    gradient (9.7 s of 16 photos eight times, 7.8 s without) was spent on pages. Elsewhere nothing is done.

    Whoever sets a MALLOC_ variable has chosen, and keeps that.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return
    for option, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**28)):
        mallopt(option, value)
