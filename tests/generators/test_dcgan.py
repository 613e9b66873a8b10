"""The DCGAN: the published network with its BatchNorm folded in, and latents that behave as identities."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap

from facesec_bench import assets
from facesec_bench.generators.dcgan import DCGAN
from facesec_bench.seeds import generator

pytestmark = pytest.mark.assets("dcgan")


def published() -> nn.Module:
    """The generator of the DCGAN tutorial, built layer by layer and filled from the original file."""
    layers: list[nn.Module] = []
    sizes = [100, 512, 256, 128, 64, 3]
    for i in range(5):
        layers.append(nn.ConvTranspose2d(sizes[i], sizes[i + 1], 4, 1 if i == 0 else 2, 0 if i == 0 else 1, bias=False))
        layers += [nn.BatchNorm2d(sizes[i + 1]), nn.ReLU()] if i < 4 else [nn.Tanh()]
    state = torch.load(assets.member("dcgan"), map_location="cpu", weights_only=True)["netG_state_dict"]
    network = nn.Sequential(*layers)
    network.load_state_dict({key.removeprefix("main."): tensor for key, tensor in state.items()})
    return network.eval()


def test_it_draws_what_the_published_generator_draws() -> None:
    z = torch.randn(4, 100, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = (published()(z[:, :, None, None]) + 1) / 2
    assert torch.allclose(DCGAN().generate(z), wanted, atol=1e-5)


def test_images_are_in_range_and_differentiable_in_the_latent() -> None:
    z = torch.randn(2, 100, requires_grad=True)
    images = DCGAN().generate(z)
    assert images.shape == (2, 3, 64, 64)
    assert bool(((images >= 0) & (images <= 1)).all())
    images.sum().backward()
    assert z.grad is not None and bool((z.grad.abs().sum(dim=1) > 0).all())


def test_no_latents_give_no_images_and_a_wrong_shape_is_refused() -> None:
    dcgan = DCGAN()
    assert dcgan.generate(torch.empty(0, 100)).shape == (0, 3, 64, 64)
    with pytest.raises(ValueError, match="100"):
        dcgan.generate(torch.zeros(2, 99))


def test_a_drawn_latent_has_every_layer_and_offsets_of_zero_give_generate_to_the_bit() -> None:
    dcgan = DCGAN()
    latent = dcgan.draw(3, generator(0, "draw"))
    assert list(latent) == ["z", "f4", "f8", "f16"] and not any(latent[f].any() for f in ("f4", "f8", "f16"))
    assert torch.equal(latent["z"], torch.randn(3, 100, generator=generator(0, "draw")))
    assert torch.equal(dcgan.synthesise(latent), dcgan.generate(latent["z"]))
    assert not any(layer.any() for layer in dcgan.mean(2, generator(0)).values())


@pytest.mark.parametrize(("layer", "index"), [("f4", 0), ("f8", 1), ("f16", 2)])
def test_an_offset_is_added_to_the_feature_map_of_its_side_after_the_relu(layer: str, index: int) -> None:
    dcgan, rng = DCGAN(), generator(0, "offset")
    latent = dcgan.draw(2, rng)
    offset = torch.randn(latent[layer].shape, generator=rng)
    x = latent["z"][:, :, None, None]
    for i, convolution in enumerate(dcgan.layers[:4]):
        x = convolution(x).clamp_min(0)
        x = x + offset if i == index else x
    wanted = (torch.tanh(dcgan.layers[4](x)) + 1) / 2
    assert torch.allclose(dcgan.synthesise(latent | {layer: offset}), wanted, atol=1e-6)
    assert not torch.allclose(wanted, dcgan.synthesise(latent), atol=1e-2)


def test_weights_of_ones_own_through_vmap_equal_a_loop() -> None:
    dcgan, rng = DCGAN(), generator(0, "weights")
    latent = dcgan.draw(3, rng)
    stacked = {name: p + 0.01 * torch.randn(3, *p.shape, generator=rng) for name, p in dcgan.named_parameters()}
    dcgan.forward = dcgan.synthesise  # type: ignore[method-assign]

    def one(weights: dict[str, torch.Tensor], row: dict[str, torch.Tensor]) -> torch.Tensor:
        return functional_call(dcgan, weights, ({layer: t[None] for layer, t in row.items()},))[0]

    loop = [one({n: p[i] for n, p in stacked.items()}, {k: t[i] for k, t in latent.items()}) for i in range(3)]
    assert torch.allclose(vmap(one)(stacked, latent), torch.stack(loop), atol=1e-5)
    assert not torch.allclose(loop[0], dcgan.synthesise(latent)[0], atol=1e-3)


def test_a_latent_without_a_layer_or_with_a_wrong_one_is_refused() -> None:
    dcgan = DCGAN()
    latent = dcgan.mean(2, generator(0))
    with pytest.raises(ValueError, match=r"without \['f8'\]"):
        dcgan.synthesise({k: t for k, t in latent.items() if k != "f8"})
    with pytest.raises(ValueError, match=r"unknown \['w'\]"):
        dcgan.synthesise(latent | {"w": latent["z"]})
    with pytest.raises(ValueError, match=r"f16 is \(1, 128, 16, 16\), wanted \(2, 128, 16, 16\)"):
        dcgan.synthesise(latent | {"f16": latent["f16"][:1]})
