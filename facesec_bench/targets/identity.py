"""The digest of a user's target: its weights, every setting that shapes the embedding, and the code that builds it."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from facesec_bench.errors import TargetError


def target_digest(weights: str, settings: Mapping[str, Any], modules: Iterable[str] = ()) -> str:
    """sha256 over all that decides an embedding, so that no other target's calibration is taken for this one's.

    Args:
        weights: sha256 of the weights.
        settings: the constructor's arguments but paths and name; numbers, words, lists and mappings.
        modules: names of imported modules whose source files count.

    Raises:
        TargetError: a setting of another kind.
    """
    text = json.dumps([weights, dict(settings)], sort_keys=True, default=_plain)
    total = hashlib.sha256(text.encode())
    for name in sorted(set(modules)):
        file = getattr(sys.modules.get(name), "__file__", None)  # none in a notebook
        if file and Path(file).is_file():
            total.update(hashlib.sha256(Path(file).read_bytes()).digest())
    return total.hexdigest()


def _plain(value: object) -> Any:
    """The configuration library's lists and mappings as plain ones."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    raise TargetError(
        f"A setting is a {type(value).__name__}, wanted numbers, words, lists and mappings, as YAML gives them; build "
        "other objects inside the factory."
    )


def state_digest(network: nn.Module) -> str:
    """sha256 over names and bytes of the state dict."""
    digest = hashlib.sha256()
    for key, tensor in sorted(network.state_dict().items()):
        digest.update(key.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
