"""Stages: what rests keeps its bits, bounds hold, and the projection is the nearest point."""

import pytest
import torch
from scipy.optimize import minimize

from attacks.inversion_priors import GeneratorPrior
from attacks.inversion_stages import Near, Stage, near, within_l1
from facesec_bench.errors import ConfigError
from facesec_bench.seeds import generator


class Painter(torch.nn.Module):
    """A generator of two layers: a latent of 2 and a map of 3."""

    name, resolution, digest = "painter", 8, "0"
    landmarks = ((2.0, 3.0), (5.0, 3.0), (3.5, 4.0), (2.5, 6.0), (4.5, 6.0))

    def units(self):
        return {"z": 1.0, "f": 2.0}

    def mean(self, count, rng):
        return {"z": torch.zeros(count, 2), "f": torch.zeros(count, 3)}

    def draw(self, count, rng):
        return self.mean(count, rng)

    def synthesise(self, latent):
        return torch.rand(len(latent["z"]), 3, 8, 8)


PRIOR = GeneratorPrior(Painter(), ["z", "f"])


def test_layers_that_a_stage_does_not_name_rest():
    begin = torch.randn(2, 5, generator=generator(0))
    space = near(PRIOR, begin, Stage(1, layers=["f"], reach=0.5))
    moved = space.project(begin + 3 * torch.randn(2, 5, generator=generator(1)))
    assert torch.equal(moved[:, :2], begin[:, :2])
    assert not torch.equal(moved[:, 2:], begin[:, 2:])
    assert (moved - begin).abs().max() <= 0.5 + 1e-6


def test_a_ball_bounds_the_sum_and_each_layer_has_its_own():
    begin = torch.zeros(1, 5)
    space = near(PRIOR, begin, Stage(1, layers=["z", "f"], ball=1.0))
    moved = space.project(torch.tensor([[3.0, 0.0, 0.2, 0.2, 0.2]]))
    assert torch.allclose(moved, torch.tensor([[1.0, 0.0, 0.2, 0.2, 0.2]]))


def test_no_bound_is_the_prior_itself_and_wrong_stages_are_refused():
    assert not isinstance(near(PRIOR, torch.zeros(1, 5), Stage(3)), Near)
    with pytest.raises(ConfigError, match="wanted some of the prior's own"):
        near(PRIOR, torch.zeros(1, 5), Stage(1, layers=["w"], reach=1.0))
    for wrong in ({"steps": -1}, {"steps": 1, "reach": 0.0}, {"steps": 1, "reach": 1.0, "ball": 1.0}):
        with pytest.raises(ConfigError, match="one bound"):
            Stage(**wrong)


@pytest.mark.parametrize("seed", range(4))
def test_the_l1_projection_is_the_nearest_point_of_the_ball(seed):
    move = 2 * torch.randn(1, 4, generator=generator(seed, "move"), dtype=torch.float64)
    found = within_l1(move, 1.5)
    assert found.abs().sum() <= 1.5 + 1e-9
    # An independent solver: |x| split into two non-negative halves.
    point = move[0].numpy()
    best = minimize(
        lambda h: ((h[:4] - h[4:] - point) ** 2).sum(),
        [0.01] * 8,
        bounds=[(0, None)] * 8,
        constraints={"type": "ineq", "fun": lambda h: 1.5 - h.sum()},
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    ).x
    assert torch.allclose(found[0], torch.from_numpy(best[:4] - best[4:]), atol=1e-4)
    inside = move / move.abs().sum()
    assert torch.equal(within_l1(inside, 1.5), inside)
