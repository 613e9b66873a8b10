"""The DCGAN: the published network with its BatchNorm folded in, and latents that behave as identities."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from facesec_bench import assets
from facesec_bench.generators.dcgan import DCGAN

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
    generator = DCGAN()
    assert generator.generate(torch.empty(0, 100)).shape == (0, 3, 64, 64)
    with pytest.raises(ValueError, match="100"):
        generator.generate(torch.zeros(2, 99))
