"""Guidance without a network: zero where it should be, closed forms, and a gradient that leads to the colour."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from facesec_bench.errors import ConfigError, DataError
from facesec_bench.interfaces import Guidance
from facesec_bench.makeup.cielab import to_lab
from facesec_bench.makeup.colours import read_prompt
from facesec_bench.makeup.guidance import (
    NoGuidance,
    PaletteGuidance,
    ReferenceGuidance,
    moments,
    quantiles,
    statistics,
)
from facesec_bench.makeup.regions import mask
from facesec_bench.makeup.renderer import HEAVY, MakeupSpace, apply
from facesec_bench.search import AdamStep, minimise
from facesec_bench.seeds import generator

PROMPT = "red lipstick with purple eyeshadow"
CONF = Path(__file__).parents[2] / "experiments" / "conf" / "guidance"


def faces(count=2, side=56, seed="a", dtype=torch.float32):
    texture = 0.1 * (torch.rand(count, 3, side, side, generator=generator(0, seed), dtype=torch.float64) - 0.5)
    return (torch.tensor([0.8, 0.6, 0.5], dtype=torch.float64).view(1, 3, 1, 1) + texture).to(dtype)


def guides():
    return {
        "none": NoGuidance(),
        "palette": PaletteGuidance(PROMPT),
        "histogram": ReferenceGuidance(apply(faces(1, 64, "b"), read_prompt(PROMPT))),
        "statistics": ReferenceGuidance(apply(faces(1, 64, "b"), read_prompt(PROMPT)), by="statistics"),
    }


@pytest.mark.parametrize("name", ["none", "palette", "histogram", "statistics"])
def test_a_loss_is_one_number_an_image_that_depends_on_that_image_only(name):
    guide: Guidance = guides()[name]
    chips = faces(3)
    loss = guide.bind(chips, generator(0))
    images = (chips + 0.05).requires_grad_()
    whole = loss(images)
    assert whole.shape == (3,) and whole.isfinite().all() and (whole >= 0).all()
    (gradient,) = torch.autograd.grad(whole[0], images)
    assert gradient.isfinite().all() and not gradient[1:].any()
    rows = torch.tensor([2, 0])
    assert torch.allclose(guide.bind(chips[rows], generator(0))(images[rows]), whole[rows], rtol=1e-4, atol=1e-5)


def test_no_guidance_is_zero_with_a_gradient():
    images = faces().requires_grad_()
    loss = NoGuidance().bind(faces(), generator(0))(images)
    (gradient,) = torch.autograd.grad(loss.sum(), images)
    assert not loss.any() and not gradient.any()


def test_the_palette_is_satisfied_by_the_makeup_it_names_and_by_nothing_else():
    chips = faces(dtype=torch.float64)
    loss = PaletteGuidance(PROMPT).bind(chips, generator(0))
    at = {words: loss(apply(chips, read_prompt(words))) for words in (PROMPT, "red lipstick", "green lipstick")}
    assert at[PROMPT].max() < 1e-6
    bare = loss(chips)
    assert (bare > 0.5).all() and (at["red lipstick"] < bare).all() and (at["green lipstick"] > bare).all()


def test_a_region_that_is_not_named_is_asked_to_stay():
    chips = faces()
    guide = PaletteGuidance("red lipstick")
    loss = guide.bind(chips, generator(0))
    worn = apply(chips, read_prompt("red lipstick"))
    also = apply(worn, read_prompt("blue eyeshadow"))
    assert (loss(also) > loss(worn) + 0.1).all()
    indifferent = PaletteGuidance("red lipstick", rest=0.0).bind(chips, generator(0))
    assert torch.allclose(indifferent(also), indifferent(worn), atol=1e-3)


@pytest.mark.parametrize(("colour", "channel"), [("red", 1), ("lime", 0), ("gold", 2), ("teal", 0)])
def test_the_gradient_of_the_palette_points_towards_the_colour(colour, channel):
    chips = faces(1, 112)
    images = chips.clone().requires_grad_()
    loss = PaletteGuidance(f"{colour} lipstick", rest=0.0).bind(chips, generator(0))
    (gradient,) = torch.autograd.grad(loss(images).sum(), images)
    core = (mask("lips", 112) > 0.99)[0, 0]
    assert (gradient[0, channel, core] > 0).all(), "less of what the colour lacks lowers the loss"
    assert not gradient[0][:, (mask("lips", 112) == 0)[0, 0]].any()


@pytest.mark.parametrize("by", ["histogram", "statistics"])
def test_a_reference_is_satisfied_by_itself_and_pulls_towards_it(by):
    reference = apply(faces(1), read_prompt(PROMPT))
    guide = ReferenceGuidance(reference, by=by, fit=False)
    own = faces(1, seed="c")
    loss = guide.bind(own, generator(0))
    assert float(loss(reference)) < 1e-6
    assert float(loss(apply(own, read_prompt(PROMPT)))) < 0.2 * float(loss(own))
    assert float(ReferenceGuidance(reference, by=by, strength=0.0, fit=False).bind(own, generator(0))(own)) < 1e-6


def test_the_histogram_loss_is_the_squared_distance_to_the_matched_region():
    # With every pixel of equal weight, matching by rank is sorting: an independent computation in numpy.
    lab = 20 * torch.randn(2, 3, 8, 8, generator=generator(0, "x"), dtype=torch.float64)
    other = 20 * torch.randn(1, 3, 8, 8, generator=generator(0, "y"), dtype=torch.float64)
    equal = torch.ones(1, 1, 8, 8, dtype=torch.float64)
    found = (quantiles(lab, equal) - quantiles(other, equal)).square().mean(-1)
    theirs = (np.sort(lab.numpy().reshape(2, 3, 64)) - np.sort(other.numpy().reshape(1, 3, 64))) ** 2
    assert np.allclose(found.numpy(), theirs.mean(-1))


def test_quantiles_count_weights_as_numbers_of_pixels():
    values = torch.tensor([5.0, 1.0, 3.0, 9.0], dtype=torch.float64).view(1, 1, 2, 2)
    weights = torch.tensor([1.0, 2.0, 1.0, 0.0], dtype=torch.float64).view(1, 1, 2, 2)
    repeated = torch.tensor([5.0, 1.0, 1.0, 3.0], dtype=torch.float64).view(1, 1, 2, 2)
    means = [float(quantiles(v, w, 4000).mean()) for v, w in ((values, weights), (repeated, torch.ones_like(repeated)))]
    assert means[0] == pytest.approx(2.5, abs=0.3) and means[1] == pytest.approx(2.5, abs=0.01)
    assert float(quantiles(values, weights, 4000).max()) <= 5, "a pixel of weight 0 does not count"


def test_quantiles_of_an_image_do_not_know_of_the_pixels_that_weigh_in_another():
    values = torch.tensor([[0.0, 0.1, 1.0], [0.3, 0.2, 0.1], [7.0, 8.0, 9.0]], dtype=torch.float64).view(3, 1, 1, 3)
    weights = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 0.5], [0.0, 0.0, 0.0]], dtype=torch.float64).view(3, 1, 1, 3)
    together = quantiles(values, weights, 4)
    for i in range(3):
        assert torch.equal(together[i], quantiles(values[i : i + 1], weights[i : i + 1], 4)[0])
    assert together[0, 0].tolist() == pytest.approx([0, 0.25, 0.75, 1])
    assert not together[2].any(), "a region of no weight has no colours"


def test_the_gradient_of_quantiles_reaches_no_pixel_of_weight_0():
    values = torch.rand(2, 1, 1, 9, generator=generator(0, "v"), dtype=torch.float64, requires_grad=True)
    weights = (torch.rand(2, 1, 1, 9, generator=generator(0, "w"), dtype=torch.float64) > 0.5).double()
    (gradient,) = torch.autograd.grad((quantiles(values, weights, 16) ** 2).sum(), values)
    assert not gradient[weights == 0].any() and gradient[weights > 0].all()


@pytest.mark.parametrize("by", ["histogram", "statistics"])
def test_a_region_that_the_reference_does_not_show_keeps_its_own_colours(by, monkeypatch):
    from facesec_bench.makeup import fitting

    reference, chips = apply(faces(1), read_prompt(PROMPT)), faces(1, seed="c")
    guide = ReferenceGuidance(reference, by=by, regions={"lids": 1.0})
    weights = fitting.Fit.weights
    hidden = [{}]  # sunglasses on the reference: its lids have no weight

    def weighed(fit):
        found = weights(fit)
        return {
            region: w * (hidden[0].get(region, 1.0) if torch.equal(fit.lab, to_lab(reference)) else 1.0)
            for region, w in found.items()
        }

    monkeypatch.setattr(fitting.Fit, "weights", weighed)
    assert float(guide.bind(chips, generator(0))(chips)) > 0.1
    hidden[0] = {"lids": 0.0}
    assert float(guide.bind(chips, generator(0))(chips)) < 1e-6


def test_a_reference_is_known_by_what_it_shows(tmp_path):
    chip, other = faces(1), faces(1, seed="b")
    assert ReferenceGuidance(chip).digest == ReferenceGuidance(chip.clone()).digest
    assert ReferenceGuidance(chip).digest != ReferenceGuidance(other).digest
    assert len(ReferenceGuidance(chip).digest) == 64


@pytest.mark.parametrize("by", ["histogram", "statistics"])
def test_shuffling_the_pixels_inside_a_constant_mask_changes_nothing(by):
    reference, chips = faces(1, seed="b"), faces(1, dtype=torch.float64)
    core = (mask("skin", 56) == 1)[0, 0]
    shuffled = chips.clone()
    order = torch.randperm(int(core.sum()), generator=generator(0, "order"))
    shuffled[..., core] = chips[..., core][..., order]
    loss = ReferenceGuidance(reference, by=by, regions={"skin": 1.0}, fit=False).bind(chips, generator(0))
    assert torch.allclose(loss(chips), loss(shuffled), rtol=1e-3)


def test_statistics_are_those_of_numpy():
    lab, weights = to_lab(faces(2, 20, dtype=torch.float64)), mask("face", 20).double()
    mean, deviation = statistics(lab, weights)
    full_mean, covariance = moments(lab, weights)
    for i in range(2):
        flat, w = lab[i].flatten(1).numpy(), weights.flatten().numpy()
        assert np.allclose(mean[i], np.average(flat, axis=1, weights=w), atol=1e-5)
        assert np.allclose(covariance[i], np.cov(flat, aweights=w, ddof=0), atol=1e-4)
        assert np.allclose(deviation[i], np.sqrt(np.diag(np.cov(flat, aweights=w, ddof=0))), atol=1e-4)
    assert torch.equal(mean, full_mean)


def test_quantiles_are_differentiable_in_the_values():
    lab = torch.randn(1, 3, 5, 5, generator=generator(0, "g"), dtype=torch.float64, requires_grad=True)
    weights = torch.rand(1, 1, 5, 5, generator=generator(0, "w"), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: quantiles(x, weights, 7), (lab,))
    assert quantiles(lab, torch.zeros_like(weights), 7).isfinite().all()


def test_a_search_over_makeup_follows_the_palette():
    chips = faces(2)
    space = MakeupSpace(chips, HEAVY)
    loss = PaletteGuidance(PROMPT).bind(chips, generator(0))
    params = minimise(loss, space, AdamStep(0.1), 60, generator(1))
    before, after = loss(space.render(space.start(generator(1)))), loss(space.render(params))
    assert (after < 0.1 * before).all()


@pytest.mark.parametrize("name", ["none", "palette", "reference"])
def test_the_yamls_bind_to_their_classes(name, tmp_path):
    config = OmegaConf.load(CONF / f"{name}.yaml")
    if name != "reference":
        assert instantiate(config).bind(faces(), generator(0))(faces()).shape == (2,)
        return
    config.photo = str(tmp_path / "nobody.jpg")
    with pytest.raises(Exception, match="Give a photo"):  # every key was bound, and then the photo was asked for
        instantiate(config)


def test_a_photo_that_is_not_there_is_an_error_that_names_it(tmp_path):
    with pytest.raises(DataError, match=r"nobody\.jpg"):
        ReferenceGuidance(tmp_path / "nobody.jpg")


@pytest.mark.parametrize(
    "bad",
    [
        {"by": "eye"},
        {"strength": 1.5},
        {"regions": {"nose": 1.0}},
        {"regions": {}},
        {"regions": {"lips": -1.0}},
        {"photo": torch.zeros(2, 3, 8, 8)},
    ],
)
def test_a_reference_that_makes_no_sense_is_refused(bad):
    with pytest.raises(ConfigError, match="wanted"):
        ReferenceGuidance(**{"photo": faces(1), **bad})


def test_a_palette_that_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="Did you mean 'lipstick'"):
        PaletteGuidance("red lipstik")
    with pytest.raises(ConfigError, match="0 or more"):
        PaletteGuidance(PROMPT, spread=-1.0)
