"""StyleGAN2 weights from a user's file: which layouts are read, and how.

The layout is that of rosinality's PyTorch port (`style.1.weight`, `convs.0.conv.weight`, ...), as a safetensors file or
a torch file, bare or under `g_ema`. NVIDIA's own pickles hold code and run it when opened, so they need consent.
"""

from __future__ import annotations

import argparse
import io
import pickle
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facesec_bench.errors import ConfigError, TargetError
from facesec_bench.files import write_atomically
from facesec_bench.generators.stylegan2_network import Layout
from facesec_bench.tensor_files import read_tensors

State = Mapping[str, Tensor]


def read(weights: str, trust_pickle: bool = False, source: str | None = None) -> dict[str, Tensor]:
    """The tensors of a file, in float32.

    Raises:
        TargetError: no such file, or none that can be read.
        ConfigError: a pickle without consent.
    """
    file = Path(weights).expanduser()
    if not file.is_file():
        raise TargetError(
            f"{file}: no such file; wanted StyleGAN2 weights (generator.weights=PATH): .safetensors or a torch file in "
            "the layout of rosinality's port, or NVIDIA's .pkl. None come with this project."
        )
    if file.suffix == ".pkl":
        found: Any = from_nvidia(_unpickled(file, trust_pickle, source))
    else:
        found = _read(file)
    found = found.get("g_ema", found)
    wrong = [str(key) for key, value in found.items() if not isinstance(value, Tensor)]
    if wrong or not found:
        raise TargetError(f"{file}: found {wrong[:5] or 'nothing'}, wanted named tensors, bare or under 'g_ema'.")
    return {key: value.float() for key, value in found.items()}


def write(path: str | Path, state: State) -> None:
    """Write a state dict, whole or not at all: .safetensors bare, any other name as a torch file under `g_ema`."""
    from safetensors.torch import save

    file, tensors = Path(path).expanduser(), {key: t.detach().cpu().contiguous() for key, t in state.items()}
    if file.suffix == ".safetensors":
        write_atomically(file, save(tensors))
        return
    content = io.BytesIO()
    torch.save({"g_ema": tensors}, content)
    write_atomically(file, content.getvalue())


def layout_of(state: State) -> Layout:
    """The sizes that the tensors tell.

    Raises:
        TargetError: a tensor that tells them is missing, or is not of the rank it should have.
    """

    def side(key: str, axis: int) -> int:
        if key not in state:
            raise TargetError(f"The weights hold no {key}; wanted a StyleGAN2 in the layout of rosinality's port.")
        if state[key].ndim <= axis:
            raise TargetError(f"{key} has shape {tuple(state[key].shape)}, wanted more axes.")
        return state[key].shape[axis]

    depth = _count(state, r"style\.\d+\.weight")
    levels = max(1, _count(state, r"to_rgbs\.\d+\.bias"))
    widths = [side("input.input", 1), *(side(f"convs.{2 * i}.conv.weight", 1) for i in range(levels))]
    return Layout(side("style.1.weight", 0), depth, tuple(widths))


def check_state(found: State, wanted: State) -> None:
    """Refuse a state that does not fill the network.

    Raises:
        TargetError: it names a missing, unknown or misshapen tensor.
    """
    missing, unknown = [k for k in wanted if k not in found], [k for k in found if k not in wanted]
    for word, keys in (("miss", missing), ("hold the unknown", unknown)):
        if keys:
            raise TargetError(f"The StyleGAN2 weights {word} {keys[0]} ({len(keys)} such tensors).")
    for key, tensor in wanted.items():
        if found[key].shape != tensor.shape:
            raise TargetError(f"{key} has shape {tuple(found[key].shape)}, wanted {tuple(tensor.shape)}.")


def from_nvidia(state: State) -> dict[str, Tensor]:
    """NVIDIA's PyTorch names (stylegan2-ada-pytorch, `G_ema`) to the layout of this project.

    The tensors are the same up to axes of length 1. (This project scales the weights of a convolution by their fan-in
    and NVIDIA does not, but demodulation takes a scale out.) The mean w is left out, as `mean` estimates it; clamping
    of features at 256, in networks trained in half precision, is not imitated. Never run on one of NVIDIA's files.

    Raises:
        TargetError: a name that StyleGAN2 without labels does not have (StyleGAN3, or a conditional network).
    """
    made: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if key == "mapping.w_avg" or key.endswith("resample_filter"):
            continue
        mapping = re.fullmatch(r"mapping\.fc(\d+)\.(weight|bias)", key)
        layer = re.fullmatch(r"synthesis\.b(\d+)\.(conv0|conv1|torgb)\.([a-z_.]+)", key)
        if mapping:
            made[f"style.{int(mapping[1]) + 1}.{mapping[2]}"] = tensor
        elif key == "synthesis.b4.const":
            made["input.input"] = tensor[None]
        elif layer:
            name, shaped = _nvidia_layer(int(layer[1]), layer[2], layer[3], tensor)
            made[name] = shaped
        else:
            raise TargetError(f"{key}: not a tensor of an unconditional StyleGAN2; found in a pickle of NVIDIA's.")
    kernel = torch.outer(*[torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4] * 2)
    for level in range(_count(made, r"to_rgbs\.\d+\.bias")):
        for name in (f"convs.{2 * level}.conv.blur.kernel", f"to_rgbs.{level}.upsample.kernel"):
            made[name] = kernel.clone()
    return made


def _nvidia_layer(side: int, kind: str, what: str, tensor: Tensor) -> tuple[str, Tensor]:
    level = side.bit_length() - 4  # -1 at side 4, 0 at 8
    number = 2 * level + int(kind == "conv1")  # of the convolution; -1 at side 4
    if kind == "torgb":
        place = "to_rgb1" if level < 0 else f"to_rgbs.{level}"
    else:
        place = "conv1" if level < 0 else f"convs.{number}"
    if what.startswith("affine."):
        return f"{place}.conv.modulation.{what.removeprefix('affine.')}", tensor
    if what == "weight":
        return f"{place}.conv.weight", tensor[None]
    if what == "noise_const":
        return f"noises.noise_{number + 1}", tensor[None, None]
    if what == "noise_strength":
        return f"{place}.noise.weight", tensor.reshape(1)
    if what == "bias":
        return (f"{place}.bias", tensor.reshape(1, -1, 1, 1)) if kind == "torgb" else (f"{place}.activate.bias", tensor)
    raise TargetError(f"{kind}.{what} at side {side}: not a tensor of StyleGAN2.")


def _count(state: State, pattern: str) -> int:
    return sum(re.fullmatch(pattern, key) is not None for key in state)


def _read(file: Path) -> Any:
    # Training checkpoints of the port keep their options in a Namespace.
    found = read_tensors(
        file,
        TargetError,
        wanted="StyleGAN2 weights (generator.weights=PATH)",
        save="the state dict of g_ema, best as .safetensors",
        plain=(argparse.Namespace,),
    )
    if not isinstance(found, Mapping):
        raise TargetError(f"{file}: found a {type(found).__name__}, wanted a dict of tensors, or one under 'g_ema'.")
    return found


def _unpickled(file: Path, trust_pickle: bool, source: str | None) -> dict[str, Tensor]:
    """The state dict of `G_ema` in a pickle of NVIDIA's. It runs the code that the pickle holds."""
    folder = Path(source).expanduser() if source is not None else None
    if not trust_pickle or folder is None or not folder.is_dir():
        raise ConfigError(
            f"{file}: a pickle runs code when it is opened, whatever it holds. If you trust its makers, set "
            "generator.trust_pickle=true and generator.source=FOLDER, the source tree it was saved from "
            f"(stylegan2-ada-pytorch, with dnnlib and torch_utils); found trust_pickle={trust_pickle}, source={source}."
        )
    with _on_path(folder), file.open("rb") as content:
        try:
            found = pickle.load(content)  # noqa: S301  the user has said twice that it may run
        except Exception as error:
            raise TargetError(f"{file}: cannot be opened with the source tree {folder}: {error}") from error
        if not isinstance(found, Mapping) or not isinstance(found.get("G_ema"), torch.nn.Module):
            raise TargetError(f"{file}: found no network G_ema, wanted a pickle of stylegan2-ada-pytorch.")
        return {key: tensor.detach().cpu() for key, tensor in found["G_ema"].state_dict().items()}


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    """The folder first on the import path inside; afterwards neither it nor what was imported from it remains."""
    before, entry = set(sys.modules), str(folder.resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).resolve().is_relative_to(entry):
                del sys.modules[name]
