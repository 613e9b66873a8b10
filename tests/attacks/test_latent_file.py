"""Latents that were found elsewhere: read by a photo's key, or refused in words."""

import pytest
import torch
from safetensors.torch import save_file
from tiny_generator import TinyGenerator

from attacks.latent_file import LatentFile
from facesec_bench.errors import DataError
from facesec_bench.generators.stylegan2 import StyleGAN2
from facesec_bench.seeds import generator

KEYS = ("anna/1.png", "ben/2.png")


def rows(count: int = 2) -> dict[str, torch.Tensor]:
    """What encoder4editing gives, for a generator of 32 pixels: 8 rows of 64 numbers a photo."""
    return {key: torch.randn(8, 64, generator=generator(0, key)) for key in KEYS[:count]}


def stylegan2() -> StyleGAN2:
    return StyleGAN2.random(32)


def rngs(keys=KEYS) -> list[torch.Generator]:
    return [generator(0, "pivot", key) for key in keys]


@pytest.mark.parametrize("name", ["latents.safetensors", "latents.pt"])
def test_each_photo_gets_the_rows_filed_under_its_key(tmp_path, name):
    (save_file if name.endswith("s") else torch.save)(rows(), tmp_path / name)
    network, file = stylegan2(), LatentFile(tmp_path / name)
    latent = file.of(network, KEYS[::-1], rngs(KEYS[::-1]))
    assert list(latent) == list(network.shapes)
    for place, key in enumerate(KEYS[::-1]):
        assert torch.equal(torch.stack([latent[f"w{i}"][place] for i in range(8)]), rows()[key])
    assert network.synthesise(latent).shape == (2, 3, 32, 32)


def test_what_the_file_does_not_hold_is_drawn_for_each_photo_alone(tmp_path):
    torch.save(rows(), tmp_path / "l.pt")
    file, network = LatentFile(tmp_path / "l.pt"), stylegan2()
    both, second = file.of(network, KEYS, rngs()), file.of(network, KEYS[1:], rngs(KEYS[1:]))
    assert all(torch.equal(both[layer][1:], second[layer]) for layer in both)
    assert not torch.equal(both["noise3"][0], both["noise3"][1])
    assert both["noise3"].std() == pytest.approx(1, abs=0.3)


def test_any_layer_can_be_filed_by_its_name(tmp_path):
    z = torch.arange(6.0)
    save_file({"a::z": z}, tmp_path / "l.safetensors")
    latent = LatentFile(tmp_path / "l.safetensors").of(TinyGenerator(), ["a"], rngs(["a"]))
    assert torch.equal(latent["z"], z[None]) and torch.equal(latent["f7"], torch.zeros(1, 5, 7, 7))


def test_another_file_has_another_digest(tmp_path):
    torch.save(rows(), tmp_path / "two.pt")
    torch.save(rows(1), tmp_path / "one.pt")
    assert LatentFile(tmp_path / "two.pt").digest != LatentFile(tmp_path / "one.pt").digest


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({KEYS[0]: torch.zeros(8, 64)}, r"no latent of 1 of 2 photos, the first ben/2\.png; it holds 1, such as anna"),
        (rows() | {KEYS[1]: torch.zeros(6, 64)}, r"ben/2\.png: found \(6, 64\), wanted \(8, 64\): w0 to w7"),
        (rows() | {KEYS[1]: torch.zeros(1, 8, 64)}, r"found \(1, 8, 64\), wanted \(8, 64\)"),
        (rows() | {"ben/2.png::noise0": torch.zeros(4, 4)}, r"noise0.*found \(4, 4\), wanted \(1, 4, 4\)"),
        (rows() | {"ben/2.png::f16": torch.zeros(4)}, r"unknown layer f16; stylegan2_random has w0, w1"),
        (rows() | {"ben/2.png::w0": torch.zeros(64)}, r"layer w0 twice"),
    ],
)
def test_a_latent_that_does_not_fit_is_named_with_what_was_wanted(tmp_path, content, words):
    torch.save(content, tmp_path / "l.pt")
    with pytest.raises(DataError, match=words):
        LatentFile(tmp_path / "l.pt").of(stylegan2(), KEYS, rngs())


def test_rows_for_a_generator_without_rows_are_refused(tmp_path):
    torch.save(rows(), tmp_path / "l.pt")
    with pytest.raises(DataError, match=r"tiny has no rows w0, w1, \.\.\., but z, f7"):
        LatentFile(tmp_path / "l.pt").of(TinyGenerator(), KEYS, rngs())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"a": torch.tensor([[0.0, torch.nan]])}, r"a: .*not finite"),
        ({"a": torch.tensor([[0.0, torch.inf]])}, r"a: .*not finite"),
        ({"a": torch.zeros(2, 2, dtype=torch.int64)}, "int64, wanted floating-point"),
        ({"a": "no tensor"}, "found a str"),
        ({1: torch.zeros(2)}, "found the name 1"),
        ({}, "holds nothing"),
        (torch.zeros(2, 18, 512), r"one tensor \(2, 18, 512\), in which nothing says whose.*dict\(zip\(keys, latents"),
        ([torch.zeros(18, 512)], "found a list"),
    ],
)
def test_a_file_that_is_no_dict_of_finite_tensors_is_refused(tmp_path, content, words):
    torch.save(content, tmp_path / "l.pt")
    with pytest.raises(DataError, match=words):
        LatentFile(tmp_path / "l.pt")


class Code:
    """What a pickle could run when it is opened."""

    ran = False

    def __reduce__(self):
        return setattr, (Code, "ran", True)


def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path):
    torch.save({"a": Code()}, tmp_path / "l.pt")
    with pytest.raises(DataError, match="weights_only"):
        LatentFile(tmp_path / "l.pt")
    assert not Code.ran


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.pt: no such file"):
        LatentFile(tmp_path / "gone.pt")
    for name in ("broken.pt", "broken.safetensors"):
        (tmp_path / name).write_bytes(b"no latents")
        with pytest.raises(DataError, match=name):
            LatentFile(tmp_path / name)
