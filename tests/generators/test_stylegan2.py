"""StyleGAN2's parts against formulas written out naively, and the whole as an image generator."""

import math

import pytest
import torch
from torch.func import functional_call, vmap
from torch.nn import functional

from facesec_bench.errors import ConfigError
from facesec_bench.generators.stylegan2 import StyleGAN2
from facesec_bench.generators.stylegan2_network import EqualLinear, Filter, Layout, ModulatedConv, StyledConv
from facesec_bench.seeds import generator


def filled(module, seed=0):
    rng = generator(seed, "filled")
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=rng)
    return module


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed, "normal", *shape))


def doubled(x):
    """Zeros between the pixels, (B, C, H, W) -> (B, C, 2H, 2W)."""
    out = torch.zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    out[:, :, ::2, ::2] = x
    return out


def full_convolution(x, kernel):
    """The whole linear convolution of (H, W) with (h, w), as sums."""
    h, w = kernel.shape
    out = torch.zeros(x.shape[0] + h - 1, x.shape[1] + w - 1)
    for i in range(h):
        for j in range(w):
            out[i : i + x.shape[0], j : j + x.shape[1]] += kernel[i, j] * x
    return out


TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0])
LOW_PASS = torch.outer(TAPS, TAPS) / 64 * 4


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("kernel", [1, 3])
def test_modulated_convolution_is_each_images_own_scaled_and_normalised_convolution(kernel, demodulate):
    layer = filled(ModulatedConv(5, 4, kernel, 6, demodulate=demodulate, up=False))
    x, w = normal(3, 5, 7, 7), normal(3, 6)
    style = w @ layer.modulation.weight.T / math.sqrt(6) + layer.modulation.bias
    for image in range(3):
        weight = layer.weight[0] / math.sqrt(5 * kernel**2) * style[image][None, :, None, None]
        if demodulate:
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        wanted = functional.conv2d(x[image : image + 1], weight, padding=kernel // 2)
        assert torch.allclose(layer(x, w)[image : image + 1], wanted, atol=1e-5)


def test_demodulation_keeps_unit_variance_whatever_the_style():
    layer = filled(ModulatedConv(32, 16, 3, 6, demodulate=True, up=False))
    out = layer(normal(2, 32, 64, 64), 10 * normal(2, 6))[:, :, 1:-1, 1:-1]
    assert torch.allclose(out.var(dim=(2, 3)), torch.ones(2, 16), atol=0.15)
    assert abs(float(out.detach().var()) - 1) < 0.02


def test_up_convolution_is_zero_stuffing_convolution_and_filter():
    layer = filled(ModulatedConv(2, 3, 3, 4, demodulate=False, up=True))
    x, w = normal(1, 2, 5, 5), normal(1, 4)
    style = layer.modulation(w)[0]
    weight = layer.weight[0] / math.sqrt(2 * 9)
    stuffed = doubled(x)[0]
    for channel in range(3):
        # A zero-stuffed side of 2H - 1 (the trailing zero adds nothing), convolved in full, then filtered in full.
        whole = sum(full_convolution(stuffed[i, :-1, :-1] * style[i], weight[channel, i]) for i in range(2))
        wanted = full_convolution(whole, LOW_PASS)[2:-2, 2:-2]
        assert layer(x, w).shape == (1, 3, 10, 10)
        assert torch.allclose(layer(x, w)[0, channel], wanted, atol=1e-5)


def test_colour_is_enlarged_by_zero_stuffing_and_the_filter():
    x = normal(1, 1, 4, 4)
    wanted = full_convolution(doubled(x)[0, 0], LOW_PASS)[1:9, 1:9]
    assert torch.allclose(Filter()(x)[0, 0], wanted, atol=1e-6)


def test_the_filter_sums_to_four_and_keeps_a_flat_picture_flat():
    assert torch.equal(Filter().kernel, LOW_PASS) and float(Filter().kernel.sum()) == 4
    assert torch.allclose(Filter()(torch.ones(1, 2, 8, 8))[:, :, 2:-2, 2:-2], torch.ones(1, 2, 12, 12))


def test_up_convolution_keeps_an_image_in_its_place():
    """A centred bump stays centred: enlarged features and enlarged colour must not drift apart."""
    layer = filled(ModulatedConv(1, 1, 3, 2, demodulate=False, up=True))
    layer.weight.data = torch.ones(1, 1, 1, 3, 3)
    x = torch.zeros(1, 1, 8, 8)
    x[0, 0, 3:5, 3:5] = 1
    for out in (layer(x, torch.zeros(1, 2))[0, 0], Filter()(x)[0, 0]):
        assert torch.allclose(out, out.flip(0, 1), atol=1e-6)


def test_equalised_weights_act_as_their_stored_values_times_rate_and_fan_in():
    layer = filled(EqualLinear(9, 3, rate=0.01, activate=True))
    x = normal(2, 9)
    wanted = functional.leaky_relu(x @ layer.weight.T * 0.01 / 3 + 0.01 * layer.bias, 0.2) * 2**0.5
    assert torch.allclose(layer(x), wanted, atol=1e-6)


def test_noise_enters_by_its_strength_only_before_bias_and_activation():
    layer = filled(StyledConv(3, 4, 5))
    x, w, noise = normal(2, 3, 6, 6), normal(2, 5), normal(2, 1, 6, 6)
    bias = layer.activate.bias[None, :, None, None]
    wanted = functional.leaky_relu(layer.conv(x, w) + layer.noise.weight.item() * noise + bias, 0.2) * 2**0.5
    assert torch.allclose(layer(x, w, noise), wanted, atol=1e-5)
    layer.noise.weight.data.zero_()
    assert torch.equal(layer(x, w, noise), layer(x, w, -noise))


def tiny(resolution=16, **settings):
    return StyleGAN2.random(resolution, style_dim=6, depth=2, widest=5, **settings)


@pytest.mark.parametrize(("resolution", "rows", "maps"), [(8, 4, 3), (32, 8, 7), (1024, 18, 17)])
def test_the_layers_are_those_of_the_paper(resolution, rows, maps):
    layout = Layout.of_resolution(resolution)
    assert (layout.resolution, layout.rows, len(layout.noise_sides)) == (resolution, rows, maps)
    assert layout.noise_sides[:3] == [4, 8, 8] and layout.noise_sides[-1] == resolution


def test_configuration_f_has_its_published_widths():
    assert Layout.of_resolution(1024).widths == (512, 512, 512, 512, 512, 256, 128, 64, 32)
    assert Layout.of_resolution(128, channel_multiplier=1).widths == (512, 512, 512, 512, 256, 128)


@pytest.mark.parametrize("resolution", [8, 16, 64])
def test_a_drawn_latent_becomes_images_in_range_and_the_seed_decides_them(resolution):
    network = tiny(resolution)
    assert network.name == "stylegan2_random" and network.resolution == resolution
    latent = network.draw(2, generator(0))
    images = network.synthesise(latent)
    assert images.shape == (2, 3, resolution, resolution) and images.min() >= 0 and images.max() <= 1
    assert images.std() > 0.05 and not torch.allclose(images[0], images[1], atol=0.01)
    assert torch.equal(images, tiny(resolution).synthesise(tiny(resolution).draw(2, generator(0))))
    assert not torch.equal(images, network.synthesise(network.draw(2, generator(1))))
    assert network.synthesise(network.draw(0, generator(0))).shape == (0, 3, resolution, resolution)


def test_all_rows_of_a_drawn_latent_are_the_mapped_z_and_noise_is_normal():
    network = tiny(64)
    latent = network.draw(2, generator(0))
    z = torch.randn(2, 6, generator=generator(0))
    w = z / z.square().mean(1, keepdim=True).sqrt()
    for layer in network.style[1:]:
        w = functional.leaky_relu(w @ layer.weight.T * 0.01 / 6**0.5, 0.2) * 2**0.5
    assert all(torch.allclose(latent[f"w{i}"], w, atol=1e-5) for i in range(10))
    assert list(latent) == [f"w{i}" for i in range(10)] + [f"noise{i}" for i in range(9)]
    assert abs(float(latent["noise8"].std()) - 1) < 0.05 and latent["noise8"].shape == (2, 1, 64, 64)


def test_the_mean_is_that_of_many_styles_and_the_same_for_every_image():
    network = tiny()
    latent = network.mean(2, generator(0))
    styles = network.draw(20000, generator(1))["w0"]
    assert torch.equal(latent["w0"][0], latent["w5"][1])
    assert torch.allclose(latent["w0"][0], styles.mean(0), atol=5 * float(styles.std()) / 4096**0.5)
    assert not torch.equal(latent["noise0"][0], latent["noise0"][1])


def test_truncation_goes_its_share_of_the_way_from_the_mean_and_leaves_noise_alone():
    whole, half, none = (tiny(truncation=t).draw(3, generator(0)) for t in (1.0, 0.5, 0.0))
    assert torch.allclose(half["w1"], (whole["w1"] + none["w1"]) / 2, atol=1e-6)
    assert torch.allclose(none["w0"][0], none["w0"][1]) and not torch.allclose(whole["w0"][0], whole["w0"][1])
    assert torch.equal(whole["noise3"], half["noise3"])


def test_gradients_reach_every_layer_and_every_weight_of_the_synthesis():
    network = tiny(32)
    network.requires_grad_(True)
    latent = {k: t.requires_grad_(True) for k, t in network.draw(2, generator(0)).items()}
    network.synthesise(latent).square().sum().backward()
    assert all(bool((t.grad.flatten(1).abs().amax(1) > 0).all()) for t in latent.values())
    dead = [
        n for n, p in network.named_parameters() if not n.startswith("style.") and (p.grad is None or not p.grad.any())
    ]
    assert not dead


@pytest.mark.parametrize(("sign", "back"), [(1.0, [1, 0]), (-1.0, [0, 1])])
def test_colours_beyond_the_range_are_cut_off_and_keep_only_the_gradient_that_leads_back(sign, back):
    network = tiny(8)
    latent = network.draw(1, generator(0))
    network.to_rgbs[0].bias.data[0, :, 0, 0] = torch.tensor([100.0, -100.0, 0.0])
    network.to_rgbs[0].bias.requires_grad_(True)
    image = network.synthesise(latent)
    assert (image[0, 0] == 1).all() and (image[0, 1] == 0).all()
    (gradient,) = torch.autograd.grad(sign * image.sum(), network.to_rgbs[0].bias)
    # Descent lowers what counts positively: of 64 colours each, those above the range return, those below do not.
    assert gradient.flatten()[:2].tolist() == pytest.approx([sign * 32 * share for share in back])


def test_inside_the_range_the_gradient_is_the_colours_own():
    network = tiny(8)
    latent = {k: 0.01 * t for k, t in network.draw(1, generator(0)).items()}
    network.to_rgbs[0].bias.requires_grad_(True)
    image = network.synthesise(latent)
    inside = (image > 0) & (image < 1)
    assert inside.sum() > 20
    (gradient,) = torch.autograd.grad(image[inside].sum(), network.to_rgbs[0].bias)
    assert gradient.flatten().tolist() == pytest.approx((inside.sum((0, 2, 3)) / 2).tolist())


def test_a_network_that_paints_black_can_be_tuned_to_paint_grey():
    network = tiny(8)
    latent = network.draw(1, generator(0))
    bias = network.to_rgbs[0].bias
    bias.data -= 20
    bias.requires_grad_(True)
    optimiser = torch.optim.Adam([bias], lr=0.5)
    assert not network.synthesise(latent).any()
    for _ in range(80):
        optimiser.zero_grad()
        (network.synthesise(latent) - 0.5).square().sum().backward()
        optimiser.step()
    assert network.synthesise(latent).mean() > 0.2


def test_weights_of_ones_own_through_vmap_equal_a_loop():
    network = tiny()
    network.forward = network.synthesise
    latent = network.draw(3, generator(0))
    stacked = {n: p + 0.1 * normal(3, *p.shape) for n, p in network.named_parameters() if not n.startswith("style.")}

    def one(weights, row):
        return functional_call(network, weights, ({k: t[None] for k, t in row.items()},))[0]

    loop = [one({n: p[i] for n, p in stacked.items()}, {k: t[i] for k, t in latent.items()}) for i in range(3)]
    assert torch.allclose(vmap(one)(stacked, latent), torch.stack(loop), atol=1e-5)
    assert not torch.allclose(loop[0], network.synthesise(latent)[0], atol=1e-2)


def test_an_image_does_not_depend_on_its_batch():
    network = tiny(32)
    latent = network.draw(3, generator(0))
    alone = network.synthesise({k: t[1:2] for k, t in latent.items()})
    assert torch.allclose(network.synthesise(latent)[1:2], alone, atol=1e-5)


def test_the_digest_follows_weights_and_truncation():
    assert tiny().digest == tiny().digest
    assert len({tiny().digest, tiny(seed=1).digest, tiny(truncation=0.5).digest, tiny(32).digest}) == 4


@pytest.mark.parametrize("wrong", [{"resolution": 48}, {"resolution": 4}, {"depth": 0}, {"truncation": 1.5}])
def test_sizes_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ConfigError, match="StyleGAN2: found"):
        StyleGAN2.random(**wrong)


def test_a_latent_without_a_layer_or_with_a_wrong_one_is_refused():
    network = tiny()
    latent = network.mean(2, generator(0))
    with pytest.raises(ValueError, match=r"without \['noise2'\]"):
        network.synthesise({k: t for k, t in latent.items() if k != "noise2"})
    with pytest.raises(ValueError, match=r"w3 is \(2, 5\), wanted \(2, 6\)"):
        network.synthesise(latent | {"w3": latent["w3"][:, 1:]})
