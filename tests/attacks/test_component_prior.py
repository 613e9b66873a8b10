"""Components: the generator computes what the parameters say, as it would draw it, and nothing else changes."""

import pytest
import torch
from tiny_generator import TinyGenerator

from attacks.component_prior import ComponentPrior, GeneratorComponents
from facesec_bench.errors import ConfigError
from facesec_bench.seeds import generator


class Telling(TinyGenerator):
    """Tells what it computes; its features are linear in z, so six components are all there is."""

    def values(self, latent):
        return {"z": latent["z"], "f7": self.first(latent["z"]).view(-1, 5, 7, 7) + latent["f7"]}

    def synthesise(self, latent):
        return torch.sigmoid(self.last(self.values(latent)["f7"]))


class Rows(TinyGenerator):
    """Two rows that no layer computes, as those of W+."""

    def units(self):
        return {"a": 1.0, "b": 1.0}

    def mean(self, count, rng):
        return {"a": torch.full((count, 3), 2.0), "b": torch.zeros(count, 2)}

    def draw(self, count, rng):
        return {"a": 2 + torch.randn(count, 3, generator=rng), "b": 5 * torch.randn(count, 2, generator=rng)}

    def values(self, latent):
        return dict(latent)

    def synthesise(self, latent):
        return torch.cat([latent["a"], latent["b"]], 1)[:, None, None, :].expand(-1, 3, -1, -1)


def test_it_computes_the_mean_and_the_axes_that_it_was_asked_for():
    telling = Telling()
    prior = ComponentPrior(telling, ["f7"], components=6, pictures=500)
    params = torch.randn(4, 6, generator=generator(0, "p"))
    found = telling.values(prior._latent(params))["f7"].flatten(1)
    assert torch.allclose(found, prior.centre + params @ prior.axes, atol=1e-4)
    drawn = telling.draw(500, generator(0, "components"))
    wanted = telling.values(drawn)["f7"].flatten(1)
    assert torch.allclose(prior.centre, wanted.mean(0), atol=1e-5)
    inside = (wanted - prior.centre) @ prior.axes.T / prior.axes.square().sum(1)
    assert torch.allclose(inside.std(0), torch.ones(6), atol=1e-2), "a parameter is a standard deviation"
    assert torch.allclose(inside @ prior.axes, wanted - prior.centre, atol=1e-3), "six are all there is"
    sizes = prior.axes.norm(dim=1)
    assert (sizes[:-1] >= sizes[1:]).all(), "the largest first"


def test_rows_of_a_latent_move_together_and_pictures_are_those_of_the_generator():
    prior = ComponentPrior(Rows(), ["a", "b"], components=5, pictures=4000)
    assert torch.allclose(prior.centre, torch.tensor([2.0, 2.0, 2.0, 0.0, 0.0]), atol=0.3)
    assert prior.axes[:2, 3:].norm() > 6 and prior.axes[:2, :3].norm() < 1, "b is spread most"
    params = torch.randn(3, 5, generator=generator(1, "p"), requires_grad=True)
    picture = prior.picture(params)
    assert torch.allclose(picture[:, 0, 0], prior.centre + params @ prior.axes, atol=1e-5)
    picture.sum().backward()
    assert params.grad.abs().sum() > 0


def test_what_is_drawn_is_normal_and_stays_in_its_box_by_the_same_seed():
    prior = ComponentPrior(Telling(), ["f7"], components=3, pictures=50, box=1.0)
    one, two = (prior.draw(1000, generator(0, "d")) for _ in range(2))
    assert torch.equal(one, two) and one.shape == (1000, 3) and one.abs().max() == 1.0
    assert torch.equal(prior.project(torch.full((1, 3), 9.0)), torch.ones(1, 3))
    again = ComponentPrior(Telling(), ["f7"], components=3, pictures=50, box=1.0)
    assert torch.equal(again.axes, prior.axes) and torch.equal(again.render(one[:2]), prior.render(one[:2]))
    assert prior.render(one[:2]).shape == (2, 3, 224, 224)


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="tiny, which does not tell"):
        ComponentPrior(TinyGenerator(), ["f7"])
    with pytest.raises(ConfigError, match=r"\['f9'\], wanted some of tiny's: \['z', 'f7'\]"):
        ComponentPrior(Telling(), ["f9"])
    with pytest.raises(ConfigError, match="50 of 50 pictures"):
        ComponentPrior(Telling(), ["f7"], components=50, pictures=50)
    with pytest.raises(ConfigError, match="box -1"):
        ComponentPrior(Telling(), ["f7"], components=3, pictures=50, box=-1)
    with pytest.raises(ConfigError, match="one computed from another"):
        ComponentPrior(Telling(), ["z", "f7"], components=3, pictures=50)


def test_a_maker_gives_the_prior_where_the_photos_are():
    maker = GeneratorComponents(Telling(), ["f7"], components=3, pictures=50)
    prior = maker.bind(None, torch.empty(0, 3, 224, 224), generator(0, "x"))
    assert prior.axes.shape == (3, 245) and prior.given(torch.tensor([1])) is prior


@pytest.mark.assets("dcgan")
def test_dcgan_tells_what_it_computes():
    from facesec_bench.generators.dcgan import DCGAN

    dcgan = DCGAN()
    latent = dcgan.draw(4, generator(0, "l"))
    with torch.no_grad():
        values = dcgan.values(latent)
        moved = dict(dcgan.mean(4, generator(0, "m")))
        moved["f8"] = values["f8"] - dcgan.values(moved)["f8"]
        assert list(values) == list(latent) and torch.equal(values["z"], latent["z"])
        assert torch.allclose(dcgan.synthesise(moved), dcgan.synthesise(latent), atol=1e-5), "f8 is all that is seen"
        prior = ComponentPrior(dcgan, ["f8"], components=20, pictures=100)
        params = torch.randn(2, 20, generator=generator(0, "p"))
        found = dcgan.values(prior._latent(params))["f8"].flatten(1)
        assert torch.allclose(found, prior.centre + params @ prior.axes, atol=1e-3)


def test_stylegan2_tells_its_own_rows():
    from facesec_bench.generators.stylegan2 import StyleGAN2

    network = StyleGAN2.random()
    rows = [layer for layer in network.units() if layer.startswith("w")]
    prior = ComponentPrior(network, rows, components=8, pictures=64)
    with torch.no_grad():
        one, two = prior.picture(torch.zeros(2, 8)), prior.picture(torch.ones(2, 8))
    assert torch.allclose(one[0], one[1], atol=1e-5) and not torch.allclose(one, two)


def test_a_picture_does_not_depend_on_its_place_in_a_batch():
    from attacks.inversion_priors import GeneratorPrior
    from facesec_bench.generators.stylegan2 import StyleGAN2

    network = StyleGAN2.random()
    prior = GeneratorPrior(network, ["w0", "w1"])
    params = prior.draw(1, generator(0, "p")).expand(2, -1)
    with torch.no_grad():
        one, two = prior.picture(params)
    assert torch.allclose(one, two, atol=1e-6), "the noise maps are the same"


def test_the_mean_is_asked_for_once_an_attack():
    from attacks.inversion_priors import GeneratorPrior

    class Counting(Telling):
        asked = 0

        def mean(self, count, rng):
            self.asked += 1
            return super().mean(count, rng)

    counting = Counting()
    prior = GeneratorPrior(counting, ["z"]).bind(None, torch.empty(0), generator(0, "x"))
    for _ in range(3):
        prior.picture(torch.zeros(2, 6))
    assert counting.asked == 1
    prior.bind(None, torch.empty(0), generator(0, "x")).picture(torch.zeros(2, 6))
    assert counting.asked == 2
    components = ComponentPrior(counting, ["f7"], components=3, pictures=50)
    asked = counting.asked
    components.picture(torch.zeros(2, 3))
    assert counting.asked == asked
