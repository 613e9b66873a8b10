"""The DCT against scipy, the band as a projector, and attacks that stay in ball and band."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import fft

from attacks.low_frequency import Band, LowFrequency, LowFrequencyBall, LowPassed, dct_matrix
from conftest import made_up_faces
from facesec_bench.errors import ConfigError
from facesec_bench.goals import Aim
from facesec_bench.interfaces import Faces
from facesec_bench.search import SignStep
from facesec_bench.seeds import generator
from facesec_bench.spaces import PixelBall
from facesec_bench.targets.toy import ToyTarget

SIDE = 48


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(0, "low frequency"))


def two_photos(kind: str = "dodge", side: int = SIDE) -> tuple[Faces, Aim]:
    """Two photos of each of three people: the first is attacked, the second is what the attacker holds."""
    faces = made_up_faces(3, 2, size=side)
    first, second = faces.select([0, 2, 4]), faces.select([1, 3, 5])
    rows = torch.arange(3) if kind == "dodge" else torch.arange(3).roll(1)
    return first, Aim(kind, second.images[rows], second.identities[rows], second)


@pytest.mark.parametrize("side", [1, 2, 8, 48])
def test_the_matrix_is_the_orthonormal_dct_of_scipy(side):
    matrix, images = dct_matrix(side), noise(2, 3, side, side).double()
    ours = matrix @ images @ matrix.T
    assert np.allclose(ours, fft.dctn(images.numpy(), type=2, norm="ortho", axes=(-2, -1)), atol=1e-10)
    assert torch.allclose(matrix @ matrix.T, torch.eye(side, dtype=torch.float64), atol=1e-10)


def test_the_whole_image_band_keeps_the_first_coefficients_and_drops_the_others():
    images = noise(2, 3, SIDE, 2 * SIDE).double()
    coefficients = fft.dctn(images.numpy(), norm="ortho", axes=(-2, -1))
    coefficients[..., SIDE // 4 :, :] = 0
    coefficients[..., :, SIDE // 2 :] = 0
    expected = fft.idctn(coefficients, norm="ortho", axes=(-2, -1))
    assert np.allclose(Band.of(images, 0.25, None)(images), expected, atol=1e-10)


def test_the_block_band_filters_each_block_alone():
    images = noise(1, 2, 16, 24).double()
    found = Band.of(images, 0.625, 8)(images)
    for top in range(0, 16, 8):
        for left in range(0, 24, 8):
            block = fft.dctn(images[..., top : top + 8, left : left + 8].numpy(), norm="ortho", axes=(-2, -1))
            block[..., 5:, :] = 0
            block[..., :, 5:] = 0
            expected = fft.idctn(block, norm="ortho", axes=(-2, -1))
            assert np.allclose(found[..., top : top + 8, left : left + 8], expected, atol=1e-10)


@pytest.mark.parametrize("block", [None, 8])
@given(keep=st.floats(0.01, 1))
@settings(max_examples=20, deadline=None)
def test_a_band_is_an_orthogonal_projector(block, keep):
    images, other = noise(2, 1, 3, 16, 16).double()
    band = Band.of(images, keep, block)
    low = band(images)
    assert torch.allclose(band(low), low, atol=1e-10), "filtering twice is filtering once"
    assert torch.allclose((low * other).sum(), (images * band(other)).sum(), atol=1e-9), "it is its own transpose"
    assert low.norm() <= images.norm() * (1 + 1e-12)


def test_the_band_of_all_frequencies_is_the_identity():
    images = noise(1, 3, 24, 24).double()
    for block in (None, 8):
        assert torch.allclose(Band.of(images, 1.0, block)(images), images, atol=1e-10)


@pytest.mark.parametrize(("keep", "block"), [(0.0, None), (1.5, None), (0.5, 7), (0.5, 0), (0.5, 96)])
def test_a_band_that_makes_no_sense_is_refused(keep, block):
    with pytest.raises(ConfigError, match="Low pass"):
        Band.of(torch.zeros(1, 3, SIDE, SIDE), keep, block)


@given(eps=st.floats(0, 64), keep=st.floats(0.02, 1), dark=st.booleans())
@settings(max_examples=20, deadline=None)
def test_projection_keeps_the_ball_exactly_and_each_round_leaves_less_outside_the_band(eps, keep, dark):
    origin = torch.zeros(1, 3, 32, 32) if dark else 0.5 + 0.1 * noise(1, 3, 32, 32).clamp(-3, 3)
    target, left = origin + 0.1 * noise(1, 3, 32, 32), []
    for rounds in (1, 4, 16):
        space = LowFrequencyBall(PixelBall(origin, eps / 255), Band.of(origin, keep, None), rounds)
        image = space.project(target)
        assert torch.equal(image, space.ball.project(image))
        left.append(float(space.outside(image)) * float((image - origin).square().sum()))
    assert left[2] <= left[1] + 1e-9 and left[1] <= left[0] + 1e-9


def test_projection_leaves_alone_what_is_already_in_ball_and_band():
    origin = torch.full((1, 3, 32, 32), 0.5)
    space = LowFrequencyBall(PixelBall(origin, 8 / 255), Band.of(origin, 0.2, None))
    change = space.band(noise(1, 3, 32, 32))
    member = origin + 8 / 255 * change / change.abs().max()
    assert torch.allclose(space.project(member), member, atol=1e-6)
    assert float(space.outside(member)) < 1e-9 and float(space.outside(origin)) == 0


def test_the_rule_steps_along_the_sign_of_the_filtered_gradient():
    band, gradient = Band.of(torch.zeros(1, 3, 16, 16), 0.25, None), noise(1, 3, 16, 16)
    moved = LowPassed(SignStep(0.1), band).step(torch.zeros(1, 3, 16, 16), lambda _: gradient)
    assert torch.equal(moved, -0.1 * band(gradient).sign())


@pytest.mark.parametrize("settings_", [{}, {"block": 8, "keep": 0.625}, {"decay": 1.0, "diversity": 1.0}])
@pytest.mark.parametrize("kind", ["dodge", "impersonate"])
def test_the_attack_works_within_ball_and_band(kind, settings_):
    (faces, aim), toy = two_photos(kind, 224), ToyTarget()
    attack = LowFrequency(8.0, steps=6, **settings_)
    result = attack(faces, aim, [toy], generator(0))
    assert (255 * (result - faces.images)).abs().max() <= 8 * (1 + 1e-5)
    assert attack.space(faces.images).outside(result).max() < 0.02
    goal = aim.on(toy)
    assert (goal.loss(toy.embed(result)) < goal.loss(toy.embed(faces.images)) - 0.03).all()


def test_with_all_frequencies_and_one_round_it_is_pgd():
    from attacks.pgd import PGD

    (faces, aim), toy = two_photos(), ToyTarget()
    ours = LowFrequency(8.0, steps=4, step=0.25, keep=1.0, rounds=1)(faces, aim, [toy], generator(0))
    plain = PGD(8.0, steps=4, step=0.25, random_start=False)(faces, aim, [toy], generator(0))
    close = (ours - plain).abs() < 1e-4  # the filter rounds, and a sign near zero may turn
    assert float(close.float().mean()) > 0.98
