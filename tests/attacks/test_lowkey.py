"""LowKey: its objective against the paper's formula, its copy against scipy, and the price of being seen."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional

from attacks.lowkey import LowKey, with_smoothed
from attacks.translation import gaussian_kernel
from conftest import made_up_faces
from facesec_bench.errors import ConfigError
from facesec_bench.goals import Aim
from facesec_bench.interfaces import Faces
from facesec_bench.search import objectives
from facesec_bench.seeds import generator
from facesec_bench.targets.toy import ToyTarget

SIDE = 48


def mean_square(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """A stand-in for LPIPS that needs no weights."""
    return 1000 * (a - b).square().mean((1, 2, 3))


class Free(torch.nn.Module):
    """A perceptual distance that costs what `measure` says."""

    def __init__(self, measure=mean_square):
        super().__init__()
        self.measure = measure

    def forward(self, a, b):
        return self.measure(a, b)


def cloak(**settings) -> LowKey:
    """LowKey with the stand-in in the place of LPIPS."""
    attack = LowKey(**({"steps": 8, "weight": 0.0} | settings))
    attack.__dict__["lpips"] = Free()
    return attack


def two_photos(kind: str = "dodge") -> tuple[Faces, Aim]:
    """Two photos of each of three people: the first is attacked, the second is what the attacker holds."""
    faces = made_up_faces(3, 2, size=SIDE)
    first, second = faces.select([0, 2, 4]), faces.select([1, 3, 5])
    rows = torch.arange(3) if kind == "dodge" else torch.arange(3).roll(1)
    return first, Aim(kind, second.images[rows], second.identities[rows], second)


def unit(target, images):
    return functional.normalize(target.embed(images), dim=1)


def test_the_smoothed_copy_is_scipys_gaussian_mirrored_at_the_edges():
    images, seen = made_up_faces(2, 1, size=SIDE).images, []
    with_smoothed(lambda x: seen.append(x) or x.sum((1, 2, 3)), gaussian_kernel(7, 3.0))(images)
    filtered = partial(ndimage.gaussian_filter, sigma=(0, 0, 3.0, 3.0), radius=(0, 0, 3, 3), mode="mirror")
    assert torch.equal(seen[0], images)
    assert np.allclose(seen[1], filtered(images.numpy()), atol=1e-5)


def test_dodging_the_loss_is_minus_the_papers_displacement_of_unit_features():
    (faces, aim), toys = two_photos(), [ToyTarget(0), ToyTarget(1)]
    kernel, changed = gaussian_kernel(7, 3.0), (faces.images + 0.05).clamp(0, 1)
    copy = torch.from_numpy(
        ndimage.gaussian_filter(changed.numpy(), (0, 0, 3.0, 3.0), radius=(0, 0, 3, 3), mode="mirror")
    )
    paper = torch.zeros(len(faces))
    for toy in toys:
        before = unit(toy, faces.images)
        for image in (changed, copy):
            paper += (before - unit(toy, image)).square().sum(1) / before.norm(dim=1) / (2 * len(toys))
    own = Aim("dodge", faces.images, aim.labels, aim.gallery)
    ours = torch.stack([with_smoothed(part, kernel)(changed) for part in objectives(own, toys)]).mean(0)
    assert torch.allclose(ours, 4 - paper, atol=1e-5)


def test_a_free_cloak_displaces_both_copies():
    (faces, aim), toy = two_photos(), ToyTarget()
    result = cloak()(faces, aim, [toy], generator(0))
    kernel = gaussian_kernel(7, 3.0)
    before = unit(toy, faces.images)
    both = with_smoothed(lambda images: (unit(toy, images) * before).sum(1), kernel)
    assert (both(result) < both(faces.images) - 0.05).all()
    assert ((unit(toy, result) * before).sum(1) < 0.98).all()


def test_the_reference_is_not_used_when_dodging_and_is_when_impersonating():
    (faces, aim), toy = two_photos(), ToyTarget()
    other = Aim("dodge", aim.references.flip(0), aim.labels, aim.gallery)
    assert torch.equal(*(cloak()(faces, a, [toy], generator(0)) for a in (aim, other)))
    _, towards = two_photos("impersonate")
    goal = towards.on(toy)
    result = cloak()(faces, towards, [toy], generator(0))
    assert (goal.loss(toy.embed(result)) < goal.loss(toy.embed(faces.images)) - 0.02).all()


def test_a_higher_price_changes_less_and_displaces_less():
    (faces, aim), toy = two_photos(), ToyTarget()
    before = unit(toy, faces.images)
    cheap, dear = (cloak(weight=w)(faces, aim, [toy], generator(0)) for w in (0.0, 10.0))
    assert (mean_square(dear, faces.images) < 0.8 * mean_square(cheap, faces.images)).all()
    assert ((unit(toy, dear) * before).sum(1) > (unit(toy, cheap) * before).sum(1)).all()


def test_without_a_budget_the_steps_bound_the_change_and_with_one_the_budget_does():
    faces, aim = two_photos()
    free = cloak(steps=4, step_255=2.0)(faces, aim, [ToyTarget()], generator(0))
    held = cloak(steps=4, step_255=2.0, eps_255=3.0)(faces, aim, [ToyTarget()], generator(0))
    assert 6 < 255 * (free - faces.images).abs().max() <= 8 * (1 + 1e-5)
    assert 255 * (held - faces.images).abs().max() <= 3 * (1 + 1e-5)


@pytest.mark.assets("lpips_alex")
@pytest.mark.filterwarnings("ignore::UserWarning:torchvision")
def test_it_pays_in_lpips():
    (faces, aim), toy = two_photos(), ToyTarget()
    attack = LowKey(steps=3, weight=5.0)
    assert "lpips" not in attack.__dict__, "a constructor reads no weights"
    dear = attack(faces, aim, [toy], generator(0))
    free = LowKey(steps=3, weight=0.0)(faces, aim, [toy], generator(0))
    with torch.no_grad():
        assert (attack.lpips(dear, faces.images) < attack.lpips(free, faces.images)).all()


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"step_255": 0.0}, {"weight": -1.0}, {"kernel": 4}, {"net": "squeeze"}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError):
        LowKey(**wrong)
