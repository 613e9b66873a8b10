"""Random frequencies: against another library's cosine transform, and what a recogniser sees of them."""

import numpy as np
import pytest
import torch
from scipy.fft import dctn, idctn
from torch.nn import functional

from defenses.random_frequency import PartialTarget, RandomFrequency, choices, filtered
from facesec_bench.errors import ConfigError, DataError
from facesec_bench.seeds import generator
from facesec_bench.targets.toy import ToyTarget


def photos(count: int = 3) -> torch.Tensor:
    """Random photos of so little contrast that nothing is clipped."""
    return 0.4 + 0.2 * torch.rand(count, 3, 224, 224, generator=generator(0, "photos"))


def test_what_is_left_is_the_inverse_transform_of_the_kept_cosines():
    chips, kept = photos(2), choices(2, 5, 20, generator(0, "kept"))
    found = filtered(chips, kept).numpy()
    for photo, colour, y, x in ((0, 0, 0, 0), (1, 2, 216, 8), (0, 1, 104, 112)):
        block = chips[photo, colour, y : y + 8, x : x + 8].numpy()
        wanted = 0.5 + idctn(dctn(block, norm="ortho") * kept[photo].numpy(), norm="ortho")
        assert np.allclose(found[photo, colour, y : y + 8, x : x + 8], wanted, atol=1e-5)


def test_with_all_upper_frequencies_only_the_mean_of_a_block_is_missing():
    chips = photos()
    means = functional.interpolate(functional.avg_pool2d(chips, 8), scale_factor=8)
    assert torch.allclose(filtered(chips, choices(3, 1, 63, generator(0))), chips - means + 0.5, atol=1e-5)


def test_so_many_frequencies_are_chosen_and_never_a_low_one():
    found = choices(200, 6, 10, generator(0, "kept"))
    assert (found.sum((1, 2)) == 10).all()
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    assert found[:, rows + columns <= 2].sum() == 0, "six are those of the first three diagonals"
    assert (found[:, rows + columns > 2].sum(0) > 0).all(), "and each of the others comes up"


def test_the_choice_is_a_photos_own_or_one_for_all_and_follows_the_seed():
    chips = photos()
    own, one = (PartialTarget(ToyTarget(), 3, 10, key) for key in ("photo", "one"))
    same = chips[:1].repeat(2, 1, 1, 1)
    assert torch.equal(own.embed(same)[0], own.embed(same)[1])
    assert torch.equal(own.seen(chips)[1], own.seen(chips[1:2])[0]), "whoever else is there"
    assert torch.equal(one._choices(chips)[0], one._choices(chips)[1])
    assert not torch.equal(own._choices(chips)[0], own._choices(chips)[1])
    assert not torch.equal(PartialTarget(ToyTarget(), 3, 10, seed=1).seen(chips), own.seen(chips))


def test_it_is_a_target_of_its_own_and_gradients_reach_the_photo():
    plain, chips = ToyTarget(), photos().requires_grad_(True)
    target = RandomFrequency(low=3, keep=61)(plain)
    assert target.name == "toy_partial" and "61" in target.card.note
    assert target.digest != plain.digest != RandomFrequency(low=3, keep=60)(plain).digest
    found = target.embed(chips)
    assert torch.allclose(found.norm(dim=1), torch.ones(3), atol=1e-5)
    (gradient,) = torch.autograd.grad(found[:, 0].sum(), chips)
    blocks = functional.avg_pool2d(gradient, 8)
    assert gradient.abs().max() > 0 and blocks.abs().max() < 1e-3 * gradient.abs().max(), "means of blocks are unseen"


def test_a_taught_recogniser_sees_filtered_photos_more_like_the_plain_ones():
    coarse = torch.rand(12, 3, 28, 28, generator=generator(1, "coarse"))
    chips, plain = functional.interpolate(coarse, 224, mode="bilinear"), ToyTarget()
    before = plain.first.clone()
    near = []
    for steps in (0, 25):
        target = RandomFrequency(low=1, keep=50, steps=steps, learning_rate=3e-3)(plain, chips, generator(0, "teach"))
        with torch.no_grad():
            near.append(float((target.embed(chips) * plain.embed(chips)).sum(1).mean()))
    assert near[1] > near[0] + 0.1 and torch.equal(plain.first, before)


def test_settings_out_of_range_are_refused():
    for wrong in ({"low": 0}, {"keep": 64}, {"keep": 0}, {"key": "none"}, {"steps": -1}):
        with pytest.raises(ConfigError, match="wanted"):
            RandomFrequency(**wrong)
    with pytest.raises(DataError, match="other people"):
        RandomFrequency(steps=1)(ToyTarget(), photos(1), generator(0))
