"""The small rules of the report: digits, keys, bold, verdicts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesec_bench.records import Example, RunCard, Score
from facesec_bench.reporting import as_csv, numerals
from facesec_bench.reporting.document import Cell, Row, Table, embolden, head, merge_equal, number
from facesec_bench.reporting.keys import budget, is_control, parse, stem
from facesec_bench.reporting.sections.examples import verdict


@pytest.mark.parametrize(
    ("x", "text"),
    [(0.0, "0"), (1.0, "1.00"), (97.54, "97.5"), (99.96, "100"), (100.0, "100"), (3.333, "3.33"), (0.01234, "0.0123"),
     (1234.5, "1234"), (-0.5, "−0.500"), (math.nan, "–"), (math.inf, "∞"), (1.2e-5, "1.20e-05")],
)  # fmt: skip
def test_numbers_have_three_significant_digits(x: float, text: str) -> None:
    assert numerals.three(x) == text


@given(st.floats(1e-4, 998))
def test_what_is_printed_is_within_half_a_unit_of_the_third_digit(x: float) -> None:
    assert float(numerals.three(x)) == pytest.approx(x, rel=5.1e-3)


def test_keys_are_taken_apart() -> None:
    assert parse("psnr/pgd/sface")[1:] == ("pgd", ("sface",), "sface") and parse("psnr/pgd/sface").is_white_box
    transfer = parse("dodging_success/pgd_eps4@a+b/c")
    assert transfer[1:] == ("pgd_eps4", ("a", "b"), "c") and transfer.is_transfer and not transfer.is_white_box
    assert parse("auc/clean/sface").surrogates == () == parse("psnr/random_sign_eps4/sface").surrogates
    with pytest.raises(ValueError, match="measure/method/victim"):
        parse("psnr")


def _card(**methods: object) -> RunCard:
    return RunCard("r", "evasion", "finished", 0, {}, "f", "2026", methods=methods)  # type: ignore[arg-type]


def test_budgets_are_read_from_names_even_where_the_configured_one_is_another() -> None:
    configured = {"eps_255": 16.0, "norm": "linf"}
    for card in (_card(), _card(pgd={**configured, "eps_255": 8.0}, pgd_eps16=configured), _card(pgd=configured)):
        names = ("pgd", "pgd_eps16", "pgd_eps0.5")
        assert [budget(n, card).text for n in names] == ["8/255", "16/255", "0.5/255"]
        assert {budget(n, card).norm for n in names} == {"linf"}


def test_the_card_says_the_norm_and_that_there_is_no_budget() -> None:
    card = _card(fmn={"eps_255": None, "norm": "none"}, l2={"eps_255": 8.0, "norm": "rms"},
                 l2_eps4={"eps_255": 4.0, "norm": "rms"}, old={"eps_255": None})  # fmt: skip
    texts = [budget(n, card).text for n in ("fmn", "l2", "l2_eps4", "old", "unknown")]
    assert texts == ["none", "8/255 rms", "4/255 rms", "none", "8/255"]
    assert budget("l2", card) != budget("pgd", card)
    ordered = sorted(("fmn", "l2", "l2_eps4", "pgd", "pgd_eps16"), key=lambda n: budget(n, card).order)
    assert ordered == ["pgd", "pgd_eps16", "l2_eps4", "l2", "fmn"]


def test_no_cell_of_a_csv_is_a_formula_and_numbers_stay_numbers() -> None:
    hostile = ("=1+1", "+cmd", "-x", "@SUM(A1)", "\tx")
    rows = [head("=head"), *(Row((Cell(x), Cell("-0.5"), number(Score(-0.5, -1.0, 0.0, 3), ("a",), False)))
                             for x in hostile)]  # fmt: skip
    lines = as_csv.render(Table("t", "", ("@name", "x", "y"), tuple(rows))).splitlines()
    assert lines[0].startswith("group,'@name,x,y,")
    assert lines[1:] == [f"'=head,'{x},-0.5,-0.5,-1.0,0.0,3,a" for x in hostile]


def test_budget_suffixes_leave_the_stem() -> None:
    assert stem("pgd_eps0.5") == "pgd" and is_control("random_sign_eps4") and not is_control("random_sign2")


def _column(*scores: Score) -> list[Row]:
    return [Row((number(score, ("a",), True),)) for score in scores]


def test_the_best_is_bold_only_when_its_interval_is_clear_of_the_second() -> None:
    clear = embolden(_column(Score(0.9, 0.8, 1.0, 9), Score(0.5, 0.4, 0.6, 9)), 0)
    assert [row.cells[0].bold for row in clear] == [True, False]
    overlapping = embolden(_column(Score(0.9, 0.5, 1.0, 9), Score(0.5, 0.4, 0.6, 9)), 0)
    unknown = embolden(_column(Score(0.9, math.nan, math.nan, 9), Score(0.5, math.nan, math.nan, 9)), 0)
    lower = embolden(_column(Score(0.9, 0.8, 1.0, 9), Score(0.5, 0.4, 0.6, 9)), 0, higher_is_better=False)
    assert not any(row.cells[0].bold for row in overlapping + unknown)
    assert [row.cells[0].bold for row in lower] == [False, True]


def test_a_control_never_wins_and_a_lone_row_has_no_rival() -> None:
    rows = _column(Score(0.9, 0.8, 1.0, 9), Score(0.5, 0.4, 0.6, 9))
    rows[0] = Row(rows[0].cells, kind="control")
    assert not any(row.cells[0].bold for row in embolden(rows, 0))


def test_only_rows_that_read_the_same_are_merged() -> None:
    same = [Row((Cell("x"), Cell("1", refs=(r,)))) for r in "ab"]
    (merged,) = merge_equal(same)
    assert merged.cells[1].refs == ("a", "b")
    close = _column(Score(0.50001, 0.4, 0.6, 9), Score(0.50002, 0.4, 0.6, 9))
    assert len(merge_equal(close)) == 2


@pytest.mark.parametrize(
    ("goal", "similarity", "words"),
    [("dodge", 0.31, "still recognised"), ("dodge", 0.29, "no longer recognised"),
     ("dodge", 0.30, "still recognised"), ("impersonate", 0.30, "taken for the target"),
     ("impersonate", 0.29, "not taken for the target")],
)  # fmt: skip
def test_the_verdict_follows_the_threshold(goal: str, similarity: float, words: str) -> None:
    assert verdict(Example("k", goal, "m", "t", "a", "b", "c", 0.5, similarity, 0.30)) == words
