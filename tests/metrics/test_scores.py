"""Records summarised: the right groups, the right rule for each measure, no failure hidden."""

from __future__ import annotations

import math

import pytest

from facesec_bench.errors import FacesecError
from facesec_bench.metrics.scores import summarise
from facesec_bench.records import Record


def _rows(measure: str, values: list[float], method: str = "pgd", target: str = "sface") -> list[Record]:
    return [Record(f"k{i}", f"id{i // 2}", method, target, measure, v) for i, v in enumerate(values)]


def test_each_measure_method_and_target_is_summarised_apart() -> None:
    rows = _rows("dodging_success", [1, 1, 0, 1]) + _rows("dodging_success", [0, 0, 0, 1], "pgd@dlib", "toy")
    scores = summarise(rows, seed=0)
    assert {k: (s.value, s.n) for k, s in scores.items()} == {
        "dodging_success/pgd/sface": (0.75, 4),
        "dodging_success/pgd@dlib/toy": (0.25, 4),
    }


@pytest.mark.parametrize(
    "measure",
    [
        "impersonation_success",
        "rank1_targeted",
        "tar_at_far_1e-2",
        "base_dodging",
        "dodging_psr",
        "impersonation_psr_jpeg90",
        "adaptive_dodging_psr",
        "protection_oblivious",
    ],
)
def test_a_unanimous_proportion_does_not_collapse_to_a_point(measure: str) -> None:
    score = summarise(_rows(measure, [1.0] * 8), seed=0)[f"{measure}/pgd/sface"]
    assert score.low == pytest.approx(0.025 ** (1 / 4)) and score.high == 1.0


@pytest.mark.parametrize("measure", ["bit_accuracy_watermarked", "bit_accuracy_both_jpeg75"])
def test_bits_that_are_all_right_leave_room_for_identities_where_they_are_not(measure: str) -> None:
    score = summarise(_rows(measure, [1.0] * 20), seed=0)[f"{measure}/pgd/sface"]
    assert (score.low, score.high) == (pytest.approx(0.025 ** (1 / 10)), 1.0)


def test_shares_of_bits_that_differ_are_bootstrapped_and_stay_shares() -> None:
    score = summarise(_rows("bit_accuracy_both", [1.0, 0.75, 1.0, 0.5]), seed=0)["bit_accuracy_both/pgd/sface"]
    assert 0.75 <= score.low <= score.value <= score.high <= 0.875 and score.low < score.high
    with pytest.raises(FacesecError, match=r"bit_accuracy_both/pgd/sface: Wanted values in \[0, 1\]; found 1.5"):
        summarise(_rows("bit_accuracy_both", [1.0, 1.5]), seed=0)


@pytest.mark.parametrize("measure", ["interaction_far_1e-2", "target_interaction_far_1e-2", "rank1_interaction"])
def test_an_attack_is_never_said_to_lose_more_than_the_clean_cell_accepts(measure: str) -> None:
    width = 1 - 0.025 ** (1 / 4)
    for value, low, high in ((1.0, 1 - width, 1.0), (-1.0, -1 - width, width - 1), (0.0, -width, width)):
        score = summarise(_rows(measure, [value] * 8), seed=0)[f"{measure}/pgd/sface"]
        assert (score.value, score.low, score.high) == (value, pytest.approx(low), pytest.approx(high))


def test_an_interaction_beyond_one_keeps_its_value_and_its_own_bounds() -> None:
    score = summarise(_rows("interaction_far_1e-2", [2.0] * 8), seed=0)["interaction_far_1e-2/pgd/sface"]
    assert (score.value, score.low, score.high) == (2.0, pytest.approx(1 + 0.025 ** (1 / 4)), 2.0)


def test_a_cost_that_is_the_same_for_all_leaves_room_for_people_whom_it_hits() -> None:
    score = summarise(_rows("adaptive_tar_cost", [0.0] * 8), seed=0)["adaptive_tar_cost/pgd/sface"]
    assert (score.low, score.high) == (pytest.approx(0.025 ** (1 / 4) - 1), pytest.approx(1 - 0.025 ** (1 / 4)))
    with pytest.raises(FacesecError, match=r"found 2"):
        summarise(_rows("adaptive_tar_cost", [0.0, 2.0]), seed=0)


def test_an_unbounded_measure_is_bootstrapped() -> None:
    score = summarise(_rows("lpips", [0.1, 0.2, 0.3, 0.4]), seed=0)["lpips/pgd/sface"]
    assert 0.1 <= score.low < 0.25 < score.high <= 0.4


def test_rows_about_a_whole_set_are_left_to_their_owner() -> None:
    assert summarise([Record("*", "", "clean", "sface", "auc", 0.99)], seed=0) == {}


def test_a_failed_measurement_names_its_score() -> None:
    with pytest.raises(FacesecError, match=r"dodging_success/pgd/sface: 1 of 2"):
        summarise(_rows("dodging_success", [1.0, math.nan]), seed=0)


def test_psnr_leaves_unchanged_images_out_and_says_how_many_remain() -> None:
    score = summarise(_rows("psnr", [30.0, math.nan, 40.0, 50.0]), seed=0)["psnr/pgd/sface"]
    assert (score.value, score.n) == (40.0, 3)


def test_a_row_given_twice_is_refused_by_name() -> None:
    rows = _rows("dodging_success", [1.0, 0.0])
    with pytest.raises(FacesecError, match=r"dodging_success/pgd/sface: found two records of 'k1'"):
        summarise([*rows, rows[1]], seed=0)
    whole = Record("*", "", "pgd", "sface", "fid_dodging", 1.0)
    assert summarise([whole, whole], seed=0) == {}
