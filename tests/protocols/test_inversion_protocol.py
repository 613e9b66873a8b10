"""The inversion protocol on embeddings made by hand."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from facesec_bench.errors import ConfigError, DataError
from facesec_bench.interfaces import Faces
from facesec_bench.protocols import inversion
from facesec_bench.protocols.inversion import Encoder, Private, divide, named, templates


def faces(counts: list[int]) -> Faces:
    identities = torch.tensor([i for i, n in enumerate(counts) for _ in range(n)])
    keys = tuple(f"{i}_{j}" for i, n in enumerate(counts) for j in range(n))
    return Faces(torch.rand(len(keys), 3, 4, 4), identities, keys, tuple(f"p{i}" for i in range(len(counts))))


def private() -> Private:
    return divide(faces([4, 4, 4]), people=None, held=0.5, seed=0)


def encoder(split: Private) -> Encoder:
    """Everybody sits on an axis of their own; held photos lie 60 degrees off it."""
    axes = torch.eye(6)
    held = functional.normalize(axes[split.held.identities] + math.sqrt(3) * axes[3 + split.held.identities], dim=1)
    return Encoder("unseen", axes[split.taught.identities], held, {0.01: 0.6, 0.1: 0.4})


def test_photos_are_dealt_person_by_person_and_nobody_is_taught_and_held():
    split = divide(faces([10, 3, 1, 2]), people=None, held=0.3, seed=0)
    assert split.names == ("p0", "p1", "p3")  # one photo is too few
    assert split.taught.identities.bincount().tolist() == [7, 2, 1]
    assert split.held.identities.bincount().tolist() == [3, 1, 1]
    assert not set(split.taught.keys) & set(split.held.keys)
    assert all(
        key.startswith(split.names[i][1:]) for key, i in zip(split.held.keys, split.held.identities, strict=True)
    )


def test_people_are_drawn_by_seed():
    many = faces([3] * 20)
    assert len(divide(many, people=5, held=0.3, seed=0).names) == 5
    assert divide(many, people=5, held=0.3, seed=0).names == divide(many, people=5, held=0.3, seed=0).names
    assert divide(many, people=5, held=0.3, seed=0).names != divide(many, people=5, held=0.3, seed=1).names


def test_photos_that_the_data_set_keeps_back_are_held_and_no_others():
    kept = {"0_0", "0_7", "1_2", "3_1"}
    split = divide(faces([10, 3, 1, 2]), people=None, held=0.3, seed=0, kept=kept)
    assert set(split.held.keys) == kept and split.names == ("p0", "p1", "p3")
    assert split.taught.identities.bincount().tolist() == [8, 2, 1]
    assert not set(split.taught.keys) & kept
    other = divide(faces([10, 3, 1, 2]), people=None, held=0.8, seed=5, kept=kept)
    assert (other.taught.keys, other.held.keys) == (split.taught.keys, split.held.keys), "nothing is dealt anew"


def test_whoever_has_no_photo_to_learn_from_or_none_held_back_is_left_out_and_told():
    split = divide(faces([3, 3, 3, 3]), people=None, held=0.3, seed=0, kept={"0_0", "2_0", "2_1", "2_2", "3_1"})
    assert split.names == ("p0", "p3") and split.left_out == ("p1", "p2")
    assert "2 people were left out" in split.shortfall and "p1" in split.shortfall
    alone = divide(faces([3, 1, 3]), people=None, held=0.3, seed=0)
    assert alone.left_out == ("p1",) and "1 person was left out" in alone.shortfall
    assert divide(faces([3, 3, 3]), people=2, held=0.3, seed=0).shortfall == "", "who is not drawn is not left out"


def test_too_few_people_are_refused():
    with pytest.raises(DataError, match="two photos"):
        divide(faces([5, 1]), people=None, held=0.3, seed=0)
    with pytest.raises(DataError, match=r"found 1 people with two photos.* data set itself keeps 2 photos back"):
        divide(faces([5, 5]), people=None, held=0.3, seed=0, kept={"0_1", "9_9"})
    with pytest.raises(ConfigError, match="held"):
        divide(faces([5, 5]), people=None, held=1.0, seed=0)


def test_templates_are_means_of_unit_length():
    found = templates(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]), torch.tensor([0, 0, 1]), 2)
    assert torch.allclose(found, torch.tensor([[0.5**0.5, 0.5**0.5], [-1.0, 0.0]]))
    assert named(torch.tensor([[1.0, 0.0], [1.0, 0.1]]), found, torch.tensor([0, 1])).tolist() == [True, False]


def test_accuracy_asks_the_evaluators_nearest_template():
    split, people = private(), torch.tensor([0, 1, 2, 2])
    embedded = torch.eye(6)[[0, 1, 2, 0]]  # the last one shows somebody else
    found = inversion.accuracy(split, encoder(split), embedded, people, method="m", victim="v")
    top1 = {r.key: r.value for r in found if r.measure == "top1"}
    assert top1 == {"p0#0": 1.0, "p1#0": 1.0, "p2#0": 1.0, "p2#1": 0.0}
    distance = {r.key: r.value for r in found if r.measure == "nn_distance"}
    assert distance == {"p0#0": 0.0, "p1#0": 0.0, "p2#0": 0.0, "p2#1": 2.0}
    assert {r.target for r in found} == {"v"} and {r.identity for r in found} == {"p0", "p1", "p2"}
    assert not [r for r in found if r.measure == "top5"]  # of three people five are always among the best


def test_acceptance_counts_taught_and_held_photos_apart():
    split, people = private(), torch.tensor([0, 1])
    found = inversion.acceptance(split, encoder(split), torch.eye(6)[:2], people, method="m@v")
    rates = {
        measure: [r.value for r in found if r.measure == measure]
        for measure in ("sar_type1_far_1e-2", "sar_type2_far_1e-2", "sar_type2_far_1e-1", "cosine")
    }
    assert rates["cosine"] == [1.0, 1.0]
    assert rates["sar_type1_far_1e-2"] == [1.0] * 4  # two taught photos of each
    assert rates["sar_type2_far_1e-2"] == [0.0] * 4  # cosine 0.5, threshold 0.6
    assert rates["sar_type2_far_1e-1"] == [1.0] * 4  # threshold 0.4
    assert {r.target for r in found} == {"unseen"}


def test_a_cosine_is_told_in_deviations_of_what_strangers_reach(monkeypatch):
    assert private().classes < inversion.LEAST_PEOPLE
    monkeypatch.setattr(inversion, "LEAST_PEOPLE", private().classes)
    split, people = private(), torch.tensor([0, 1])
    alike = encoder(split)
    plain = inversion.acceptance(split, alike, torch.eye(6)[:2], people, method="m")
    assert not [r for r in plain if r.measure == "above_strangers"], "all strangers are equally alike: no deviation"
    noise = 0.3 * torch.randn(len(alike.taught), 6, generator=torch.Generator().manual_seed(0))
    by = replace(alike, taught=functional.normalize(alike.taught + noise, dim=1))
    strangers = by.strangers(split)
    photos = len(split.taught) + len(split.held)
    assert len(strangers) == photos * (split.classes - 1), "nobody is compared with their own template"
    known = [
        float(photo @ template)
        for part, embedded in ((split.taught, by.taught), (split.held, by.held))
        for photo, own in zip(embedded, part.identities.tolist(), strict=True)
        for person, template in enumerate(by.templates(split))
        if person != own
    ]
    assert sorted(strangers.tolist()) == pytest.approx(sorted(known))
    found = inversion.acceptance(split, by, torch.eye(6)[[0, 2]], people, method="m")
    above = [r.value for r in found if r.measure == "above_strangers"]
    mean, deviation = sum(known) / len(known), torch.tensor(known).std().item()
    own = torch.eye(6)[[0, 2]] @ by.templates(split)[people].T
    assert above == pytest.approx([(own[i, i].item() - mean) / deviation for i in range(2)], rel=1e-4)
    assert above[0] > above[1], "the second picture shows somebody else"
    monkeypatch.setattr(inversion, "LEAST_PEOPLE", split.classes + 1)
    few = inversion.acceptance(split, by, torch.eye(6)[[0, 2]], people, method="m")
    assert few == [r for r in found if r.measure != "above_strangers"], "so few strangers say nothing"


def test_the_private_photos_themselves_are_spread_as_they_are():
    split = private()
    by = encoder(split)
    own = inversion.spread(split, by, torch.cat([by.taught, by.held]))
    assert own["frechet_fr"] == pytest.approx(0, abs=1e-6) and own["recall"] == own["coverage"] == 1.0
    elsewhere = inversion.spread(split, by, functional.normalize(0.01 * torch.randn(8, 6) - 1, dim=1))
    assert elsewhere["frechet_fr"] > 0.1 and elsewhere["coverage"] < 0.5
    assert inversion.spread(split, by, by.taught[:3]) == {}


def test_no_face_is_no_confidence():
    scores, enough = inversion.plausible(torch.rand(3, 3, 4, 4), lambda chips: [0.0, 0.5, 0.9], 0.6)
    assert scores == [0.0, 0.5, 0.9] and enough == [False, False, True]
