"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def write_atomically(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write a file in one step: into a temporary neighbour of a name of its own, then renamed.

    Two processes that write the same file at once leave one of the two whole. The folder is made where it is missing.

    Args:
        durable: wait until the bytes are on the disk, so that a power cut leaves no empty file; costs milliseconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}.part")  # tempfile's would be closed to other users
    try:
        with part.open("xb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
