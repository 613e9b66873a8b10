"""Students answer as the victim does, and learn it from public photos."""

import dataclasses

import pytest
import torch
from torch import nn

from attacks.students import Students
from conftest import made_up_faces
from facesec_bench.access import ClassifierAccess
from facesec_bench.closed_set_training import Schooling
from facesec_bench.errors import ConfigError
from facesec_bench.seeds import generator
from facesec_bench.targets.closed_set import ClosedSet, RecogniserTrunk, SmallTrunk
from facesec_bench.targets.toy import ToyTarget


class Colours(nn.Module):
    name, classes, digest = "colours", 3, "0" * 64

    def features(self, chips):
        return chips.mean((2, 3))

    def head(self, features):
        return 8 * features


def photos(count: int, seed: int) -> torch.Tensor:
    rng = generator(seed, "photos")
    plain = 0.2 + 0.7 * torch.eye(3)[torch.randint(3, (count,), generator=rng)][:, :, None, None]
    return (plain + 0.1 * torch.randn(count, 3, 224, 224, generator=rng)).clamp(0, 1)


def test_students_take_photos_for_whom_the_victim_takes_them():
    victim, trunk = ClassifierAccess(Colours(), "white"), SmallTrunk(width=4)
    kept = trunk.last.weight.clone()
    students = Students([trunk, SmallTrunk(width=8)], Schooling(steps=60, batch=16, learning_rate=1e-2), scale=None)
    taught = students(victim, photos(40, 0), generator(0, "students"))
    assert victim.meter.queries == 40 and len(taught) == 2
    fresh = photos(30, 1)
    wanted = Colours().features(fresh).argmax(1)
    for student, _ in taught:
        assert (student.labels(fresh) == wanted).float().mean() > 0.8
    assert torch.equal(trunk.last.weight, kept)
    again = students(ClassifierAccess(Colours(), "white"), photos(40, 0), generator(0, "students"))
    assert torch.equal(again[0][0].logits(fresh[:2]), taught[0][0].logits(fresh[:2]))


def test_gradients_reach_the_picture_through_a_student_and_stay_out_of_its_weights():
    students = Students([SmallTrunk(width=4)], Schooling(steps=2, batch=4))
    ((student, loss),) = students(ClassifierAccess(Colours(), "white"), photos(8, 0), generator(0, "students"))
    bound = loss.bind(student, photos(4, 1), generator(0, "loss"))
    picture = photos(2, 2).requires_grad_(True)
    (gradient,) = torch.autograd.grad(bound(picture, torch.tensor([0, 1])).sum(), picture)
    assert gradient.abs().sum() > 0


def test_a_temperature_lets_a_sharp_victim_teach_what_it_says_of_all_people():
    """With logits of 64 cosines nearly all probability lies on one person, and the others are not learned."""
    inside = ClosedSet("sharp", RecogniserTrunk(ToyTarget()), 12, scale=64.0, seed=3).requires_grad_(False).eval()
    public, fresh = made_up_faces(120, 1, seed=1).images, made_up_faces(60, 1, seed=2).images
    students = Students([RecogniserTrunk(ToyTarget())], Schooling(steps=2000, learning_rate=1e-2), scale=64.0)
    agree = {}
    for temperature in (1.0, 16.0):
        warm = dataclasses.replace(students, temperature=temperature)
        ((student, _),) = warm(ClassifierAccess(inside, "white"), public, generator(0, "students"))
        told, wanted = student.logits(fresh), inside(fresh)
        # Probabilities do not know what all logits have in common.
        agree[temperature] = float(((told - told.mean(1, True)) - (wanted - wanted.mean(1, True))).abs().mean())
    assert agree[16.0] < 0.9 * agree[1.0]
    assert told.abs().amax() > 16, "used at the victim's scale, having learned at a softer one"


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"temperature": 4.0, "scale": None}])
def test_temperatures_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ConfigError, match="temperature"):
        Students([SmallTrunk(width=4)], **wrong)


def test_nobody_is_no_student():
    with pytest.raises(ConfigError, match="no trunk"):
        Students([])
