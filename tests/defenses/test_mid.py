"""The bottleneck of MID: its divergence is the integral, and beta is what it costs to say something."""

import pytest
import torch
from three_colours import colours, small, toy
from torch.distributions import Normal, kl_divergence

from defenses.mid import Mid, divergence
from facesec_bench.closed_set_training import Schooling, right
from facesec_bench.errors import ConfigError, TargetError
from facesec_bench.seeds import generator
from facesec_bench.targets.closed_set import BottleneckTrunk

HOW = Schooling(steps=40, batch=8, learning_rate=3e-3)


def test_the_divergence_is_that_of_two_normal_distributions():
    mean, deviation = torch.randn(5, 7), torch.rand(5, 7) + 0.1
    known = kl_divergence(Normal(mean, deviation), Normal(0.0, 1.0)).sum(1)
    assert torch.allclose(divergence(mean, deviation), known, rtol=1e-5)
    assert divergence(torch.zeros(1, 3), torch.ones(1, 3)) == 0


def told(network, faces) -> float:
    with torch.no_grad():
        return float(divergence(*network.trunk.distribution(network.trunk.trunk.hidden(faces.images)[-1])).mean())


def test_a_greater_beta_lets_less_through_and_the_given_network_keeps_its_bits():
    network, faces = small(), colours()
    before = network.digest
    loose, tight = (Mid(beta=beta, width=8)(network, faces, HOW, generator(0, "mid")) for beta in (1e-3, 0.1))
    assert told(tight, faces) < 0.5 * told(loose, faces)
    assert right(loose, colours(seed=1)).all()
    assert network.digest == before and loose.name == "small_mid" and loose.features(faces.images).shape == (12, 8)


def test_the_objective_is_the_cross_entropy_where_nothing_is_noisy_plus_beta_nats():
    faces, mid = colours(1), Mid(beta=0.5, width=4)
    network = mid(small(), faces, Schooling(steps=1, batch=2, learning_rate=1e-9), generator(0, "mid"))
    with torch.no_grad():
        network.trunk.statistics.weight[4:] = 0
        network.trunk.statistics.bias[4:] = -15  # deviations near 2e-9
        found = mid.objective(network, faces.images, faces.identities, 0.0)
        plain = torch.nn.functional.cross_entropy(network(faces.images), faces.identities)
    assert torch.allclose(found, plain + 0.5 * told(network, faces), rtol=1e-5)


def test_noise_at_test_time_is_asked_for_and_changes_the_answer():
    faces = colours(1)
    quiet, noisy = (Mid(noisy=n)(small(), faces, HOW, generator(0, "mid")) for n in (False, True))
    assert quiet.digest != noisy.digest and not torch.equal(quiet(faces.images), noisy(faces.images))
    assert torch.equal(noisy(faces.images), noisy(faces.images))


def test_the_same_seed_gives_the_same_bits_and_a_frozen_recogniser_stays():
    one, two, other = (Mid()(toy(), colours(), HOW, generator(s, "mid")) for s in (0, 0, 1))
    assert one.digest == two.digest != other.digest
    inner = one.trunk.trunk.target.state_dict()
    assert all(torch.equal(inner[k], v) for k, v in toy().trunk.target.state_dict().items())
    assert isinstance(one.trunk, BottleneckTrunk)


def test_a_second_bottleneck_and_settings_out_of_range_are_refused():
    once = Mid(width=4)(small(), colours(1), Schooling(steps=1, batch=1), generator(0))
    with pytest.raises(TargetError, match="without"):
        Mid()(once, colours(1), HOW, generator(0))
    for wrong in ({"beta": -1.0}, {"width": 0}):
        with pytest.raises(ConfigError, match="wanted"):
            Mid(**wrong)
