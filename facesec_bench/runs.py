"""Run folders: one run, one folder, found again by fingerprint and seed."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from facesec_bench import __version__
from facesec_bench.records import RunCard

UNHASHED = ("seed", "device", "results", "tracking", "force", "workers", "report")
"""Top-level configuration keys that do not change a number, so they stay out of the fingerprint."""

PATHS = ("root", "csv", "pairs", "weights", "path")
"""Keys at any depth that say where a file lies; what is in it enters by its digest."""


@dataclass
class Run:
    """An open run: its folder, its card, and the clock of its stages."""

    folder: Path
    card: RunCard

    @property
    def seed(self) -> int:
        """The seed from which every generator of the run is derived."""
        return self.card.seed

    def note(self, text: str) -> None:
        """Add a sentence that every reader of the report must see; said once."""
        if text not in self.card.notes:
            self.card.notes.append(text)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the wall time of a block to `card.seconds[name]`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            seconds = self.card.seconds.get(name, 0.0) + time.perf_counter() - began
            self.card.seconds[name] = round(seconds, 2)


def code_digest(package_roots: Mapping[str, Path], left_out: tuple[str, ...] = ()) -> str:
    """sha256 over the Python files below each root, so that a changed line changes the fingerprint.

    Args:
        left_out: path endings that do not change a number (the report, the command line).
    """
    digest = hashlib.sha256()
    for name, root in sorted(package_roots.items()):
        for path in sorted(root.rglob("*.py")):
            inside = f"{name}/{path.relative_to(root).as_posix()}"
            if not inside.startswith(left_out):
                digest.update(inside.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def fingerprint(config: Mapping[str, Any], digests: Mapping[str, str]) -> str:
    """Hash of the resolved configuration, less what changes no number, with the code, data and weight digests."""
    kept = _without_paths({key: value for key, value in config.items() if key not in UNHASHED})
    text = json.dumps([kept, dict(digests)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _without_paths(config: Any) -> Any:
    if not isinstance(config, Mapping):
        return config
    # A mapping by such a name, say weights of surrogates, is no path.
    return {k: _without_paths(v) for k, v in config.items() if k not in PATHS or not isinstance(v, str | Path | None)}


def git_state(root: Path) -> dict[str, Any]:
    """Git sha and dirty flag of the source tree at `root`; None where it is no checkout or git is absent."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    status = git("status", "--porcelain")
    return {
        "version": __version__,
        "git_sha": git("rev-parse", "HEAD"),
        "git_dirty": None if status is None else bool(status),
    }


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def new_folder(runs: Path, experiment: str, print_: str, seed: int) -> Path:
    """Create `runs/<utc time>-<experiment>-<fingerprint>-s<seed>`; a second start in one second gets a suffix."""
    stem = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{experiment}-{print_[:8]}-s{seed}"
    runs.mkdir(parents=True, exist_ok=True)
    for attempt in range(1000):
        folder = runs / (stem if attempt == 0 else f"{stem}-{attempt}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"{runs / stem}: a thousand runs began in this second.")


def find(runs: Path, experiment: str | None = None) -> list[tuple[Path, RunCard]]:
    """All runs below `runs` that have a readable card, oldest first; those of one experiment if it is named."""
    found: list[tuple[Path, RunCard]] = []
    for path in sorted(runs.glob("*/card.json")):
        try:
            card = RunCard.read(path.parent)
        except (ValueError, TypeError):  # a card of another schema is not ours to read
            continue
        if experiment is None or card.experiment == experiment:
            found.append((path.parent, card))
    return found


def finished(runs: Path, print_: str, seed: int) -> Path | None:
    """The newest finished run with this fingerprint and seed in which every method ran, or None."""
    same = [
        folder
        for folder, card in find(runs)
        if card.fingerprint == print_ and card.seed == seed and card.status == "finished" and not card.failures
    ]
    return same[-1] if same else None


def owner() -> dict[str, Any]:
    """Who runs this: host and process, so that a dead run can be told from a running one."""
    return {"host": socket.gethostname(), "pid": os.getpid()}


def mark_interrupted(runs: Path) -> list[Path]:
    """Mark runs whose process is gone (on this host) as failed, so that no report waits for them."""
    marked: list[Path] = []
    for folder, card in find(runs):
        process = card.code.get("process", {})
        if card.status != "running" or process.get("host") != socket.gethostname():
            continue
        if not _alive(int(process.get("pid", 0))):
            card.status, card.error = "failed", "interrupted: the process ended without finishing the run"
            card.write(folder)
            marked.append(folder)
    return marked


def _alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
