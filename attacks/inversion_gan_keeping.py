"""Trained GANs kept between runs, with what their training asked of the victim."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from attacks import inversion_gan_losses, inversion_gan_networks, inversion_gan_training
from attacks.inversion_priors import GeneratorPrior
from facesec_bench import trained, training
from facesec_bench.access import Meter
from facesec_bench.generators import frame
from facesec_bench.training import Point

_CODE = (inversion_gan_losses, inversion_gan_networks, inversion_gan_training, training, frame, GeneratorPrior)


def recipe(
    seed: int, public: Tensor, settings: Mapping[str, Any], *code: ModuleType | type | Callable[..., Any]
) -> dict[str, Any]:
    """Everything that decides a GAN's weights.

    Args:
        seed: of weights and batches.
        public: (N, 3, 224, 224) photos it is trained on.
        settings: what else does, as JSON can write it.
        code: what does beside the modules that all these GANs share.
    """
    lines = trained.code_digest(*_CODE, *code)
    # "keeps": entries of before times were kept are not found.
    return {
        "seed": seed,
        "keeps": "asked, seconds",
        "public": tensor_digest(public),
        "code": lines,
        "torch": torch.__version__,
        **settings,
    }


def kept(
    name: str,
    recipe: Mapping[str, Any],
    networks: Mapping[str, nn.Module],
    train: Callable[[], list[Point]],
    meter: Meter,
) -> str:
    """Train these networks in place, or put into them what the same recipe once made.

    What a training asks of the victim and how long it takes are kept with the weights and counted again when they are
    used again: an attack costs the same, whoever ran before.

    Args:
        name, recipe: see `facesec_bench.trained`.
        networks: what `train` changes.
        train: returns its curve.
        meter: the victim's.

    Returns:
        The name of the entry, which tells one recipe from another.

    Raises:
        AccessError: the victim's budget does not cover what the training asked.
    """
    entry = trained.path(name, recipe).stem
    found = trained.load(name, recipe)
    if found is None:
        queries, gradients = meter.queries, meter.gradients
        began = time.perf_counter()
        curve = train()
        seconds = torch.tensor(time.perf_counter() - began, dtype=torch.float64)
        asked = torch.tensor([meter.queries - queries, meter.gradients - gradients])
        found = {f"{part}.{key}": value for part, net in networks.items() for key, value in net.state_dict().items()}
        trained.store(name, recipe, found | {"asked": asked, "seconds": seconds}, curve)
        return entry
    queries, gradients = found["asked"].tolist()
    meter.ask(queries)
    meter.gradients += gradients
    meter.kept_seconds += float(found["seconds"])
    for part, net in networks.items():
        net.load_state_dict({k.removeprefix(f"{part}."): v for k, v in found.items() if k.startswith(f"{part}.")})
    return entry


def tensor_digest(tensor: Tensor) -> str:
    """sha256 of a tensor's shape and bytes."""
    content = tensor.detach().cpu().contiguous().numpy().tobytes()
    return hashlib.sha256(f"{tuple(tensor.shape)}{tensor.dtype}".encode() + content).hexdigest()
