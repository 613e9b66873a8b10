import csv

import pytest
import torch

from facesec_bench.errors import DataError
from facesec_bench.interfaces import Faces
from facesec_bench.protocols.roles import assign, write_roles


def uneven(counts: list[int]) -> Faces:
    labels = [i for i, n in enumerate(counts) for _ in range(n)]
    keys = tuple(f"{i}/{k}" for k, i in enumerate(labels))
    return Faces(torch.zeros(len(labels), 3, 8, 8), torch.tensor(labels), keys, tuple("abcdefgh"[: len(counts)]))


def test_no_photo_has_two_roles(faces):
    roles = assign(faces, seed=3, sources_per_identity=2, judges=2)
    used = [*roles.reference.values(), *(i for g in roles.judges.values() for i in g), *roles.sources]
    assert len(used) == len(set(used)) == 4 * (1 + 2 + 2)


def test_every_role_belongs_to_its_identity_and_no_target_is_oneself(faces):
    roles = assign(faces, seed=1, sources_per_identity=2, judges=2)
    for identity in roles.identities:
        assert int(faces.identities[roles.reference[identity]]) == identity
        assert {int(faces.identities[i]) for i in roles.judges[identity]} == {identity}
    for source, target in zip(roles.sources, roles.targets, strict=True):
        assert int(faces.identities[source]) != target


def test_sources_of_one_person_aim_at_different_people(faces):
    roles = assign(faces, seed=1, sources_per_identity=2, judges=2)
    aims: dict[int, set[int]] = {}
    for source, target in zip(roles.sources, roles.targets, strict=True):
        aims.setdefault(int(faces.identities[source]), set()).add(target)
    assert all(len(found) == 2 for found in aims.values())


def test_the_same_seed_gives_the_same_roles_and_another_seed_others(faces):
    assert assign(faces, seed=5) == assign(faces, seed=5)
    assert assign(faces, seed=5) != assign(faces, seed=6)


def test_a_person_with_three_photos_has_one_of_each_role_and_one_with_two_is_left_out():
    roles = assign(uneven([3, 2, 6]), seed=0, judges=4)
    assert roles.left_out == {"b": 2}
    assert len(roles.judges[0]) == 1 and len(roles.judges[2]) == 4


def test_too_few_people_is_an_error_that_counts_them():
    with pytest.raises(DataError, match="Found 1 identities with at least 3"):
        assign(uneven([5, 2]), seed=0)


def test_identities_can_be_capped_and_restricted(faces):
    assert len(assign(faces, seed=0, identities=2).identities) == 2
    assert set(assign(faces, seed=0, among={1, 3}).identities) == {1, 3}


def test_roles_are_written_with_the_person_to_be_taken_for(faces, tmp_path):
    roles = assign(faces, seed=0, judges=2)
    write_roles(tmp_path / "roles.csv", faces, roles, ["someone"])
    rows = list(csv.DictReader((tmp_path / "roles.csv").open()))
    assert {r["role"] for r in rows} == {"reference", "gallery", "judge", "source", "calibration"}
    sources = [r for r in rows if r["role"] == "source"]
    assert all(r["impersonates"] and r["impersonates"] != r["identity"] for r in sources)
