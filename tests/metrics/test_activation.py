"""The 2x2 table against all sixteen tables there are, and the intervals of its differences."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesec_bench.errors import FacesecError
from facesec_bench.metrics.activation import CELLS, activation_success, drops, interaction
from facesec_bench.metrics.intervals import clopper_pearson, identity_bootstrap
from facesec_bench.metrics.scores import bounds, is_proportion, summarise
from facesec_bench.records import Record

TABLES = np.array(list(itertools.product((0.0, 1.0), repeat=4)))  # rows of (clean, perturbed, watermarked, both)


def test_the_ideal_attack_loses_the_corner_only() -> None:
    lost = drops([1], [1], [1], [0])
    assert (lost.perturbed[0], lost.watermarked[0], lost.both[0]) == (0, 0, 1)
    assert interaction([1], [1], [1], [0])[0] == 1
    assert activation_success([1], [1], [1], [0])[0] == 1


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ((1, 0, 1, 0), 0),  # plain dodging: the mark adds nothing
        ((1, 1, 0, 0), 0),  # the mark alone breaks recognition
        ((1, 0, 0, 0), -1),  # either alone suffices
        ((0, 1, 1, 0), 2),
        ((1, 0, 0, 1), -2),  # the mark heals what the perturbation broke
        ((1, 1, 1, 1), 0),
        ((0, 0, 0, 0), 0),
    ],
)
def test_the_interaction_of_hand_made_tables(table: tuple[int, ...], expected: int) -> None:
    assert interaction(*([cell] for cell in table))[0] == expected


@given(st.lists(st.sampled_from(TABLES.tolist()), min_size=1, max_size=40))
def test_interaction_is_the_corner_less_the_margins_exactly(rows: list[list[float]]) -> None:
    cells = np.array(rows).T
    lost = drops(*cells)
    assert (interaction(*cells) == lost.both - lost.perturbed - lost.watermarked).all()
    assert (interaction(*cells) == cells[1] + cells[2] - cells[0] - cells[3]).all()


def test_gains_in_acceptance_are_drops_in_rejection() -> None:
    lost = drops(*(1 - TABLES.T))
    assert (lost.both == TABLES[:, 3] - TABLES[:, 0]).all()
    t00, t10, t01, t11 = TABLES.T
    assert (interaction(*(1 - TABLES.T)) == (t11 - t00) - (t10 - t00) - (t01 - t00)).all()


def test_conditional_success_counts_only_trials_accepted_in_the_first_three_cells() -> None:
    found = activation_success(*TABLES.T)
    counted = ~np.isnan(found)
    assert [tuple(row) for row in TABLES[counted]] == [(1, 1, 1, 0), (1, 1, 1, 1)]
    assert found[counted].tolist() == [1, 0]


def test_cells_of_other_trials_or_values_are_refused() -> None:
    with pytest.raises(ValueError, match="same N trials"):
        drops([1, 1], [1], [1, 1], [1, 1])
    with pytest.raises(ValueError, match=r"'watermarked' wants verdicts of 0 or 1; found 0\.5"):
        interaction([1], [1], [0.5], [1])
    with pytest.raises(ValueError, match="found nan"):
        drops([math.nan], [1], [1], [1])


@pytest.mark.parametrize(
    ("value", "limits", "expected"),
    [
        (0.0, (-1.0, 1.0), (-1.0, 1.0)),
        (1.0, (-1.0, 1.0), (-1.0, 0.0)),
        (1.0, (-2.0, 2.0), (-1.0, 1.0)),
        (2.0, (-2.0, 2.0), (-1.0, 0.0)),
        (-1.0, (-1.0, 1.0), (0.0, 1.0)),
    ],
)
def test_a_unanimous_difference_is_as_uncertain_as_a_unanimous_proportion(
    value: float, limits: tuple[float, float], expected: tuple[float, float]
) -> None:
    score = identity_bootstrap([value] * 30, np.repeat(np.arange(10), 3), seed=0, bounds=limits)
    width = 1 - clopper_pearson(10, 10)[0]
    assert (score.low, score.high) == pytest.approx((value + expected[0] * width, value + expected[1] * width))
    assert width == pytest.approx(1 - 0.025 ** (1 / 10)) and (score.value, score.n) == (value, 30)


def test_a_difference_that_varies_is_bootstrapped_as_ever() -> None:
    values = [1.0, 0.0, 1.0, 1.0, -1.0, 1.0]
    bounded = identity_bootstrap(values, list("abcdef"), seed=3, bounds=(-1.0, 1.0))
    assert bounded == identity_bootstrap(values, list("abcdef"), seed=3)


def test_a_value_out_of_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[-1, 1\]; found 2"):
        identity_bootstrap([0.0, 2.0], ["a", "b"], seed=0, bounds=(-1.0, 1.0))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("stem", ["tar_{}", "tar_{}_far_1e-3", "rank1_{}", "target_accept_{}", "own_accept_{}"])
def test_accept_rates_are_proportions(stem: str, cell: str) -> None:
    assert is_proportion(stem.format(cell)) and bounds(stem.format(cell)) is None


@pytest.mark.parametrize(
    "measure",
    [
        "activation_success",
        "target_activation_success",
        "exact_message",
        "exact_message_watermarked_jpeg75",
        "false_alarm",
        "detection",
    ],
)
def test_shares_of_zeros_and_ones_are_proportions(measure: str) -> None:
    assert is_proportion(measure) and bounds(measure) is None


@pytest.mark.parametrize(
    ("measure", "limits"),
    [
        ("tar_drop_both", (-1, 1)),
        ("tar_drop_watermarked_far_1e-3", (-1, 1)),
        ("rank1_drop_perturbed", (-1, 1)),
        ("target_gain_both", (-1, 1)),
        ("tar_cost", (-1, 1)),
        ("interaction", (-2, 2)),
        ("interaction_far_1e-3", (-2, 2)),
        ("rank1_interaction", (-2, 2)),
        ("target_interaction", (-2, 2)),
    ],
)
def test_differences_are_no_proportions_but_bounded(measure: str, limits: tuple[float, float]) -> None:
    assert not is_proportion(measure) and bounds(measure) == limits


@pytest.mark.parametrize("measure", ["similarity_both", "psnr_both", "lpips_watermarked", "linf_255_perturbed", "auc"])
def test_other_measures_are_neither(measure: str) -> None:
    assert not is_proportion(measure) and bounds(measure) is None


def _rows(measure: str, values: list[float]) -> list[Record]:
    return [Record(f"k{i}", f"id{i}", "m", "v", measure, value) for i, value in enumerate(values)]


def test_scores_give_a_unanimous_difference_an_interval_with_a_width() -> None:
    score = summarise(_rows("tar_drop_perturbed", [0.0] * 20), seed=0)["tar_drop_perturbed/m/v"]
    width = 1 - 0.025 ** (1 / 20)
    assert (score.value, score.low, score.high) == (0.0, pytest.approx(-width), pytest.approx(width))


def test_the_psnr_of_a_cell_may_be_missing_and_its_ssim_may_not() -> None:
    assert summarise(_rows("psnr_perturbed", [40.0, math.nan]), seed=0)["psnr_perturbed/m/v"].n == 1
    with pytest.raises(FacesecError, match="ssim_perturbed/m/v: 1 of 2"):
        summarise(_rows("ssim_perturbed", [0.9, math.nan]), seed=0)
