"""A user's torch network as a target: `module:function` builds it, a safetensors or weights_only file fills it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from facesec_bench.asset_download import sha256
from facesec_bench.errors import TargetError
from facesec_bench.interfaces import TargetCard
from facesec_bench.targets.checks import check_batch, check_gradient, two_images
from facesec_bench.targets.identity import state_digest, target_digest
from facesec_bench.targets.preparation import Preparation
from facesec_bench.tensor_files import read_tensors


class TorchFactoryTarget(nn.Module):
    """An FR target from the user's own code.

    Args:
        factory: "package.module:function"; called with `arguments`, it returns the nn.Module.
        weights: a state dict as .safetensors, or as a torch file that `weights_only=True` can read; None keeps what
            the factory returned.
        state_key: where in a torch file the state dict lies, when it is not the file itself.
        name, input_size, template, mean, std, channels, layout, licence: as for `OnnxTarget`.

    Raises:
        TargetError: the factory or the file is not there, the weights do not fit, or the network fails the checks.
    """

    def __init__(
        self,
        factory: str,
        weights: str | None = None,
        name: str = "torch_factory",
        arguments: Mapping[str, Any] | None = None,
        state_key: str | None = None,
        input_size: int = 112,
        template: str = "arcface",
        mean: float | Sequence[float] = 127.5,
        std: float | Sequence[float] = 127.5,
        channels: str = "rgb",
        layout: str = "nchw",
        licence: str = "not stated",
    ) -> None:
        super().__init__()
        self.name = name
        self.preparation = Preparation(template, input_size, mean, std, channels, layout)
        build = _function(factory)
        network = build(**dict(arguments or {}))
        if not isinstance(network, nn.Module):
            raise TargetError(f"{factory} returned {type(network).__name__}, wanted a torch.nn.Module.")
        if weights is not None:
            _fill(network, Path(weights).expanduser(), state_key)
        self.network = network.eval().requires_grad_(False)
        shape = (input_size, input_size, 3) if layout == "nhwc" else (3, input_size, input_size)
        pair = two_images(shape)
        dimension = int(check_batch(name, self.network, pair).shape[1])
        check_gradient(name, self.network, pair)
        settings = {
            "factory": factory,
            "arguments": arguments or {},
            "state_key": state_key,
            "input_size": input_size,
            "template": template,
            "mean": mean,
            "std": std,
            "channels": channels,
            "layout": layout,
            "licence": licence,
        }
        code = (factory.partition(":")[0], getattr(build, "__module__", ""), type(network).__module__)
        loaded = sha256(Path(weights).expanduser()) if weights is not None else state_digest(network)
        self.digest = target_digest(loaded, settings, code)
        self.card = TargetCard(
            dimension=dimension,
            input_size=input_size,
            preprocessing=self.preparation.words,
            template=f"{template}, {input_size} px",
            metric="cosine",
            licence=licence,
            note=f"a user's network, {factory}",
        )

    def embed(self, chips: Tensor) -> Tensor:
        """(B, 3, 224, 224) RGB in [0, 1] -> (B, D) unit vectors, differentiable in the chips."""
        return functional.normalize(self.network(self.preparation(chips)), dim=1)


def _function(factory: str) -> Any:
    module, separator, function = factory.partition(":")
    if not separator:
        raise TargetError(f"factory: found {factory!r}, wanted 'package.module:function'.")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise TargetError(f"factory: {factory} cannot be imported ({error}); is its folder on PYTHONPATH?") from error


def _fill(network: nn.Module, file: Path, state_key: str | None) -> None:
    state = _state(file)
    if state_key is not None:
        if state_key not in state:
            raise TargetError(f"{file}: no key {state_key!r}; found {', '.join(map(str, list(state)[:10]))}.")
        state = state[state_key]
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise TargetError(f"{file}: the weights do not fit the network: {error}") from error


def _state(file: Path) -> Any:
    wanted = "a .safetensors or torch state dict (weights=...)"
    return read_tensors(file, TargetError, wanted=wanted, save="the state dict, best as .safetensors")
