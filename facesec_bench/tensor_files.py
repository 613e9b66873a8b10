"""Files of tensors that a user brings, read so that nothing in them can run."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from facesec_bench.errors import FacesecError


def read_tensors(file: Path, error: type[FacesecError], *, wanted: str, save: str, plain: tuple[type, ...] = ()) -> Any:
    """What a .safetensors holds, a dict of tensors; or a torch file, read with weights_only=True.

    Args:
        error: what is raised, in words.
        wanted: what the file should have been, for a file that is not there.
        save: what to save instead, for a file that would run code.
        plain: classes besides torch's own that may stand in the file, as they hold values and run nothing.

    Raises:
        error: no such file, or none that can be read so.
    """
    if not file.is_file():
        raise error(f"{file}: no such file; wanted {wanted}.")
    if file.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(file)
        except SafetensorError as broken:
            raise error(f"{file}: not a safetensors file: {broken}") from broken
    try:
        with torch.serialization.safe_globals(list(plain)):
            return torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as broken:
        raise error(
            f"{file}: torch refuses it with weights_only=True, as other content would run code. Save {save}. ({broken})"
        ) from broken
