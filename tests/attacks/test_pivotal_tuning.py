"""Stage 1: latents and generators of photos, each photo's own."""

import pytest
import torch
from tiny_generator import SIDE, TinyGenerator, squared

from attacks.pivotal_tuning import Pivoting, invert, tune
from facesec_bench.errors import ConfigError
from facesec_bench.seeds import generator

HOW = Pivoting(layers=("z",), steps=60, step=0.1, tuning_steps=40, learning_rate=2e-2)


def pictures(count: int = 3) -> torch.Tensor:
    rng = generator(0, "pictures")
    coarse = torch.rand(count, 3, 7, 7, generator=rng)
    return torch.nn.functional.interpolate(coarse, SIDE, mode="bilinear")


def rngs(count: int) -> list[torch.Generator]:
    return [generator(0, "pivot", i) for i in range(count)]


def test_inversion_finds_the_latent_of_a_picture_that_the_generator_painted():
    tiny = TinyGenerator()
    latent = tiny.draw(2, generator(3, "z"))
    with torch.no_grad():
        wanted = tiny.synthesise(latent)
    how = Pivoting(layers=("z",), steps=400, step=0.05)
    found = invert(tiny, wanted, how, squared, tiny.units(), rngs(2))
    assert (tiny.synthesise(found) - wanted).abs().max() < 0.01
    assert torch.equal(found["f7"], latent["f7"])


def test_tuning_brings_the_picture_nearer_and_leaves_the_generator_alone():
    tiny = TinyGenerator()
    before = {name: p.clone() for name, p in tiny.state_dict().items()}
    flags = [p.requires_grad for p in tiny.parameters()]
    latent = invert(tiny, pictures(), HOW, squared, tiny.units(), rngs(3))
    with torch.no_grad():
        inverted = squared(tiny.synthesise(latent), pictures())
        tuned = squared(tune(tiny, latent, pictures(), HOW, squared, generator(0, "t")).synthesise(latent), pictures())
    assert (tuned < 0.5 * inverted).all()
    assert all(torch.equal(before[name], p) for name, p in tiny.state_dict().items())
    assert flags == [p.requires_grad for p in tiny.parameters()]


@pytest.mark.parametrize("stop", [0.0, 0.05])
def test_the_order_of_photos_changes_nothing(stop):
    tiny, order = TinyGenerator(), [2, 0, 1]
    how = Pivoting(layers=("z",), steps=20, step=0.1, tuning_steps=30, learning_rate=2e-2, stop=stop)

    def painted(which):
        own = [rngs(3)[i] for i in which]
        latent = invert(tiny, pictures()[which], how, squared, tiny.units(), own)
        with torch.no_grad():
            return tune(tiny, latent, pictures()[which], how, squared, generator(0, "t")).synthesise(latent)

    straight, shuffled, alone = painted([0, 1, 2]), painted(order), painted([1])
    assert torch.allclose(straight[order], shuffled, atol=1e-5)
    assert torch.allclose(straight[1:2], alone, atol=1e-5)


def test_a_photo_that_is_near_enough_is_tuned_no_further():
    tiny = TinyGenerator()
    latent = tiny.draw(2, generator(3, "z"))
    with torch.no_grad():
        own = tiny.synthesise(latent)
    wanted = torch.stack([own[0], pictures(1)[0]])  # the first is there already
    how = Pivoting(layers=("z",), tuning_steps=40, learning_rate=2e-2, stop=1e-3)
    tuned = tune(tiny, latent, wanted, how, squared, generator(0, "t"))
    moved = [
        max(float((p - q).detach().abs().max()) for p, q in zip(copy, tiny.parameters(), strict=True))
        for copy in tuned.copies
    ]
    # Both train until the first look, after ten steps; from then on only the one that is far.
    assert 2 * moved[0] < moved[1]


def test_a_pivoting_that_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="Pivoting"):
        Pivoting(layers=("z",), step=0.0)
