"""Closed-set recognisers: their stages, their bottleneck and their last layers."""

import pytest
import torch
from torch.nn import functional

from facesec_bench.closed_set_training import moving
from facesec_bench.errors import ConfigError, TargetError
from facesec_bench.seeds import generator
from facesec_bench.targets.closed_set import BottleneckTrunk, ClosedSet, RecogniserTrunk, SmallTrunk
from facesec_bench.targets.toy import ToyTarget


def photos(count: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, 224, 224, generator=generator(seed, "photos"))


class Layered(ToyTarget):
    """A toy with a part that can be named."""

    def __init__(self) -> None:
        super().__init__(name="layered")
        self.body = torch.nn.Sequential(torch.nn.AvgPool2d(2), torch.nn.Identity())

    def embed(self, chips):
        return super().embed(functional.interpolate(self.body(chips), 224))


def test_named_parts_of_a_recogniser_are_stages_in_the_order_they_run_and_nothing_else_changes():
    target, chips = Layered(), photos()
    plain, staged = RecogniserTrunk(target), RecogniserTrunk(target, stages=("body.1", "body.0"))
    pooled, same, last = staged.hidden(chips)
    assert torch.equal(pooled, functional.avg_pool2d(chips, 2)) and torch.equal(same, pooled)
    assert torch.equal(last, plain.hidden(chips)[0]) and len(plain.hidden(chips)) == 1
    assert not target.body[0]._forward_hooks, "no hook is left behind"
    with pytest.raises(TargetError, match="body"):
        RecogniserTrunk(target, stages=("tail",))


def test_a_bottleneck_gives_its_mean_and_begins_almost_without_noise():
    trunk = BottleneckTrunk(SmallTrunk(width=4), width=5)
    network = ClosedSet("narrow", trunk, 3)
    *before, features = network.hidden(photos())
    mean, deviation = trunk.distribution(before[-1])
    assert features.shape == (3, 5) and torch.equal(features, mean)
    assert torch.allclose(deviation, functional.softplus(torch.tensor(-5.0)), rtol=0.7)
    assert torch.equal(network(photos()), network.last(mean))
    assert BottleneckTrunk(SmallTrunk(width=4)).features_out == 64
    with pytest.raises(ConfigError, match="width 0"):
        BottleneckTrunk(SmallTrunk(width=4), width=0)


def test_behind_a_bottleneck_a_frozen_recogniser_stays_frozen():
    for frozen in (True, False):
        inner = RecogniserTrunk(ToyTarget(), frozen=frozen)
        network = ClosedSet("narrow", BottleneckTrunk(inner), 3)
        trained = {id(p) for part in moving(network) for p in part.parameters()}
        kept = {id(p) for p in network.parameters()} - trained
        assert kept == ({id(p) for p in inner.parameters()} if frozen else set())


def test_noise_of_a_photo_is_its_own_and_as_wide_as_the_bottleneck_says():
    quiet = BottleneckTrunk(SmallTrunk(width=4), width=400)
    noisy = BottleneckTrunk(SmallTrunk(width=4), width=400, noisy=True)
    chips = photos()
    *before, features = noisy.hidden(chips)
    mean, deviation = quiet.distribution(before[-1])
    drawn = ((features - mean) / deviation).detach()
    assert abs(float(drawn.mean())) < 0.1 and abs(float(drawn.std()) - 1) < 0.1
    assert torch.equal(noisy.hidden(chips)[-1], features), "the same photo is answered alike"
    assert torch.allclose(noisy.hidden(chips[1:2])[-1], features[1:2], atol=1e-5), "whoever else is there"
    assert torch.corrcoef(drawn).triu(1).abs().max() < 0.3, "two photos have two noises"


def test_the_last_layer_gives_scaled_cosines_or_a_linear_map():
    features = torch.randn(4, 64, generator=generator(0, "features"))
    cosine = ClosedSet("cosine", RecogniserTrunk(ToyTarget()), 3, scale=8.0)
    linear = ClosedSet("linear", RecogniserTrunk(ToyTarget()), 3)
    wanted = 8 * functional.cosine_similarity(features[:, None], cosine.last.weight[None], dim=2)
    assert torch.allclose(cosine.head(features), wanted, atol=1e-5)
    assert torch.allclose(linear.head(features), features @ linear.last.weight.T + linear.last.bias, atol=1e-5)
    assert not hasattr(cosine, "epsilon"), "nobody promised privacy"


def test_the_digest_tells_apart_all_that_answers_otherwise():
    toy = ToyTarget()
    made = [
        ClosedSet("a", RecogniserTrunk(toy), 3, 16.0),
        ClosedSet("a", RecogniserTrunk(toy), 3, 64.0),
        ClosedSet("a", BottleneckTrunk(RecogniserTrunk(toy), 5), 3),
        ClosedSet("a", BottleneckTrunk(RecogniserTrunk(toy), 5, noisy=True), 3),
    ]
    assert len({network.digest for network in made}) == len(made)
    assert made[0].digest == ClosedSet("b", RecogniserTrunk(toy), 3, 16.0).digest, "a name is no answer"
