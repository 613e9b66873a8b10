"""The genetic algorithm: the fittest stay, children are of their parents, and it asks for no more than it says."""

import pytest
import torch
from torch import nn

from attacks.genetic import Genetic, GeneticRule
from facesec_bench.access import ClassifierAccess
from facesec_bench.errors import AccessError, ConfigError
from facesec_bench.seeds import generator


class Colours(nn.Module):
    name, classes, digest = "colours", 3, "0" * 64

    def features(self, chips):
        return chips.mean((2, 3))

    def head(self, features):
        return 8 * features


class Box:
    name, cost = "box", None

    def bind(self, victim, public, rng):
        return self

    def draw(self, count, rng):
        return self.project(torch.randn(count, 3, generator=rng))

    def render(self, params):
        return params.sigmoid()[:, :, None, None].expand(-1, -1, 8, 8)

    def project(self, params):
        return params.clamp(-1, 1)


PEOPLE = torch.tensor([0, 2])


def rule(**changes) -> GeneticRule:
    settings = {"population": 20, "mutation": 0.1, "spread": 1.0, "elite": 0.1} | changes
    return GeneticRule(Box(), lambda x: x, PEOPLE, generator(0, "rule"), **settings)


def run(attack: Genetic, seed: int = 0, level: str = "soft_label", most: int | None = None):
    victim = ClassifierAccess(Colours(), level, most)
    return attack(PEOPLE, victim, torch.empty(0), generator(seed, "attack")), victim.meter


def test_the_fittest_never_get_worse_and_reach_the_corner_of_the_box():
    search, best = rule(), []
    params = torch.zeros(2, 3)
    for _ in range(40):
        params = search.step(params, None)
        best.append(search.fit[:, 0].clone())
        assert torch.equal(search.fit, search.fit.sort(1, descending=True).values)
    assert (torch.stack(best).diff(dim=0) >= 0).all()
    assert torch.equal(params[range(2), PEOPLE], torch.ones(2))


def test_without_mutation_every_parameter_of_a_child_is_one_of_its_parents():
    members = torch.randn(6, 3, generator=generator(1)).clamp(-1, 1)
    children = rule(mutation=0.0).children(members, 50)
    assert (children[:, None] == members).any(1).all() and len(children.unique(dim=0)) > 6


def test_mutation_moves_so_many_parameters_and_parents_are_rather_the_fit():
    members = torch.linspace(-0.5, 0.5, 11)[:, None].expand(-1, 4000).contiguous()
    children = rule(mutation=0.1, spread=0.01).children(members, 20)
    moved = ~(children[:, None] == members[None]).any(1)
    assert moved.float().mean().item() == pytest.approx(0.1, abs=0.01)
    many = rule(mutation=0.0).children(members[:, :1], 20000)
    places = ((many + 0.5) * 10).round()
    # The lower of two even draws of 0 to 10: sum of k (2 (10 - k) + 1) / 121 = 3.18.
    assert places.mean().item() == pytest.approx(385 / 121, rel=0.03)


def test_pictures_are_taken_for_the_person_and_a_first_population_less_so():
    chips, meter = run(Genetic(Box(), generations=20, population=20))
    first, once = run(Genetic(Box(), generations=0, population=20))
    sure = [(8 * few.mean((2, 3))).softmax(1)[range(2), PEOPLE] for few in (chips, first)]
    assert (sure[0] > sure[1]).all() and (sure[0] > 0.95).all()
    assert meter.queries == 20 + 2 * 20 * 18 and once.queries == 20


def test_who_is_sure_enough_rests_and_a_budget_ends_it():
    _, meter = run(Genetic(Box(), generations=20, population=20, stop=0.5))
    assert meter.queries < 20 + 2 * 20 * 18
    with pytest.raises(AccessError, match="budget is 100"):
        run(Genetic(Box(), generations=20, population=20), most=100)
    with pytest.raises(AccessError, match="probabilities"):
        run(Genetic(Box(), generations=1, population=20), level="hard_label")


def test_the_same_seed_gives_the_same_bits():
    attack = Genetic(Box(), generations=3, population=20)
    assert torch.equal(run(attack)[0], run(attack)[0]) and not torch.equal(run(attack)[0], run(attack, 1)[0])
    for wrong in ({"elite": 1.0}, {"mutation": 1.5}, {"generations": -1}, {"population": 1}):
        with pytest.raises(ConfigError, match="wanted"):
            Genetic(Box(), **wrong)
