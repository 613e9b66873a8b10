"""The consistency check keeps its false-alarm rate, and says when it cannot."""

import pytest
import torch

from defenses.consistency import Consistency
from facesec_bench.errors import CalibrationError, ConfigError
from facesec_bench.seeds import generator


def clean(n: int, *purpose: object) -> torch.Tensor:
    """Cosines as they are found: near 1, with a tail below."""
    return 1 - 0.05 * torch.rand(n, generator=generator(0, "clean", *purpose)).square()


def test_threshold_is_the_order_statistic_of_the_closed_form():
    similarities = torch.arange(1, 100) / 100  # 0.01 to 0.99, n = 99: k = 5
    detector = Consistency(0.05).fit(similarities[torch.randperm(99, generator=generator(1, "order"))])
    assert detector.threshold == pytest.approx(0.05)
    assert detector.flags(similarities).sum() == 4, "those strictly below the fifth"


@pytest.mark.parametrize("n", [19, 20, 38, 60, 200])
def test_new_clean_pairs_are_flagged_no_more_often_than_stated(n):
    shares = [Consistency(0.05).fit(clean(n, i)).flags(clean(400, "new", i)).float().mean() for i in range(300)]
    mean = torch.stack(shares).mean().item()
    expected = int(0.05 * (n + 1) + 1e-9) / (n + 1)  # exact for a continuous distribution
    assert mean == pytest.approx(expected, abs=0.008) and mean <= 0.055


def test_too_few_pairs_are_an_error_that_says_how_many_it_takes():
    detector = Consistency(0.05)
    assert detector.least_pairs == 19 and Consistency(0.1).least_pairs == 9
    detector.fit(clean(19))
    for n in (0, 18):
        with pytest.raises(CalibrationError, match=f"found {n} clean pairs, wanted 19"):
            detector.fit(clean(n))


def test_ties_raise_no_alarm():
    assert not Consistency(0.2).fit(torch.ones(50)).flags(torch.ones(7)).any()


def test_fitting_leaves_the_detector_as_it_was_and_an_unfitted_one_refuses():
    detector = Consistency(0.05)
    fitted = detector.fit(clean(50))
    assert detector.threshold is None and fitted.threshold is not None
    with pytest.raises(CalibrationError, match="fit"):
        detector.flags(clean(3))


def test_a_pair_is_flagged_strictly_below_the_threshold():
    fitted = Consistency(0.05, threshold=0.9)
    assert fitted.flags(torch.tensor([0.95, 0.9, 0.8999, 0.1])).tolist() == [False, False, True, True]


def test_what_is_not_a_number_is_flagged_and_never_fitted():
    assert Consistency(0.05, threshold=0.9).flags(torch.tensor([float("nan")])).all()
    with pytest.raises(CalibrationError, match="finite"):
        Consistency(0.05).fit(torch.tensor([float("nan")] * 30))


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_a_false_alarm_rate_out_of_range_is_refused(rate):
    with pytest.raises(ConfigError, match="found false_alarm"):
        Consistency(rate)
