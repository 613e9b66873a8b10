"""What can be configured, read from the YAML files' opening comments; imports nothing heavy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

CONF = Path(__file__).resolve().parent / "conf"
PLURALS = {"targets": "target", "experiments": "experiment", "sizes": "size", "sweeps": "sweep"}


def groups() -> list[str]:
    """The config groups, by name."""
    return sorted(path.name for path in CONF.iterdir() if path.is_dir())


def entries(group: str) -> dict[str, dict[str, str]]:
    """Name -> opening comments of every YAML in a group; plurals are understood.

    Raises:
        KeyError: for a group that does not exist.
    """
    folder = CONF / PLURALS.get(group, group)
    if not folder.is_dir():
        raise KeyError(group)
    return {path.stem: header(path) for path in sorted(folder.glob("*.yaml"))}


def unknown_name(arguments: Sequence[str]) -> str:
    """What is wrong with a line that chooses, as in `inversion=[gmmi]`, a name that a group does not have; empty if
    nothing is. Hydra's own words name neither the choices nor where to find them. Not asked of a line that brings
    configuration of its own."""
    if any(argument.startswith(("--config", "-cd", "hydra.searchpath")) for argument in arguments):
        return ""
    for argument in arguments:
        group, equals, value = argument.partition("=")
        group = group.lstrip("+").partition("@")[0].removeprefix("/")
        if not equals or group not in groups() or not re.fullmatch(r"\[?[\w,\s-]*\]?", value):
            continue
        known = entries(group)
        for name in filter(None, (part.strip() for part in value.strip("[]").split(","))):
            if name != "null" and name not in known:
                near = difflib.get_close_matches(name, known, 1)
                meant = f" Did you mean {near[0]}?" if near else ""
                return f"Found {group}={name}, wanted one of: {', '.join(known)}.{meant} See: facesec list {group}"
    return ""


def header(path: Path) -> dict[str, str]:
    """The opening comments of a YAML file: "title" (the first plain line) and each `# key: value`."""
    found: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        text = line.lstrip("#").strip()
        if text.startswith("@package") or not text:
            continue
        key, colon, value = text.partition(": ")
        if "title" not in found:
            found["title"] = text
        elif colon and " " not in key:
            found[key] = value.strip()
    return found
