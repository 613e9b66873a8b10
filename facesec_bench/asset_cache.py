"""The cache behind `assets`: converted files with sidecars that say what they are. Touches no network."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from facesec_bench.asset_download import sha256
from facesec_bench.asset_manifest import Asset
from facesec_bench.errors import AssetError
from facesec_bench.files import write_atomically

State = Literal["cached", "missing", "corrupt", "user file", "outdated"]
"""`outdated` is a user's own file laid out as an older conversion did."""


@dataclass(frozen=True)
class Sidecar:
    """What stands beside a cached file and says what it is.

    Attributes:
        sha256: of the cached file.
        mtime_ns: its modification time when it was written; a quick check that it was left alone.
        source_sha256: of the member or of the user's file that it was made from.
        user_file: True where `source_sha256` is not the manifest's.
    """

    asset: str
    converter: str
    sha256: str
    size: int
    mtime_ns: int
    source_sha256: str
    user_file: bool


def cache_folder() -> Path:
    """Where assets live: FACESEC_CACHE, else the user's cache folder; created when absent."""
    import platformdirs

    given = os.environ.get("FACESEC_CACHE")
    folder = Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("facesec_bench"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def offline() -> bool:
    """Whether FACESEC_OFFLINE forbids the network."""
    return os.environ.get("FACESEC_OFFLINE", "").strip().lower() not in ("", "0", "false", "no")


def install_converted(asset: Asset, source: Path, source_sha256: str) -> None:
    """Write the converted file, read it back, and only then its sidecar; a kill between the two leaves it unusable."""
    out = cached_file(asset)
    part = out.with_name(out.name + ".part")
    if asset.converter == "copy" or (source.suffix == ".safetensors" and source_sha256 != asset.sha256):
        shutil.copyfile(source, part)
    else:
        from safetensors.numpy import save_file

        from facesec_bench.asset_converters import convert

        save_file(convert(asset.converter, source), part, metadata={"source": asset.archive.pin})
    if asset.suffix == ".safetensors":
        _read_back(part, source)
    _commit(part, out)
    stat = out.stat()
    _write_sidecar(
        asset,
        Sidecar(
            asset=asset.name,
            converter=asset.converter,
            sha256=sha256(out),
            size=stat.st_size,
            mtime_ns=stat.st_mtime_ns,
            source_sha256=source_sha256,
            user_file=source_sha256 != asset.sha256,
        ),
    )


def _read_back(part: Path, source: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        load_file(part)
    except (SafetensorError, OSError) as error:
        part.unlink(missing_ok=True)
        raise AssetError(f"{source.name}: not a whole safetensors file: {error}") from error


def install(source: Path, destination: Path) -> None:
    """Copy a file so that `destination` is either absent, the old one or the whole new one."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    part = destination.with_name(destination.name + ".part")
    shutil.copyfile(source, part)
    _commit(part, destination)


def _commit(part: Path, destination: Path) -> None:
    """Make a written file durable, then give it its name in one step."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(destination)


def _write_sidecar(asset: Asset, sidecar: Sidecar) -> None:
    text = json.dumps(asdict(sidecar), indent=1) + "\n"
    write_atomically(_sidecar_file(asset), text.encode(), durable=True)


def cached_file(asset: Asset) -> Path:
    """Where the file that the project reads lies, whether or not it is there yet."""
    return cache_folder() / f"{asset.name}{asset.suffix}"


def _sidecar_file(asset: Asset) -> Path:
    return cache_folder() / f"{asset.name}.json"


def member_file(asset: Asset) -> Path:
    """Where the member is kept as its makers published it, so that a conversion can be repeated offline."""
    return cache_folder() / "members" / f"{asset.name}-{Path(asset.member).name}"


def read_sidecar(asset: Asset) -> Sidecar:
    """The sidecar beside a cached file.

    Raises:
        AssetError: absent or not one that this version writes.
    """
    try:
        return Sidecar(**json.loads(_sidecar_file(asset).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise AssetError(f"{asset.name}: no readable sidecar; run: facesec assets fetch {asset.name}") from error


def state_of(asset: Asset) -> tuple[State, Path, str]:
    """The quick check: sidecar, converter and size; the bytes are looked at by `usable` and `verify`."""
    file = cached_file(asset)
    if not file.is_file():
        return "missing", file, f"run: facesec assets fetch {asset.name}"
    try:
        sidecar = read_sidecar(asset)
    except AssetError as error:
        return "corrupt", file, str(error)
    if sidecar.size != file.stat().st_size:
        return "corrupt", file, f"{file.stat().st_size} bytes, wanted {sidecar.size}"
    if sidecar.user_file and sidecar.converter != asset.converter:
        found = f"your own file, laid out as {sidecar.converter}, wanted {asset.converter}"
        remedy = f"facesec assets put {asset.name} FILE --unverified, or remove {file} to use the published one"
        return "outdated", file, f"{found}; put it again: {remedy}"
    if sidecar.user_file:
        return "user file", file, f"your own file, sha256 {sidecar.source_sha256[:12]}"
    if sidecar.converter != asset.converter or sidecar.source_sha256 != asset.sha256:
        return "corrupt", file, "made by another version of this project"
    return "cached", file, ""


def usable(asset: Asset, say: Callable[[str], None] = lambda line: None) -> bool:
    """Whether the cached file can be used; hashes it when its time stamp is not the one it was written with.

    Raises:
        AssetError: an outdated file of the user's own, which nothing may replace unasked.
    """
    state, file, detail = state_of(asset)
    if state == "missing":
        return False
    if state == "outdated":
        raise AssetError(f"{asset.name}: {detail}.")
    if state == "corrupt":
        say(f"{asset.name}: the cached file is not usable ({detail}); it is made anew")
        return False
    sidecar = read_sidecar(asset)
    mtime_ns = file.stat().st_mtime_ns
    if mtime_ns == sidecar.mtime_ns:
        return True
    if sha256(file) != sidecar.sha256:
        say(f"{asset.name}: the cached file has changed since it was written; it is made anew")
        return False
    _note_time(asset, sidecar, mtime_ns)  # copied or touched
    return True


def _note_time(asset: Asset, sidecar: Sidecar, mtime_ns: int) -> None:
    """Spare the next use its hashing, where that can be noted: not in a read-only cache, nor against another process.

    Whoever holds the lock may be installing another file, to which the time stamp would not belong.
    """
    from filelock import FileLock

    # filelock's Timeout is an OSError.
    with suppress(OSError, AssetError), FileLock(cache_folder() / ".lock", timeout=0):
        if read_sidecar(asset) == sidecar:
            _write_sidecar(asset, replace(sidecar, mtime_ns=mtime_ns))
