"""What a cloaked photo is worth, against hand-made embeddings on the circle, where every cosine is known."""

import math

import pytest
import torch

from facesec_bench.interfaces import Faces
from facesec_bench.metrics.scores import summarise
from facesec_bench.protocols import cloaking
from facesec_bench.protocols.roles import Roles
from facesec_bench.records import Record


def unit(*degrees: float) -> torch.Tensor:
    angles = torch.tensor(degrees).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1)


# Each person: reference, judge, source. Person a looks along 0 degrees, b along 90, c along 180.
FACES = Faces(
    torch.zeros(9, 3, 4, 4), torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2]), tuple(f"k{i}" for i in range(9)), tuple("abc")
)
ROLES = Roles({0: 0, 1: 3, 2: 6}, {0: (1,), 1: (4,), 2: (7,)}, (2, 5, 8), (1, 2, 0), {})
CLEAN = unit(0, 0, 10, 90, 90, 80, 180, 180, 170)


def values(records, measure):
    return [r.value for r in records if r.measure == measure]


def success(kind, embedded, clean=CLEAN, threshold=0.5):
    return cloaking.success(FACES, ROLES, kind, embedded, clean, method="m", victim="v", threshold=threshold)


def test_dodging_protects_below_the_threshold_and_counts_every_pair():
    records = success("dodge", unit(61, 31, 180))  # judges at 0, 90 and 180: 61, 59 and 0 degrees away
    assert values(records, "dodging_psr") == [1.0, 0.0, 0.0]
    assert values(records, "dodging_similarity") == pytest.approx([math.cos(math.radians(x)) for x in (61, 59, 0)])


def test_impersonation_protects_at_or_above_the_threshold_of_the_target():
    records = success("impersonate", unit(31, 119, 10))  # targets' judges at 90, 180 and 0
    assert values(records, "impersonation_psr") == [1.0, 0.0, 1.0]
    assert values(success("impersonate", unit(90, 180, 0), threshold=1.0), "impersonation_psr") == [1.0] * 3


def test_a_pair_that_was_wrong_when_clean_counts_all_the_same():
    clean = unit(0, 0, 85, 90, 90, 80, 180, 180, 170)  # the source of a is rejected as it is, and passes for b
    assert values(success("dodge", clean[[2, 5, 8]], clean), "dodging_psr") == [1.0, 0.0, 0.0]
    assert values(success("impersonate", clean[[2, 5, 8]], clean), "impersonation_psr") == [1.0, 0.0, 0.0]
    assert not values(success("dodge", clean[[2, 5, 8]], clean), "dodging_success")


def test_a_distorted_photo_is_judged_under_its_own_name_and_says_no_more():
    found = cloaking.only_psr(success("dodge", unit(61, 31, 180)), "dodge", "dodging_psr_jpeg90")
    assert [(r.measure, r.value) for r in found] == [("dodging_psr_jpeg90", x) for x in (1.0, 0.0, 0.0)]


def identified(kind, embedded, clean=CLEAN, roles=ROLES):
    return cloaking.identified(FACES, roles, kind, embedded, clean, method="m", victim="v")


def test_everybody_counts_in_a_gallery_though_the_recogniser_was_wrong_without_a_cloak():
    clean = unit(0, 0, 85, 90, 90, 80, 180, 180, 170)  # as it is, the source of a is nearest to b: its target
    sources = clean[[2, 5, 8]]
    assert values(identified("dodge", sources, clean), "dodging_psr_rank1") == [1.0, 0.0, 0.0]
    assert values(identified("impersonate", sources, clean), "impersonation_psr_rank1") == [1.0, 0.0, 0.0]


def test_a_gallery_search_protects_by_who_is_found_first():
    cloaked = unit(50, 91, -170)  # nearest: b, b, c
    dodging, impersonation = identified("dodge", cloaked), identified("impersonate", cloaked)
    assert values(dodging, "dodging_psr_rank1") == [1.0, 0.0, 0.0]
    assert values(impersonation, "impersonation_psr_rank1") == [1.0, 0.0, 0.0]
    assert [(r.key, r.identity) for r in dodging] == [("k2", "a"), ("k5", "b"), ("k8", "c")]
    assert {r.measure for r in dodging} == {"dodging_psr_rank1"}, "no rank 5 among three people"


def test_rank_five_asks_for_the_first_five():
    people = 7
    faces = Faces(torch.zeros(3 * people, 3, 4, 4), torch.arange(people).repeat_interleave(3),
                  tuple(f"k{i}" for i in range(3 * people)), tuple("abcdefg"))  # fmt: skip
    roles = Roles({i: 3 * i for i in range(people)}, {i: (3 * i + 1,) for i in range(people)},
                  tuple(3 * i + 2 for i in range(people)), (1, 2, 3, 4, 5, 6, 0), {})  # fmt: skip
    clean = unit(*(10.0 * i for i in range(people) for _ in range(3)))
    seen = unit(*(44.0, 44.0, 44.0, 44.0, 44.0, 44.0, 14.0))  # order: e, f, d, g, c, b, a; for g: b, c, a, d, e, f, g
    found = cloaking.identified(faces, roles, "dodge", seen, clean, method="m", victim="v")
    assert values(found, "dodging_psr_rank5") == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    found = cloaking.identified(faces, roles, "impersonate", seen, clean, method="m", victim="v")
    assert values(found, "impersonation_psr_rank5") == [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]


def protection(cloaked):
    return cloaking.protection(FACES, ROLES, cloaked, CLEAN, measure="protection_x", method="m", victim="v")


def test_an_uncloaked_gallery_finds_everybody():
    assert values(protection(CLEAN[[2, 5, 8]]), "protection_x") == [0.0, 0.0, 0.0]


def test_a_cloak_protects_where_somebody_elses_photo_lies_nearer_to_the_clean_probe():
    # a's photo lies 81 degrees from a's probe, b's clean one 80; b's photo 79 from b's probe, the others' 80.
    records = protection(unit(-81, 11, 170))
    assert values(records, "protection_x") == [1.0, 0.0, 0.0]
    assert [(r.key, r.identity) for r in records] == [("k1", "a"), ("k4", "b"), ("k7", "c")]


def test_others_are_in_the_gallery_as_they_are_even_where_they_wear_a_cloak_themselves():
    # Were b's cloak (at 0) in a's gallery, it would lie nearer to a's probe than a's own photo.
    assert values(protection(unit(10, 0, 170)), "protection_x")[0] == 0.0


def test_one_photo_that_gives_a_person_away_is_enough():
    roles = Roles(ROLES.reference, ROLES.judges, (2, 0, 5, 3, 8, 6), (1, 1, 2, 2, 0, 0), {})
    clean = CLEAN[list(roles.sources)]
    hidden, half = clean.clone(), clean.clone()
    hidden[:2], half[:1] = unit(180), unit(180)
    for cloaked, expected in ((hidden, 1.0), (half, 0.0)):
        found = cloaking.protection(FACES, roles, cloaked, CLEAN, measure="p", method="m", victim="v")
        assert found[0].value == expected


def test_likeness_is_the_cosine_to_ones_own_source():
    found = cloaking.likeness(unit(60, 0), unit(0, 0), ["x", "y"], ["a", "b"], method="m", victim="v")
    assert [r.value for r in found] == pytest.approx([0.5, 1.0]) and found[0].measure == "identity_similarity"


def test_the_mean_pools_all_victims_and_keeps_a_persons_rows_together():
    rows = [
        Record(f"k{i}", f"id{i}", "m", victim, "dodging_psr", value)
        for victim, verdicts in (("v", (1.0, 0.0, 1.0, 1.0)), ("w", (1.0, 0.0, 0.0, 0.0)))
        for i, value in enumerate(verdicts)
    ]
    score = summarise(cloaking.pooled(rows, ["v", "w"]), seed=0)["dodging_psr/m/mean"]
    assert (score.value, score.n) == (0.5, 8)
    agreeing = [r._replace(value=1.0) for r in rows]
    low = summarise(cloaking.pooled(agreeing, ["v", "w"]), seed=0)["dodging_psr/m/mean"].low
    assert low == pytest.approx(0.025 ** (1 / 4)), "four people, not eight"


def test_there_is_no_mean_over_some_of_the_victims():
    rows = [Record("k", "a", "m", "v", "lpips", 0.1), Record("*", "", "m", "v", "frechet_fr_dodging", 1.0)]
    assert not cloaking.pooled(rows, ["v", "w"])
    assert len(cloaking.pooled(rows, ["v"])) == 1


def test_every_distortion_gives_an_eight_bit_file_and_changes_it():
    kept = (torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0)) * 255).round() / 255
    assert set(cloaking.DISTORTIONS) == {"_jpeg90", "_jpeg75", "_resize", "_blur", "_screenshot"}
    for change in cloaking.DISTORTIONS.values():
        changed = change(kept, 0)
        assert torch.allclose(changed, (changed * 255).round() / 255, atol=1e-6) and not torch.equal(changed, kept)


def test_what_is_owed_follows_the_goals_and_what_is_measured():
    rows, whole = cloaking.owed(["dodge"], lpips=False, adaptive=False)
    assert "dodging_psr_rank5" in rows and "protection_oblivious" in rows and whole == ["frechet_fr_dodging"]
    assert not [x for x in rows if "lpips" in x or "adaptive" in x or "impersonation" in x or "_targeted" in x]
    more, _ = cloaking.owed(["impersonate"], lpips=True, adaptive=False)
    assert {"lpips", "lpips_impersonation", "impersonation_psr_blur"} <= set(more)
    assert not [x for x in more if "protection" in x]
