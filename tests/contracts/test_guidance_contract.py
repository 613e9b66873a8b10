"""What every YAML of the group `guidance` must satisfy. A new guidance is tested by being there."""

import functools
import importlib
import inspect
import sys
from pathlib import Path

import hydra
import pytest
import torch
from hydra.errors import InstantiationException
from omegaconf import OmegaConf
from torch.nn import functional

from conftest import made_up_faces
from facesec_bench.errors import AssetError, MissingPackageError
from facesec_bench.seeds import generator

CONF = Path(__file__).resolve().parents[2] / "experiments/conf"
FILES = sorted((CONF / "guidance").glob("*.yaml"))


@functools.cache
def config_of(name: str) -> dict:
    """Its configuration inside a cloak, as `facesec run` composes it."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("config", ["evasion=[clip2protect]", f"guidance@evasion.clip2protect.guidance={name}"])
    return OmegaConf.to_container(config.evasion.clip2protect.guidance, resolve=True)


def build(path: Path):
    """The guidance, or a skip where weights or packages are missing and the error says how to get them."""
    config = config_of(path.stem)
    if "???" in config.values():
        return build_with_stand_ins(path)
    try:
        return hydra.utils.instantiate(config, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if not isinstance(cause, AssetError | MissingPackageError) or "needs: nothing" in path.read_text("utf-8"):
            raise
        assert "run: " in str(cause), f"no remedy in: {cause}"
        pytest.skip(f"{path.stem}: {cause}")


class Letters:
    """A stand-in for CLIP with random weights: an image is a map of its pixels at 8 x 8, a text one of its letters."""

    def image(self, images):
        small = functional.adaptive_avg_pool2d(images, 8).flatten(1)
        return functional.normalize(small @ torch.randn(192, 16, generator=generator(0, "image")), dim=1)

    def text(self, texts):
        counts = torch.tensor([[float(text.count(chr(97 + i))) for i in range(26)] for text in texts])
        return functional.normalize(counts @ torch.randn(26, 16, generator=generator(0, "text")), dim=1)


def stand_ins() -> dict:
    """By argument: what takes the place of a user's own files and of weights that do not come with the project."""
    return {"photo": made_up_faces(1, 1, seed=7).images, "clip": Letters()}


def build_with_stand_ins(path: Path):
    """The guidance, built wherever the tests run."""
    config = config_of(path.stem)
    ours = {key: value for key, value in stand_ins().items() if key in config}
    given = {key: value for key, value in config.items() if key not in ours}
    assert "???" not in given.values(), f"{path.stem} wants a file of the user's own: add it to stand_ins()"
    return hydra.utils.instantiate(given, _convert_="all", _partial_=True)(**ours)


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_header_says_what_it_is_its_licence_its_needs_and_its_source(path: Path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# @package guidance" and lines[1].startswith("# ") and lines[1].endswith(".")
    assert [line.split(":")[0] for line in lines[2:5]] == ["# licence", "# needs", "# source"]


def test_a_cloak_takes_it_whole_and_every_key_is_an_argument_of_its_class(path: Path):
    config = config_of(path.stem)
    assert config == OmegaConf.to_container(OmegaConf.load(path))
    module, _, name = config["_target_"].rpartition(".")
    arguments = {key: value for key, value in config.items() if key != "_target_"}
    inspect.signature(getattr(importlib.import_module(module), name)).bind(**arguments)


def test_it_gives_each_image_a_finite_loss_with_a_gradient_of_its_own(path: Path):
    guidance, photos = build(path), made_up_faces(3, 1).images
    loss = guidance.bind(photos, generator(0, "guidance"))
    images = (0.9 * photos + 0.05).requires_grad_(True)
    values = loss(images)
    assert values.shape == (3,) and bool(values.isfinite().all())
    (gradient,) = torch.autograd.grad(values[1], images)
    assert bool(gradient.isfinite().all()) and not gradient[[0, 2]].any()


def differing_photos() -> torch.Tensor:
    """(3, 3, S, S): of one colour, half in the dark, and with spots, so that the regions fitted to each differ."""
    photos = made_up_faces(3, 1).images * 0.2 + torch.tensor([0.7, 0.5, 0.4]).view(3, 1, 1)
    photos[1, :, :, :112] *= 0.2
    photos[2, :, ::7, ::5] = torch.tensor([0.1, 0.9, 0.2]).view(3, 1, 1)
    return photos.clamp(0, 1)


def test_what_it_asks_of_an_image_does_not_depend_on_the_batch(path: Path):
    guidance, photos = build_with_stand_ins(path), differing_photos()
    changed = (0.8 * photos + 0.1).requires_grad_(True)
    together = guidance.bind(photos, generator(0, "guidance"))(changed)
    (gradient,) = torch.autograd.grad(together.sum(), changed)
    for i in range(3):
        one = changed[i : i + 1].detach().requires_grad_(True)
        alone = guidance.bind(photos[i : i + 1], generator(0, "guidance"))(one)
        (slope,) = torch.autograd.grad(alone.sum(), one)
        assert torch.allclose(together[i], alone[0], rtol=1e-5, atol=1e-6)
        assert torch.allclose(gradient[i], slope[0], rtol=1e-3, atol=1e-4 * float(slope.abs().max()))


def test_clip_without_its_package_or_weights_says_what_to_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(InstantiationException) as caught:
        hydra.utils.instantiate(config_of("clip"), _convert_="all")
    assert isinstance(caught.value.__cause__, MissingPackageError)
    assert "pip install open-clip-torch" in str(caught.value.__cause__)
