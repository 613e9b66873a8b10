"""TIP-IM: the greedy choice of decoys and the naturalness term."""

import math

import pytest
import torch
from torch.nn import functional

from attacks.tip_im import TIPIM, Greedy, Side, _sides, photo_mmd
from facesec_bench.errors import ConfigError
from facesec_bench.goals import Aim
from facesec_bench.interfaces import Faces
from facesec_bench.search import SignStep
from facesec_bench.seeds import generator
from facesec_bench.spaces import PixelBall
from facesec_bench.targets.toy import ToyTarget


def study(people=5, side=48):
    rng = generator(0, "tip-im")
    images = functional.interpolate(torch.rand(people, 3, 12, 12, generator=rng), side, mode="bicubic").clamp(0, 1)
    others = (images + 0.02 * torch.randn(images.shape, generator=rng)).clamp(0, 1)
    labels, names = torch.arange(people), tuple(f"p{i}" for i in range(people))
    faces = Faces(images, labels, names, names)
    return faces, Aim("dodge", others, labels, Faces(others, labels, tuple(f"g{i}" for i in range(people)), names))


def test_decoys_are_the_nearest_other_people_and_never_oneself():
    faces, aim = study()
    toy = ToyTarget()
    (side,) = _sides(faces, aim, [toy], 2)
    similarity = (toy.embed(faces.images) @ toy.embed(aim.gallery.images).T).detach().fill_diagonal_(-2)
    expected = toy.embed(aim.gallery.images)[similarity.topk(2, dim=1).indices]
    assert torch.allclose(side.decoys, expected, atol=1e-6)
    assert torch.allclose(side.own, toy.embed(aim.references), atol=1e-6)


def test_the_greedy_step_keeps_for_each_image_the_decoy_of_highest_gain():
    # Two pixels are the embedding; oneself is (0, 0), the decoys lie on either axis at different distances.
    own = torch.zeros(2, 2)
    decoys = torch.tensor([[[9.0, 0.0], [0.0, 2.0]], [[2.0, 0.0], [0.0, 9.0]]])
    side = Side(lambda x: x.flatten(1), own, decoys)
    space = PixelBall(torch.full((2, 1, 1, 2), 0.0), 1.0)
    rule = Greedy(SignStep(0.5), [side], space, generator(0))
    rule.reset()

    def gradient_at(at):
        at = at.detach().requires_grad_(True)
        return torch.autograd.grad(side.loss(at).sum(), at)[0]

    moved = rule.step(torch.zeros(2, 1, 1, 2), gradient_at)
    # A step towards the near decoy gains more: image 0 moves along y, image 1 along x.
    assert moved.flatten(1).tolist() == [[0.0, 0.5], [0.5, 0.0]]


def test_the_gain_is_the_released_codes():
    side = Side(lambda x: x.flatten(1), torch.tensor([[1.0, 0.0]]), torch.tensor([[[0.0, 1.0], [-1.0, 0.0]]]))
    gain = side.gain(torch.tensor([0.0, 0.0]).view(1, 1, 1, 2))
    assert float(gain) == pytest.approx(math.log(1 + math.exp(1.0 - 1.0)))


def test_impersonation_has_the_one_target_and_pushes_from_the_clean_photo():
    faces, aim = study()
    wanted = Aim("impersonate", aim.references.roll(1, 0), aim.labels.roll(1), aim.gallery)
    toy = ToyTarget()
    (side,) = _sides(faces, wanted, [toy], 4)
    assert side.decoys.shape[1] == 1
    assert torch.allclose(side.own, toy.embed(faces.images), atol=1e-6)


def test_more_decoys_never_gain_less_in_one_step():
    faces, aim = study()
    toy = ToyTarget()
    one, many = (
        TIPIM(8.0, steps=1, decoys=k, diversity=0.0)(faces, aim, [toy], generator(0)) for k in (1, 4)
    )  # fmt: skip
    (side,) = _sides(faces, aim, [toy], 4)
    assert (side.gain(many) >= side.gain(one) - 1e-5).all()


def test_naturalness_is_zero_at_the_photo_grows_with_the_change_and_has_its_closed_form():
    origin = torch.full((2, 3, 8, 8), 0.5)
    natural = photo_mmd(origin)
    assert natural(origin).tolist() == [0.0, 0.0]
    small, large = natural(origin + 0.5 / 255), natural(origin + 2 / 255)
    assert (small > 0).all() and (small < large).all()
    distance = 0.25 * 3 * 112 * 112
    widths = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1, 5, 10, 15, 20, 25, 30, 35, 100, 1e3, 1e4, 1e5, 1e6]
    expected = 2 * sum(1 - math.exp(-distance / (2 * w)) for w in widths)
    assert float(small[0]) == pytest.approx(expected, rel=1e-3)


def test_a_heavy_naturalness_term_leaves_a_smaller_change():
    faces, aim = study()

    def masked(gamma):
        return TIPIM(8.0, steps=6, decoys=1, gamma=gamma, diversity=0.0)(faces, aim, [ToyTarget()], generator(0))

    free, bound = masked(0.0), masked(30.0)
    assert (bound - faces.images).square().mean() < 0.9 * (free - faces.images).square().mean()


def test_a_gallery_of_oneself_alone_is_refused():
    faces, aim = study(people=1)
    with pytest.raises(ConfigError, match="at least two"):
        TIPIM()(faces, aim, [ToyTarget()], generator(0))
