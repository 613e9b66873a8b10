"""LPIPS: backbone and heads belong together, nothing is downloaded, and distances order images as people do."""

from __future__ import annotations

import socket

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from facesec_bench import assets
from facesec_bench.errors import TargetError
from facesec_bench.perception.lpips import LPIPS

pytestmark = [pytest.mark.assets("lpips_alex", "dcgan"), pytest.mark.filterwarnings("ignore::UserWarning:torchvision")]


@pytest.fixture(scope="module")
def alex() -> LPIPS:
    return LPIPS("alex")


@pytest.fixture(scope="module")
def faces() -> Tensor:
    from facesec_bench.generators.dcgan import DCGAN

    images = DCGAN().generate(torch.randn(4, 100, generator=torch.Generator().manual_seed(3)))
    return functional.interpolate(images, size=(112, 112), mode="bilinear")


@pytest.mark.parametrize("net", ["alex", pytest.param("vgg", marks=pytest.mark.assets("lpips_vgg"))])
def test_the_heads_of_asset_and_package_are_equal_to_the_bit(net: str) -> None:
    import lpips

    model = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    tensors = load_file(assets.path(f"lpips_{net}"))
    for index in range(5):
        assert torch.equal(getattr(model, f"lin{index}").model[-1].weight.flatten(), tensors[f"heads.{index}"])


def by_hand(a: Tensor, b: Tensor, tensors: dict[str, Tensor]) -> Tensor:
    """Zhang et al. 2018, eq. 1, on AlexNet: unit-normalised features, squared, weighted by the heads, averaged."""

    def features(x: Tensor) -> list[Tensor]:
        shift, scale = (torch.tensor(v)[:, None, None] for v in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
        x, out = (2 * x - 1 - shift) / scale, []
        for i, (stride, padding) in enumerate([(4, 2), (1, 2), (1, 1), (1, 1), (1, 1)]):
            x = functional.max_pool2d(x, 3, 2) if i in (1, 2) else x
            x = functional.conv2d(x, tensors[f"convs.{i}.weight"], tensors[f"convs.{i}.bias"], stride, padding).relu()
            out.append(x / x.norm(dim=1, keepdim=True).clamp_min(1e-10))
        return out

    terms = [((f - g) ** 2).mean(dim=(2, 3)) for f, g in zip(features(a), features(b), strict=True)]
    return torch.stack([term @ tensors[f"heads.{i}"] for i, term in enumerate(terms)]).sum(dim=0)


def test_the_distance_is_the_papers_formula(alex: LPIPS, faces: Tensor) -> None:
    noisy = (faces + 0.05 * torch.randn(faces.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    wanted = by_hand(faces, noisy, load_file(assets.path("lpips_alex")))
    assert torch.allclose(alex(faces, noisy), wanted, atol=1e-4)


def test_an_image_is_at_distance_zero_from_itself_and_noise_moves_it_away(alex: LPIPS, faces: Tensor) -> None:
    noise = torch.randn(faces.shape, generator=torch.Generator().manual_seed(0))
    assert float(alex(faces, faces).abs().max()) == 0
    little, much = (alex(faces, (faces + sd * noise).clamp(0, 1)) for sd in (0.02, 0.1))
    assert bool((little > 0.005).all()) and bool((much > little).all())


def test_it_is_differentiable_in_both_images(alex: LPIPS, faces: Tensor) -> None:
    a, b = faces[:1].clone().requires_grad_(True), faces[1:2].clone().requires_grad_(True)
    alex(a, b).sum().backward()
    assert a.grad is not None and b.grad is not None
    assert float(a.grad.abs().max()) > 0 and float(b.grad.abs().max()) > 0


@pytest.mark.assets("lpips_vgg")
def test_vgg_measures_too(faces: Tensor) -> None:
    vgg, small = LPIPS("vgg"), faces[:2, :, ::2, ::2]  # a quarter of the pixels: VGG is slow
    assert float(vgg(small[:1], small[:1])) == 0
    assert float(vgg(small[:1], small[1:])) > 0.1


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a socket was opened")

    assets.path("lpips_alex")
    monkeypatch.setattr(socket.socket, "connect", refuse)
    LPIPS("alex")


def test_a_backbone_whose_heads_are_not_the_packages_is_refused(tmp_path: object) -> None:
    tensors = load_file(assets.path("lpips_alex"))
    tensors["heads.2"] = tensors["heads.2"] + 1e-7
    file = f"{tmp_path}/mine.safetensors"
    save_file(tensors, file)
    with pytest.raises(TargetError, match="head 2"):
        LPIPS("alex", weights=file)


def test_wrong_shapes_and_names_are_refused(alex: LPIPS) -> None:
    with pytest.raises(ValueError, match="alike"):
        alex(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 65))
    with pytest.raises(ValueError, match="squeeze"):
        LPIPS("squeeze")  # type: ignore[arg-type]


def test_building_it_leaves_the_worlds_generator_alone():
    before = torch.get_rng_state()
    LPIPS("alex")
    assert torch.equal(before, torch.get_rng_state())
