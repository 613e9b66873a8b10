"""GANs for inversion, trained for seconds on toys: turns, costs, classes, counts and what is kept."""

import copy
import time
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from attacks.identity_losses import CrossEntropy
from attacks.inversion import Inversion
from attacks.inversion_gan_keeping import kept
from attacks.inversion_gan_training import Duel, alternate
from attacks.inversion_gans import GeneralGan, InversionSpecificGan
from attacks.inversion_priors import modules_of
from attacks.jitter import Jitter
from attacks.pseudo_label_gan import PseudoLabelGan
from facesec_bench.access import ClassifierAccess, Meter
from facesec_bench.errors import AccessError, ConfigError, DataError
from facesec_bench.interfaces import CHIP_LANDMARKS
from facesec_bench.search import AdamStep
from facesec_bench.seeds import generator
from facesec_bench.training import Point
from tests.attacks.tiny_generator import TinyGenerator

SIDE = 16
RED, GREEN = torch.tensor([0.8, 0.2, 0.2]), torch.tensor([0.2, 0.8, 0.2])


class Colours(nn.Module):
    """Two people: the red, the green."""

    name, classes, digest = "colours", 2, "0" * 64

    def features(self, chips):
        return chips.mean((2, 3))

    def head(self, features):
        return 8 * features[:, :2]


class Plain(nn.Module):
    """Paints plain colours: "z" is red, green and blue, up to a scale that trains."""

    name, resolution, digest = "plain", SIDE, "plain"
    landmarks = tuple(((x + 0.5) / 14 - 0.5, (y + 0.5) / 14 - 0.5) for x, y in CHIP_LANDMARKS)

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3), requires_grad=False)

    def units(self):
        return {"z": 1.0}

    def mean(self, count, rng):
        return {"z": torch.zeros(count, 3)}

    def draw(self, count, rng):
        return {"z": torch.randn(count, 3, generator=rng)}

    def synthesise(self, latent):
        return (self.scale * latent["z"]).sigmoid()[:, :, None, None].expand(-1, -1, SIDE, SIDE)


class MiniGan(nn.Module):
    """A DCGAN of 16 pixels, with weights of chance."""

    name, resolution, digest, landmarks = "mini", SIDE, "mini", Plain.landmarks

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.ModuleList(
                [nn.ConvTranspose2d(6, 8, 4), nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.ConvTranspose2d(8, 3, 4, 2, 1)]
            )


def photos(colours: list[torch.Tensor], seed: int = 0) -> torch.Tensor:
    """Nearly plain photos of these colours."""
    noise = 0.05 * torch.randn(len(colours), 3, 224, 224, generator=generator(seed, "photos"))
    return (torch.stack(colours)[:, :, None, None] + noise).clamp(0, 1)


PUBLIC = photos([RED, GREEN] * 4)
SHORT = Duel(steps=4, batch=4, n_critic=1)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FACESEC_CACHE", str(tmp_path))


def access(**changes) -> ClassifierAccess:
    return ClassifierAccess(Colours(), **({"level": "white"} | changes))


def makers(how: Duel = SHORT):
    return [
        GeneralGan(Plain(), tune=True, width=4, how=how),
        InversionSpecificGan(Plain(), width=4, how=how),
        PseudoLabelGan(MiniGan(), top=4, width=4, how=how),
    ]


def weights(prior) -> list[torch.Tensor]:
    return [p.detach().clone() for part in modules_of(prior) for p in part.parameters()]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def named(maker) -> str:
    return type(maker).__name__


def test_critic_and_generator_take_turns_and_a_turn_moves_its_own_weights_only():
    critic, painter = nn.Linear(1, 1), nn.Linear(1, 1)
    seen = []

    def draw(turn, rng):
        seen.append((turn, critic.weight.item(), painter.weight.item()))
        return torch.ones(1, 1)

    losses = {
        "critic": lambda x: critic(painter(x).detach()).sum(),
        "generator": lambda x: painter(x).sum() * critic.weight.detach().sum(),
    }
    alternate(critic, painter, draw, losses, Duel(steps=7, n_critic=2), generator(0))
    assert [turn for turn, *_ in seen] == ["critic", "critic", "generator"] * 2 + ["critic"]
    for (turn, c0, g0), (_, c1, g1) in pairwise(seen):
        assert (c0 != c1, g0 != g1) == ((True, False) if turn == "critic" else (False, True))
    seen.clear()
    alternate(critic, None, draw, losses, Duel(steps=4, n_critic=1), generator(0))
    assert {turn for turn, *_ in seen} == {"critic"}, "alone, the critic has every step"


@pytest.mark.parametrize("place", range(3))
def test_the_real_losses_move_one_side_a_turn(place):
    critic_only = makers(Duel(steps=2, batch=4, n_critic=2))[place]  # critic, critic
    then_generator = makers(Duel(steps=3, batch=4, n_critic=2))[place]  # and the generator
    begun = makers(Duel(steps=0, batch=4, n_critic=2))[place]
    first, second, third = (m.bind(access(), PUBLIC, generator(1)) for m in (begun, critic_only, then_generator))

    def of(prior, part):
        return list(getattr(prior, part).parameters()) if hasattr(prior, part) else []

    assert same(of(first, "generator"), of(second, "generator")), "a critic's step leaves the generator"
    assert not same(of(second, "generator"), of(third, "generator"))
    assert same(of(second, "critic"), of(third, "critic")), "a generator's step leaves the critic"
    if of(first, "critic"):
        assert not same(of(first, "critic"), of(second, "critic"))


@pytest.mark.parametrize("place", range(3))
def test_the_same_seed_gives_the_same_bits_trained_or_kept_and_another_seed_does_not(place, tmp_path, monkeypatch):
    maker, rngs = makers()[place], [generator(3) for _ in range(3)]
    first = maker.bind(access(), PUBLIC, rngs[0])
    from_the_shelf = maker.bind(access(), PUBLIC, rngs[1])
    monkeypatch.setenv("FACESEC_CACHE", str(tmp_path / "empty"))
    again = maker.bind(access(), PUBLIC, rngs[2])
    assert same(weights(first), weights(from_the_shelf)) and same(weights(first), weights(again))
    assert len({int(torch.randint(1000, (), generator=rng)) for rng in rngs}) == 1, "the caller's draws go on alike"
    assert not same(weights(first), weights(maker.bind(access(), PUBLIC, generator(4))))
    params = first.draw(4, generator(0))
    people = torch.tensor([0, 1, 0, 1])
    assert torch.equal(first.given(people).render(params), from_the_shelf.given(people).render(params))
    assert first.digest == again.digest


@pytest.mark.parametrize(("place", "queries", "gradients"), [(0, 0, 0), (1, 8, 0), (2, 8 + 2 * 4, 2 * 4)])
def test_what_training_asks_of_the_victim_counts_and_again_when_the_weights_are_kept(place, queries, gradients):
    for _ in range(2):
        victim = access()
        makers()[place].bind(victim, PUBLIC, generator(0))
        assert (victim.meter.queries, victim.meter.gradients) == (queries, gradients)
    if queries:
        with pytest.raises(AccessError, match="budget"):
            makers()[place].bind(access(most=queries - 1), PUBLIC, generator(0))


def test_levels_are_kept():
    general, specific, labelled = makers()
    general.bind(access(level="hard_label"), PUBLIC, generator(0))
    specific.bind(access(level="soft_label"), PUBLIC, generator(0))
    for maker, level in ((specific, "hard_label"), (labelled, "soft_label")):
        with pytest.raises(AccessError, match=level):
            maker.bind(access(level=level), PUBLIC, generator(0))


def test_other_photos_settings_or_answers_are_other_weights_and_prices_are_not():
    general, specific, _ = makers()
    one = general.bind(access(), PUBLIC, generator(0)).digest
    assert one != general.bind(access(), PUBLIC[:6], generator(0)).digest
    assert one != GeneralGan(Plain(), tune=False, width=4, how=SHORT).bind(access(), PUBLIC, generator(0)).digest
    dear = GeneralGan(Plain(), tune=True, width=4, how=SHORT, realism=7, box=2)
    assert one == dear.bind(access(), PUBLIC, generator(0)).digest
    defended, plain = (access(level="soft_label", answer=answer) for answer in (lambda logits: 0.5 * logits, None))
    assert specific.bind(plain, PUBLIC, generator(0)).digest != specific.bind(defended, PUBLIC, generator(0)).digest


def test_the_given_generator_keeps_its_bits():
    for maker in makers():
        before = copy.deepcopy(maker.generator.state_dict())
        maker.bind(access(), PUBLIC, generator(0))
        assert all(torch.equal(before[key], value) for key, value in maker.generator.state_dict().items())


@pytest.mark.parametrize("maker", [GeneralGan(Plain(), width=4), InversionSpecificGan(Plain(), width=4)], ids=named)
def test_what_looks_as_the_public_photos_do_costs_less_after_training(maker):
    how = Duel(steps=120, batch=8, n_critic=5, learning_rate=2e-3)
    trained = type(maker)(Plain(), width=4, how=how).bind(access(), PUBLIC, generator(0))
    colours = torch.stack([RED, GREEN, 1 - RED, torch.tensor([0.2, 0.2, 0.8])])
    params = (colours / (1 - colours)).log() / trained.generator.scale
    price = trained.cost(params)
    assert price.shape == (4,) and price[:2].max() < price[2:].min()
    assert torch.allclose(trained.cost(params[:1]), price[:1], atol=1e-5), "and each picture is judged for itself"
    leaf = params.clone().requires_grad_(True)
    assert torch.autograd.grad(trained.cost(leaf).sum(), leaf)[0].abs().sum() > 0


class Tinted(Plain):
    """Its pictures have a tint that trains and begins grey, and a right half so much darker."""

    def __init__(self, right: float) -> None:
        super().__init__()
        self.tint, self.right = nn.Parameter(torch.zeros(3), requires_grad=False), right

    def synthesise(self, latent):
        return super().synthesise({"z": self.tint + 0.3 * latent["z"]}) * shade(SIDE, self.right)


def shade(side: int, right: float) -> torch.Tensor:
    return torch.where(torch.arange(side) < side // 2, 1.0, right)


# InstanceNorm hides the tint of a picture without edges from a Wasserstein critic, feature matching sees it.
@pytest.mark.parametrize(
    ("maker", "public"),
    [
        (GeneralGan(Tinted(0.25), tune=True, width=4), photos([RED] * 6) * shade(224, 0.25)),
        (InversionSpecificGan(Tinted(1.0), width=4), photos([RED] * 6)),
    ],
    ids=["GeneralGan", "InversionSpecificGan"],
)
def test_a_generator_that_trains_comes_to_paint_as_the_public_photos_look(maker, public):
    how = Duel(steps=90, batch=8, n_critic=2, learning_rate=2e-2)
    prior = replace(maker, how=how).bind(access(), public, generator(0))
    red, green, blue = prior.picture(torch.zeros(1, 3))[0, :, 0, 0].tolist()
    assert red > 0.6 and green < 0.4 and blue < 0.45


def test_a_price_is_realism_times_what_the_critic_says():
    prior = makers()[0].bind(access(), PUBLIC, generator(0))
    params = prior.draw(3, generator(0))
    assert torch.allclose(prior.cost(params), -0.01 * prior.critic(prior.picture(params)))
    assert prior.project(torch.full((1, 3), 9.0)).max() == 1 and params.abs().max() <= 1


def test_a_conditional_prior_paints_nobody_in_general():
    prior = makers()[2].bind(access(), PUBLIC, generator(0))
    params = prior.draw(3, generator(0))
    assert params.shape == (3, 6) and prior.cost is None
    for paint in (prior.picture, prior.render):
        with pytest.raises(ConfigError, match=r"call given\(people\) first"):
            paint(params)
    told = prior.given(torch.tensor([0, 1, 1]))
    assert told.render(params).shape == (3, 3, 224, 224) and prior.people is None
    with pytest.raises(ConfigError, match="2 rows of parameters for 3 people"):
        told.picture(params[:2])
    for wrong in ([2], [-1], [[0]]):
        with pytest.raises(ConfigError, match="from 0 to 1"):
            prior.given(torch.tensor(wrong))


def told_apart(alpha: float, steps: int, n_critic: int) -> float:
    """How much redder, and less green, the red person is painted than the green one."""
    how = Duel(steps=steps, batch=8, n_critic=n_critic, learning_rate=2e-3, betas=(0.0, 0.9))
    maker = PseudoLabelGan(MiniGan(), top=4, alpha=alpha, augment=Jitter(), width=4, how=how)
    prior = maker.bind(access(), PUBLIC, generator(0))
    params = prior.draw(16, generator(0))
    red, green = (prior.given(torch.full((16,), who)).picture(params).mean((0, 2, 3)) for who in (0, 1))
    return ((red - green)[0] - (red - green)[1]).item()


def test_classes_come_to_be_painted_as_their_pseudo_labels_look():
    assert told_apart(alpha=0.0, steps=120, n_critic=2) > 0.2


def test_the_victim_says_who_is_painted():
    assert told_apart(alpha=2.0, steps=24, n_critic=1) > told_apart(alpha=0.0, steps=24, n_critic=1) + 0.1


def test_inversion_searches_them_all():
    people = torch.tensor([0, 1, 1])
    for maker in makers():
        victim = access()
        attack = Inversion(prior=maker, loss=CrossEntropy(), rule=AdamStep(0.1), steps=5, distribution=True)
        chips = attack(people, victim, PUBLIC, generator(0))
        assert chips.shape == (3, 3, 224, 224) and chips.min() >= 0 and chips.max() <= 1
        assert victim.meter.gradients >= 15


def test_what_is_kept_is_what_was_asked():
    net, meter = nn.Linear(1, 1), Meter(most=10)

    def train():
        meter.ask(7)
        time.sleep(0.05)
        return [Point(1, 0.5, {})]

    entry = kept("toy", {"a": 1}, {"net": net}, train, meter)
    other = nn.Linear(1, 1)
    fresh = Meter(most=7)
    assert kept("toy", {"a": 1}, {"net": other}, train, fresh) == entry
    assert torch.equal(other.weight, net.weight) and (fresh.queries, fresh.left) == (7, 0)
    assert meter.kept_seconds == 0 and fresh.kept_seconds >= 0.05, "what it took is told again"
    with pytest.raises(AccessError):
        kept("toy", {"a": 1}, {"net": other}, train, Meter(most=6))


def test_wrong_settings_are_refused():
    for wrong in ({"steps": -1}, {"batch": 1}, {"n_critic": 0}, {"learning_rate": 0.0}, {"betas": (0.5,)}):
        with pytest.raises(ConfigError, match="wanted"):
            Duel(**wrong)
    with pytest.raises(ConfigError, match="wanted a DCGAN"):
        PseudoLabelGan(TinyGenerator()).bind(access(), PUBLIC, generator(0))
    with pytest.raises(DataError, match="wanted 30"):
        PseudoLabelGan(MiniGan()).bind(access(), PUBLIC, generator(0))
    with pytest.raises(ConfigError, match="0 public photos"):
        GeneralGan(Plain()).bind(access(), PUBLIC[:0], generator(0))
    with pytest.raises(ConfigError, match="torch module"):
        GeneralGan(type("Bare", (), {"resolution": SIDE, "digest": "bare"})()).bind(access(), PUBLIC, generator(0))
