"""CelebA: whoever is private is not public, whatever the limits, and given lists are not believed blind."""

from __future__ import annotations

import inspect
from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from played import Played, picture

from facesec_bench.data.celeba import CelebA, held_back
from facesec_bench.data.celeba_split import Listed, most_photographed
from facesec_bench.errors import ConfigError, DataError
from facesec_bench.interfaces import Faces
from facesec_bench.protocols.inversion import divide

PHOTOS = {9: 12, 3: 12, 100: 5, 20: 20, 7: 3, 8: 2}
"""Photos of each identity: the three with most are 20, 3 and 9, then 100."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACESEC_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Pictures dealt out in turns, as identities are scattered over the numbers in the real list."""
    left, lines, number = Counter(PHOTOS), [], 0
    while +left:
        for person in sorted(+left):
            number += 1
            left[person] -= 1
            picture(tmp_path / f"img_align_celeba/{number:06d}.png")
            lines.append(f"{number:06d}.png {person}")
    (tmp_path / "identity_CelebA.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def owners(root: Path) -> dict[str, int]:
    lines = (root / "identity_CelebA.txt").read_text().splitlines()
    return {name: int(person) for name, person in (line.split() for line in lines)}


def write(root: Path, name: str, photos: dict[str, int | None]) -> str:
    lines = [photo if label is None else f"{photo} {label}" for photo, label in photos.items()]
    (root / name).write_text("\n".join(lines))
    return name


def lists(root: Path) -> dict[str, str]:
    """Lists as a protocol gives them: identities 20 and 3 as the classes 0 and 1, 7 and 8 public without labels."""
    whose = owners(root)
    own = {person: [photo for photo in whose if whose[photo] == person] for person in (20, 3, 7, 8)}
    train = {photo: label for label, person in enumerate((20, 3)) for photo in own[person][:4]}
    test = {photo: label for label, person in enumerate((20, 3)) for photo in own[person][4:6]}
    public: dict[str, int | None] = dict.fromkeys(own[7] + own[8])
    return {
        "train": write(root, "train.txt", dict(train)),
        "test": write(root, "test.txt", dict(test)),
        "public": write(root, "public.txt", public),
    }


def listed_in(path: Path) -> set[str]:
    return {line.split()[0] for line in path.read_text().splitlines()}


def people(faces: Faces) -> set[str]:
    return {faces.names[i] for i in faces.identities.tolist()}


def test_private_are_those_with_most_photos_and_of_equals_the_lower_number(root: Path) -> None:
    faces = CelebA(str(root), Played(), pool=2)().faces
    assert faces.names == ("id00003", "id00020")
    assert Counter(faces.identities.tolist()) == {0: 12, 1: 20}
    assert CelebA(str(root), Played(), pool=4)().faces.names == ("id00003", "id00009", "id00020", "id00100")


def test_whoever_is_private_is_not_public_and_nobody_is_lost(root: Path) -> None:
    private, public = (CelebA(str(root), Played(), part, pool=3)() for part in ("private", "public"))
    whose = owners(root)
    shown = [{whose[Path(key).name] for key in part.faces.keys} for part in (private, public)]
    assert shown[0] == {20, 3, 9} and shown[1] == {100, 7, 8}
    assert len(private.faces) + len(public.faces) == sum(PHOTOS.values())
    assert not people(private.faces) & people(public.faces)
    assert (private.name, public.name) == ("celeba private", "celeba public")


def test_limits_draw_by_seed_and_do_not_move_the_public_part(root: Path) -> None:
    def keys(**settings: object) -> tuple[str, ...]:
        return CelebA(str(root), Played(), pool=3, **settings)().faces.keys  # type: ignore[arg-type]

    few = CelebA(str(root), Played(), pool=3, identities=2, per_identity=5)().faces
    assert Counter(few.identities.tolist()) == {0: 5, 1: 5} and people(few) < {"id00003", "id00009", "id00020"}
    assert keys(per_identity=5) == keys(per_identity=5) != keys(per_identity=5, seed=1)
    assert set(keys(per_identity=3)) < set(keys(per_identity=5))
    assert keys(part="public", identities=1, public_images=4) == keys(part="public", public_images=4)
    assert len(keys(part="public", public_images=4)) == 4


def test_one_in_ten_of_each_person_is_for_test_at_least_one_and_never_all(root: Path) -> None:
    dataset = CelebA(str(root), Played(), pool=6)()
    faces, whose = dataset.faces, owners(root)
    assert dataset.held < set(faces.keys)
    assert Counter(whose[Path(key).name] for key in dataset.held) == {3: 1, 7: 1, 8: 1, 9: 1, 20: 2, 100: 1}
    assert CelebA(str(root), Played(), pool=6)().held == dataset.held
    assert CelebA(str(root), Played(), pool=6, seed=1)().held != dataset.held
    assert not CelebA(str(root), Played(), "public", pool=2)().held
    alone = Faces(torch.zeros(1, 3, 4, 4), torch.zeros(1, dtype=torch.int64), ("a",), ("ann",))
    assert not held_back(alone, 0.1, 0).any()


def test_the_protocol_s_thousand_people_leave_the_papers_count_for_test() -> None:
    """With 27 to 31 photos to learn from and 3 or 4 for test, a tenth rounded is the lists' own rule."""
    for photos, wanted in ((30, 3), (31, 3), (35, 4)):
        faces = Faces(
            torch.zeros(photos, 3, 1, 1), torch.zeros(photos, dtype=torch.int64), tuple(map(str, range(photos))), ("a",)
        )
        assert int(held_back(faces, 0.1, 0).sum()) == wanted


def test_given_lists_keep_their_test_photos_and_people_bear_their_numbers(root: Path) -> None:
    dataset = CelebA(str(root), Played(), **lists(root))()
    faces = dataset.faces
    assert faces.names == ("id00003", "id00020"), "so that they can be compared with a public part made without lists"
    whose = owners(root)
    assert {whose[Path(key).name] for key, i in zip(faces.keys, faces.identities, strict=True) if i == 1} == {20}
    assert {Path(key).name for key in dataset.held} == listed_in(root / "test.txt")
    public = CelebA(str(root), Played(), "public", **lists(root))()
    assert public.faces.names == ("id00007", "id00008")
    fewer = CelebA(str(root), Played(), identities=1, per_identity=1, **lists(root))().faces
    assert len(fewer) == 3  # one photo to learn from and both for test


def test_nobody_learns_from_the_list_for_test(root: Path) -> None:
    """The split of a study is the list's own, whatever share the study would hold back."""
    dataset = CelebA(str(root), Played(), **lists(root))()
    private = divide(dataset.faces, people=None, held=0.7, seed=3, kept=dataset.held)
    assert {Path(key).name for key in private.taught.keys} == listed_in(root / "train.txt")
    assert {Path(key).name for key in private.held.keys} == listed_in(root / "test.txt")


def test_another_split_is_another_data_set(root: Path) -> None:
    given = lists(root)
    one = CelebA(str(root), Played(), **given)()
    train, test = ((root / name).read_text().splitlines() for name in ("train.txt", "test.txt"))
    same = next(i for i, line in enumerate(train) if line.split()[1] == test[0].split()[1])
    train[same], test[0] = test[0], train[same]
    (root / "train.txt").write_text("\n".join(train))
    (root / "test.txt").write_text("\n".join(test))
    other = CelebA(str(root), Played(), **given)()
    assert other.faces.keys == one.faces.keys and other.digest != one.digest


@pytest.mark.parametrize("photos", [".png", ".jpg"])
def test_lists_of_another_extension_name_the_same_photos(root: Path, photos: str) -> None:
    """Lists of the protocol say .png where CelebA says .jpg, on disk and in identity_CelebA.txt, or there alone."""
    given = lists(root)
    truth = root / "identity_CelebA.txt"
    whose = owners(root)
    truth.write_text(truth.read_text().replace(".png", ".jpg"))
    for path in (root / "img_align_celeba").iterdir():
        path.rename(path.with_suffix(photos))
    dataset = CelebA(str(root), Played(), **given)()
    assert dataset.faces.names == ("id00003", "id00020") and not dataset.skipped
    assert {Path(key).with_suffix(".png").name for key in dataset.held} == listed_in(root / "test.txt")
    public = CelebA(str(root), Played(), "public", **{**given, "public": None})()  # type: ignore[arg-type]
    assert people(public.faces) == {"id00007", "id00008", "id00009", "id00100"}
    other = [photo for photo, person in whose.items() if person == 20][-1]  # in no list, but of a private person
    write(root, "public.txt", {other: None})
    with pytest.raises(DataError, match="people both in the private part and in the public part, such as id00020"):
        CelebA(str(root), Played(), "public", **given)()
    first = (root / "train.txt").read_text().split()[0]
    write(root, "public.txt", {first.replace(".png", ".jpg"): None})
    with pytest.raises(DataError, match=r"1 photos both in the list train .* public"):
        CelebA(str(root), Played(), "public", **given)()
    write(root, "public.txt", {first: None, first.replace(".png", ".jpg"): None})
    with pytest.raises(DataError, match="is listed twice"):
        CelebA(str(root), Played(), "public", **given)()


@pytest.mark.parametrize("name", ["train", "test", "public"])
def test_a_listed_photo_of_nobody_known_is_refused(root: Path, name: str) -> None:
    given = lists(root)
    with (root / given[name]).open("a") as file:
        file.write("\n9999.png 0")
    with pytest.raises(
        DataError, match=rf"1 photos of data.{name} that identity_CelebA.txt does not list, such as 9999.png"
    ):
        CelebA(str(root), Played(), **given)()


def test_lists_without_labels_will_do_beside_the_identities_and_not_without(root: Path) -> None:
    given = lists(root)
    write(root, "train.txt", dict.fromkeys(listed_in(root / "train.txt")))
    assert CelebA(str(root), Played(), **given)().faces.names == ("id00003", "id00020")
    (root / "identity_CelebA.txt").unlink()
    with pytest.raises(DataError, match=r"line without label in data\.train"):
        CelebA(str(root), Played(), **given)()


def test_labels_that_say_otherwise_than_the_identities_are_refused(root: Path) -> None:
    given, whose = lists(root), owners(root)
    train = (root / "train.txt").read_text()
    free = [photo for photo in whose if photo not in train and photo not in (root / "test.txt").read_text()]
    stranger = next(photo for photo in free if whose[photo] == 9)
    write(root, "train.txt", {**dict(line.split() for line in train.splitlines()), stranger: 1})  # type: ignore[arg-type]
    with pytest.raises(DataError, match="label class00001 on photos of id00003 and id00009"):
        CelebA(str(root), Played(), **given)()
    twice = next(photo for photo in free if whose[photo] == 20)
    write(root, "train.txt", {**dict(line.split() for line in train.splitlines()), twice: 2})  # type: ignore[arg-type]
    with pytest.raises(DataError, match="id00020 under the labels class00000 and class00002"):
        CelebA(str(root), Played(), **given)()


def test_the_public_part_is_made_around_private_lists(root: Path) -> None:
    given = lists(root) | {"public": None}
    public = CelebA(str(root), Played(), "public", **given)()  # type: ignore[arg-type]
    assert {owners(root)[Path(key).name] for key in public.faces.keys} == {9, 100, 7, 8}


def test_without_identities_public_photos_are_people_of_their_own_and_the_note_says_so(root: Path) -> None:
    given = lists(root)
    (root / "identity_CelebA.txt").unlink()
    assert CelebA(str(root), Played(), **given)().faces.names == ("class00000", "class00001")
    public = CelebA(str(root), Played(), "public", **given)()
    assert len(people(public.faces)) == len(public.faces) == 5
    assert "labels only" in public.note


def test_lists_that_overlap_are_refused(root: Path) -> None:
    given, whose = lists(root), owners(root)
    train = (root / "train.txt").read_text()
    first = train.split()[0]
    write(root, "public.txt", {first: None})
    with pytest.raises(DataError, match=rf"1 photos both in the list train .* public, such as {first}"):
        CelebA(str(root), Played(), "public", **given)()
    other = [photo for photo, person in whose.items() if person == 20][-1]  # in no list, but of a private person
    write(root, "public.txt", {other: None})
    with pytest.raises(DataError, match="people both in the private part and in the public part, such as id00020"):
        CelebA(str(root), Played(), **given)()
    with pytest.raises(DataError, match="who are private"):
        CelebA(str(root), Played(), pool=2, public="public.txt")()
    (root / "test.txt").write_text(train.splitlines()[0])
    with pytest.raises(DataError, match="list train and in the list test"):
        CelebA(str(root), Played(), **given)()


def test_without_identities_the_labels_tell_an_overlap(root: Path) -> None:
    given, whose = lists(root), owners(root)
    (root / "identity_CelebA.txt").unlink()
    write(root, "public.txt", {next(p for p in whose if whose[p] == 7): 1})
    with pytest.raises(DataError, match="such as class00001"):
        CelebA(str(root), Played(), "public", **given)()


def test_a_test_person_whom_nobody_learned_is_refused(root: Path) -> None:
    given, whose = lists(root), owners(root)
    write(root, "test.txt", {next(p for p in whose if whose[p] == 9): 5})
    with pytest.raises(DataError, match="id00009 is in the list test and not in train"):
        CelebA(str(root), Played(), **given)()


def test_what_is_missing_is_named_when_it_is_asked_for(root: Path, tmp_path: Path) -> None:
    absent = CelebA(str(tmp_path / "absent"), Played())  # builds without a look
    with pytest.raises(DataError, match="no such folder"):
        absent()
    with pytest.raises(DataError, match=r"identity_CelebA.txt.*wanted the folder img_celeba"):
        CelebA(str(root), Played(), photos="img_celeba")()
    with pytest.raises(DataError, match="6 identities, wanted 1000"):
        CelebA(str(root), Played())()
    with pytest.raises(DataError, match=r"lower data.pool"):
        CelebA(str(root), Played(), "public", pool=6)()
    (root / "identity_CelebA.txt").write_text("000001.png 1\n000001.png 2\n")
    with pytest.raises(DataError, match=r"line 2: 000001.png is listed twice"):
        CelebA(str(root), Played())()
    (root / "identity_CelebA.txt").write_text("000001.png one\n")
    with pytest.raises(DataError, match=r"line 1: found '000001.png one'"):
        CelebA(str(root), Played())()
    (root / "identity_CelebA.txt").unlink()
    with pytest.raises(DataError, match=r"cannot be read.*identities"):
        CelebA(str(root), Played())()


def test_settings_out_of_range_are_refused_before_anything_is_read() -> None:
    for settings in ({"part": "secret"}, {"pool": 1}, {"identities": 0}, {"public_images": 0}, {"train": "a.txt"}):
        with pytest.raises(ConfigError):
            CelebA("nowhere", Played(), **settings)  # type: ignore[arg-type]


def test_a_photo_without_a_face_or_without_a_file_is_reported(root: Path) -> None:
    Image.new("RGB", (24, 24)).save(root / "img_align_celeba/000001.png")
    (root / "img_align_celeba/000003.png").unlink()
    dataset = CelebA(str(root), Played(), pool=6)()
    assert {row.path: row.reason for row in dataset.skipped} == {
        "img_align_celeba/000001.png": "no_face",
        "img_align_celeba/000003.png": "missing",
    }


def test_ties_go_by_number_and_not_by_the_order_of_the_list() -> None:
    listed = [Listed("a", "id00010"), Listed("b", "id00009"), Listed("c", "id00011"), Listed("d", "id00011")]
    assert most_photographed(listed, 2) == {"id00011", "id00009"}


@pytest.mark.parametrize("name", ["celeba", "facescrub", "ffhq"])
def test_every_key_of_the_yaml_is_an_argument_of_its_loader(name: str) -> None:
    import facesec_bench.data.celeba as celeba
    import facesec_bench.data.facescrub as facescrub
    import facesec_bench.data.ffhq as ffhq

    path = Path(__file__).parents[2] / f"experiments/conf/data/{name}.yaml"
    keys = yaml.safe_load(path.read_text(encoding="utf-8"))
    loader = {"celeba": celeba.CelebA, "facescrub": facescrub.FaceScrub, "ffhq": ffhq.FFHQ}[name]
    assert keys.pop("_target_") == f"{loader.__module__}.{loader.__name__}"
    assert keys.keys() == inspect.signature(loader).parameters.keys()
    assert keys.pop("detector").pop("_target_") == "facesec_bench.data.detection.YuNet"
