"""Which photos are protected, and where each is written: all refusals come before any work."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from facesec_bench.data.read import is_junk
from facesec_bench.errors import DataError

REPORT = "protect.json"


@dataclass(frozen=True)
class Job:
    """One photo: the file read, the file written, and its name in the report (relative to what was given)."""

    source: Path
    target: Path
    name: str


def plan(given: Path, out: Path, *, as_png: bool, force: bool, others: Iterable[Path] = ()) -> list[Job]:
    """A job for the photo, or for every file below the folder but system files and `out` itself.

    Args:
        others: further photos that are read, so never written over.

    Raises:
        DataError: nothing to protect, or an output that would replace an input, another output, or (without `force`) a
            file that is there.
    """
    if not given.exists():
        raise DataError(f"{given}: found no such file or folder, wanted a photo or a folder of photos.")
    if out.exists() and not out.is_dir():
        raise DataError(f"--out {out}: found a file, wanted a folder; name another.")
    sources = [given] if not given.is_dir() else sorted(_below(given, out))
    if not sources:
        raise DataError(f"{given}: found no file in it, wanted photos.")
    root = given if given.is_dir() else given.parent
    jobs = []
    for source in sources:
        name = source.relative_to(root)
        target = out / (name.with_suffix(".png") if as_png else name)
        jobs.append(Job(source, target, name.as_posix()))
    _check([*sources, *others], jobs, out, force)
    return jobs


def _below(folder: Path, out: Path) -> Iterable[Path]:
    """Files below a folder; links to folders are not followed, as they may lead in a circle."""
    for place, folders, files in os.walk(folder):
        inside = Path(place)
        folders[:] = [f for f in folders if not is_junk(f) and _real(inside / f) != _real(out)]
        yield from (inside / file for file in files if not is_junk(file) and file != REPORT)


def _check(sources: list[Path], jobs: list[Job], out: Path, force: bool) -> None:
    known = {_real(source) for source in sources} | {_node(source) for source in sources}
    claimed: dict[Path, Path] = {}
    for job in jobs:
        place = _real(job.target)
        if place in known or (job.target.exists() and _node(job.target) in known):
            raise DataError(
                f"--out {out}: {job.target} is a photo that is read and is never overwritten; name another."
            )
        if place in claimed:
            raise DataError(f"{claimed[place]} and {job.source} would both become {job.target}; rename one of them.")
        claimed[place] = job.source
    _check_writable(out)
    there = [path for path in (out / REPORT, *(job.target for job in jobs)) if path.exists()]
    if there and not force:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise DataError(f"Found {there[0]}{more} already; name another --out, or replace with --force.")


def _check_writable(out: Path) -> None:
    """Told before the work: a folder that cannot be made or written to. It is left as it was found."""
    made = [folder for folder in (out, *out.absolute().parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise DataError(f"--out {out}: cannot be written to ({error.strerror or error}); name another.") from error
    finally:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()


def _real(path: Path) -> Path:
    """Where a path leads; itself, where it is a link that leads in a circle (it is refused later, in words)."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path.absolute()


def _node(path: Path) -> object:
    """What is equal for two names of one file: a hard link, or letters that the file system takes as equal."""
    try:
        status = path.stat()
    except OSError:  # a link to nothing or in a circle is refused later, in words
        return None
    return status.st_dev, status.st_ino
