"""Negative label smoothing: its formula, its ramp, its gradient."""

import pytest
import torch
from three_colours import colours, small
from torch.nn import functional

from defenses.negls import NegLs, ramp, smoothed
from facesec_bench.closed_set_training import Schooling, cross_entropy, right, teach
from facesec_bench.errors import ConfigError
from facesec_bench.seeds import generator

LOGITS, PEOPLE = torch.randn(6, 4, generator=generator(0, "logits")), torch.tensor([0, 1, 2, 3, 0, 1])


@pytest.mark.parametrize("alpha", [-2.0, -0.05, 0.0, 0.1])
def test_it_is_the_cross_entropy_of_a_smoothed_label(alpha):
    wanted = (1 - alpha) * functional.one_hot(PEOPLE, 4) + alpha / 4
    assert torch.allclose(smoothed(LOGITS, PEOPLE, alpha), functional.cross_entropy(LOGITS, wanted), rtol=1e-5)


def test_a_negative_alpha_never_stops_pushing_the_others_down():
    """The gradient by a logit is p_j minus its label, which for the others is below 0."""
    sure = torch.tensor([[60.0, 0.0, 0.0, 0.0]]).requires_grad_(True)
    (gradient,) = torch.autograd.grad(smoothed(sure, torch.tensor([0]), -0.4), sure)
    assert torch.allclose(gradient, torch.tensor([[-0.3, 0.1, 0.1, 0.1]]), atol=1e-6)


def test_the_ramp_is_flat_then_a_line_to_the_half_then_full():
    assert [ramp(done) for done in (0.0, 0.49, 0.5, 0.625, 0.7499999, 0.75, 0.99)] == pytest.approx(
        [0, 0, 0, 0.25, 0.5, 1, 1], abs=1e-6
    )
    network, faces, hard = small(), colours(1), NegLs(alpha=-1.0)
    with torch.no_grad():
        early, late = (hard.objective(network, faces.images, faces.identities, done) for done in (0.4, 0.8))
        assert torch.isclose(early, cross_entropy(network, faces.images, faces.identities, 0.4))
        assert torch.isclose(late, smoothed(network(faces.images), faces.identities, -1.0))


def test_it_learns_its_people_with_wider_margins_and_the_given_network_keeps_its_bits():
    network, faces, how = small(), colours(), Schooling(steps=40, batch=8, learning_rate=3e-3)
    before, plain = network.digest, small()
    hard = NegLs(alpha=-0.3)(network, faces, how, generator(0, "negls"))
    teach(plain, faces, how, generator(0, "negls"))

    def margin(taught) -> float:
        with torch.no_grad():
            top = taught(faces.images).topk(2, dim=1).values
        return float((top[:, 0] - top[:, 1]).mean())

    assert right(hard, colours(seed=1)).all() and margin(hard) > margin(plain)
    assert network.digest == before and hard.name == "small_negls"
    with pytest.raises(ConfigError, match="below 1"):
        NegLs(alpha=1.0)
