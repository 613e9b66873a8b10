"""Files are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from facesec_bench.files import write_atomically


def test_a_file_is_replaced_in_one_step_and_its_folder_made(tmp_path: Path) -> None:
    for content in (b"one", b"two"):
        write_atomically(tmp_path / "new/deep/file.txt", content)
        assert (tmp_path / "new/deep/file.txt").read_bytes() == content
    assert [p.name for p in (tmp_path / "new/deep").iterdir()] == ["file.txt"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(tmp_path / "file.txt", b"old")

    def full(path: Path, target: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(tmp_path / "file.txt", b"new")
    assert (tmp_path / "file.txt").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_others_may_read_what_they_could_read_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "ours", b"", durable=True)
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode
