"""A folder of photos, one subfolder for each identity."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from facesec_bench.data import Dataset, Skipped
from facesec_bench.data.assemble import Limits, Row, assemble
from facesec_bench.data.detection import YuNet
from facesec_bench.data.read import is_junk
from facesec_bench.errors import ConfigError, DataError


class Folder:
    """`root/<identity>/photo.jpg` -> Dataset.

    Args:
        root: the folder.
        detector: finds the face; its settings decide which one.
        depth: which level of subfolder names the identity. With 1, `root/ann/2020/a.jpg` is Ann's; with 2,
            `root/train/ann/a.jpg` and `root/test/ann/b.jpg` are both Ann's (a note in the Dataset says so). Photos may
            lie deeper than that, not higher.
        max_identities: use the first so many in sorted order; null for all.
        max_per_identity: use the first so many usable photos of each; null for all.
        licence: of the photos, as the user knows it; printed in the report.
    """

    def __init__(
        self,
        root: str,
        detector: YuNet,
        depth: int = 1,
        max_identities: int | None = None,
        max_per_identity: int | None = None,
        licence: str = "not stated",
    ) -> None:
        if depth < 1:
            raise ConfigError(f"depth is {depth}; give 1 where root holds one folder for each identity, or more.")
        self.root = Path(root)
        self.detector = detector
        self.depth = depth
        self.limits = Limits(max_identities, max_per_identity)
        self.licence = licence

    def __call__(self) -> Dataset:
        """Read the folder.

        Raises:
            DataError: no such folder, or no face in it.
        """
        require_folder(self.root)
        rows: list[Row] = []
        skipped: list[Skipped] = []
        homes: dict[str, set[str]] = defaultdict(set)
        for found in walk(self.root):
            if isinstance(found, Skipped):
                skipped.append(found)
                continue
            parts = found.split("/")
            if len(parts) <= self.depth:
                skipped.append(_too_high(found, parts[-1], self.depth))
                continue
            identity = parts[self.depth - 1]
            homes[identity].add("/".join(parts[: self.depth]))
            rows.append(Row(found, self.root / found, identity))
        return assemble(
            f"folder {self.root.name}",
            rows,
            self.detector,
            source=f"{self.root} (depth={self.depth})",
            licence=self.licence,
            limits=self.limits,
            skipped=skipped,
            note=_gathered(homes),
        )


def require_folder(root: Path) -> None:
    """Raise DataError unless `root` is a folder that can be listed."""
    if not root.exists():
        raise DataError(f"{root}: no such folder; set data.root to a folder of photos.")
    if not root.is_dir():
        raise DataError(f"{root} is a file, wanted a folder; set data.root to a folder of photos.")
    try:
        with os.scandir(root):
            pass
    except OSError as error:
        raise DataError(f"{root} cannot be read ({error.strerror}); check its permissions.") from error


def walk(root: Path) -> Iterator[str | Skipped]:
    """Every file under `root` as its relative path with /, sorted; or why a folder was not entered.

    Links to folders are followed, but no folder is entered twice, so a loop of links ends.
    """
    yield from _walk(root, "", {_place(root): "the root"})


def _place(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _walk(root: Path, relative: str, seen: dict[tuple[int, int], str]) -> Iterator[str | Skipped]:
    try:
        names = sorted(os.listdir(root / relative))  # noqa: PTH208 - names alone; Path.iterdir builds paths to sort by
    except OSError as error:
        yield Skipped(relative, "unreadable", f"the folder cannot be listed: {error.strerror}", used=False)
        return
    for name in names:
        path = f"{relative}/{name}" if relative else name
        if not (root / path).is_dir():
            yield path
        elif name.startswith(".") or name == "__MACOSX":
            yield Skipped(path, "hidden_folder", "not entered", used=False)
        elif (place := _place(root / path)) in seen:
            yield Skipped(path, "folder_seen", f"the same folder as {seen[place]}", used=False)
        else:
            seen[place] = path
            yield from _walk(root, path, seen)


def _too_high(path: str, name: str, depth: int) -> Skipped:
    if is_junk(name):
        return Skipped(path, "not_image", "a hidden or system file", used=False)
    return Skipped(path, "above_identity", f"lies above folder level {depth}, which names the identity", used=False)


def _gathered(homes: dict[str, set[str]]) -> str:
    several = sorted(name for name, places in homes.items() if len(places) > 1)
    if not several:
        return ""
    example = ", ".join(sorted(homes[several[0]]))
    return f"{len(several)} identities were gathered from several folders of one name (e.g. {example})."
