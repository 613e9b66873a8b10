"""Random views of a photo."""

import pytest
import torch

from attacks.jitter import Jitter, jittered
from facesec_bench.errors import ConfigError
from facesec_bench.seeds import generator

PHOTOS = torch.rand(2, 3, 24, 24, generator=generator(0, "jitter"))


def test_no_jitter_is_the_objective_itself():
    def objective(images):
        return images.sum((1, 2, 3))

    assert jittered(objective, Jitter(), generator(1, "j")) is objective


def test_flip_alone_mirrors():
    assert torch.allclose(Jitter(flip=1.0).seen(PHOTOS, generator(1, "j")), PHOTOS.flip(-1), atol=1e-5)


def test_a_view_does_not_depend_on_who_else_is_in_the_batch():
    jitter = Jitter(0.2, 0.1, 0.1, 0.5, 0.2, 0.02)
    whole, alone = jitter.seen(PHOTOS, generator(1, "j")), jitter.seen(PHOTOS[1:], generator(1, "j"))
    assert torch.allclose(whole[1:], alone, atol=1e-6)


def test_views_differ_stay_in_range_and_repeat_by_seed():
    jitter = Jitter(0.2, 0.1, 0.1, 0.5, 0.5, 0.1)
    rng = generator(1, "j")
    first, second = jitter.seen(PHOTOS, rng), jitter.seen(PHOTOS, rng)
    assert not torch.allclose(first, second)
    assert torch.equal(first, jitter.seen(PHOTOS, generator(1, "j")))
    assert first.min() >= 0 and first.max() <= 1


def test_brightness_scales_every_pixel_alike():
    seen = Jitter(brightness=0.3).seen(0.5 * PHOTOS, generator(3, "j"))
    ratio = seen / (0.5 * PHOTOS)
    assert torch.allclose(ratio, ratio.flatten()[0].expand_as(ratio), atol=1e-3)
    assert 0.7 <= float(ratio.mean()) <= 1.3


@pytest.mark.parametrize("wrong", [{"rotation": -0.1}, {"flip": 1.5}, {"scale": 1.0}])
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigError, match="Jitter"):
        Jitter(**wrong)
