"""DP-SGD: each photo's gradient is clipped on its own, noise is as wide as stated, epsilon agrees with closed forms."""

import copy
import math

import pytest
import torch
from three_colours import colours, small, toy
from torch import nn
from torch.nn import functional

from defenses.dp_sgd import DpSgd, spent
from facesec_bench.closed_set_training import Schooling, moving, right
from facesec_bench.errors import ConfigError, TargetError
from facesec_bench.interfaces import Faces
from facesec_bench.seeds import generator
from facesec_bench.targets.closed_set import ClosedSet, RecogniserTrunk
from facesec_bench.targets.toy import ToyTarget

ONE_STEP = Schooling(steps=1, batch=100, rule="sgd", learning_rate=1.0, weight_decay=0.0)


def symmetric(per_person: int = 2) -> Faces:
    """Photos that are their own mirror images, so that a test knows what was seen."""
    faces = colours(per_person)
    return Faces((faces.images + faces.images.flip(-1)) / 2, faces.identities, faces.keys, faces.names)


def flat(tensors) -> torch.Tensor:
    return torch.cat([t.detach().flatten() for t in tensors])


@pytest.mark.parametrize(("make", "norm"), [(small, 1e-3), (small, 1e3), (toy, 0.5)])
def test_a_step_without_noise_is_the_mean_of_clipped_gradients_of_photos_taken_one_by_one(make, norm):
    network, faces = make().requires_grad_(False), symmetric()  # as loaded weights are
    taught = DpSgd(noise_multiplier=0.0, max_grad_norm=norm)(network, faces, ONE_STEP, generator(0, "dp"))
    alone = copy.deepcopy(network).requires_grad_(True)
    weights = [p for part in moving(alone) for p in part.parameters()]
    total = torch.zeros_like(flat(weights))
    for chip, person in zip(faces.images, faces.identities, strict=True):
        own = flat(torch.autograd.grad(functional.cross_entropy(alone(chip[None]), person[None]), weights))
        total += own * min(1.0, norm / float(own.norm()))
    moved = flat(p for part in moving(taught) for p in part.parameters()) - flat(weights)
    assert torch.allclose(moved, -total / len(faces), rtol=2e-3, atol=1e-7 + 1e-4 * float(total.abs().max()))
    assert taught.epsilon == math.inf


def test_the_noise_is_as_wide_as_multiplier_times_norm_over_the_batch():
    network, faces = small(), symmetric()
    how, noisy = ONE_STEP, DpSgd(noise_multiplier=3.0, max_grad_norm=0.2)
    quiet = DpSgd(noise_multiplier=0.0, max_grad_norm=0.2)(network, faces, how, generator(0, "dp"))
    taught = noisy(network, faces, how, generator(0, "dp"))
    drawn = flat(taught.parameters()) - flat(quiet.parameters())
    assert math.isclose(float(drawn.std()), 3.0 * 0.2 / len(faces), rel_tol=0.02)
    again = noisy(network, faces, how, generator(0, "dp"))
    assert again.digest == taught.digest != noisy(network, faces, how, generator(1, "dp")).digest


def exact(epsilon: float, mu: float) -> float:
    """delta of a Gaussian mechanism of sensitivity mu times its noise: Balle and Wang, ICML 2018, Theorem 8."""
    normal = torch.distributions.Normal(0.0, 1.0)
    a, b = (normal.cdf(torch.tensor(x, dtype=torch.float64)) for x in (mu / 2 - epsilon / mu, -mu / 2 - epsilon / mu))
    return float(a - math.exp(epsilon) * b)


@pytest.mark.parametrize(("noise", "steps"), [(2.0, 1), (4.0, 9), (10.0, 50)])
def test_with_every_photo_in_every_step_epsilon_is_that_of_one_gaussian_mechanism(noise, steps):
    delta, mu = 1e-3, math.sqrt(steps) / noise
    low, high = 0.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if exact(middle, mu) > delta else (low, middle)
    tight, loose = (spent(noise, 1.0, steps, delta, which) for which in ("prv", "rdp"))
    assert low <= tight <= low + 0.05
    assert low <= loose <= 1.5 * low + 0.1


def test_epsilon_falls_with_noise_and_grows_with_steps_and_with_the_share_of_photos():
    base = spent(1.0, 0.2, 50, 1e-3)
    assert spent(2.0, 0.2, 50, 1e-3) < base < spent(1.0, 0.2, 100, 1e-3)
    assert base < spent(1.0, 0.4, 50, 1e-3) and spent(0.0, 0.2, 50, 1e-3) == math.inf


def test_a_wanted_epsilon_is_met_from_below_and_written_on_the_network():
    how = Schooling(steps=3, batch=3, learning_rate=1e-3)
    taught = DpSgd(noise_multiplier=None, epsilon=3.0, delta=0.01)(small(), colours(), how, generator(0, "dp"))
    assert 2.9 < taught.epsilon <= 3.0 and taught.delta == 0.01
    assert DpSgd()(small(), colours(), how, generator(0, "dp")).delta == pytest.approx(0.1 / 12)


def test_a_step_without_a_photo_is_noise_alone():
    network, faces = small(), colours()
    how = Schooling(steps=1, batch=1, rule="sgd", learning_rate=1.0, weight_decay=0.0)

    def is_empty(seed: int) -> bool:
        rng = generator(seed, "dp")
        torch.randint(2**62, (), generator=rng)  # `fit` seeds torch with it
        return bool(torch.rand(12, generator=rng).min() >= 1 / 12)

    seed = next(seed for seed in range(99) if is_empty(seed))
    quiet, loud = (DpSgd(noise_multiplier=n)(network, faces, how, generator(seed, "dp")) for n in (0.0, 2.0))
    assert torch.equal(flat(quiet.parameters()), flat(network.parameters()))
    assert math.isclose(float((flat(loud.parameters()) - flat(quiet.parameters())).std()), 2.0, rel_tol=0.02)


def test_it_learns_and_leaves_nothing_on_the_network():
    network, faces = small(), colours()
    before = network.digest
    how = Schooling(steps=30, batch=6, rule="adam", learning_rate=3e-3)
    taught = DpSgd(noise_multiplier=0.002)(network, faces, how, generator(0, "dp"))
    assert right(taught, colours(seed=1)).float().mean() > 0.9
    assert network.digest == before and taught.name == "small_dpsgd" and taught.epsilon > 10
    assert not any(hasattr(p, "grad_sample") for p in taught.parameters())
    assert not any(part._forward_hooks or part._backward_hooks for part in taught.modules())


def test_networks_that_hide_a_photos_gradient_are_refused():
    mixing = small()
    mixing.trunk.stages[0].insert(1, nn.BatchNorm2d(4))
    with pytest.raises(TargetError, match="BatchNorm"):
        DpSgd()(mixing, colours(), ONE_STEP, generator(0))
    bare = ClosedSet("toy", RecogniserTrunk(ToyTarget(), frozen=False), 3, scale=16.0)
    with pytest.raises(TargetError, match="forward"):
        DpSgd()(bare, colours(), ONE_STEP, generator(0))


@pytest.mark.parametrize(
    "wrong",
    [{"epsilon": 1.0}, {"noise_multiplier": None}, {"noise_multiplier": -1.0}, {"max_grad_norm": 0.0}, {"delta": 1.0}],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match="wanted"):
        DpSgd(**wrong)
