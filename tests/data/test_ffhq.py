"""FFHQ: every picture is a person of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from played import Played, picture

from facesec_bench.data.ffhq import FFHQ
from facesec_bench.errors import ConfigError, DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACESEC_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(8):
        picture(tmp_path / f"ffhq/{number // 4 * 1000:05d}/{number:05d}.png")
    return tmp_path / "ffhq"


def test_every_picture_is_a_person_of_its_own(root: Path) -> None:
    (root / "LICENSE.txt").write_text("x")
    dataset = FFHQ(str(root), Played())()
    assert len(set(dataset.faces.identities.tolist())) == len(dataset.faces) == 8
    assert dataset.faces.names[:2] == ("00000/00000", "00000/00001")
    assert [(row.path, row.reason) for row in dataset.skipped] == [("LICENSE.txt", "not_image")]


def test_a_limit_draws_by_seed_from_all_folders(root: Path) -> None:
    few = FFHQ(str(root), Played(), images=5)().faces
    assert len(few) == 5 and {key[:5] for key in few.keys} == {"00000", "01000"}
    assert set(FFHQ(str(root), Played(), images=3)().faces.keys) < set(few.keys)
    assert any(few.keys != FFHQ(str(root), Played(), images=5, seed=seed)().faces.keys for seed in (1, 2))
    with pytest.raises(ConfigError, match="images is 0"):
        FFHQ(str(root), Played(), images=0)


def test_several_sizes_of_the_same_people_are_refused(tmp_path: Path) -> None:
    for size in ("thumbnails128x128", "images1024x1024"):
        picture(tmp_path / size / "00000/00000.png")
    with pytest.raises(DataError, match=r"holds images1024x1024 and thumbnails128x128.*wanted one of them"):
        FFHQ(str(tmp_path), Played())()
    assert len(FFHQ(str(tmp_path / "thumbnails128x128"), Played())().faces) == 1


def test_a_missing_or_empty_folder_is_named_when_it_is_asked_for(tmp_path: Path) -> None:
    loader = FFHQ(str(tmp_path / "absent"), Played())
    with pytest.raises(DataError, match="no such folder"):
        loader()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no file"):
        FFHQ(str(tmp_path / "empty"), Played())()
