"""Template inversion: it arrives, its stages move what they say within their reach, and the best restarts are kept."""

import pytest
import torch
from torch.nn import functional

from attacks.identity_losses import Cosine
from attacks.inversion import Inversion
from attacks.inversion_priors import GeneratorPrior
from attacks.inversion_stages import Stage, apart
from attacks.jitter import Jitter
from facesec_bench.access import EmbeddingAccess
from facesec_bench.errors import AccessError, ConfigError
from facesec_bench.search import AdamStep
from facesec_bench.seeds import generator


class Columns:
    """A prior of eight plain columns."""

    name, cost = "columns", None

    def bind(self, victim, public, rng):
        return self

    def given(self, people):
        return self

    def draw(self, count, rng):
        return torch.randn(count, 8, generator=rng)

    def render(self, params):
        return (0.5 + 0.1 * params)[:, None, None, :].expand(-1, 3, 8, -1).clamp(0, 1)

    def project(self, params):
        return params.clamp(-4, 4)


class Ways:
    """Embeds a picture as its columns' direction."""

    name, digest = "ways", "0" * 64

    def embed(self, chips):
        return functional.normalize(chips.mean((1, 2)) - 0.5, dim=1)


TEMPLATES = torch.randn(3, 8, generator=generator(0, "templates"))
PEOPLE = torch.tensor([2, 0, 2])


def attack(**changes) -> Inversion:
    settings = {
        "prior": Columns(),
        "loss": Cosine(),
        "rule": AdamStep(0.1),
        "stages": [Stage(60)],
        "pool": 20,
        "restarts": 2,
        "views": 0,
    }
    return Inversion(**(settings | changes))


def run(inversion: Inversion, people=PEOPLE, seed: int = 0, level: str = "white", most: int | None = None):
    victim = EmbeddingAccess(Ways(), level, TEMPLATES, most)
    chips = inversion(people, victim, torch.empty(0), generator(seed, "attack"))
    asked = (victim.meter.queries, victim.meter.gradients)
    return chips, victim.similarity(chips, people).detach(), asked


def test_pictures_arrive_and_the_pools_best_are_where_they_begin():
    _, alike, asked = run(attack())
    begin, before, _ = run(attack(stages=[Stage(0)]))
    assert (alike > 0.99).all() and (alike > before).all()
    assert asked == (20 + 6 * 60 + 6, 6 * 60), "the pool, the steps, the choice; gradients are those of the steps"
    drawn = Columns().render(Columns().draw(20, generator(0, "attack")))
    order = (Ways().embed(drawn) @ functional.normalize(TEMPLATES, dim=1).T).argsort(0, descending=True)
    # Person 2 has two rows and two restarts each: its four best, of which the first two are chosen.
    assert torch.equal(begin, drawn[torch.stack([order[0, 2], order[0, 0], order[1, 2]])])


def test_of_the_restarts_the_most_alike_are_kept_one_for_each_picture_asked_for():
    people = torch.tensor([1, 1])
    _, alike, _ = run(attack(stages=[Stage(0)], pool=0, restarts=6), people)
    drawn = Ways().embed(Columns().render(Columns().draw(12, generator(0, "attack"))))
    best = (drawn @ functional.normalize(TEMPLATES[1], dim=0)).sort(descending=True).values[:2]
    assert torch.allclose(alike, best, atol=1e-6)


def test_the_choice_looks_at_random_views():
    mirrored = attack(stages=[Stage(0)], restarts=1, pool=20, views=3, jitter=Jitter(flip=1.0))
    assert run(mirrored)[2][0] == 20, "one restart leaves no choice"
    several = attack(stages=[Stage(0)], restarts=4, views=3, jitter=Jitter(flip=1.0))
    chips, _, asked = run(several)
    assert asked[0] == 20 + 3 * 12
    drawn = Columns().render(Columns().draw(20, generator(0, "attack")))
    person = functional.normalize(TEMPLATES[0], dim=0)
    four = drawn[(Ways().embed(drawn) @ person).argsort(descending=True)[:4]]
    assert torch.equal(chips[1], four[(Ways().embed(four.flip(-1)) @ person).argmax()])


def test_a_stage_goes_no_further_than_its_reach_from_where_the_last_one_ended():
    one = attack(stages=[Stage(30, reach=0.2)], restarts=1)
    two = attack(stages=[Stage(30, reach=0.2), Stage(30, reach=0.1)], restarts=1)
    begin, first, second = (run(a)[0] for a in (attack(stages=[Stage(0)], restarts=1), one, two))
    assert (first - begin).abs().max().item() == pytest.approx(0.1 * 0.2, rel=1e-4)
    assert (second - first).abs().max().item() == pytest.approx(0.1 * 0.1, rel=1e-4)


class Layered:
    """A generator with a latent of two and four feature offsets; units of 1 and 0.5."""

    name, digest, resolution = "layered", "0" * 64, 4
    landmarks = ((1.2, 1.5), (2.4, 1.5), (1.8, 2.2), (1.3, 2.8), (2.3, 2.8))

    def units(self):
        return {"z": 1.0, "f": 0.5}

    def mean(self, count, rng):
        return {"z": torch.zeros(count, 2), "f": torch.zeros(count, 2, 2)}

    draw = mean

    def synthesise(self, latent):
        raise NotImplementedError


def test_a_pull_keeps_parameters_small():
    assert run(attack(pull=1.0))[0].sub(0.5).abs().mean() < 0.7 * run(attack())[0].sub(0.5).abs().mean()
    layered = GeneratorPrior(Layered(), ["z", "f"])
    params = torch.tensor([[1.0, 3.0, 2.0, 2.0, 0.0, 0.0]])
    assert apart(layered, params) == [slice(0, 2), slice(2, 6)], "each layer's mean, whatever its size"
    assert apart(Columns(), params) == [slice(0, 6)]


def test_the_same_seed_gives_the_same_bits_and_it_needs_gradients():
    jittery = attack(jitter=Jitter(noise=0.05), views=2, stages=[Stage(5)])
    assert torch.equal(run(jittery)[0], run(jittery)[0]) and not torch.equal(run(jittery)[0], run(jittery, seed=1)[0])
    with pytest.raises(AccessError, match="white"):
        run(attack(), level="embedding")
    with pytest.raises(AccessError, match="budget is 100"):
        run(attack(), most=100)


def test_settings_out_of_range_are_refused():
    for wrong in ({"steps": 3}, {"restarts": 0}, {"pull": -1.0}):
        with pytest.raises(ConfigError, match="wanted"):
            attack(**wrong)
