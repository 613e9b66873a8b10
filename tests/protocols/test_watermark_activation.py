"""The 2x2 table against hand-made embeddings on the circle, where every cosine is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from facesec_bench.errors import CalibrationError, ConfigError
from facesec_bench.interfaces import Faces
from facesec_bench.metrics.activation import CELLS
from facesec_bench.metrics.scores import summarise
from facesec_bench.protocols import watermark_activation
from facesec_bench.protocols.crafting import GoalName
from facesec_bench.protocols.roles import Roles
from facesec_bench.records import Record

FAR, STRICT = 0.01, 0.001
THRESHOLDS = {FAR: 0.5, STRICT: math.cos(math.radians(40.5))}  # within 60 degrees; strictly, within 40


def unit(*degrees: float) -> Tensor:
    angles = torch.tensor(degrees).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1)


# Photos 0..3 of person a (reference, two judges, source) near 0 degrees, 4..7 of person b near 180.
FACES = Faces(
    torch.zeros(8, 3, 4, 4), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]), tuple(f"k{i}" for i in range(8)), ("a", "b")
)
ROLES = Roles({0: 0, 1: 4}, {0: (1, 2), 1: (5, 6)}, (3, 7), (1, 0), {})
CLEAN = unit(0, 0, 20, 10, 180, 180, 160, 170)


def cells(clean: Tensor, perturbed: Tensor, watermarked: Tensor, both: Tensor) -> dict[str, Tensor]:
    return {"clean": clean, "perturbed": perturbed, "watermarked": watermarked, "both": both}


# Person a falls once marked and perturbed (95: 95 and 75 degrees from the judges); person b stands fast.
DORMANT = cells(unit(10, 170), unit(15, 170), unit(5, 170), unit(95, 170))


def judge(
    table: dict[str, Tensor] = DORMANT,
    kind: GoalName = "dodge",
    thresholds: dict[float, float] = THRESHOLDS,
) -> list[Record]:
    return watermark_activation.judge(
        FACES, ROLES, table, CLEAN, kind=kind, method="m", victim="v", thresholds=thresholds, far=FAR
    )


def values(records: list[Record], measure: str) -> list[float]:
    return [r.value for r in records if r.measure == measure]


def test_an_attack_that_waits_for_the_mark_shows_in_the_corner_and_the_interaction() -> None:
    records = judge()
    for cell in CELLS[:3]:
        assert values(records, f"tar_{cell}") == [1, 1, 1, 1]
    assert values(records, "tar_both") == [0, 0, 1, 1]
    assert values(records, "tar_drop_both") == values(records, "interaction") == [1, 1, 0, 0]
    assert values(records, "activation_success") == [1, 1, 0, 0]
    assert values(records, "rank1_drop_both") == values(records, "rank1_interaction") == [1, 0]


def test_similarities_are_those_of_the_cell() -> None:
    degrees = {"clean": (10, 10), "perturbed": (15, 5), "watermarked": (5, 15), "both": (95, 75)}
    for cell, (first, second) in degrees.items():
        expected = [math.cos(math.radians(first)), math.cos(math.radians(second))]
        assert values(judge(), f"similarity_{cell}")[:2] == pytest.approx(expected, abs=1e-6)


def test_plain_dodging_has_a_drop_and_no_interaction() -> None:
    records = judge(cells(unit(10, 170), unit(95, 170), unit(5, 170), unit(95, 170)))
    assert values(records, "tar_drop_perturbed") == values(records, "tar_drop_both") == [1, 1, 0, 0]
    assert values(records, "interaction") == [0, 0, 0, 0]
    assert values(records, "activation_success") == [0, 0]  # of person b; person a was rejected before the mark


def test_a_pair_rejected_when_clean_is_counted_in_every_rate() -> None:
    weak = cells(unit(70, 170), unit(70, 170), unit(70, 170), unit(100, 170))  # judges of a at 70 and at 50 degrees
    records = judge(weak)
    assert values(records, "tar_clean") == [0, 1, 1, 1]
    assert values(records, "tar_drop_both") == [0, 1, 0, 0]
    keys = [r.key for r in records if r.measure == "activation_success"]
    assert keys == ["k3>k2", "k7>k5", "k7>k6"]


def test_all_four_cells_rest_on_the_same_pairs() -> None:
    records = judge()
    keys = {m: [r.key for r in records if r.measure == m] for m in (*(f"tar_{c}" for c in CELLS), "interaction")}
    assert all(k == ["k3>k1", "k3>k2", "k7>k5", "k7>k6"] for k in keys.values())
    assert {r.identity for r in records if r.key.startswith("k3")} == {"a"}


def test_other_rates_have_their_own_suffix_and_threshold() -> None:
    table = cells(unit(10, 170), unit(50, 170), unit(5, 170), unit(95, 170))  # 50 and 30 degrees: 50 is too far at 1e-3
    records = judge(table)
    assert values(records, "tar_perturbed") == [1, 1, 1, 1]
    assert values(records, "tar_perturbed_far_1e-3") == [0, 1, 1, 1]
    assert values(records, "tar_drop_perturbed_far_1e-3") == [1, 0, 0, 0]
    assert values(records, "interaction_far_1e-3") == [0, 1, 0, 0]
    assert not any(r.measure.endswith("_far_1e-2") for r in records)


def test_the_scores_of_the_table_add_up() -> None:
    scores = summarise(judge(cells(unit(10, 120), unit(50, 100), unit(5, 130), unit(95, 170))), seed=0)
    value = {key.split("/")[0]: score.value for key, score in scores.items()}
    assert value["interaction"] == pytest.approx(
        value["tar_drop_both"] - value["tar_drop_perturbed"] - value["tar_drop_watermarked"]
    )
    assert value["tar_drop_both"] == pytest.approx(value["tar_clean"] - value["tar_both"])


def test_impersonation_is_judged_by_the_targets_photos_and_by_ones_own() -> None:
    waits = cells(unit(10, 170), unit(15, 170), unit(5, 170), unit(130, 170))  # a: 50 and 30 degrees from b's judges
    records = judge(waits, "impersonate")
    assert [r.key for r in records if r.measure == "target_accept_both"] == ["k3>k5", "k3>k6", "k7>k1", "k7>k2"]
    assert values(records, "target_accept_both") == values(records, "target_gain_both") == [1, 1, 0, 0]
    assert values(records, "target_accept_watermarked") == values(records, "target_gain_watermarked") == [0, 0, 0, 0]
    assert values(records, "target_interaction") == values(records, "target_activation_success") == [1, 1, 0, 0]
    assert [r.key for r in records if r.measure == "own_accept_both"] == ["k3>k1", "k3>k2", "k7>k5", "k7>k6"]
    assert values(records, "own_accept_both") == [0, 0, 1, 1]
    assert values(records, "own_accept_clean") == [1, 1, 1, 1]


def test_who_passes_for_the_target_before_the_mark_is_no_activation() -> None:
    early = cells(unit(10, 170), unit(130, 170), unit(5, 170), unit(130, 170))
    records = judge(early, "impersonate")
    assert values(records, "target_gain_perturbed") == [1, 1, 0, 0]
    assert values(records, "target_interaction") == [0, 0, 0, 0]
    assert values(records, "target_activation_success") == [0, 0]


@pytest.mark.parametrize("kind", ["dodge", "impersonate"])
def test_what_is_owed_is_what_is_delivered(kind: GoalName) -> None:
    owed = watermark_activation.owed(ROLES, kind, method="m", victim="v", thresholds=THRESHOLDS, far=FAR)
    assert len(owed) == len(set(owed)) and set(owed) == set(summarise(judge(kind=kind), seed=0))


def test_a_measure_without_a_counted_pair_is_owed_all_the_same() -> None:
    nobody = {cell: unit(90, 90) for cell in CELLS}
    missing = set(watermark_activation.owed(ROLES, "dodge", method="m", victim="v", thresholds=THRESHOLDS, far=FAR))
    missing -= set(summarise(judge(nobody), seed=0))
    assert missing == {"activation_success/m/v"}


def test_cells_or_thresholds_that_are_missing_are_refused() -> None:
    with pytest.raises(ConfigError, match="found cells"):
        judge({k: v for k, v in DORMANT.items() if k != "both"})
    with pytest.raises(ConfigError, match=r"each \(2, D\)"):
        judge({k: v[:1] for k, v in DORMANT.items()})
    with pytest.raises(CalibrationError, match=r"0\.001.*wanted one at 0\.01"):
        judge(thresholds={STRICT: 0.7})
    with pytest.raises(ValueError, match="unit rows"):
        judge(DORMANT | {"both": unit(95, 170) * math.nan})


def test_the_quality_of_a_cell_is_measured_against_the_clean_photo() -> None:
    photos = torch.full((2, 3, 16, 16), 0.4)
    kept = {"perturbed": photos + 0.01, "watermarked": photos, "both": photos + 0.1}
    records = watermark_activation.fidelity_records(
        kept, photos, ["k3", "k7"], ["a", "b"], method="m", victim="v", lpips=lambda a, b: (a - b).mean((1, 2, 3))
    )
    assert values(records, "psnr_both") == pytest.approx([20, 20], abs=1e-4)
    assert values(records, "linf_255_perturbed") == pytest.approx([2.55, 2.55], abs=1e-4)
    assert values(records, "lpips_both") == pytest.approx([0.1, 0.1], abs=1e-6)
    assert all(math.isnan(v) for v in values(records, "psnr_watermarked"))
    assert values(records, "ssim_watermarked") == pytest.approx([1, 1])
    assert {r.measure.split("_")[-1] for r in records} == set(CELLS[1:])


def test_a_flagged_image_is_recognised_by_its_unmarked_upload() -> None:
    found = watermark_activation.with_fallback(DORMANT, torch.tensor([False, True]), torch.tensor([True, False]))
    assert torch.equal(found["watermarked"], torch.stack([DORMANT["watermarked"][0], DORMANT["clean"][1]]))
    assert torch.equal(found["both"], torch.stack([DORMANT["perturbed"][0], DORMANT["both"][1]]))
    assert found["clean"] is DORMANT["clean"] and found["perturbed"] is DORMANT["perturbed"]
    assert values(judge(found), "tar_both") == [1, 1, 1, 1]
    assert values(judge(), "tar_both") == [0, 0, 1, 1]  # the cells given stay as they were


def test_without_a_flag_the_fallback_changes_nothing() -> None:
    none = torch.zeros(2, dtype=torch.bool)
    assert judge(watermark_activation.with_fallback(DORMANT, none, none)) == judge()


def test_flags_that_are_no_flags_are_refused() -> None:
    none = torch.zeros(2, dtype=torch.bool)
    with pytest.raises(ConfigError, match="'both', wanted one bool for each of its 2"):
        watermark_activation.with_fallback(DORMANT, none, torch.zeros(2))
    with pytest.raises(ConfigError, match="'watermarked'"):
        watermark_activation.with_fallback(DORMANT, none[:1], none)
