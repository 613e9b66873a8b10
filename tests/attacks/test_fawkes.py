"""Fawkes: the right stranger, a DSSIM that agrees with torchmetrics, and a budget that holds."""

import numpy as np
import pytest
import torch

from attacks.fawkes import Fawkes, dissimilarity, farthest, within
from conftest import made_up_faces
from facesec_bench.errors import ConfigError
from facesec_bench.goals import Aim
from facesec_bench.interfaces import Faces
from facesec_bench.metrics.quality import ssim
from facesec_bench.seeds import generator
from facesec_bench.targets.toy import ToyTarget

SIDE = 48


class Corner:
    """A recogniser whose embedding is the colour of the corner pixel (not of unit length)."""

    name, digest = "corner", ""

    def embed(self, chips):
        return chips[:, :, 0, 0]


def coloured(*colours: tuple[float, float, float]) -> torch.Tensor:
    return torch.tensor(colours).view(-1, 3, 1, 1).expand(-1, 3, SIDE, SIDE).clone()


def stranger_aim() -> tuple[Faces, Aim]:
    """A red person's photo; enrolled are red, orange and blue."""
    names, ids = ("red", "orange", "blue"), torch.arange(3)
    gallery = Faces(coloured((1, 0, 0), (1, 0.5, 0), (0.1, 0, 1)), ids, ("g0", "g1", "g2"), names)
    photo = Faces(coloured((0.9, 0.1, 0)), ids[:1], ("p0",), names)
    return photo, Aim("dodge", gallery.images[:1], ids[:1], gallery)


def two_photos(kind: str = "dodge", side: int = SIDE) -> tuple[Faces, Aim]:
    """Two photos of each of three people: the first is attacked, the second is what the attacker holds."""
    faces = made_up_faces(3, 2, size=side)
    first, second = faces.select([0, 2, 4]), faces.select([1, 3, 5])
    rows = torch.arange(3) if kind == "dodge" else torch.arange(3).roll(1)
    return first, Aim(kind, second.images[rows], second.identities[rows], second)


def noisy(images: torch.Tensor, sd: float) -> torch.Tensor:
    return (images + sd * torch.randn(images.shape, generator=generator(0, "fawkes"))).clamp(0, 1)


@pytest.mark.parametrize("sd", [0.0, 0.02, 0.2])
def test_dssim_agrees_with_torchmetrics(sd):
    images = made_up_faces(2, 1, size=SIDE).images
    changed = noisy(images, sd)
    assert np.allclose(dissimilarity(images)(changed), (1 - ssim(changed, images)) / 2, atol=1e-5)


def test_dssim_has_the_gradient_of_its_finite_differences():
    images = made_up_faces(1, 1, size=16).images.double()
    changed = noisy(images.float(), 0.05).double().requires_grad_(True)
    assert torch.autograd.gradcheck(dissimilarity(images), (changed,), atol=1e-6)


def test_the_stranger_is_the_person_least_like_the_photo():
    photo, aim = stranger_aim()
    away = farthest(photo, aim, [Corner()])
    assert away.kind == "impersonate" and away.labels.tolist() == [2]
    assert torch.equal(away.references, aim.gallery.images[2:])


def test_the_stranger_is_never_oneself_even_where_oneself_is_the_least_alike():
    photo, aim = stranger_aim()
    blue = Aim("dodge", aim.gallery.images[2:], torch.tensor([2]), aim.gallery)
    assert farthest(photo, blue, [Corner()]).labels.tolist() == [1]


def test_nobody_else_to_move_towards_is_an_error():
    photo, aim = stranger_aim()
    alone = Aim("dodge", aim.references, aim.labels, aim.gallery.select([0]))
    with pytest.raises(ConfigError, match="another person"):
        Fawkes()(photo, alone, [ToyTarget()], generator(0))
    with pytest.raises(ConfigError, match="surrogate"):
        Fawkes()(photo, aim, [], generator(0))


def test_a_change_is_shortened_to_the_budget_and_no_further():
    images = made_up_faces(3, 1, size=SIDE).images
    changed = torch.cat([noisy(images[:1], 0.3), noisy(images[1:2], 0.001), images[2:]])
    distance = dissimilarity(images)
    found = within(changed, images, distance, 0.01)
    assert (distance(found) <= 0.01).all() and float(distance(found)[0]) > 0.0099
    assert torch.equal(found[1:], changed[1:]), "what is within the budget is left as it is"


@pytest.mark.parametrize("budget", [0.004, 0.017])
@pytest.mark.parametrize("kind", ["dodge", "impersonate"])
def test_the_features_move_to_the_stranger_within_the_budget(kind, budget):
    (faces, aim), toy = two_photos(kind), ToyTarget()
    result = Fawkes(budget, steps=15)(faces, aim, [toy], generator(0))
    assert (dissimilarity(faces.images)(result) <= budget).all()
    goal = (aim if kind == "impersonate" else farthest(faces, aim, [toy])).on(toy)
    assert (goal.loss(toy.embed(result)) < goal.loss(toy.embed(faces.images)) - 0.005).all()


def test_a_larger_budget_moves_further():
    (faces, aim), toy = two_photos(), ToyTarget()
    goal = farthest(faces, aim, [toy]).on(toy)
    low, high = (Fawkes(b, steps=15)(faces, aim, [toy], generator(0)) for b in (0.0005, 0.02))
    with torch.no_grad():
        assert goal.loss(toy.embed(high)).mean() < goal.loss(toy.embed(low)).mean() - 0.005


def test_a_further_pixel_budget_is_kept():
    faces, aim = two_photos()
    result = Fawkes(0.5, eps_255=3.0, steps=6)(faces, aim, [ToyTarget()], generator(0))
    assert (255 * (result - faces.images)).abs().max() <= 3 * (1 + 1e-5)


@pytest.mark.parametrize("wrong", [{"dssim": 0.0}, {"dssim": 2.0}, {"steps": 0}, {"step_255": 0.0}, {"weight": -1.0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match="Fawkes"):
        Fawkes(**wrong)
