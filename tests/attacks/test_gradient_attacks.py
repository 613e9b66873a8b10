"""FGSM, PGD and the momentum family against closed forms, hand computations and scipy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from torch import nn
from torch.nn import functional

from attacks.budget import ball
from attacks.diversity import diverse, resized_and_padded
from attacks.fgsm import FGSM
from attacks.momentum import Momentum
from attacks.pgd import PGD
from attacks.random_sign import RandomSign
from attacks.scaling import scale_copies
from attacks.tip_im import TIPIM
from attacks.translation import TranslationInvariant, gaussian_kernel, smoothed
from attacks.variance import VarianceTuned
from facesec_bench.errors import ConfigError
from facesec_bench.goals import Aim
from facesec_bench.interfaces import Faces
from facesec_bench.search import SignStep
from facesec_bench.seeds import generator
from facesec_bench.targets.toy import ToyTarget

SIDE = 48


class Linear(nn.Module):
    """A recogniser whose embedding is linear in the pixels (not of unit length: a closed form needs no more)."""

    name, digest = "linear", ""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3 * SIDE * SIDE, 4, generator=generator(0, "linear")) / 100)

    def embed(self, chips):
        return chips.flatten(1) @ self.weight


def faces_and_aim(kind="dodge", images=None):
    rng = generator(0, "attack tests")
    images = 0.25 + 0.5 * torch.rand(3, 3, SIDE, SIDE, generator=rng) if images is None else images
    references = (images + 0.02 * torch.randn(images.shape, generator=rng)).clamp(0, 1)
    labels = torch.arange(len(images)) if kind == "dodge" else torch.arange(len(images)).roll(1)
    names = tuple(f"p{i}" for i in range(len(images)))
    gallery = Faces(references, torch.arange(len(images)), tuple(f"g{i}" for i in range(len(images))), names)
    return Faces(images, torch.arange(len(images)), names, names), Aim(kind, references[labels], labels, gallery)


def direction(aim, model):
    """The gradient of the goal's loss on the linear model, in closed form: plus or minus W a."""
    anchors = functional.normalize(model.embed(aim.references), dim=1)
    sign = 1.0 if aim.kind == "dodge" else -1.0
    return (sign * anchors @ model.weight.T).view_as(aim.references).detach()


@pytest.mark.parametrize("kind", ["dodge", "impersonate"])
def test_fgsm_equals_minus_eps_times_the_sign_of_the_gradient(kind):
    (faces, aim), model = faces_and_aim(kind), Linear()
    result = FGSM(8.0)(faces, aim, [model], generator(0))
    assert torch.allclose(result, faces.images - 8 / 255 * direction(aim, model).sign(), atol=1e-6)


def test_fgsm_moves_an_image_whose_reference_is_another_photo():
    faces, aim = faces_and_aim()
    toy = ToyTarget()
    result = FGSM(8.0)(faces, aim, [toy], generator(0))
    goal = aim.on(toy)
    assert (goal.loss(toy.embed(result)) < goal.loss(toy.embed(faces.images)) - 0.1).all()


def test_pgd_reaches_the_corner_of_the_ball_on_a_linear_model():
    (faces, aim), model = faces_and_aim(), Linear()
    result = PGD(eps_255=8.0, steps=12)(faces, aim, [model], generator(0))
    assert torch.allclose(result, faces.images - 8 / 255 * direction(aim, model).sign(), atol=1e-6)


def test_l2_pgd_ends_at_minus_r_times_the_unit_gradient():
    (faces, aim), model = faces_and_aim("impersonate"), Linear()
    result = PGD(rms_255=8.0, steps=6, random_start=False)(faces, aim, [model], generator(0))
    w = direction(aim, model)
    radius = 8 / 255 * (3 * SIDE * SIDE) ** 0.5
    assert torch.allclose(result, faces.images - radius * w / w.flatten(1).norm(dim=1).view(-1, 1, 1, 1), atol=1e-4)


def test_a_random_start_is_used_and_the_seed_decides_it():
    (faces, aim), toy = faces_and_aim(), ToyTarget()
    attack = PGD(eps_255=8.0, steps=2)
    first, again, other = (attack(faces, aim, [toy], generator(s)) for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_the_random_sign_control_spends_the_whole_budget_in_both_directions_alike():
    faces, aim = faces_and_aim()
    change = 255 * (RandomSign(8.0)(faces, aim, [], generator(0)) - faces.images)
    assert torch.allclose(change.abs(), torch.full_like(change, 8.0), atol=1e-3)
    assert abs(float((change > 0).float().mean()) - 0.5) < 0.02


def test_plain_iterated_fgsm_is_pgd_without_a_random_start():
    (faces, aim), toy = faces_and_aim(), ToyTarget()
    iterated = Momentum(8.0, steps=5, step=0.25, decay=0.0)(faces, aim, [toy], generator(0))
    assert torch.equal(iterated, PGD(8.0, steps=5, random_start=False)(faces, aim, [toy], generator(0)))


def test_smoothing_agrees_with_scipy():
    kernel = gaussian_kernel(7, 1.5)
    gradient = torch.randn(2, 3, 20, 20, generator=generator(0))
    outer = np.outer(kernel.numpy(), kernel.numpy())
    expected = [[ndimage.convolve(channel, outer, mode="constant") for channel in g.numpy()] for g in gradient]
    assert np.allclose(smoothed(gradient, kernel).numpy(), expected, atol=1e-6)


def test_the_kernel_is_a_gaussian_of_the_stated_sigma_in_pixels():
    kernel = gaussian_kernel(15, 3.0)
    assert float(kernel.sum()) == pytest.approx(1)
    assert float(kernel[7] / kernel[10]) == pytest.approx(np.exp(0.5), rel=1e-5)
    impulse = np.zeros(15)
    impulse[7] = 1
    assert np.allclose(kernel, ndimage.gaussian_filter1d(impulse, 3.0, radius=7), atol=1e-6)


def test_translation_invariance_smooths_before_the_sign():
    gradient = torch.zeros(1, 3, 9, 9)
    gradient[..., 4, 4] = 1.0
    moved = TranslationInvariant(SignStep(0.1), gaussian_kernel(3, 1.0)).step(
        torch.zeros(1, 3, 9, 9), lambda _: gradient
    )
    assert int((moved == -0.1).sum()) == 3 * 9 and int((moved == 0).sum()) == 3 * (81 - 9)


@pytest.mark.parametrize(("size", "sigma"), [(4, 1.0), (-1, 1.0), (3, 0.0)])
def test_a_kernel_that_makes_no_sense_is_refused(size, sigma):
    with pytest.raises(ConfigError):
        gaussian_kernel(size, sigma)


def test_scale_copies_average_to_the_papers_mean():
    images = torch.rand(2, 3, 4, 4, generator=generator(0))
    parts = scale_copies(lambda x: x.square().sum((1, 2, 3)), 3)
    mean = sum(part(images) for part in parts) / len(parts)
    assert torch.allclose(mean, images.square().sum((1, 2, 3)) * (1 + 1 / 4 + 1 / 16) / 3)


def test_diversity_shrinks_and_pads_with_zeros():
    whole = torch.ones(1, 3, 20, 20)
    corner = resized_and_padded(whole, 0.5, 0.0, 0.0, 0.0)
    assert corner.shape == whole.shape
    assert (corner[..., :10, :10] == 1).all() and float(corner.sum()) == 3 * 100
    far = resized_and_padded(whole, 0.5, 0.0, 0.999, 0.999)
    assert (far[..., 10:, 10:] == 1).all()
    assert torch.equal(resized_and_padded(whole, 0.5, 1.0, 0.3, 0.3), whole)


@given(seed=st.integers(0, 10**6), smallest=st.floats(0.1, 1))
@settings(max_examples=30, deadline=None)
def test_diversity_keeps_the_shape_for_any_draw(seed, smallest):
    draws = torch.rand(3, generator=generator(seed)).tolist()
    assert resized_and_padded(torch.ones(1, 3, 17, 17), smallest, *draws).shape == (1, 3, 17, 17)


def test_diversity_transforms_as_often_as_its_probability_says():
    touched = []
    objective = diverse(lambda x: touched.append(bool((x == 0).any())) or x.sum((1, 2, 3)), 0.7, 0.5, generator(0))
    for _ in range(400):
        objective(torch.ones(1, 1, 12, 12))
    assert 0.6 < np.mean(touched) < 0.8


def test_variance_is_the_mean_neighbour_gradient_less_the_gradient_there():
    # On the quadratic q |x|^2 / 2 the gradient is q x, so V is q times the mean of the draws.
    shape, q, reach = (1, 1, 2, 2), 3.0, 0.2
    rule = VarianceTuned(SignStep(0.1), 4, reach, generator(7))
    shown = []
    rule.rule.step = lambda params, gradient_at: shown.append(gradient_at(params)) or params
    x = torch.full(shape, 0.5)
    twin = generator(7)
    draws = torch.stack([reach * (2 * torch.rand(shape, generator=twin) - 1) for _ in range(4)])
    rule.step(x, lambda at: q * at)
    assert torch.allclose(shown[0], q * x), "the first step is not tuned yet"
    assert torch.allclose(rule.variance, q * draws.mean(0), atol=1e-6)
    rule.step(x, lambda at: q * at)
    assert torch.allclose(shown[1], q * x + q * draws.mean(0), atol=1e-6)


ATTACKS = {
    "fgsm": lambda eps: FGSM(eps),
    "pgd": lambda eps: PGD(eps_255=eps, steps=2),
    "pgd_l2": lambda eps: PGD(rms_255=eps, steps=2),
    "all_aids": lambda eps: Momentum(
        eps, 2, None, 1.0, True, diversity=0.7, smallest=0.8, kernel=5, sigma=1.0, copies=2, neighbours=1
    ),
    "tip_im": lambda eps: TIPIM(eps, steps=2, decoys=2, gamma=1.0),
    "random_sign": lambda eps: RandomSign(eps),
}
PIXELS = hnp.arrays(np.float32, (2, 3, 4, 4), elements=st.floats(0, 1, width=32))


@pytest.mark.parametrize("name", ATTACKS)
@given(pixels=PIXELS, eps=st.floats(0, 300), kind=st.sampled_from(["dodge", "impersonate"]))
@settings(max_examples=6, deadline=None)
def test_no_attack_leaves_its_ball_or_the_image_range(name, pixels, eps, kind):
    images = functional.interpolate(torch.from_numpy(pixels), SIDE)
    faces, aim = faces_and_aim(kind, images)
    # Looking ahead leaves [0, 1] by multiples of the budget; a target may refuse what is too far from an image.
    eps = min(eps, 16) if name == "all_aids" else eps
    result = ATTACKS[name](eps)(faces, aim, [ToyTarget()], generator(0))
    assert result.isfinite().all() and result.min() >= 0 and result.max() <= 1
    change = 255 * (result - images)
    size = change.square().mean((1, 2, 3)).sqrt() if name == "pgd_l2" else change.abs().amax((1, 2, 3))
    assert size.max() <= eps * (1 + 1e-4) + 1e-3


def test_exactly_one_budget_is_wanted():
    for budget in ({}, {"eps_255": 8.0, "rms_255": 8.0}):
        with pytest.raises(ConfigError, match="exactly one"):
            ball(torch.zeros(1, 3, 2, 2), **budget)


@pytest.mark.parametrize("build", [ATTACKS["pgd"], ATTACKS["all_aids"]])
def test_a_flipped_goal_does_the_opposite(build):
    """Dodging and impersonating one's own reference are opposite aims: the similarity falls and rises."""
    faces, dodge = faces_and_aim()
    toy = ToyTarget()
    anchors = toy.embed(dodge.references)
    before = (toy.embed(faces.images) * anchors).sum(1)
    embrace = Aim("impersonate", dodge.references, dodge.labels, dodge.gallery)
    down, up = (build(8.0)(faces, aim, [toy], generator(0)) for aim in (dodge, embrace))
    assert ((toy.embed(down) * anchors).sum(1) < before - 0.05).all()
    assert ((toy.embed(up) * anchors).sum(1) > before - 0.02).all(), "rising from 0.99 has little room"
