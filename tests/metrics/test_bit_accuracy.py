"""Bits against counts done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from facesec_bench.metrics.bits import accuracy, exact

MESSAGES = np.array([[1, 0, 1, 0], [1, 1, 0, 0]], dtype=float)


def test_accuracy_is_the_share_of_bits_on_the_right_side_of_zero() -> None:
    scores = np.array([[9.0, -0.1, 0.2, -3.0], [0.1, -5.0, -1.0, 2.0]])
    assert accuracy(scores, MESSAGES).tolist() == [1.0, 0.5]
    assert exact(scores, MESSAGES).tolist() == [1.0, 0.0]


def test_a_score_of_zero_reads_as_zero() -> None:
    assert accuracy(np.zeros((1, 4)), [[1, 0, 0, 0]]).tolist() == [0.75]


def test_one_wrong_bit_spoils_the_message_and_only_its_share_of_the_accuracy() -> None:
    signs = 2 * MESSAGES - 1
    signs[0, 3] = 1.0
    assert accuracy(signs, MESSAGES).tolist() == [0.75, 1.0]
    assert exact(signs, MESSAGES).tolist() == [0.0, 1.0]


def test_guessing_reads_half_of_the_bits() -> None:
    rng = np.random.default_rng(0)
    found = accuracy(rng.normal(size=(400, 32)), rng.integers(0, 2, (400, 32)))
    assert found.mean() == pytest.approx(0.5, abs=0.02)


def test_a_decoder_that_fails_is_not_scored() -> None:
    with pytest.raises(ValueError, match="1 that are not"):
        accuracy([[np.nan, 1.0]], [[0, 1]])
    with pytest.raises(ValueError, match=r"found \(1, 3\) and \(1, 4\)"):
        exact(np.ones((1, 3)), np.ones((1, 4)))
    with pytest.raises(ValueError, match="Messages want 0 or 1; found -1"):
        accuracy([[1.0]], [[-1]])
