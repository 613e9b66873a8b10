"""Splits: nobody in two parts, nobody lost."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesec_bench.data.splits import disjoint, from_column
from facesec_bench.errors import ConfigError, DataError


@given(st.integers(10, 200), st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 2**40))
def test_a_split_covers_everybody_once_with_sizes_exact_to_rounding(n: int, weights: list[int], seed: int) -> None:
    names = [f"p{i}" for i in range(n)]
    fractions = {f"r{i}": w / sum(weights) for i, w in enumerate(weights)}
    if min(fractions.values()) * n < 1:
        return
    split = disjoint(names, fractions, seed)
    assert sorted(split) == sorted(names)
    sizes = Counter(split.values())
    assert all(abs(sizes[role] - n * share) < 1 for role, share in fractions.items())


def test_the_order_of_names_does_not_matter_and_the_seed_does() -> None:
    names = [f"p{i}" for i in range(40)]
    halves = {"forget": 0.5, "retain": 0.5}
    assert disjoint(names, halves, 1) == disjoint(names[::-1], halves, 1)
    assert disjoint(names, halves, 1) != disjoint(names, halves, 2)


def test_impossible_splits_are_refused() -> None:
    with pytest.raises(DataError, match="leave nobody for small"):
        disjoint(["a", "b", "c"], {"large": 0.95, "small": 0.05}, 0)
    with pytest.raises(ConfigError, match=r"add up to 0\.9"):
        disjoint(["a", "b"], {"x": 0.5, "y": 0.4}, 0)
    with pytest.raises(ConfigError, match="above 0"):
        disjoint(["a", "b"], {"x": 1.5, "y": -0.5}, 0)
    with pytest.raises(DataError, match="once"):
        disjoint(["a", "a"], {"x": 1.0}, 0)


def test_a_split_column_must_keep_a_person_in_one_part() -> None:
    owners = {"1": "ann", "2": "ann", "3": "bob"}
    assert from_column(owners, {"1": "attack", "2": "attack", "3": "calibration"}) == {
        "ann": "attack",
        "bob": "calibration",
    }
    with pytest.raises(DataError, match="'ann' is in two splits, 'attack' and 'calibration'"):
        from_column(owners, {"1": "attack", "2": "calibration", "3": "calibration"})
    with pytest.raises(DataError, match="3 has no split"):
        from_column(owners, {"1": "attack", "2": "attack"})
    with pytest.raises(DataError, match="3 has split 'probe', wanted calibration or attack"):
        from_column(owners, {"1": "attack", "2": "attack", "3": "probe"})
