"""The pixel ball, against a brute-force projection and for any image."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from facesec_bench.errors import ConfigError
from facesec_bench.seeds import generator
from facesec_bench.spaces import PixelBall, l2_radius, linf_radius

RADII = st.floats(0, 4, allow_nan=False)


def some(seed: int, low: float, high: float) -> torch.Tensor:
    return low + (high - low) * torch.rand(3, 3, 4, 4, generator=generator(seed, "some"))


@given(seed=st.integers(0, 10**6), radius=RADII, norm=st.sampled_from(["linf", "l2"]), spread=st.floats(0, 20))
@settings(max_examples=80, deadline=None)
def test_a_projection_keeps_to_the_ball_and_to_the_image_range(seed, radius, norm, spread):
    origin, params = some(seed, 0, 1), some(seed + 1, -spread, 1 + spread)
    inside = PixelBall(origin, radius, norm).project(params)
    assert inside.min() >= 0 and inside.max() <= 1
    change = (inside - origin).flatten(1)
    length = change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
    assert length.max() <= radius * (1 + 1e-5) + 1e-6
    assert torch.allclose(PixelBall(origin, radius, norm).project(inside), inside, atol=1e-6)


@given(seed=st.integers(0, 10**6), radius=RADII, norm=st.sampled_from(["linf", "l2"]))
@settings(max_examples=30, deadline=None)
def test_a_random_start_is_inside(seed, radius, norm):
    space = PixelBall(some(seed, 0, 1), radius, norm, random_start=True)
    start = space.start(generator(seed, "start"))
    assert torch.allclose(space.project(start), start, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_the_l2_projection_is_the_nearest_point_by_an_independent_solver(seed):
    origin, params = some(seed, 0, 1)[:1, :1].double(), some(seed + 9, -2, 3)[:1, :1].double()
    radius = 0.6
    ours = PixelBall(origin, radius, "l2").project(params).flatten()
    o, p = origin.flatten().numpy(), params.flatten().numpy()
    solved = minimize(
        lambda x: ((x - p) ** 2).sum(), o, jac=lambda x: 2 * (x - p), bounds=[(0, 1)] * len(o), method="SLSQP",
        constraints={"type": "ineq", "fun": lambda x: radius**2 - ((x - o) ** 2).sum(), "jac": lambda x: -2 * (x - o)},
        options={"ftol": 1e-14, "maxiter": 500},
    )  # fmt: skip
    assert solved.success
    assert torch.allclose(ours, torch.from_numpy(solved.x), atol=1e-4)


def test_an_image_projects_alike_alone_and_among_others():
    origin, params = some(0, 0, 1), some(1, -3, 4)
    together = PixelBall(origin, 1.0, "l2").project(params)
    alone = PixelBall(origin[:1], 1.0, "l2").project(params[:1])
    assert torch.equal(together[:1], alone)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_start_does_not_depend_on_later_batch_mates(norm):
    images = some(0, 0.3, 0.7)[..., :3]  # sides that no vectorised draw divides evenly
    few = PixelBall(images[:1], 0.1, norm, random_start=True).start(generator(0, "s"))
    many = PixelBall(images, 0.1, norm, random_start=True).start(generator(0, "s"))
    assert torch.equal(few[0], many[0])


def test_an_l2_start_has_no_favourite_direction():
    origin = torch.full((4000, 1, 1, 2), 0.5)
    step = PixelBall(origin, 0.1, "l2", random_start=True).start(generator(0, "s")) - origin
    angle = torch.atan2(step[:, 0, 0, 1], step[:, 0, 0, 0])
    # A direction drawn from a square points to its corners more often: the mean of cos 4a would be -0.12.
    assert abs(float(torch.cos(4 * angle).mean())) < 0.06
    assert float(step.flatten(1).norm(dim=1).mean()) == pytest.approx(0.05, rel=0.05)


def test_an_l2_budget_by_root_mean_square_compares_with_linf():
    origin = torch.full((1, 3, 8, 8), 0.5)
    full = origin + linf_radius(8)
    assert float((full - origin).norm()) == pytest.approx(l2_radius(8, origin.shape))


@pytest.mark.parametrize("arguments", [{"radius": -1.0}, {"radius": float("nan")}, {"radius": 0.1, "norm": "l1"}])
def test_a_ball_that_makes_no_sense_is_refused(arguments):
    with pytest.raises(ConfigError):
        PixelBall(torch.zeros(1, 3, 2, 2), **arguments)


def test_images_in_grey_levels_are_refused():
    with pytest.raises(ConfigError, match=r"\[0, 1\]"):
        PixelBall(torch.full((1, 3, 2, 2), 255.0), 0.1)
