"""Repulsion from the boundary: to the middle, from labels only."""

import pytest
import torch
from torch import nn

from attacks.boundary_repulsion import BoundaryRepulsion, Repulsion
from facesec_bench.access import ClassifierAccess
from facesec_bench.errors import ConfigError, DataError
from facesec_bench.seeds import generator


def disc(params: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Everybody is seen within 5 of the origin."""
    return params.norm(dim=1) <= 5


def test_a_point_near_the_border_moves_to_the_middle_and_its_sphere_grows():
    rule = Repulsion(disc, generator(0, "rule"))
    params = torch.tensor([[4.9, 0.0], [0.0, -4.0]])
    before = params.norm(dim=1)
    for _ in range(60):
        params = rule.step(params, None)
        assert disc(params, torch.arange(2)).all(), "a step never leaves the person"
    assert (params.norm(dim=1) < 0.6 * before).all()
    assert (rule.radii > 2).all()


def test_a_move_is_a_third_of_the_radius_times_the_mean_over_all_points():
    """Of 100 dimensions half the points are wrong: their mean is far shorter than one of them."""
    asked = []

    def half(params, rows):
        asked.append(params)
        return torch.arange(len(params)) % 2 == 0

    rule = Repulsion(half, generator(0, "rule"), radius=2.0, points=32)
    params = torch.zeros(1, 100)
    moved = rule.step(params, None)
    directions = (asked[0] - params) / 2.0
    wrong = (torch.arange(32) % 2 == 1).float()[:, None]
    assert torch.allclose(moved[0], -(2.0 / 3) * (wrong * directions).sum(0) / 32, atol=1e-6)
    assert moved.norm() < 0.2


def test_in_the_open_a_sphere_grows_and_nothing_moves():
    rule = Repulsion(lambda params, rows: torch.ones(len(params), dtype=torch.bool), generator(0), radius=1.0)
    params = torch.tensor([[1.0, 2.0]])
    for _ in range(3):
        assert torch.equal(rule.step(params, None), params)
    assert rule.radii.item() == pytest.approx(1.3**3)


def test_who_waited_long_enough_rests_and_asks_no_more():
    asked = []

    def never(params, rows):
        asked.append(len(params))
        return torch.zeros(len(params), dtype=torch.bool)

    rule = Repulsion(never, generator(0), points=4, patience=2)
    for _ in range(5):
        rule.step(torch.zeros(1, 2), None)
    assert sum(asked) == 2 * (4 + 1)


class Colours(nn.Module):
    name, classes, digest = "colours", 3, "0" * 64

    def features(self, chips):
        return chips.mean((2, 3))

    def head(self, features):
        return features


class Flat:
    name, cost = "flat", None

    def bind(self, victim, public, rng):
        return self

    def given(self, people):
        return self

    def draw(self, count, rng):
        return torch.randn(count, 3, generator=rng)

    def picture(self, params):
        return params.sigmoid()[:, :, None, None].expand(-1, -1, 8, 8)

    render = picture

    def project(self, params):
        return params.clamp(-9, 9)


def test_labels_suffice_to_go_deeper_and_every_query_is_counted():
    people, attack = torch.tensor([0, 1, 2, 1]), BoundaryRepulsion(Flat(), steps=30)
    victim = ClassifierAccess(Colours(), "hard_label")
    start = BoundaryRepulsion(Flat(), steps=0)(people, ClassifierAccess(Colours(), "hard_label"), None, generator(0))
    chips = attack(people, victim, None, generator(0))

    def margin(images):
        means = images.mean((2, 3))
        return means[range(4), people] - means.masked_fill(nn.functional.one_hot(people, 3).bool(), -1).amax(1)

    assert (margin(start) > 0).all() and margin(chips).mean() > margin(start).mean() + 0.1
    assert victim.meter.gradients == 0 and victim.meter.queries > 30 * 32 * 4


class Boxed(Flat):
    """Nothing beyond 1 is admitted, and nothing else is ever painted."""

    def project(self, params):
        return params.clamp(-1, 1)

    def render(self, params):
        assert params.abs().max() <= 1, "asked about what the prior does not admit"
        return self.picture(params)

    def draw(self, count, rng):
        return self.project(super().draw(count, rng))


def test_nothing_beyond_the_prior_is_asked_about():
    victim = ClassifierAccess(Colours(), "hard_label")
    BoundaryRepulsion(Boxed(), steps=5)(torch.tensor([0, 1]), victim, None, generator(0))


def test_who_is_never_seen_gets_a_drawn_picture_and_a_note_and_the_others_their_search():
    victim = ClassifierAccess(Never(), "hard_label")
    people = torch.tensor([0, 2, 1])
    chips = BoundaryRepulsion(Flat(), steps=20, draws=128)(people, victim, None, generator(0))
    (note,) = victim.meter.notes
    assert "of 128 drawn pictures" in note and "1 of 3 pictures" in note
    means = chips.mean((2, 3))
    assert means[0].argmax() == 0 and means[2].argmax() == 1, "who is seen is searched for"
    plain = BoundaryRepulsion(Flat(), steps=0, draws=128)(
        people, ClassifierAccess(Never(), "hard_label"), None, generator(0)
    )
    assert torch.equal(chips[1], plain[1]) and not torch.equal(chips[0], plain[0])


def test_nobody_seen_at_all_is_an_error():
    with pytest.raises(DataError, match="none of 2 drawn pictures"):
        BoundaryRepulsion(Flat(), draws=2)(
            torch.tensor([2]), ClassifierAccess(Never(), "hard_label"), None, generator(0)
        )
    with pytest.raises(ConfigError, match="growth above 1"):
        BoundaryRepulsion(Flat(), growth=1.0)


class Never(Colours):
    def head(self, features):
        return features - torch.tensor([0.0, 0.0, 9.0])
