"""The verdicts against hand-made embeddings on the circle, where every cosine is known."""

import math

import pytest
import torch

from facesec_bench.interfaces import Faces
from facesec_bench.protocols import identification, verification
from facesec_bench.protocols.roles import Roles


def unit(*degrees: float) -> torch.Tensor:
    angles = torch.tensor(degrees).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1)


# photos 0..2 of person a (reference, judge, source), 3..5 of person b
FACES = Faces(torch.zeros(6, 3, 4, 4), torch.tensor([0, 0, 0, 1, 1, 1]), tuple(f"k{i}" for i in range(6)), ("a", "b"))
ROLES = Roles({0: 0, 1: 3}, {0: (1,), 1: (4,)}, (2, 5), (1, 0), {})
CLEAN = unit(0, 0, 10, 90, 90, 80)


def values(records, measure):
    return [r.value for r in records if r.measure == measure]


def judge(kind, perturbed, threshold=0.5, clean=CLEAN):
    return verification.judge(FACES, ROLES, kind, perturbed, clean, method="m", victim="v", threshold=threshold)


def test_dodging_succeeds_below_the_threshold_and_only_there():
    records = judge("dodge", unit(61, 31))  # judge of a at 0 degrees: cos 61 < 0.5; judge of b at 90: cos 59 > 0.5
    assert values(records, "dodging_success") == [1.0, 0.0]
    assert values(records, "dodging_similarity") == pytest.approx(
        [math.cos(math.radians(61)), math.cos(math.radians(59))], abs=1e-6
    )


def test_impersonation_succeeds_at_or_above_the_threshold_of_the_other_person():
    records = judge("impersonate", unit(31, 10))  # a seen at 31, judge of b at 90: 59 degrees; b at 10, judge of a: 10
    assert values(records, "impersonation_success") == [1.0, 1.0]
    assert values(judge("impersonate", unit(10, 80)), "impersonation_success") == [0.0, 0.0]


def test_dodging_counts_only_pairs_accepted_when_clean():
    clean = unit(0, 0, 85, 90, 90, 80)  # the source of a is already rejected
    records = judge("dodge", unit(85, 0), clean=clean)
    assert values(records, "dodging_success") == [1.0] and len(values(records, "dodging_similarity")) == 2
    base = verification.base_rates(FACES, ROLES, "dodge", clean, victim="v", threshold=0.5)
    assert [r.value for r in base] == [1.0, 0.0]


def test_impersonation_counts_only_pairs_rejected_when_clean():
    clean = unit(0, 0, 85, 90, 90, 80)  # the source of a already passes for b
    assert len(values(judge("impersonate", unit(85, 80), clean=clean), "impersonation_success")) == 1
    base = verification.base_rates(FACES, ROLES, "impersonate", clean, victim="v", threshold=0.5)
    assert [r.value for r in base] == [1.0, 0.0]


def test_an_unperturbed_photo_never_succeeds():
    clean_sources = CLEAN[[2, 5]]
    for kind, measure in (("dodge", "dodging_success"), ("impersonate", "impersonation_success")):
        assert values(judge(kind, clean_sources), measure) == [0.0, 0.0]


def test_rank_one_turns_when_the_other_person_is_nearer():
    records = identification.judge(FACES, ROLES, "dodge", unit(46, 80), CLEAN, method="m", victim="v")
    assert values(records, "rank1_untargeted") == [1.0, 0.0]
    records = identification.judge(FACES, ROLES, "impersonate", unit(46, 80), CLEAN, method="m", victim="v")
    assert values(records, "rank1_targeted") == [1.0, 0.0]


def test_rank_five_is_not_reported_in_a_gallery_of_two():
    assert identification.usable_ranks(ROLES) == (1,)


def test_records_carry_the_identity_of_the_source_and_name_both_photos():
    first = judge("impersonate", unit(46, 80))[0]
    assert (first.key, first.identity) == ("k2>k4", "a")
