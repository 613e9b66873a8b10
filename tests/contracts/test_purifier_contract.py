"""What every YAML of the group `purifier` must satisfy. A new purifier is tested by being there."""

import importlib
import inspect
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch.nn import functional

from facesec_bench.errors import ConfigError
from facesec_bench.interfaces import CHIP_SIZE, Purifier
from facesec_bench.seeds import generator

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "experiments/conf/purifier").glob("*.yaml"))
WRONG = {"jpeg": {"quality": 0}, "blur": {"sigma": 0.0}, "quantise": {"levels": 1}, "rescale": {"share": 0.0}}


def parts(path: Path) -> tuple[type, dict]:
    config = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    module, _, name = config.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), name), config


def chips(people: int = 2) -> torch.Tensor:
    """Smooth random photos, away from black and white, so that nothing is clipped."""
    coarse = torch.rand(people, 3, 12, 12, generator=generator(0, "purifier photos"))
    return 0.2 + 0.6 * functional.interpolate(coarse, CHIP_SIZE, mode="bilinear")


@pytest.fixture(scope="module", params=FILES, ids=lambda p: p.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture(scope="module")
def purifier(path: Path) -> Purifier:
    made, arguments = parts(path)
    return made(**arguments)


def test_there_are_purifiers():
    assert len(FILES) >= 4


def test_header_says_what_it_is_its_licence_its_needs_and_its_source(path: Path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"# @package purifier.{path.stem}"
    assert lines[1].startswith("# ") and lines[1].endswith(".")
    assert [line.split(":")[0] for line in lines[2:5]] == ["# licence", "# needs", "# source"]


def test_every_key_is_an_argument_of_its_class(path: Path):
    made, arguments = parts(path)
    inspect.signature(made).bind(**arguments)
    assert arguments, "a purifier states its strength"


def test_a_setting_out_of_range_is_refused_at_once(path: Path):
    if path.stem not in WRONG:
        pytest.skip("no wrong setting is known for it")
    made, arguments = parts(path)
    with pytest.raises(ConfigError, match=r"found .* wanted"):
        made(**arguments | WRONG[path.stem])


def test_its_name_begins_with_the_file_s_and_carries_its_strength(path: Path, purifier: Purifier):
    assert purifier.name.startswith(path.stem) and purifier.name != path.stem


def test_shape_and_range_are_kept_and_something_changes(purifier: Purifier):
    images = chips()
    images[0, :, :40] = 0.0
    images[1, :, :40] = 1.0
    before = images.clone()
    result = purifier(images)
    assert result.shape == images.shape and result.dtype == torch.float32
    assert result.min() >= 0 and result.max() <= 1
    assert torch.equal(images, before), "the input was changed in place"
    assert not torch.equal(result, images)


def test_it_is_deterministic_and_images_do_not_influence_one_another(purifier: Purifier):
    images = chips(3)
    result = purifier(images)
    torch.rand(3)  # the world's generator moves on; a purifier must not read it
    assert torch.equal(purifier(images), result)
    assert torch.allclose(torch.cat([purifier(image[None]) for image in images]), result, atol=1e-6)


def backwards(purifier: Purifier, images: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    leaf = images.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad((purifier(leaf) * weights).sum(), leaf)
    return gradient


def test_a_gradient_reaches_every_pixel_s_neighbourhood(purifier: Purifier):
    gradient = backwards(purifier, chips(), torch.ones(2, 3, CHIP_SIZE, CHIP_SIZE))
    assert gradient.isfinite().all()
    assert functional.avg_pool2d(gradient, 8).min() > 0.9, "each region's brightness must count"


def test_differentiable_tells_the_truth(purifier: Purifier):
    """An own gradient agrees with finite differences; one that is passed on is the identity, and does not."""
    images = chips().double()
    rng = generator(1, "directions")
    weights, direction = (torch.randn(images.shape, generator=rng).double() for _ in range(2))
    gradient = backwards(purifier, images, weights)
    h = 1e-5
    with torch.no_grad():
        there, back = ((purifier(images + s * h * direction).double() * weights).sum() for s in (1, -1))
    measured, stated = (there - back) / (2 * h), (gradient * direction).sum()
    agree = bool((measured - stated).abs() <= 1e-3 * (gradient.norm() + 1))
    assert agree == purifier.differentiable
    if not purifier.differentiable:
        assert torch.equal(gradient, weights), "a gradient that is not its own is passed on unchanged"
