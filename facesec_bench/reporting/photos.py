"""Pictures for the image grid: a run's PNG files as data URIs, and their amplified difference."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from facesec_bench.reporting.document import Photo

AMPLIFICATION = 10

_PNG = b"\x89PNG\r\n\x1a\n"


def photo(folder: Path, name: str, legend: str) -> Photo:
    """A PNG of the run folder as a photo; what cannot be shown says why instead."""
    data, why = _read(folder, name)
    return Photo(_uri(data) if data else "", legend, why)


def difference(folder: Path, before: str, after: str) -> Photo:
    """(after - before) x 10 around mid-grey; grey is "unchanged". Saturates at 12.8/255."""
    (a, why_a), (b, why_b) = _read(folder, before), _read(folder, after)
    if not a or not b:
        return Photo("", "", why_a or why_b)
    # Imported here: numpy and PIL are needed for this picture only, not for a report without examples.
    import numpy as np
    from PIL import Image

    try:
        x, y = (np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=np.int16) for data in (a, b))
    except (OSError, ValueError) as error:
        return Photo("", "", f"cannot be read: {error}")
    if x.shape != y.shape:
        return Photo("", "", f"sizes differ: {x.shape[:2]} and {y.shape[:2]}")
    shown = np.clip(128 + AMPLIFICATION * (y - x), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(shown).save(file, format="PNG", optimize=False)
    change = int(np.abs(y - x).max())
    return Photo(_uri(file.getvalue()), f"largest change {change}/255")


def _read(folder: Path, name: str) -> tuple[bytes, str]:
    path = (folder / name).resolve()
    # A page that is handed on must hold pictures of its own run and nothing else of the disk.
    if not path.is_relative_to(folder.resolve()):
        return b"", f"{name} lies outside the run's folder"
    try:
        data = path.read_bytes()
    except OSError as error:
        return b"", f"{name}: {error.strerror}"
    return (data, "") if data.startswith(_PNG) else (b"", f"{name} is not a PNG")


def _uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode("ascii")
