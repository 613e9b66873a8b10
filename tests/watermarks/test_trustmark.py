"""TrustMark's adapter on stand-ins for the package's networks: never run with the weights."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from facesec_bench.errors import AssetError, ConfigError, MissingPackageError
from facesec_bench.seeds import generator
from facesec_bench.watermarks.messages import draw
from facesec_bench.watermarks.trustmark import TrustMark


class Unet1(nn.Module):
    """Adds a pattern of weight `gain` for each bit, and a colour that the adapter must take out."""

    def __init__(self, resolution: int, secret_len: int, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(secret_len))
        self.resolution = resolution

    def forward(self, image: torch.Tensor, secret: torch.Tensor) -> torch.Tensor:
        assert image.shape[-2:] == (self.resolution,) * 2 and image.min() < 0, "wanted 256 px in [-1, 1]"
        stripes = torch.linspace(-1, 1, self.resolution).repeat(self.resolution, 1)
        amount = ((2 * secret - 1) * self.gain).sum(dim=1)[:, None, None, None]
        return image + amount * stripes + 0.2


class SecretDecoder(nn.Module):
    """The slope from left to right, for every bit."""

    def __init__(self, resolution: int, secret_len: int, arch: str) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.zeros(secret_len))
        self.sides: list[int] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.sides.append(image.shape[-1])
        left, right = image.tensor_split(2, dim=3)
        return (right.mean(dim=(1, 2, 3)) - left.mean(dim=(1, 2, 3)))[:, None] * self.share


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    unet = ModuleType("trustmark.unet")
    unet.Unet1, unet.SecretDecoder = Unet1, SecretDecoder
    parent = ModuleType("trustmark")
    parent.unet = unet
    monkeypatch.setitem(sys.modules, "trustmark", parent)
    monkeypatch.setitem(sys.modules, "trustmark.unet", unet)
    return unet


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    params = {
        "secret_len": 4,
        "secret_encoder_config": {"target": "trustmark.unet.Unet1", "params": {"width": 32}},
        "secret_decoder_config": {"target": "trustmark.unet.SecretDecoder", "params": {"arch": "resnet50"}},
    }
    for variant in ("Q", "P"):
        OmegaConf.save({"model": {"params": params}}, tmp_path / f"trustmark_{variant}.yaml")
        gain = {"state_dict": {"encoder.gain": torch.tensor([0.1, 0, 0, 0]), "encoder_ema.other": torch.ones(1)}}
        torch.save(gain, tmp_path / f"encoder_{variant}.ckpt")
        torch.save({"state_dict": {"decoder.share": torch.ones(4)}}, tmp_path / f"decoder_{variant}.ckpt")
    return tmp_path


CHIPS = torch.full((2, 3, 224, 224), 0.4)
MESSAGES = torch.tensor([[1.0, 0, 0, 0], [0.0, 0, 0, 0]])


def test_residual_is_scaled_to_the_chip_and_freed_of_its_mean_colour(package, folder):
    residual = TrustMark(str(folder)).encode(CHIPS, MESSAGES) - CHIPS
    assert residual.mean(dim=(2, 3)).abs().max() < 1e-5
    stripes = 0.05 * torch.linspace(-1, 1, 224)  # half of 0.1: the networks' range is twice as wide
    assert (residual[0, 0, 100] - stripes).abs().max() < 1e-3 and torch.allclose(residual[0], -residual[1], atol=1e-6)


def test_strength_and_the_variant_p_scale_the_residual(package, folder):
    plain, strong, p = (
        (mark.encode(CHIPS, MESSAGES) - CHIPS).abs().max()
        for mark in (TrustMark(str(folder)), TrustMark(str(folder), strength=2.0), TrustMark(str(folder), variant="P"))
    )
    assert torch.isclose(strong, 2 * plain) and torch.isclose(p, 1.25 * plain)


def test_bits_are_read_at_the_packages_side_and_gradients_reach_the_chip(package, folder):
    chips = CHIPS.clone().requires_grad_(True)
    for variant, side in (("Q", 245), ("P", 224)):
        watermark = TrustMark(str(folder), variant=variant)
        scores = watermark.decode(watermark.encode(chips, MESSAGES))
        assert watermark.decoder.sides == [side]
        assert scores.shape == (2, 4) and scores[0, 0] > 0 > scores[1, 0]
    scores[:, 0].sum().backward()
    assert chips.grad.abs().max() > 0
    assert not any(parameter.requires_grad for parameter in watermark.parameters())


def test_digest_follows_weights_and_settings(package, folder):
    first, stronger = TrustMark(str(folder)).digest, TrustMark(str(folder), strength=2.0).digest
    torch.save({"state_dict": {"decoder.share": torch.zeros(4)}}, folder / "decoder_Q.ckpt")
    assert len({first, stronger, TrustMark(str(folder)).digest}) == 3


def test_a_missing_package_is_named_with_the_command(monkeypatch, folder):
    monkeypatch.setitem(sys.modules, "trustmark", None)
    monkeypatch.setitem(sys.modules, "trustmark.unet", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'facesec-bench\[trustmark\]'"):
        TrustMark(str(folder))


def test_missing_weights_are_named_with_the_remedy(package, folder):
    (folder / "decoder_Q.ckpt").unlink()
    with pytest.raises(AssetError, match=r"decoder_Q\.ckpt: no such file.*set watermark\.folder"):
        TrustMark(str(folder))


def test_weights_that_do_not_fill_the_network_are_refused(package, folder):
    torch.save({"state_dict": {"other.gain": torch.zeros(4)}}, folder / "encoder_Q.ckpt")
    with pytest.raises(AssetError, match="found no weights for gain"):
        TrustMark(str(folder))


def test_a_file_that_is_no_checkpoint_is_refused(package, folder):
    (folder / "encoder_Q.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(AssetError, match="cannot be read as a checkpoint"):
        TrustMark(str(folder))


def test_another_configuration_is_refused(package, folder):
    (folder / "trustmark_Q.yaml").write_text("model: {}", encoding="utf-8")
    with pytest.raises(AssetError, match="found no 'params', wanted the configuration"):
        TrustMark(str(folder))


def test_code_outside_the_package_is_not_run(package, folder):
    config = OmegaConf.load(folder / "trustmark_Q.yaml")
    config.model.params.secret_encoder_config.target = "os.system"
    OmegaConf.save(config, folder / "trustmark_Q.yaml")
    with pytest.raises(AssetError, match=r"os\.system: found as the encoder"):
        TrustMark(str(folder))


@pytest.mark.parametrize("wrong", [{"variant": "X"}, {"strength": 0}])
def test_impossible_settings_are_refused(folder, wrong):
    with pytest.raises(ConfigError, match="wanted one of Q, B, C, P"):
        TrustMark(str(folder), **wrong)


def test_a_message_of_another_length_is_refused(package, folder):
    with pytest.raises(ConfigError, match=r"wanted \(2, 4\)"):
        TrustMark(str(folder)).encode(CHIPS, draw(2, 5, generator(0, "m")))
