"""FaceScrub: people under actors/ and actresses/, or one level of people, drawn by seed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from played import Played, picture

from facesec_bench.data.facescrub import FaceScrub
from facesec_bench.errors import ConfigError, DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACESEC_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for kind, names in {"actors": ("Al", "Bo"), "actresses": ("Cy", "Di")}.items():
        for name in names:
            for i in range(4):
                picture(tmp_path / "scrub" / kind / name / f"{name}_{i}.png")
    return tmp_path / "scrub"


def test_both_folders_give_people_by_their_own_names(root: Path) -> None:
    picture(root / "actors/stray.png")
    dataset = FaceScrub(str(root), Played())()
    assert dataset.faces.names == ("Al", "Bo", "Cy", "Di")
    assert Counter(dataset.faces.identities.tolist()) == dict.fromkeys(range(4), 4)
    assert dataset.faces.keys[0] == "actors/Al/Al_0.png"
    assert [(row.path, row.reason) for row in dataset.skipped] == [("actors/stray.png", "above_identity")]


def test_one_level_of_people_will_do(root: Path) -> None:
    assert FaceScrub(str(root / "actors"), Played())().faces.names == ("Al", "Bo")


def test_cut_faces_are_read_and_whole_pictures_beside_them_are_not(tmp_path: Path) -> None:
    for kind in ("actors", "actresses"):
        picture(tmp_path / kind / "faces" / f"x{kind}" / "a.png")
        picture(tmp_path / kind / "images" / f"x{kind}" / "b.png")
    faces = FaceScrub(str(tmp_path), Played())().faces
    assert faces.names == ("xactors", "xactresses") and all("/faces/" in key for key in faces.keys)


def test_limits_draw_by_seed_and_a_smaller_one_is_a_part(root: Path) -> None:
    def keys(people: int | None, photos: int | None, seed: int = 0) -> set[str]:
        return set(FaceScrub(str(root), Played(), people, photos, seed)().faces.keys)

    assert len(keys(2, 3)) == 6
    assert keys(2, 2) < keys(2, 3) < keys(3, 3)
    assert any(keys(2, 2) != keys(2, 2, seed) for seed in (1, 2))
    with pytest.raises(ConfigError, match="per_identity is 0"):
        FaceScrub(str(root), Played(), per_identity=0)


def test_a_folder_without_people_says_what_it_holds(tmp_path: Path) -> None:
    loader = FaceScrub(str(tmp_path / "absent"), Played())
    with pytest.raises(DataError, match="no such folder"):
        loader()
    (tmp_path / "some/faces.txt").parent.mkdir()
    (tmp_path / "some/faces.txt").write_text("x")
    with pytest.raises(DataError, match=r"holds faces.txt and no photo of a person; wanted actors/"):
        FaceScrub(str(tmp_path / "some"), Played())()
