"""Answer filters: what passes and what does not."""

import pytest
import torch
from torch import nn

from defenses.answer_filters import LabelOnly, Noisy, Rounded
from facesec_bench.access import ClassifierAccess
from facesec_bench.errors import ConfigError
from facesec_bench.seeds import generator

LOGITS = 3 * torch.randn(8, 5, generator=generator(0, "logits"))


def test_rounded_probabilities_are_the_rounded_ones_over_their_sum():
    found = Rounded(2)(torch.tensor([[0.333, 0.333, 0.334], [0.904, 0.0949, 0.0011]]).log()).softmax(1)
    assert torch.allclose(found, torch.tensor([[1 / 3, 1 / 3, 1 / 3], [0.90 / 0.99, 0.09 / 0.99, 0.0]]), atol=1e-6)
    fine = Rounded(6)(LOGITS).softmax(1)
    assert torch.allclose(fine, LOGITS.softmax(1), atol=1e-5)


def test_where_every_probability_rounds_to_nothing_all_classes_are_as_likely():
    found = Rounded(1)(torch.zeros(1, 40))
    assert torch.allclose(found.softmax(1), torch.full((1, 40), 1 / 40))


def test_of_a_label_the_others_cannot_be_told_apart():
    found = LabelOnly()(LOGITS)
    assert torch.equal(found.softmax(1), nn.functional.one_hot(LOGITS.argmax(1), 5).float())


def test_noise_is_as_wide_as_stated_the_same_for_the_same_question_and_another_for_another():
    many = torch.randn(400, 30, generator=generator(1, "logits"))
    drawn = Noisy(2.0)(many) - many
    assert abs(float(drawn.std()) - 2) < 0.05 and abs(float(drawn.mean())) < 0.05
    assert torch.equal(Noisy(2.0)(many[7:9]), Noisy(2.0)(many)[7:9]), "whoever else asks"
    assert not torch.allclose(drawn[0], drawn[1], atol=0.1)
    assert not torch.equal(Noisy(2.0, seed=1)(many), Noisy(2.0)(many))
    assert torch.equal(Noisy(0.0)(LOGITS), LOGITS)


class Fixed(nn.Module):
    name, classes, digest = "fixed", 5, "0" * 64

    def features(self, chips):
        return LOGITS[: len(chips)]

    def head(self, features):
        return features


def test_an_access_answers_through_its_filter_and_a_white_box_passes_by():
    chips = torch.zeros(8, 3, 4, 4)
    for keep in (Rounded(1), Noisy(1.0), LabelOnly()):
        asked = ClassifierAccess(Fixed(), "soft_label", answer=keep)
        assert torch.equal(asked.probabilities(chips), keep(LOGITS).softmax(1))
        assert asked.probabilities(chips).isfinite().all()
        victim = ClassifierAccess(Fixed(), "white", answer=keep)
        assert torch.equal(victim.logits(chips), LOGITS)
        assert torch.equal(victim.probabilities(chips), LOGITS.softmax(1))


def test_settings_out_of_range_are_refused():
    for wrong in (lambda: Rounded(-1), lambda: Rounded(7), lambda: Noisy(-1.0)):
        with pytest.raises(ConfigError, match="wanted"):
            wrong()
