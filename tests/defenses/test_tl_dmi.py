"""TL-DMI: first layers keep their bits, later ones move."""

import pytest
import torch
from three_colours import colours, small, toy
from torch import nn

from defenses.tl_dmi import TlDmi, layers
from facesec_bench.closed_set_training import Schooling, right
from facesec_bench.errors import ConfigError
from facesec_bench.seeds import generator

HOW = Schooling(steps=40, batch=8, learning_rate=3e-3)


def test_as_many_layers_as_asked_for_keep_their_bits_and_the_others_do_not():
    network = small()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    taught = TlDmi(frozen=4)(network, colours(), HOW, generator(0, "tl"))
    same = {n: torch.equal(v, before[n]) for n, v in taught.state_dict().items()}
    early = {n for n in before if n.startswith(("trunk.stages.0", "trunk.stages.1"))}
    assert {n for n, kept in same.items() if kept} == early
    assert right(taught, colours(seed=1)).all() and taught.name == "small_tldmi"
    assert all(torch.equal(v, before[n]) for n, v in network.state_dict().items()), "the given one is untaught"
    assert all(p.requires_grad for p in taught.parameters()) and taught.training == network.training


def test_layers_are_counted_in_order_and_a_whole_comes_before_its_parts():
    assert [type(part) for part in layers(small().trunk)] == [nn.Conv2d, nn.GroupNorm] * 4 + [nn.Linear]
    assert len(layers(toy().trunk)) == 1


def test_the_statistics_of_a_frozen_layer_stay_too():
    network = small()
    network.trunk.stages[0].insert(1, nn.BatchNorm2d(4))
    taught = TlDmi(frozen=2)(network, colours(), HOW, generator(0, "tl"))
    assert torch.equal(taught.trunk.stages[0][1].running_mean, torch.zeros(4))
    moved = TlDmi(frozen=0)(network, colours(), HOW, generator(0, "tl"))
    assert not torch.equal(moved.trunk.stages[0][1].running_mean, torch.zeros(4))


def test_too_many_layers_or_a_trunk_that_is_frozen_anyway_are_refused():
    for network, frozen in ((small(), 10), (toy(), 0)):
        with pytest.raises(ConfigError, match="wanted"):
            TlDmi(frozen=frozen)(network, colours(), HOW, generator(0))
    with pytest.raises(ConfigError, match="0 or more"):
        TlDmi(frozen=-1)
