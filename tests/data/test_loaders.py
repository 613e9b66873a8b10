"""Folder, CSV and LFW: every input becomes a face or a named row. The detector is played, so no weights are needed."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facesec_bench.data import Dataset, chips
from facesec_bench.data.csv_list import CSVList
from facesec_bench.data.detection import Face, YuNet
from facesec_bench.data.folder import Folder
from facesec_bench.data.lfw import LFW, read_pairs
from facesec_bench.data.read import LeftOut
from facesec_bench.data.skipped import LEFT_OUT, REPAIRED, count_by_reason, write_skipped
from facesec_bench.errors import ConfigError, DataError
from facesec_bench.interfaces import CHIP_LANDMARKS, CHIP_SIZE


class Played(YuNet):
    """Finds a face in the middle of every photo but the black ones; counts how often it was asked."""

    asked = 0

    def settings(self) -> dict[str, object]:
        return {"played": True}

    def pick(self, pixels: np.ndarray) -> tuple[Face, list]:
        Played.asked += 1
        if pixels.max() == 0:
            raise LeftOut("no_face", "black")
        landmarks = np.array(CHIP_LANDMARKS) * min(pixels.shape[:2]) / CHIP_SIZE
        return Face(np.array([0, 0, 50, 50.0]), landmarks, 0.9), []


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACESEC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def photo(path: Path, seed: int = 0, mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([seed, *os.fsencode(path.as_posix())]).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def by_path(dataset: Dataset) -> dict[str, tuple[str, bool]]:
    return {row.path: (row.reason, row.used) for row in dataset.skipped}


def test_a_messy_folder_gives_every_face_and_a_reason_for_the_rest(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    for key in ("ann/a.png", "ann/b.png", "bob/deep/er/c.png", "Zoë Ünal/d e.png"):
        photo(root / key)
    (root / "bob/copy.png").write_bytes((root / "ann/a.png").read_bytes())
    photo(root / "ann/grey.png", mode="L")
    Image.new("RGB", (40, 40)).save(root / "ann/black.png")
    (root / "ann/same.png").write_bytes((root / "ann/b.png").read_bytes())
    (root / "ann/cut.png").write_bytes((root / "ann/a.png").read_bytes()[:200])
    (root / "ann/notes.txt").write_text("hello")
    (root / "ann/.DS_Store").write_bytes(b"x")
    (root / "ann/zero.jpg").touch()
    (root / "ann/loop").symlink_to(root)
    (root / "ann/gone.jpg").symlink_to("nowhere")
    photo(root / "stray.png")
    photo(root / ".thumbs/x.png")
    dataset = Folder(str(root), Played())()
    # Sorted by identity, then key; of a copy under one name the first stays, under two names neither.
    assert dataset.faces.keys == ("Zoë Ünal/d e.png", "ann/b.png", "ann/grey.png", "bob/deep/er/c.png")
    assert dataset.faces.names == ("Zoë Ünal", "ann", "bob")
    assert dataset.faces.identities.tolist() == [0, 1, 1, 2]
    assert by_path(dataset) == {
        "ann/grey.png": ("grey", True),
        "ann/black.png": ("no_face", False),
        "ann/cut.png": ("truncated", False),
        "ann/notes.txt": ("not_image", False),
        "ann/.DS_Store": ("not_image", False),
        "ann/zero.jpg": ("empty_file", False),
        "ann/loop": ("folder_seen", False),
        "ann/gone.jpg": ("broken_symlink", False),
        "ann/a.png": ("duplicate", False),
        "ann/same.png": ("duplicate", False),
        "bob/copy.png": ("duplicate", False),
        "stray.png": ("above_identity", False),
        ".thumbs": ("hidden_folder", False),
    }
    duplicate = next(row for row in dataset.skipped if row.path == "bob/copy.png")
    assert "ann/a.png" in duplicate.detail and "'ann'" in duplicate.detail
    assert {row.reason for row in dataset.skipped} <= set(LEFT_OUT) | set(REPAIRED)


def test_chips_are_exact_multiples_of_one_255th(tmp_path: Path) -> None:
    photo(tmp_path / "p/ann/a.png")
    images = Folder(str(tmp_path / "p"), Played())().faces.images
    assert images.dtype == torch.float32 and images.shape == (1, 3, 224, 224)
    assert torch.equal(images, (images * 255).round() / 255)


def test_depth_says_which_level_names_the_identity(tmp_path: Path) -> None:
    for key in ("train/ann/a.png", "test/ann/b.png", "test/bob/c.png"):
        photo(tmp_path / "p" / key)
    assert Folder(str(tmp_path / "p"), Played())().faces.names == ("test", "train")
    deep = Folder(str(tmp_path / "p"), Played(), depth=2)()
    assert deep.faces.names == ("ann", "bob")
    assert "test/ann, train/ann" in deep.note
    with pytest.raises(DataError, match="3 above_identity"):
        Folder(str(tmp_path / "p"), Played(), depth=3)()


def test_limits_count_usable_photos_in_sorted_order(tmp_path: Path) -> None:
    root = tmp_path / "p"
    for who in "abc":
        for i in range(3):
            photo(root / who / f"{i}.png")
    Image.new("RGB", (40, 40)).save(root / "a/0.png")
    Image.new("RGB", (40, 40)).save(root / "b/0.png")
    dataset = Folder(str(root), Played(), max_identities=2, max_per_identity=1)()
    assert dataset.faces.keys == ("a/1.png", "b/1.png")
    assert "first 2 identities" in dataset.note
    with pytest.raises(ConfigError, match="max_identities is 0"):
        Folder(str(root), Played(), max_identities=0)


def test_no_folder_and_no_face_are_errors_that_say_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        Folder(str(tmp_path / "absent"), Played())()
    (tmp_path / "p/ann").mkdir(parents=True)
    Image.new("RGB", (40, 40)).save(tmp_path / "p/ann/a.png")
    with pytest.raises(DataError, match="1 no_face"):
        Folder(str(tmp_path / "p"), Played())()


def test_outcomes_are_cached_also_the_lack_of_a_face_and_damage_is_mended(tmp_path: Path, cache: Path) -> None:
    photo(tmp_path / "p/ann/a.png")
    Image.new("RGB", (40, 40)).save(tmp_path / "p/ann/black.png")
    first = Folder(str(tmp_path / "p"), Played())()
    Played.asked = 0
    assert Folder(str(tmp_path / "p"), Played())().digest == first.digest
    assert Played.asked == 0
    entries = sorted((cache / "chips").rglob("*.npz"))
    assert len(entries) == 2 and not list((cache / "chips").rglob("*.part"))
    for entry, damage in zip(entries, (b"", entries[1].read_bytes()[:-40]), strict=True):
        entry.write_bytes(damage)
    again = Folder(str(tmp_path / "p"), Played())()
    assert Played.asked == 2 and again.digest == first.digest and again.skipped == first.skipped


def test_a_cached_chip_of_another_shape_is_not_believed(tmp_path: Path) -> None:
    chips.store(tmp_path / "x.npz", np.zeros((5, 5, 3), np.uint8), ())
    assert chips.load(tmp_path / "x.npz") is None


def test_the_digest_follows_pixels_names_and_keys(tmp_path: Path) -> None:
    photo(tmp_path / "p/ann/a.png")
    digests = {Folder(str(tmp_path / "p"), Played())().digest}
    (tmp_path / "p/ann/a.png").rename(tmp_path / "p/ann/b.png")
    digests.add(Folder(str(tmp_path / "p"), Played())().digest)
    (tmp_path / "p/ann").rename(tmp_path / "p/bob")
    digests.add(Folder(str(tmp_path / "p"), Played())().digest)
    photo(tmp_path / "p/bob/b.png", seed=1)
    digests.add(Folder(str(tmp_path / "p"), Played())().digest)
    assert len(digests) == 4


def test_a_csv_gives_splits_and_names_its_bad_rows(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        photo(tmp_path / f"img/{name}.png")
    lines = ["identity, path,split,extra", "ann,img/a.png,calibration,1", 'bob,"img/b.png",attack,', ",img/c.png,,"]
    lines += ["ann,../x.png,,", "bob,img/a.png,,", "ann,img/none.png,calibration,", "a,b,c,d,e,f"]
    (tmp_path / "list.csv").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    dataset = CSVList(str(tmp_path / "list.csv"), Played())()
    assert dataset.faces.keys == ("img/a.png", "img/b.png")
    assert dataset.splits == {"img/a.png": "calibration", "img/b.png": "attack"}
    assert by_path(dataset) == {
        "list.csv:4": ("bad_row", False),
        "list.csv:5": ("outside_root", False),
        "img/a.png": ("duplicate", False),
        "img/none.png": ("missing", False),
        "list.csv:8": ("bad_row", False),
    }


def csv_of(tmp_path: Path, *lines: str) -> CSVList:
    for name in ("a", "b", "c"):
        photo(tmp_path / f"img/{name}.png")
    (tmp_path / "list.csv").write_text("\n".join(["path,identity,split", *lines]))
    return CSVList(str(tmp_path / "list.csv"), Played())


def test_a_split_has_two_roles_and_keeps_a_person_in_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"img/b\.png.*'probe', wanted calibration or attack"):
        csv_of(tmp_path, "img/a.png,ann,attack", "img/b.png,bob,probe")()
    with pytest.raises(DataError, match="'ann' is in two splits"):
        csv_of(tmp_path, "img/a.png,ann,attack", "img/b.png,ann,calibration")()
    with pytest.raises(DataError, match=r"img/b\.png has no split"):
        csv_of(tmp_path, "img/a.png,ann,attack", "img/b.png,bob,")()
    assert csv_of(tmp_path, "img/a.png,ann,", "img/b.png,bob,")().splits == {}


def test_the_digest_follows_the_splits(tmp_path: Path) -> None:
    roles = (("", ""), ("attack", "calibration"), ("calibration", "attack"))
    digests = [csv_of(tmp_path, f"img/a.png,ann,{one}", f"img/b.png,bob,{two}")().digest for one, two in roles]
    assert len(set(digests)) == 3
    assert csv_of(tmp_path, "img/b.png,bob,attack", "img/a.png,ann,calibration")().digest == digests[2]


def test_a_csv_without_its_columns_or_in_another_encoding_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("file,who\na,b\n")
    with pytest.raises(DataError, match="no column path and no column identity; found file, who"):
        CSVList(str(tmp_path / "list.csv"), Played())()
    (tmp_path / "list.csv").write_bytes(b"path,identity\n\xff\xfe\xe9.png,a\n")
    with pytest.raises(DataError, match="UTF-8"):
        CSVList(str(tmp_path / "list.csv"), Played())()
    with pytest.raises(DataError, match="cannot be read"):
        CSVList(str(tmp_path / "absent.csv"), Played())()


def test_lfw_keeps_the_listed_pairs_and_reports_the_lost(tmp_path: Path) -> None:
    for key in ("Ann_A/Ann_A_0001.jpg", "Ann_A/Ann_A_0002.jpg", "Bob/Bob_0001.jpg", "Bob/Bob_0009.jpg"):
        photo(tmp_path / key)
    (tmp_path / "pairs.txt").write_text("2\nAnn_A\t1\t2\nBob\t1\t7\nAnn_A\t1\tBob\t1\n")
    dataset = LFW(str(tmp_path), Played())()
    ann, other, bob = "Ann_A/Ann_A_0001.jpg", "Ann_A/Ann_A_0002.jpg", "Bob/Bob_0001.jpg"
    assert dataset.faces.keys == (ann, other, bob)
    assert dataset.pairs == ((ann, other, True), (ann, bob, False))
    assert by_path(dataset) == {"Bob/Bob_0007.jpg": ("missing", False), "pairs.txt:3": ("pair_lost", False)}
    assert "3 pairs, its header says 4" in dataset.note


def test_the_digest_follows_the_pairs_of_lfw(tmp_path: Path) -> None:
    for key in ("Ann/Ann_0001.jpg", "Ann/Ann_0002.jpg", "Bob/Bob_0001.jpg", "Bob/Bob_0002.jpg"):
        photo(tmp_path / key)
    digests = set()
    for impostor in ("Ann 1 Bob 1", "Ann 2 Bob 1", "Ann 1 Bob 1"):
        (tmp_path / "pairs.txt").write_text(f"Ann 1 2\nBob 1 2\n{impostor}\n")
        digests.add(LFW(str(tmp_path), Played())().digest)
    assert len(digests) == 2


def test_a_line_that_is_no_pair_is_an_error_with_its_number(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text("1 1\nAnn 1 2\nAnn one Bob 2\n")
    with pytest.raises(DataError, match="line 3"):
        read_pairs(tmp_path / "pairs.txt")


def test_names_that_are_not_utf8_become_printable_once_for_all_writers(tmp_path: Path) -> None:
    root = tmp_path / "photos\udce9"
    photo(root / "Jos\udce9/caf\udce9.png")
    Image.new("RGB", (40, 40)).save(root / "Jos\udce9/black\udce9.png")
    dataset = Folder(str(root), Played())()
    assert dataset.faces.keys == ("Jos\\xe9/caf\\xe9.png",) and dataset.faces.names == ("Jos\\xe9",)
    for text in (dataset.name, dataset.note, *(word for row in dataset.skipped for word in row[:3])):
        text.encode("utf-8")
    assert dataset.name == "folder photos\\xe9"
    assert [row.path for row in dataset.skipped] == ["Jos\\xe9/black\\xe9.png"]


def test_skipped_csv_reads_back_whatever_the_names_hold(tmp_path: Path) -> None:
    root = tmp_path / "p"
    photo(root / "ann/a.png")
    (root / 'ann/od"d,\nname.txt').write_text("x")
    (root / "ann" / "caf\udce9.txt").write_text("x")  # a name that is not UTF-8
    skipped = Folder(str(root), Played())().skipped
    write_skipped(tmp_path / "skipped.csv", skipped)
    with (tmp_path / "skipped.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["ann/caf\\xe9.txt", 'ann/od"d,\nname.txt']
    assert {row["used"] for row in rows} == {"false"}
    assert count_by_reason(skipped) == {"not_image": 2}
