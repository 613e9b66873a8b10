"""Identity losses: closed forms, their order on pictures, and what they ask of the victim."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from attacks.identity_losses import CrossEntropy, LogitLoss, Margin, Poincare
from facesec_bench.access import ClassifierAccess
from facesec_bench.errors import AccessError, ConfigError
from facesec_bench.seeds import generator


class Colours(nn.Module):
    """Features are mean colours, logits 4 times them and a constant class."""

    name, classes, digest = "colours", 4, "0" * 64

    def features(self, chips):
        return chips.mean((2, 3))

    def head(self, features):
        return torch.cat([4 * features, torch.ones(len(features), 1)], 1)


LOSSES = {"cross_entropy": CrossEntropy(), "logit": LogitLoss(), "margin": Margin(), "poincare": Poincare()}


def flat(*colours: tuple[float, float, float]) -> torch.Tensor:
    return torch.tensor(colours)[:, :, None, None].expand(-1, -1, 8, 8).clone()


PUBLIC = flat((0.2, 0.4, 0.6), (0.4, 0.4, 0.2), (0.3, 0.7, 0.1))


def bound(loss, people: list[int], victim: ClassifierAccess | None = None):
    access = victim or ClassifierAccess(Colours(), "white")
    found = loss.bind(access, PUBLIC, generator(0, "loss"))
    return lambda chips: found(chips, torch.tensor(people))


def test_cross_entropy_and_margin_are_what_their_formulas_say():
    image = flat((0.5, 0.25, 1.0))
    logits = np.array([2.0, 1.0, 4.0, 1.0])
    for y in range(4):
        expected = -logits[y] + math.log(np.exp(logits).sum())
        assert bound(CrossEntropy(), [y])(image).item() == pytest.approx(expected, rel=1e-5)
        others = max(logits[j] for j in range(4) if j != y)
        assert bound(Margin(), [y])(image).item() == pytest.approx(others - logits[y], rel=1e-5)


def test_the_logit_loss_is_the_negative_logit_and_the_distance_to_usual_features():
    image, usual = flat((0.5, 0.25, 1.0)), PUBLIC.mean((0, 2, 3)).numpy()
    distance = ((np.array([0.5, 0.25, 1.0]) - usual) ** 2).mean()
    assert bound(LogitLoss(weight=3.0), [2])(image).item() == pytest.approx(-4 + 3 * distance, rel=1e-5)
    assert bound(LogitLoss(weight=0.0), [2])(image).item() == pytest.approx(-4, rel=1e-5)


def test_the_gaussian_p_reg_is_drawn_around_the_mean_with_the_spread_of_public_features():
    zero = torch.zeros(4000, 3, 2, 2)
    loss = bound(LogitLoss(weight=1.0, p_reg="gaussian"), [0] * 4000)
    features = PUBLIC.mean((2, 3)).double()
    expected = (features.mean(0).square() + features.var(0)).mean().item()  # E |p_reg|^2
    assert loss(zero).mean().item() == pytest.approx(expected, rel=0.03)


def test_the_poincare_distance_is_that_of_the_ball():
    # On a line through the centre the distance of u and v is |2 artanh u - 2 artanh v|.
    loss = Poincare(inset=0.4)
    logits = torch.tensor([[0.3, 0.0, 0.0, 0.0], [-2.0, 0.0, 0.0, 0.0]])
    u, v = logits[:, 0] / logits[:, 0].abs() * 1.0, 0.6
    inner = torch.tensor([[0.3, 0.1, -0.1, 0.5]])
    scaled = inner / inner.abs().sum()
    squared = ((scaled - torch.tensor([[v, 0, 0, 0]])) ** 2).sum()
    expected = math.acosh(1 + 2 * squared / ((1 - (scaled**2).sum()) * (1 - v**2)))
    assert loss.distance(inner, torch.tensor([0])).item() == pytest.approx(expected, rel=1e-5)
    assert u.abs().max() == 1, "a single logit lies on the border of the ball, infinitely far"
    assert torch.isinf(loss.distance(logits, torch.tensor([0, 0]))).all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_picture_of_the_person_has_the_lower_loss_and_the_gradient_leads_there(name):
    loss = bound(LOSSES[name], [0, 0])
    images = flat((0.9, 0.3, 0.2), (0.3, 0.9, 0.2)).requires_grad_(True)
    found = loss(images)
    assert found.shape == (2,) and found[0] < found[1]
    (gradient,) = torch.autograd.grad(found.sum(), images)
    assert (gradient[:, 0].mean((1, 2)) < 0).all(), "more red is nearer to the red class"


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_refuses_a_black_box_and_counts_in_a_white_one(name):
    with pytest.raises(AccessError, match="'soft_label'"):
        bound(LOSSES[name], [0], ClassifierAccess(Colours(), "soft_label"))(flat((0.5, 0.5, 0.5)))
    access = ClassifierAccess(Colours(), "white")
    bound(LOSSES[name], [0, 1], access)(flat((0.5, 0.5, 0.5), (0.1, 0.5, 0.5)))
    assert access.meter.queries == (5 if name == "logit" else 2), "p_reg asks for each public photo once"


def test_a_logit_loss_wants_public_photos_and_settings_in_range():
    access = ClassifierAccess(Colours(), "white")
    with pytest.raises(ConfigError, match="public photos"):
        LogitLoss().bind(access, PUBLIC[:1], generator(0))
    for wrong in ({"weight": -1.0}, {"p_reg": "median"}):
        with pytest.raises(ConfigError, match="wanted"):
            LogitLoss(**wrong)
