"""The renderer: exact where it should do nothing, closed forms where it does something, gradients everywhere."""

import pytest
import torch

from facesec_bench.errors import ConfigError
from facesec_bench.interfaces import Space
from facesec_bench.makeup.cielab import as_pigment, colour_lab, to_lab
from facesec_bench.makeup.colours import Layer, Makeup, read_prompt
from facesec_bench.makeup.dials import BOX, DIALS, unit, unit_inverse
from facesec_bench.makeup.fitting import average, fitted
from facesec_bench.makeup.regions import REGIONS, mask
from facesec_bench.makeup.renderer import LIMITS, MakeupSpace, apply
from facesec_bench.search import AdamStep, minimise
from facesec_bench.seeds import generator

SKIN = (0.80, 0.60, 0.50)


def faces(count=2, side=56, dtype=torch.float32):
    """Skin with a little texture: enough of a face for a mask that asks for skin."""
    texture = 0.06 * (torch.rand(count, 1, side, side, generator=generator(0, "skin"), dtype=torch.float64) - 0.5)
    return (torch.tensor(SKIN, dtype=torch.float64).view(1, 3, 1, 1) + texture).to(dtype)


def column(region, name):
    return next(i for i, dial in enumerate(DIALS) if dial[:2] == (region, name))


def test_there_are_fewer_than_60_parameters_and_it_is_a_space():
    space: Space = MakeupSpace(faces())
    assert space.start(generator(0)).shape == (2, len(DIALS)) and len(DIALS) < 60


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("side", [57, 224])
def test_zero_opacity_returns_the_photo_to_the_bit(dtype, side):
    chips = torch.rand(3, 3, side, side, generator=generator(0, "noise"), dtype=dtype)
    chips[..., :9, :] = 0.0
    chips[..., -9:, :] = 1.0
    assert torch.equal(apply(chips, Makeup(())), chips)
    space = MakeupSpace(chips)
    params = 3 * torch.randn(3, len(DIALS), generator=generator(1, "params")).to(dtype)
    params[:, [column(region, "opacity") for region in REGIONS]] = -100.0
    assert torch.equal(space.render(space.project(params)), chips)


def test_pixels_outside_the_regions_stay_to_the_bit_and_lips_do_not():
    chips = faces(side=224)
    change = (apply(chips, read_prompt("red lips")) != chips).any(1, keepdim=True)
    assert not (change & (mask("lips", softness=5) == 0)).any()
    assert change[mask("lips").expand_as(change) > 0.5].float().mean() > 0.99


def test_the_core_of_a_layer_moves_by_its_opacity_towards_the_colour_and_keeps_its_detail():
    chips = faces(side=224, dtype=torch.float64)
    layer = Layer("lips", (0.6, 0.2, 0.3), 0.6)
    # Without gates and in usual light the closed form is: mean + opacity (colour - mean), deviations of L kept.
    space = MakeupSpace(chips, {"lips": 0.6}, fit=False)
    space._fit.light.fill_(1.0)
    before, after = to_lab(chips), to_lab(space.render(space.params_of(Makeup((layer,)))))
    core = (mask("lips") == 1)[0, 0]
    level = space._fit.level["lips"]
    aim = as_pigment(torch.tensor(colour_lab(layer.colour)).view(1, 3, 1, 1))
    wanted = before + 0.6 * (aim - level)
    assert torch.allclose(after[:, 0, core], wanted[:, 0, core], atol=1e-4)
    chroma = before + 0.6 * (aim - before)
    assert torch.allclose(after[:, 1:, core], chroma[:, 1:, core], atol=1e-4)


def test_a_photo_in_the_dark_wears_darker_makeup():
    bright, dim = (apply(k * faces(1, 224), read_prompt("red lips"))[0] for k in (1.0, 0.5))
    core = (mask("lips") > 0.99)[0]
    mean = [float(image[:, core[0]].mean()) for image in (bright, dim)]
    assert mean[1] < 0.7 * mean[0]


def test_stronger_words_change_more():
    chips = faces(side=112)
    change = [
        float((apply(chips, read_prompt(f"{word} red lips")) - chips).abs().sum())
        for word in ("soft", "medium", "heavy")
    ]
    assert change[0] < change[1] < change[2]


def test_gradients_reach_every_parameter():
    chips = faces(1, 40, torch.float64)
    space = MakeupSpace(chips, "heavy")
    params = 0.7 * torch.randn(1, len(DIALS), generator=generator(2, "params"), dtype=torch.float64)
    params.requires_grad_()
    weights = torch.rand(chips.shape, generator=generator(3, "weights"), dtype=torch.float64)

    def seen(p):
        return (space.render(p) * weights).sum()

    assert torch.autograd.gradcheck(seen, (params,), eps=1e-6, atol=1e-4, rtol=1e-3)
    (gradient,) = torch.autograd.grad(seen(params), params)
    still = [DIALS[i] for i in (gradient[0] == 0).nonzero().flatten().tolist()]
    assert not still, still


def test_descent_on_pixels_recovers_a_makeup_it_rendered():
    chips = faces(2, 56)
    # The masks without their gates: on plain skin a "brow" has no hair to be put on.
    space = MakeupSpace(chips, "heavy", fit=False)
    worn = read_prompt("medium wine lips, teal eyeshadow, soft rose blush")
    wanted = space.render(space.params_of(worn))
    params = minimise(
        lambda images: 1e4 * (images - wanted).square().mean((1, 2, 3)), space, AdamStep(0.1), 250, generator(5)
    )
    error = (space.render(params) - wanted).abs()
    assert float(error.max()) < 0.06 and float(error.mean()) < 0.002
    for found in space.makeup_of(params):
        assert {layer.region for layer in found.layers if layer.opacity > 0.1} == {"lips", "lids", "cheeks"}


def test_unit_takes_the_box_to_0_and_1_and_comes_back():
    params = torch.linspace(-BOX, BOX, 41, dtype=torch.float64)
    values = unit(params)
    assert float(values[0]) == 0 and float(values[-1]) == pytest.approx(1) and (values.diff() > 0).all()
    assert torch.allclose(unit_inverse(values), params, atol=1e-6)
    assert float(unit(torch.zeros(1))) == pytest.approx(0.5)


def test_what_is_put_in_is_read_out():
    space = MakeupSpace(faces(3), "heavy")
    worn = read_prompt("dark plum lips, heavy coral blush, soft teal eyeshadow, sheer taupe brows, pale foundation")
    for found in space.makeup_of(space.project(space.params_of(worn))):
        for layer in worn.layers:
            match = found.on(layer.region)
            assert match.colour == pytest.approx(layer.colour, abs=1e-5)
            assert match.opacity == pytest.approx(layer.opacity, abs=1e-5)


@pytest.mark.parametrize("limits", LIMITS)
def test_no_parameters_exceed_the_limits(limits):
    space = MakeupSpace(faces(2), limits)
    for size in (1.0, 100.0):
        params = space.project(size * torch.randn(2, len(DIALS), generator=generator(0, size)))
        assert params.abs().max() <= BOX
        image = space.render(params)
        assert image.isfinite().all() and image.min() >= 0 and image.max() <= 1
        for found in space.makeup_of(params):
            assert all(layer.opacity <= LIMITS[limits][layer.region] + 1e-6 for layer in found.layers)


def test_a_region_without_a_limit_wears_nothing():
    space = MakeupSpace(faces(2, 112), {"lips": 0.8})
    change = (space.render(torch.full((2, len(DIALS)), BOX)) != space.chips).any(1, keepdim=True)
    top, bottom, left, right = 70, 92, 42, 71  # a little more than the fullest lips, at half a chip's side
    inside = torch.zeros_like(change)
    inside[..., top:bottom, left:right] = True
    assert change.any() and not (change & ~inside).any()


def test_images_do_not_influence_one_another():
    chips = torch.cat([faces(2), 0.5 * faces(1)])
    space, params = MakeupSpace(chips), MakeupSpace(chips).start(generator(0))
    rows = torch.tensor([2, 0])
    assert torch.allclose(space.render(params)[rows], space.rows(rows).render(params[rows]), atol=1e-6)
    alone = MakeupSpace(chips[:1]).start(generator(0))
    assert torch.equal(alone[0], params[0])


def test_the_start_is_faint_or_the_makeup_asked_for():
    chips = faces(4)
    space = MakeupSpace(chips)
    for found in space.makeup_of(space.start(generator(0))):
        assert all(0 < layer.opacity < 0.6 * LIMITS["natural"][layer.region] for layer in found.layers)
    asked = MakeupSpace(chips, "heavy", read_prompt("red lipstick"), spread=0.0)
    gap = (asked.render(asked.start(generator(0))) - apply(chips, read_prompt("red lipstick"))).abs()
    assert float(gap.max()) < 0.04, "layers that were not asked for start faint, not dead"


def test_makeup_that_is_stronger_than_its_limit_is_refused():
    with pytest.raises(ConfigError, match=r"at most 0\.64"):
        MakeupSpace(faces(), "natural", read_prompt("heavy red lips"))


@pytest.mark.parametrize(
    "bad",
    [
        {"limits": "loud"},
        {"limits": {"nose": 0.5}},
        {"limits": {"lips": 1.5}},
        {"chips": torch.zeros(1, 3, 4, 5)},
        {"chips": torch.full((1, 3, 8, 8), 2.0)},
    ],
)
def test_a_space_that_makes_no_sense_is_refused(bad):
    with pytest.raises(ConfigError):
        MakeupSpace(**{"chips": faces(), **bad})
    with pytest.raises(ConfigError, match="wanted"):
        MakeupSpace(faces()).render(torch.zeros(1, 3))


def test_teeth_hair_and_background_are_left_out():
    chips = faces(1, 224)
    chips[..., 150:156, 104:120] = torch.tensor([0.95, 0.93, 0.88]).view(3, 1, 1)  # teeth
    chips[..., 30:60, 60:160] = torch.tensor([0.10, 0.07, 0.05]).view(3, 1, 1)  # a fringe
    chips[..., 100:140, 140:] = torch.tensor([0.2, 0.4, 0.9]).view(3, 1, 1)  # a wall
    weights = fitted(chips).weights()
    assert weights["lips"][..., 151:155, 106:118].max() < 0.1 < weights["lips"][..., 162:168, 106:118].min()
    assert weights["skin"][..., 35:55, 90:130].max() < 0.05 and weights["skin"][..., 65:70, 90:130].min() > 0.9
    assert weights["cheeks"][..., 104:136, 145:].max() < 0.05 < weights["cheeks"][..., :, :90].max()
    everything = fitted(chips, gated=False).weights()
    assert torch.equal(everything["skin"], mask("skin"))


def test_a_weighted_mean_is_a_weighted_mean():
    values, weights = torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[[3.0, 1.0]]]])
    assert float(average(values, weights)) == pytest.approx(1.5)
