"""Evolution: it finds a known optimum, asks what it says, and leaves the world's random numbers alone."""

import numpy as np
import pytest
import torch

from attacks.evolution import Evolution, EvolutionRule
from attacks.inversion_choice import best_of_pool_scored
from attacks.jitter import Jitter
from facesec_bench.access import EmbeddingAccess
from facesec_bench.errors import AccessError, ConfigError
from facesec_bench.seeds import generator


class Box:
    """Parameters are the picture's eight columns; nothing beyond 2 is admitted."""

    name, cost = "box", None

    def bind(self, victim, public, rng):
        return self

    def draw(self, count, rng):
        return self.project(torch.randn(count, 8, generator=rng))

    def render(self, params):
        return (0.5 + 0.2 * params)[:, None, None, :].expand(-1, 3, 4, -1)

    def project(self, params):
        return params.clamp(-2, 2)


class Columns:
    """Embeds a picture as its columns' direction."""

    name, digest = "columns", "0" * 64

    def embed(self, chips):
        return torch.nn.functional.normalize(chips.mean((1, 2)) - 0.5, dim=1)


TEMPLATES = torch.randn(3, 8, generator=generator(0, "templates"))
PEOPLE = torch.tensor([2, 0, 2])


def victim(**changes) -> EmbeddingAccess:
    return EmbeddingAccess(Columns(), **({"level": "similarity", "enrolled": TEMPLATES} | changes))


def run(attack: Evolution, seed: int = 0, people=PEOPLE, **changes):
    access = victim(**changes)
    chips = attack(people, access, torch.empty(0), generator(seed, "attack"))
    asked = access.meter.queries
    return chips, access.similarity(chips, people), asked


SHORT = Evolution(Box(), queries=500, pool=20, population=10)


def test_nobody_ends_worse_than_the_best_of_the_pool():
    """A first population may be worse throughout; what was asked about before it is not forgotten."""
    short = Evolution(Box(), queries=30, pool=20, population=10, spread=3.0)
    for seed in range(20):
        _, alike, _ = run(short, seed)
        box, people = Box(), PEOPLE
        best, scores = best_of_pool_scored(box, box.draw(20, generator(seed, "attack")), victim(), people)
        assert torch.allclose(victim().similarity(box.render(best), people), scores)
        assert (alike >= scores - 1e-6).all()


def test_the_rule_finds_the_minimum_of_a_quadratic():
    goal = torch.tensor([[1.0, -1.5, 0.5, 0.0, 0.3, -0.2, 1.2, 0.1], [0.0] * 8])
    for diagonal in (False, True):
        rule = EvolutionRule(
            Box(), lambda x, rows, view: -(x - goal[rows]).square().sum(1), generator(0), 0.5, 10, diagonal
        )
        params = torch.full((2, 8), 1.5)
        for _ in range(150):
            params = rule.step(params, None)
        assert torch.allclose(params, goal, atol=0.02) and (rule.score > -1e-3).all()


def test_what_the_prior_does_not_admit_is_not_asked_about_and_the_best_lies_at_its_border():
    asked = []

    def ask(params, rows, view):
        asked.append(params)
        return params[:, 0]

    rule = EvolutionRule(Box(), ask, generator(0), 0.5, 10)
    params = torch.zeros(1, 8)
    for _ in range(60):
        params = rule.step(params, None)
    assert torch.cat(asked).abs().max() <= 2 and params[0, 0] == 2
    assert abs(rule._strategies[0].mean[0]) < 3, "the mean stays near what is admitted"


def test_a_pull_keeps_parameters_likely():
    ends = []
    for pull in (0.0, 1.0):
        rule = EvolutionRule(Box(), lambda x, rows, view: x[:, 0], generator(0), 0.5, 10, pull=pull)
        params = torch.zeros(1, 8)
        for _ in range(60):
            params = rule.step(params, None)
        ends.append(np.square(rule._strategies[0].mean).mean())
    assert ends[1] == pytest.approx(0.0, abs=3.0) and ends[1] < ends[0]


def test_without_a_pool_evolution_begins_where_all_parameters_are_0():
    one = Evolution(Box(), queries=10, pool=0, population=10, spread=1e-6)
    chips, _, asked = run(one, people=torch.tensor([1]))
    assert asked == 10 and torch.allclose(chips, torch.full_like(chips, 0.5), atol=1e-4)


def test_where_views_differ_a_step_gives_the_mean_and_asks_a_generation_under_one_view():
    seen = []

    def ask(params, rows, view):
        seen.append(view)
        return -params.square().sum(1) + torch.rand(1, generator=torch.Generator().manual_seed(view))

    rule = EvolutionRule(Box(), ask, generator(0), 0.5, 10, views=True)
    params = torch.full((2, 8), 1.5)
    for _ in range(80):
        params = rule.step(params, None)
    means = torch.from_numpy(np.stack([strategy.mean for strategy in rule._strategies])).float()
    assert torch.allclose(params, means) and params.abs().max() < 0.1, "luck of a view moved it"
    assert len(seen) == len(set(seen)) == 80


def test_a_jitter_costs_no_queries_and_is_as_reproducible():
    jittered = Evolution(Box(), queries=500, pool=20, population=10, jitter=Jitter(shift=0.2))
    chips, alike, asked = run(jittered)
    assert asked == run(SHORT)[2] and torch.equal(chips, run(jittered)[0]) and not torch.equal(chips, run(SHORT)[0])
    assert (alike > 0.9).all()


def test_pictures_come_much_nearer_than_the_pool_and_more_queries_bring_more():
    begin = run(Evolution(Box(), queries=30, pool=20, population=10))[1]
    short = run(SHORT)[1]
    assert (short > 0.97).all() and (short >= begin).all() and begin.mean() < 0.9
    assert run(Evolution(Box(), queries=2000, pool=20, population=10))[1].mean() > short.mean()


def test_queries_are_those_it_says_each_person_asks_once_for_the_pool_and_who_arrived_rests():
    assert run(SHORT)[2] == 2 * 20 + 3 * 480
    _, alike, asked = run(Evolution(Box(), queries=500, pool=20, population=10, stop=0.8))
    assert (alike >= 0.8).all() and asked < 2 * 20 + 3 * 480 / 2
    with pytest.raises(AccessError, match="budget is 100"):
        run(SHORT, most=100)


def test_the_same_seed_gives_the_same_bits_and_numpys_state_is_left_as_it_was():
    before = np.random.get_state()[1].copy()
    one, two, other = run(SHORT)[0], run(SHORT)[0], run(SHORT, seed=1)[0]
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert (np.random.get_state()[1] == before).all()


def test_settings_out_of_range_are_refused():
    for wrong in ({"queries": 100}, {"pool": -1}, {"population": 2}, {"pull": -1.0}, {"spread": 0.0}):
        with pytest.raises(ConfigError, match="wanted"):
            Evolution(Box(), **({"pool": 95} | wrong))
