"""The walk in latent space, Adam's step, penalties, and searches that drop images which have arrived."""

import pytest
import torch

from facesec_bench.errors import ConfigError
from facesec_bench.search import AdamStep, L2Step, Part, SignStep, minimise
from facesec_bench.seeds import generator
from facesec_bench.spaces import LatentWalk, PixelBall

RNG = generator(0, "latent walk tests")


def latent(count: int = 2) -> dict[str, torch.Tensor]:
    rng = generator(1, "latent")
    return {"a": torch.randn(count, 4, generator=rng), "b": torch.randn(count, 2, 3, 3, generator=rng)}


def picture(at) -> torch.Tensor:
    return torch.sigmoid(at["a"].sum(1)[:, None, None, None] + at["b"].mean(1, keepdim=True)).expand(-1, 3, -1, -1)


def test_a_walk_begins_at_its_origin_and_moves_only_what_is_free():
    origin = latent()
    walk = LatentWalk(origin, ["b"], picture)
    start = walk.start(RNG)
    assert start.shape == (2, 18)
    assert torch.equal(walk.render(start), picture(origin))
    moved = walk.latent(start + 1)
    assert torch.equal(moved["a"], origin["a"])
    assert torch.equal(moved["b"], origin["b"] + 1)


def test_units_scale_each_layer_of_the_walk():
    origin = latent()
    walk = LatentWalk(origin, ["b", "a"], picture, units={"a": 0.5})
    params = torch.arange(44.0).view(2, 22)
    moved = walk.latent(params)
    assert torch.allclose(moved["b"] - origin["b"], params[:, :18].view(2, 2, 3, 3), atol=1e-5)
    assert torch.allclose(moved["a"] - origin["a"], 0.5 * params[:, 18:], atol=1e-5)


def test_reach_bounds_the_root_mean_square_of_each_image_alone():
    walk = LatentWalk(latent(), ["a"], picture, reach=0.5)
    params = torch.tensor([[3.0, 4.0, 0.0, 0.0], [0.1, 0.0, 0.0, 0.0]])
    kept = walk.project(params)
    assert kept[0].square().mean().sqrt() == pytest.approx(0.5)
    assert torch.allclose(kept[0] / kept[0].norm(), params[0] / 5)
    assert torch.equal(kept[1], params[1])


@pytest.mark.parametrize(
    "wrong", [{"free": ["c"]}, {"free": []}, {"free": ["a", "a"]}, {"reach": 0.0}, {"units": {"a": 0.0}}]
)
def test_a_walk_that_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigError, match="LatentWalk"):
        LatentWalk(**{"origin": latent(), "free": ["a"], "picture": picture} | wrong)


def test_adam_takes_the_steps_of_torchs_own():
    goal = torch.randn(2, 3, 4, 4, generator=generator(2, "goal"))
    leaf = torch.full((2, 3, 4, 4), 0.5, requires_grad=True)
    reference = torch.optim.Adam([leaf], lr=0.03)
    for _ in range(7):
        reference.zero_grad()
        (leaf - goal).square().sum().backward()
        reference.step()
    space = PixelBall(torch.full((2, 3, 4, 4), 0.5), 10.0)
    # The ball would clip to [0, 1]; a space without borders shows Adam alone.
    free = type("Free", (), {"start": space.start, "render": lambda s, p: p, "project": lambda s, p: p})()
    found = minimise(lambda x: (x - goal).square().sum((1, 2, 3)), free, AdamStep(0.03), 7, RNG)
    assert torch.allclose(found, leaf.detach(), atol=1e-6)


def test_a_penalty_moves_the_minimum_as_ridge_regression_does():
    walk = LatentWalk({"p": torch.zeros(1, 3)}, ["p"], lambda at: at["p"][:, :, None, None])
    goal = torch.tensor([[1.0, -2.0, 0.5]])[:, :, None, None]
    found = minimise(
        lambda x: (x - goal).square().sum((1, 2, 3)),
        walk,
        L2Step(0.002),
        2500,
        RNG,
        penalty=lambda params: 3.0 * params.square().sum(1),
    )
    assert torch.allclose(found, goal[:, :, 0, 0] / 4, atol=0.003)  # argmin (p - g)^2 + 3 p^2


def search(goals: torch.Tensor, rule, narrowing: bool, seen: list[int]) -> torch.Tensor:
    """Images walk to their goals and stop 0.3 from them; `seen` counts images computed."""

    def part(rows: torch.Tensor) -> Part:
        wanted = goals[rows]

        def objective(x: torch.Tensor) -> torch.Tensor:
            seen.append(len(x))
            return (x - wanted).square().sum((1, 2, 3))

        space = PixelBall(torch.full((len(rows), 3, 2, 2), 0.5), 1.0)
        return Part([objective], space, None, lambda x: objective(x).sqrt() < 0.3)

    whole = part(torch.arange(len(goals)))
    return minimise(whole.objectives, whole.space, rule, 40, RNG, until=whole.until, narrow=part if narrowing else None)


@pytest.mark.parametrize("rule", [lambda: AdamStep(0.02), lambda: SignStep(0.02, decay=0.9)])
def test_images_that_arrived_are_dropped_and_nothing_else_changes(rule):
    goals = torch.stack([torch.full((3, 2, 2), value) for value in (0.55, 0.9, 0.7, 0.1)])
    dropped, carried = [], []
    short = search(goals, rule(), True, dropped)
    whole = search(goals, rule(), False, carried)
    assert torch.allclose(short, whole, atol=1e-6)
    assert sum(dropped) < 0.8 * sum(carried)
    assert torch.equal(short[0], torch.full((3, 2, 2), 0.5))  # began near enough


def test_narrowing_is_refused_where_it_has_no_meaning():
    space = PixelBall(torch.full((1, 3, 2, 2), 0.5), 0.1)
    part = Part([lambda x: x.sum((1, 2, 3))], space)
    with pytest.raises(ConfigError, match="narrow"):
        minimise(part.objectives, space, AdamStep(0.1), 3, RNG, narrow=lambda rows: part)
    with pytest.raises(ConfigError, match="keep"):
        minimise(
            part.objectives,
            space,
            L2Step(0.1),
            3,
            RNG,
            until=lambda x: x.sum((1, 2, 3)) < 0,
            narrow=lambda rows: part,
        )


@pytest.mark.parametrize("narrowing", [False, True])
def test_looks_come_every_so_many_moves_and_who_arrived_stays_in_between(narrowing):
    """Images step 0.1 towards 1 and stop from 0.75 on; looks come before moves 0, 3, 6, ..."""
    starts, looks = torch.tensor([0.8, 0.6, 0.1]), []

    def part(rows: torch.Tensor) -> Part:
        space = PixelBall(starts[rows].view(-1, 1, 1, 1).expand(-1, 3, 1, 1).contiguous(), 1.0)

        def until(images: torch.Tensor) -> torch.Tensor:
            looks.append(len(images))
            return images[:, 0, 0, 0] > 0.75

        return Part([lambda x: -x.sum((1, 2, 3))], space, None, until)

    whole = part(torch.arange(3))
    found = minimise(
        whole.objectives,
        whole.space,
        SignStep(0.1),
        7,
        RNG,
        until=whole.until,
        look_every=3,
        narrow=part if narrowing else None,
    )
    # The first stops at once, the second passes 0.75 after two moves and is seen after three, the third takes seven.
    assert torch.allclose(found[:, 0, 0, 0], torch.tensor([0.8, 0.9, 0.8]), atol=1e-6)
    assert looks == ([3, 2, 1] if narrowing else [3, 3, 3])


def test_looking_less_often_than_never_is_refused():
    space = PixelBall(torch.full((1, 3, 2, 2), 0.5), 0.1)
    with pytest.raises(ConfigError, match="look_every"):
        minimise(lambda x: x.sum((1, 2, 3)), space, SignStep(0.1), 3, RNG, look_every=0)
