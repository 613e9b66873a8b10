"""What can be configured, read from the YAML files' opening comments; imports nothing heavy."""

from __future__ import annotations

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
