"""The three hinges in closed form, the shrinking step, and what the attack does on a recogniser made for it."""

import pytest
import torch

from attacks.adversarial_watermark import AdversarialWatermark, Losses, _Dormant, _View
from attacks.annealing import Annealed
from facesec_bench.errors import ConfigError
from facesec_bench.goals import Aim
from facesec_bench.interfaces import Faces, TargetCard
from facesec_bench.search import SignStep
from facesec_bench.seeds import generator


def unit(*angles_deg: float) -> torch.Tensor:
    radians = torch.deg2rad(torch.tensor(angles_deg))
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def cos(degrees: float) -> float:
    return float(torch.deg2rad(torch.tensor(float(degrees))).cos())


class Plane(torch.nn.Module):
    """Embeds an image as the angle that the mean of its first pixel states: 1.0 is 180 degrees."""

    name, digest = "plane", "plane"
    card = TargetCard(2, 1, "none", "none", "cosine", "none")

    def embed(self, chips):
        angle = torch.pi * chips.mean((1, 2, 3))
        return torch.stack([angle.cos(), angle.sin()], dim=1)


class Adder:
    """Adds a constant to every pixel, whatever the message; its decoder reads the mean."""

    name, bits, differentiable, digest = "adder", 1, True, "adder"

    def encode(self, chips, messages):
        return (chips + 0.1).clamp(0, 1)

    def decode(self, chips):
        return chips.mean((1, 2, 3), keepdim=False)[:, None] - 0.5


def view(kind: str, **losses) -> _View:
    return _View(Plane(), 0.5, own=unit(0.0), reference=unit(10.0 if kind == "dodge" else 120.0), kind=kind,
                 losses=Losses(**losses))  # fmt: skip


def image(degrees: float) -> torch.Tensor:
    return torch.full((1, 3, 4, 4), degrees / 180)


def test_dodging_hinges_are_those_of_the_formula():
    v = view("dodge", activation_margin=0.3, stealth_margin=0.2, stealth_weight=2.0, keep=0.9)
    before, after = 40.0, 50.0
    activation = (max(cos(after - 10) - 0.2, 0) + max(cos(after) - 0.2, 0)) / 2
    stealth = max(min(0.5 + 0.2, cos(10)) - cos(before - 10), 0) + max(0.9 - cos(before), 0)
    expected = activation + 2.0 * stealth
    assert float(v.loss(image(before), image(after))) == pytest.approx(expected, abs=1e-5)


def test_impersonating_hinges_are_those_of_the_formula():
    v = view("impersonate", activation_margin=0.3, stealth_margin=0.2, stealth_weight=1.0, keep=0.9)
    before, after = 75.0, 80.0
    activation = max(0.5 + 0.3 - cos(120 - after), 0)
    stealth = max(0.9 - cos(before), 0) + max(cos(120 - before) - (0.5 - 0.2), 0)
    assert float(v.loss(image(before), image(after))) == pytest.approx(activation + stealth, abs=1e-5)


def test_nothing_is_asked_of_a_photo_that_has_it_all():
    assert float(view("dodge").loss(image(5.0), image(100.0))) == 0.0


def test_consistency_asks_that_both_views_agree():
    plain, aware = view("dodge"), view("dodge", consistency=0.95)
    more = aware.loss(image(5.0), image(100.0)) - plain.loss(image(5.0), image(100.0))
    assert float(more) == pytest.approx(0.95 - cos(95), abs=1e-5)


def test_agreement_weighs_as_much_as_it_is_told():
    views = view("dodge"), *(view("dodge", consistency=0.95, consistency_weight=weight) for weight in (1.0, 4.0))
    plain, once, four_times = (float(v.loss(image(5.0), image(100.0))) for v in views)
    assert once - plain == pytest.approx(0.95 - cos(95), abs=1e-5)
    assert four_times - plain == pytest.approx(4 * (0.95 - cos(95)), abs=1e-5)


def test_bits_join_every_so_many_calls_with_as_many_times_the_weight():
    losses = Losses(bit_weight=0.1, bit_every=3)
    message = torch.zeros(1, 1)
    objective = _Dormant([view("dodge")], Adder(), lambda: [message], losses, None)
    values = [float(objective(image(100.0))) for _ in range(4)]
    read = round((100 / 180) * 255) / 255
    read = round((read + 0.1) * 255) / 255 - 0.5
    hinge = 0.3 * (1 + read)  # a zero is wanted and a positive score is read
    assert values[0] - values[1] == pytest.approx(hinge, abs=1e-5)
    assert values[1] == values[2] and values[3] == values[0]


def test_step_shrinks_linearly_and_starts_anew():
    rule = Annealed(SignStep(1.0), steps=5, last=0.2)
    for _ in range(2):
        rule.reset()
        sizes = [float((torch.zeros(1) - rule.step(torch.zeros(1), torch.ones_like)).abs()) for _ in range(5)]
        assert sizes == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"draws": 0}, {"last_step": 0.0}, {"bit_every": 0}])
def test_numbers_out_of_range_are_refused(wrong):
    faces = Faces(image(0.0), torch.tensor([0]), ("a",), ("a",))
    with pytest.raises(ConfigError):
        AdversarialWatermark(**wrong)(
            faces, Aim("dodge", image(10.0), faces.identities, faces), [Plane()], [0.5], Adder(), torch.zeros(1, 1),
            generator(0),
        )  # fmt: skip


class Noticing(torch.nn.Module):
    """Sees two directions of an image: its mean (which the mark moves) and its contrast (which it does not)."""

    name, digest = "noticing", "noticing"
    card = TargetCard(2, 4, "none", "none", "cosine", "none")

    def embed(self, chips):
        left, right = chips[..., :2].mean((1, 2, 3)), chips[..., 2:].mean((1, 2, 3))
        bright = torch.nn.functional.softplus(60 * (left + right - 1.06))  # near 0 up to where only a mark reaches
        return torch.nn.functional.normalize(torch.stack([torch.ones_like(left), bright], dim=1), dim=1)


class Brighter(Adder):
    def encode(self, chips, messages):
        return (chips + 0.02).clamp(0, 1)


def test_the_attack_lies_dormant_until_the_mark_comes():
    photo = torch.full((2, 3, 4, 4), 0.5)
    faces = Faces(photo, torch.tensor([0, 1]), ("a", "b"), ("a", "b"))
    aim = Aim("dodge", photo, faces.identities, faces)
    attack = AdversarialWatermark(eps_255=8, steps=40, bit_weight=0.0, activation_margin=0.2, stealth_margin=0.3)
    target = Noticing()
    result = attack(faces, aim, [target], [0.5], Brighter(), torch.zeros(2, 1), generator(0))
    own = target.embed(photo)
    unmarked, marked = ((target.embed(i) * own).sum(1) for i in (result, Brighter().encode(result, None)))
    clean_marked = (target.embed(Brighter().encode(photo, None)) * own).sum(1)
    assert (clean_marked >= 0.5).all(), "the mark alone must not be enough"
    assert (unmarked >= 0.5).all() and (marked < 0.5).all()


class Bent(torch.nn.Module):
    """Random directions, bent: where its gradient points depends on all pixels of the photo itself."""

    name, digest = "bent", "bent"
    card = TargetCard(8, 4, "none", "none", "cosine", "none")

    def __init__(self):
        super().__init__()
        self.weight = torch.randn(48, 8, generator=generator(0, "bent"))

    def embed(self, chips):
        return torch.nn.functional.normalize(torch.sin(3 * (chips.flatten(1) - 0.5) @ self.weight), dim=1)


def test_a_universal_change_is_shared_and_never_crafted_on_the_person():
    photos = torch.rand(4, 3, 4, 4, generator=generator(0)).mul(0.4).add(0.3)
    faces = Faces(photos, torch.tensor([0, 1, 2, 3]), tuple("abcd"), tuple("abcd"))
    aim = Aim("dodge", photos, faces.identities, faces)
    attack = AdversarialWatermark(eps_255=4, steps=5, universal=True, bit_weight=0.0)

    def change(images: torch.Tensor) -> torch.Tensor:
        shown = Faces(images, faces.identities, faces.keys, faces.names)
        return attack(shown, aim, [Bent()], [0.5], Adder(), torch.zeros(4, 1), generator(1)) - images

    def same(a: torch.Tensor, b: torch.Tensor) -> bool:
        return torch.allclose(a, b, atol=1e-6)

    delta = change(photos)
    assert same(delta[0], delta[1]) and same(delta[2], delta[3]) and not same(delta[0], delta[2])
    for person in range(4):
        other = photos.clone()
        other[person] = torch.rand(3, 4, 4, generator=generator(2)).mul(0.4).add(0.3)
        moved, own, far = change(other), person // 2 * 2, 2 - person // 2 * 2
        assert same(moved[own], delta[own]), "a person's own photo shaped what was put on it"
        assert not same(moved[far], delta[far]), "the other half was not what it was crafted on"


def test_one_person_alone_cannot_have_a_universal_change():
    faces = Faces(image(0.0), torch.tensor([0]), ("a",), ("a",))
    with pytest.raises(ConfigError, match="two or more"):
        AdversarialWatermark(universal=True)(
            faces, Aim("dodge", image(10.0), faces.identities, faces), [Plane()], [0.5], Adder(), None, generator(0)
        )
