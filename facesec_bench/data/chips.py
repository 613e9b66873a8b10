"""From photo file to chip, cached on disk by content: detection runs once for each photo and setting."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
import zipfile
import zlib
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facesec_bench.asset_cache import cache_folder
from facesec_bench.data import align, detection, read
from facesec_bench.data.detection import YuNet
from facesec_bench.data.read import LeftOut, Remark
from facesec_bench.files import write_atomically
from facesec_bench.interfaces import CHIP_SIZE


class Outcome(NamedTuple):
    """What became of one photo.

    Attributes:
        chip: (224, 224, 3) uint8 RGB; None where the photo was left out (the last remark says why).
        remarks: repairs in the order they were made, and the reason of being left out.
        content: sha256 of the file's bytes; empty where it could not be read.
    """

    chip: NDArray[np.uint8] | None
    remarks: tuple[Remark, ...]
    content: str


class ChipMaker:
    """Turns photo files into chips, remembering every outcome (also "no face") in the cache folder `chips`."""

    def __init__(self, detector: YuNet) -> None:
        self._detector = detector
        self._setting: str | None = None

    def __call__(self, path: Path) -> Outcome:
        """Read, detect, align. Never raises for the sake of a photo."""
        try:
            content = read.read_content(path)
        except LeftOut as finding:
            return Outcome(None, (finding.remark,), "")
        digest = hashlib.sha256(content).hexdigest()
        entry = self._entry(digest)
        known = load(entry)
        if known is not None:
            return Outcome(*known, digest)
        chip, remarks = self._make(content)
        store(entry, chip, remarks)
        return Outcome(chip, remarks, digest)

    def _make(self, content: bytes) -> tuple[NDArray[np.uint8] | None, tuple[Remark, ...]]:
        remarks: tuple[Remark, ...] = ()
        try:
            photo = read.decode(content)
            remarks = photo.remarks
            face, several = self._detector.pick(photo.pixels)
        except LeftOut as finding:
            return None, (*remarks, finding.remark)
        return align.make_chip(photo.pixels, face.landmarks), (*remarks, *several)

    def _entry(self, digest: str) -> Path:
        if self._setting is None:
            text = json.dumps([self._detector.settings(), code_version(read, detection, align)], sort_keys=True)
            self._setting = hashlib.sha256(text.encode()).hexdigest()[:16]
        return cache_folder() / "chips" / self._setting / digest[:2] / f"{digest}.npz"


def code_version(*modules: ModuleType) -> str:
    """sha256 over the sources of these modules: a version that nobody can forget to raise when a pixel changes."""
    total = hashlib.sha256()
    for module in modules:
        total.update(Path(str(module.__file__)).read_bytes())
    return total.hexdigest()


def load(entry: Path) -> tuple[NDArray[np.uint8] | None, tuple[Remark, ...]] | None:
    """A cached outcome, or None where there is none or it is damaged (it is then computed again and replaced)."""
    try:
        with np.load(entry, allow_pickle=False) as file:
            chip, text = file["chip"], str(file["remarks"])
        remarks = tuple(Remark(str(r), str(d), bool(u)) for r, d, u in json.loads(text))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error):
        return None
    if chip.size == 0 and remarks:
        return None, remarks
    if chip.shape != (CHIP_SIZE, CHIP_SIZE, 3) or chip.dtype != np.uint8:
        return None
    return chip, remarks


def store(entry: Path, chip: NDArray[np.uint8] | None, remarks: tuple[Remark, ...]) -> None:
    """Write an outcome; a reader sees the whole file or none. An unwritable cache costs time, not the run."""
    buffer = io.BytesIO()
    stored = np.empty(0, dtype=np.uint8) if chip is None else chip
    np.savez_compressed(buffer, chip=stored, remarks=np.array(json.dumps(remarks)))
    try:
        write_atomically(entry, buffer.getvalue())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        warnings.warn(
            f"The chip cache cannot be written ({reason}); chips are not kept for the next run.", stacklevel=2
        )
