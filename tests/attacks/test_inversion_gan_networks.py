"""Losses and networks of the inversion's GANs against closed forms and cases done by hand."""

import math

import pytest
import torch
from torch import nn

from attacks.inversion_gan_losses import (
    gradient_penalty,
    hinge,
    matching,
    pseudo_labels,
    semi_supervised,
    unlikely,
    wasserstein,
)
from attacks.inversion_gan_networks import (
    ClassCritic,
    ConditionalDCGAN,
    Critic,
    MinibatchDiscrimination,
    ProjectionCritic,
    fixed,
)
from facesec_bench.errors import ConfigError, DataError
from facesec_bench.generators.dcgan import DCGAN
from facesec_bench.seeds import generator


def pictures(count: int, side: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=generator(seed, "pictures"))


class Bilinear(nn.Module):
    """D(x) = a/2 |x|^2: its gradient at x is a x."""

    def __init__(self, size: float) -> None:
        super().__init__()
        self.size = nn.Parameter(torch.tensor(size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.size * x.flatten(1).square().sum(1) / 2


def test_the_gradient_penalty_of_a_linear_critic_is_its_slope_less_one_squared():
    slope = torch.randn(3 * 4 * 4, generator=generator(0, "slope")).requires_grad_(True)
    real, fake = pictures(5, 4), pictures(5, 4, seed=1)
    found = gradient_penalty(lambda x: x.flatten(1) @ slope, real, fake, torch.rand(5))
    assert torch.isclose(found, (slope.norm() - 1).square())
    (gradient,) = torch.autograd.grad(found, slope)
    assert torch.allclose(gradient, 2 * (slope.norm() - 1) * slope / slope.norm(), atol=1e-5)


def test_the_gradient_penalty_looks_between_real_and_fake_each_pair_at_its_own_place():
    real, fake, mix = pictures(3, 4), pictures(3, 4, seed=1), torch.tensor([0.0, 1.0, 0.25])
    wanted = torch.stack([fake[0], real[1], 0.25 * real[2] + 0.75 * fake[2]])
    found = gradient_penalty(Bilinear(0.7), real, fake, mix)
    assert torch.isclose(found, (0.7 * wanted.flatten(1).norm(dim=1) - 1).square().mean())


def test_a_critic_and_its_generator_want_opposite_things():
    low, high = torch.tensor([-2.0, -3.0]), torch.tensor([2.0, 3.0])
    assert wasserstein(real=high, fake=low) == -5 and wasserstein(real=low, fake=high) == 5
    assert hinge(real=high, fake=low) == 0 and hinge(real=low, fake=high) == 7
    assert hinge(real=torch.zeros(1), fake=torch.zeros(1)) == 2


def test_log_sum_exp_is_the_chance_that_a_picture_is_no_fake():
    logits = 3 * torch.randn(50, 7, generator=generator(0, "logits"), dtype=torch.float64)
    with_fake = torch.cat([logits, torch.zeros(50, 1, dtype=torch.float64)], 1).softmax(1)
    assert torch.allclose(unlikely(logits), -(1 - with_fake[:, -1]).log())
    lse = logits.logsumexp(1)
    assert torch.allclose(unlikely(logits), nn.functional.softplus(lse) - lse)
    assert unlikely(torch.full((1, 2), 60.0)) > 0, "and large logits lose no digits"


def test_the_semi_supervised_loss_is_the_paper_s_sum():
    a, b, c = (torch.randn(4, 3, generator=generator(i, "logits")) for i in range(3))
    answers = torch.rand(4, 3, generator=generator(9, "answers")).softmax(1)
    soft = -(answers * a.log_softmax(1)).sum(1).mean()
    real, fake = b.logsumexp(1), c.logsumexp(1)
    plus = nn.functional.softplus
    wanted = soft + 0.5 * ((plus(real) - real).mean() + plus(fake).mean())
    assert torch.isclose(semi_supervised(a, answers, b, c), wanted)
    assert semi_supervised(a, answers, b + 1, c - 1) < wanted, "likelier photos and unlikelier fakes are better"


def test_features_match_in_the_mean_and_pictures_shall_be_clearly_somebody():
    real, fake = torch.tensor([[0.0, 2.0], [2.0, 4.0]]), torch.tensor([[0.0, 0.0], [0.0, 2.0]])
    unsure, sure = torch.zeros(2, 4), torch.tensor([[50.0, 0, 0, 0], [0, 50.0, 0, 0]])
    assert torch.isclose(matching(real, fake, sure), torch.tensor(1.5))  # |1 - 0| and |3 - 1|, averaged
    assert torch.isclose(matching(real, fake, unsure, 0.5), torch.tensor(1.5 + 0.5 * 2 * math.log(4))), "a sum of rows"


def test_pseudo_labels_are_each_classes_surest_photos():
    probabilities = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.5, 0.5]])
    assert pseudo_labels(probabilities, 3).tolist() == [[0, 2, 3], [1, 3, 2]], "a photo may serve two classes"
    with pytest.raises(DataError, match="found 4 public photos, wanted 5"):
        pseudo_labels(probabilities, 5)


def test_minibatch_discrimination_counts_near_ones_and_not_oneself():
    layer = MinibatchDiscrimination(2, kernels=2, dimensions=2)
    with torch.no_grad():
        # M_1 = (x, y), M_2 = (2 x, 0)
        layer.T.copy_(torch.tensor([[1.0, 0.0, 2.0, 0.0], [0.0, 1.0, 0.0, 0.0]]))
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    e = math.exp
    wanted = torch.tensor([[e(-1) + e(-2), e(-2) + 1], [e(-1) + e(-3), 2 * e(-2)], [e(-2) + e(-3), 1 + e(-2)]])
    assert torch.allclose(layer(x), wanted)
    alone = torch.cat([layer(x[i : i + 1], layer.rows(x[[j for j in range(3) if j != i]])) for i in range(3)])
    assert torch.allclose(alone, wanted), "in fixed company a picture needs no batch"


def test_minibatch_discrimination_begins_where_it_has_a_gradient():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        critic = ClassCritic(32, classes=5, width=8)
    near = critic.batch(critic.trunk(2 * pictures(6, 32) - 1))
    assert near.shape == (6, 64) and (near > 0.1).all() and (near < 5).all()
    features, logits = critic(pictures(6, 32))
    assert features.shape == (6, 64 + 4 * 4 * 32) and logits.shape == (6, 5)


@pytest.mark.parametrize("side", [16, 28, 64])
def test_critics_take_any_side_and_score_each_picture_for_itself(side):
    x, people = pictures(3, side), torch.tensor([0, 1, 1])
    plain, told = Critic(side, 4).eval(), ProjectionCritic(side, 2, 4).eval()
    assert plain(x).shape == told(x, people).shape == (3,)
    assert torch.allclose(plain(x)[1:2], plain(x[1:2]), atol=1e-6)
    assert torch.allclose(told(x, people)[1:2], told(x[1:2], people[1:2]), atol=1e-6)
    with pytest.raises(ConfigError, match="wanted 1 and 5 or more"):
        Critic(4)


def test_a_projection_critic_differs_between_classes_by_the_product_of_row_and_features():
    critic = ProjectionCritic(16, 3, 4).eval()
    x = pictures(2)
    features = critic.trunk(2 * x - 1).sum((2, 3))
    difference = critic(x, torch.tensor([2, 2])) - critic(x, torch.tensor([0, 0]))
    rows = critic.people.weight
    assert torch.allclose(difference, features @ (rows[2] - rows[0]), atol=1e-5)
    assert torch.linalg.matrix_norm(rows, 2) < 1.3, "every weight is under spectral norm"


def test_gradients_pass_through_a_fixed_network_and_leave_its_weights():
    critic = Critic(16, 4)
    x = pictures(2).requires_grad_(True)
    found = fixed(critic, x)
    assert torch.equal(found, critic(x))
    gradients = torch.autograd.grad(found.sum(), [x, *critic.parameters()], allow_unused=True)
    assert gradients[0].abs().sum() > 0 and all(gradient is None for gradient in gradients[1:])


class MiniDCGAN(nn.Module):
    """A DCGAN of 16 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.ConvTranspose2d(6, 8, 4), nn.ConvTranspose2d(8, 4, 4, 2, 1), nn.ConvTranspose2d(4, 3, 4, 2, 1)]
        )


@pytest.mark.assets("dcgan")
def test_at_the_start_every_class_is_painted_as_the_dcgan_paints_to_the_bit():
    base, z = DCGAN(), torch.randn(3, 100, generator=generator(0, "z"))
    told = ConditionalDCGAN(base, classes=4)
    assert torch.equal(told(z, torch.tensor([0, 3, 1])), base.generate(z))


def test_a_gain_and_a_bias_are_of_one_class_and_reach_multiplies_them():
    base, z, people = MiniDCGAN(), torch.randn(2, 6, generator=generator(0, "z")), torch.tensor([0, 1])
    told = ConditionalDCGAN(base, classes=2, reach=10)
    before = told(z, people)
    with torch.no_grad():
        told.gains[0][1] = 0.1  # z is doubled,
        told.biases[0][1] = -0.05  # then moved by -1/2
    after = told(z, people)
    assert torch.equal(after[0], before[0])
    assert torch.allclose(after[1:], ConditionalDCGAN(base, 1)(2 * z[1:] - 0.5, torch.tensor([0])), atol=1e-6)
    with torch.no_grad():
        told.biases[2][0] = 0.3  # in front of the last ReLU
    assert not torch.equal(told(z, people)[0], before[0]) and torch.equal(told(z, people)[1], after[1])
    assert torch.equal(told.layers[0].weight, base.layers[0].weight) and told.layers[0] is not base.layers[0]
