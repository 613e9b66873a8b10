"""Where each room was imported from, and refusal to run with a stranger of the same name."""

from __future__ import annotations

import importlib
from pathlib import Path

from facesec_bench.errors import ConfigError

ROOMS = ("facesec_bench", "attacks", "defenses", "unlearning", "experiments")
PROJECT = "facesec_bench"


def check_rooms() -> None:
    """Refuse to start if an imported room is not ours.

    Room names such as "attacks" are common words, so another package (or a folder on the path) may shadow one.

    Raises:
        ConfigError: names the file found and the remedy.
    """
    for room in ROOMS:
        module = importlib.import_module(room)
        if getattr(module, "PROJECT", None) != PROJECT:
            raise ConfigError(
                f"The package '{room}' was imported from {getattr(module, '__file__', None)}, which is not part of "
                f"{PROJECT}. Remove or rename it, or run from another folder; `pip install -e .` in the checkout puts "
                "ours first."
            )


def package_roots() -> dict[str, Path]:
    """Room -> folder it was imported from."""
    return {room: Path(str(importlib.import_module(room).__file__)).parent for room in ROOMS}
