"""Ranks against a sorted search and known geometry."""

from __future__ import annotations

import numpy as np
import pytest

from facesec_bench.errors import DataError
from facesec_bench.metrics.identification import ranks


def _unit(rng: np.random.Generator, n: int, d: int = 6) -> np.ndarray:
    x = rng.normal(size=(n, d))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("photos", [1, 3])
def test_ranks_agree_with_a_sorted_search(photos: int) -> None:
    rng = np.random.default_rng(photos)
    gallery, names = _unit(rng, 20 * photos), np.repeat([f"p{i}" for i in range(20)], photos)
    probes, wanted = _unit(rng, 15), np.array([f"p{i}" for i in rng.integers(0, 20, 15)])
    for found, probe, who in zip(ranks(probes, wanted, gallery, names), probes, wanted, strict=True):
        order = list(dict.fromkeys(names[np.argsort(-(gallery @ probe))]))
        assert found == order.index(who) + 1


def test_a_gallery_photo_finds_itself_first() -> None:
    x = _unit(np.random.default_rng(0), 10)
    assert (ranks(x, np.arange(10), x, np.arange(10)) == 1).all()


def test_one_good_photo_among_several_is_enough() -> None:
    gallery = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    assert ranks([[1.0, 0.0]], ["a"], gallery, ["a", "a", "b"]).tolist() == [1]


def test_a_recogniser_that_scores_all_alike_ranks_last() -> None:
    assert ranks([[1.0, 0.0]], [0], [[0.0, 1.0]] * 4, [0, 1, 2, 3]).tolist() == [4]


def test_an_identity_missing_from_the_gallery_is_an_error() -> None:
    with pytest.raises(DataError, match="first: z"):
        ranks([[1.0, 0.0]], ["z"], [[1.0, 0.0]], ["a"])


def test_nan_embeddings_are_refused_instead_of_ranked_first() -> None:
    with pytest.raises(ValueError, match="norm nan"):
        ranks([[np.nan, 0.0]], [0], [[1.0, 0.0]], [0])
