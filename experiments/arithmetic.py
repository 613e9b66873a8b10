"""How a process computes: the same bits for the same seed, and no time lost on numbers next to nothing."""

from __future__ import annotations

import os

import torch


def settle() -> None:
    """Deterministic algorithms, and denormal numbers taken for zero. Before the first computation: threads that torch
    has started by then keep what they began with."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # warn_only: the backward pass of grid_sample has no deterministic CUDA kernel; on the CPU everything has one.
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Below 1e-38 a processor computes some hundred times as slowly, and squares of small gradients (Adam's second
    # moments) get there: a cloak of one photo took 439 s with such numbers and 10 s without.
    torch.set_flush_denormal(True)
