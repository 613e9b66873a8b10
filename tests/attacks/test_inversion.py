"""Inversion on a classifier of mean colours: every part does what it is there for."""

import math

import pytest
import torch
from torch import nn

from attacks.identity_losses import Cosine, CrossEntropy, LogitLoss, Margin, Poincare
from attacks.inversion import Inversion
from attacks.inversion_priors import EigenfacePrior, GaussianSpace, GeneratorPrior, PixelPrior
from attacks.inversion_stages import Stage
from attacks.jitter import Jitter
from facesec_bench.access import ClassifierAccess, EmbeddingAccess
from facesec_bench.errors import AccessError, ConfigError
from facesec_bench.generators.frame import Frame
from facesec_bench.search import AdamStep
from facesec_bench.seeds import generator
from facesec_bench.targets.template import ARCFACE_112


class Colours(nn.Module):
    """Three people: the red, the green, the blue."""

    name, classes, digest = "colours", 3, "0" * 64

    def features(self, chips):
        return chips.mean((2, 3))

    def head(self, features):
        return 8 * features


class Flat:
    """A prior of plain colours; parameters are three logits."""

    name, cost = "flat", None

    def bind(self, victim, public, rng):
        return self

    def given(self, people):
        return self

    def draw(self, count, rng):
        return torch.randn(count, 3, generator=rng)

    def picture(self, params):
        return params.sigmoid()[:, :, None, None].expand(-1, -1, 8, 8)

    def render(self, params):
        return self.picture(params).repeat_interleave(2, 2).repeat_interleave(2, 3)

    def project(self, params):
        return params.clamp(-3, 3)


class Dark(Flat):
    """Takes darkness for likely."""

    def cost(self, params):
        return 20 * self.picture(params).mean((1, 2, 3))


PUBLIC = torch.rand(4, 3, 16, 16, generator=generator(0, "public"))
PEOPLE = torch.tensor([0, 1, 2, 0])


def inversion(**changes) -> Inversion:
    return Inversion(**({"prior": Flat(), "loss": CrossEntropy(), "rule": AdamStep(0.1), "steps": 40} | changes))


def run(attack: Inversion, people=PEOPLE, seed: int = 0, **changes):
    victim = ClassifierAccess(Colours(), "white", **changes)
    return attack(people, victim, PUBLIC, generator(seed, "attack")), victim.meter


def confidence(chips: torch.Tensor, people=PEOPLE) -> torch.Tensor:
    return (8 * chips.mean((2, 3))).softmax(1)[range(len(people)), people]


@pytest.mark.parametrize("loss", [CrossEntropy(), LogitLoss(), Margin(), Poincare()], ids=lambda x: type(x).__name__)
def test_every_loss_leads_to_the_person_and_chance_does_not(loss):
    chips, _ = run(inversion(loss=loss))
    start, _ = run(inversion(loss=loss, steps=0))
    assert chips.shape == (4, 3, 16, 16) and chips.min() >= 0 and chips.max() <= 1
    assert (confidence(chips) > confidence(start)).all() and (confidence(chips) > 0.6).all()
    assert confidence(start).mean() < 0.6


def test_queries_and_gradients_are_those_of_the_steps():
    _, meter = run(inversion())
    assert (meter.queries, meter.gradients) == (4 * 40, 4 * 40)
    _, meter = run(inversion(pool=50, steps=0))
    assert (meter.queries, meter.gradients) == (50, 0)
    with pytest.raises(AccessError, match="budget is 100"):
        run(inversion(), most=100)


def test_a_pool_begins_with_each_persons_best_and_a_second_picture_with_the_next():
    chips, _ = run(inversion(pool=50, steps=0))
    drawn = Flat().render(Flat().draw(50, generator(0, "attack")))
    for row, turn in ((0, 0), (1, 0), (2, 0), (3, 1)):
        sure = (8 * drawn.mean((2, 3))).softmax(1)[:, PEOPLE[row]]
        assert torch.equal(chips[row], drawn[sure.argsort(descending=True)[turn]])


def test_of_the_restarts_the_surest_are_kept_one_for_each_picture_asked_for():
    people = torch.tensor([1, 1])
    chips, _ = run(inversion(steps=0, restarts=6), people)
    drawn = Flat().render(Flat().draw(12, generator(0, "attack")))
    best = confidence(drawn, [1] * 12).sort(descending=True).values[:2]
    assert torch.allclose(confidence(chips, people), best)


class Mirrored(nn.Module):
    """The red, who is seen where the left half is bright, and the rest."""

    name, classes, digest = "mirrored", 3, "1" * 64

    def features(self, chips):
        return chips[..., : chips.shape[-1] // 2].mean((2, 3))

    def head(self, features):
        return 8 * features


class Sided(Flat):
    """Colours of which only one half of the picture has any."""

    def picture(self, params):
        left = torch.arange(8) < 4
        side = torch.where(params[:, :1] > 0, left, ~left)[:, None, None, :]
        return super().picture(params) * side


def test_the_pick_among_restarts_may_look_from_further_than_the_search():
    def picked(**changes):
        attack = inversion(prior=Sided(), steps=0, restarts=8, views=8, **changes)
        return attack(torch.tensor([0]), ClassifierAccess(Mirrored(), "white"), PUBLIC, generator(0, "attack"))

    plain, alike = picked(), picked(pick=Jitter())
    assert torch.equal(plain, alike), "unless told, it looks as the search does"
    assert not torch.equal(picked(pick=Jitter(flip=1.0)), plain)


def test_a_picture_that_has_arrived_stops_asking_and_the_others_go_on():
    chips, meter = run(inversion(stop=0.7))
    assert (confidence(chips) >= 0.7).all() and meter.gradients < 4 * 40
    assert (confidence(run(inversion())[0]) > confidence(chips)).all(), "without a stop they go further"
    alone, _ = run(inversion(stop=0.7), PEOPLE[:1])
    assert torch.allclose(alone[0], chips[0], atol=1e-6), "and do not depend on who else is there"


def test_a_distribution_is_drawn_anew_at_every_look_and_spreads_as_its_variance_says():
    begin = torch.tensor([[0.5, -0.5, 0.0]])
    space = GaussianSpace(Flat(), begin, generator(0, "space"), variance=0.04)
    params = space.start(generator(0))
    drawn = torch.cat([space.sample(params) for _ in range(4000)])
    assert torch.allclose(drawn.mean(0), begin[0], atol=0.02) and torch.allclose(
        drawn.std(0), torch.tensor(0.2), rtol=0.05
    )
    assert not torch.equal(space.render(params), space.render(params))
    leaf = params.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(space.sample(leaf).sum(), leaf)
    assert torch.equal(gradient[:, :3], torch.ones(1, 3)) and (gradient[:, 3:] != 0).all()


def test_a_distribution_is_searched_too():
    chips, _ = run(inversion(distribution=True, steps=80, rule=AdamStep(0.1)))
    assert confidence(chips).mean() > 0.55


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not():
    attack = inversion(jitter=Jitter(brightness=0.3), pool=10, restarts=2, views=2)
    assert torch.equal(run(attack)[0], run(attack)[0])
    assert not torch.equal(run(attack)[0], run(attack, seed=1)[0])


def test_what_makes_a_picture_unlikely_and_students_count():
    dark, _ = run(inversion(prior=Dark()))
    assert dark.mean() < run(inversion())[0].mean()
    others = ClassifierAccess(Colours(), "white")
    chips, meter = run(inversion(loss=LogitLoss(), students=lambda victim, public, rng: [(others, Margin())]))
    assert others.meter.gradients == 160 and meter.gradients == 160
    assert (confidence(chips) > 0.6).all()


class Template(nn.Module):
    """A recogniser of mean colours."""

    name, digest = "template", "0" * 64

    def embed(self, chips):
        return nn.functional.normalize(chips.mean((2, 3)) - 0.5, dim=1)


def test_a_template_is_inverted_by_the_same_search():
    enrolled = nn.functional.normalize(torch.tensor([[1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]), dim=1)
    for pool, restarts in ((0, 1), (20, 3)):
        victim = EmbeddingAccess(Template(), "white", enrolled)
        attack = inversion(loss=Cosine(), pool=pool, restarts=restarts, stop=0.99)
        assert attack.asks == "embedding"
        chips = attack(PEOPLE, victim, PUBLIC, generator(0, "attack"))
        assert ((Template().embed(chips) * enrolled[PEOPLE]).sum(1) > 0.95).all()
        assert victim.meter.gradients < 4 * restarts * 40  # who has arrived asks no more


def test_chunks_do_not_change_who_is_asked_for():
    whole, apart = run(inversion()), run(inversion(at_once=2))
    assert (confidence(apart[0]) > 0.6).all() and whole[1].queries == apart[1].queries


def test_a_pull_leads_back_to_what_the_prior_has_most_of():
    far, near = run(inversion())[0], run(inversion(pull=5.0))[0]
    assert (near - 0.5).abs().mean() < (far - 0.5).abs().mean()


def test_settings_out_of_range_are_refused():
    for wrong in (
        {"steps": -1},
        {"restarts": 0},
        {"stop": 0.0},
        {"stop": 0.9, "distribution": True},
        {"stages": [Stage(3)]},
    ):
        with pytest.raises(ConfigError, match="wanted"):
            inversion(**wrong)


def test_pixels_are_smooth_at_a_price_and_eigenfaces_are_the_photos_own_axes():
    prior, rng = PixelPrior(side=8), generator(0, "prior")
    noisy = prior.draw(2, rng)
    assert prior.render(noisy).shape == (2, 3, 224, 224)
    assert (prior.cost(noisy) > 0).all() and prior.cost(torch.ones_like(noisy)).abs().max() == 0
    photos = torch.rand(40, 3, 224, 224, generator=rng)
    faces = EigenfacePrior(photos, components=39, side=8)
    flat = nn.functional.avg_pool2d(photos, 28).flatten(1)
    centred = (flat - flat.mean(0)).double()
    own = faces.axes.double()
    assert torch.allclose(own @ own.T, torch.diag((own @ own.T).diagonal()), atol=1e-6), "axes are orthogonal"
    assert torch.allclose(own.T @ own, centred.T @ centred / 39, atol=1e-5), "all of them are the covariance"
    with pytest.raises(ConfigError, match="more photos"):
        EigenfacePrior(photos, components=40)
    assert math.isclose(float(faces.picture(torch.zeros(1, 39)).mean()), float(photos.mean()), rel_tol=1e-4)


def test_cropped_eigenfaces_spend_nothing_on_what_is_around_a_face_and_like_its_mirror_image_as_much():
    photos = torch.rand(12, 3, 224, 224, generator=generator(0, "prior"))
    frame = Frame(ARCFACE_112, 112)
    around = frame.window == 0
    other = torch.where(around, photos.flip(0), photos)
    faces, same = (EigenfacePrior(few, components=5, side=28, cropped=True) for few in (photos, other))
    assert around.float().mean() > 0.1 and torch.allclose(faces.mean, same.mean, atol=1e-5)
    mean = faces.picture(torch.zeros(1, 5))
    assert torch.allclose(mean, mean.flip(-1), atol=1e-5)
    small = nn.functional.avg_pool2d(frame.to_picture(photos), 4)
    both = torch.cat([small, small.flip(-1)])
    assert torch.allclose(mean[0], both.mean(0), atol=1e-5)
    chips = faces.render(faces.draw(2, generator(1, "prior")))
    assert chips.shape == (2, 3, 224, 224) and chips.min() >= 0 and chips.max() <= 1
    assert torch.allclose(
        frame.to_picture(faces.render(torch.zeros(1, 5)))[..., 8:-8, 8:-8].mean(), mean.mean(), atol=0.02
    )
    with pytest.raises(ConfigError, match="divides 112"):
        EigenfacePrior(photos, components=5, side=32, cropped=True)


class Elsewhere(nn.Module):
    """A generator of which only the place matters."""

    name, digest, resolution, landmarks = "elsewhere", "0" * 64, 8, ((2, 3), (5, 3), (3.5, 4), (2.5, 6), (4.5, 6))

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def units(self):
        return {"z": 1.0}


def test_a_generator_comes_to_the_device_of_the_public_photos():
    prior = GeneratorPrior(Elsewhere(), ["z"])
    prior.bind(None, PUBLIC.to("meta"), generator(0))
    assert prior.generator.weight.device.type == "meta"
