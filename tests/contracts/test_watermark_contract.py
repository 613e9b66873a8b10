"""What every YAML of the group `watermark` must satisfy. A new watermarker is tested by being there."""

import importlib
import inspect
import re
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from conftest import made_up_faces
from facesec_bench.asset_manifest import MANIFEST
from facesec_bench.errors import AssetError, ConfigError, MissingPackageError
from facesec_bench.interfaces import Watermark
from facesec_bench.seeds import generator
from facesec_bench.watermarks.messages import draw

FILES = sorted((Path(__file__).resolve().parents[2] / "experiments/conf/watermark").glob("*.yaml"))


def header(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()[:5]


def assets_of(path: Path) -> list[str]:
    """The weights of the manifest that the line `needs` names."""
    return [word for word in re.findall(r"\w+", header(path)[3]) if word in MANIFEST]


def parameter(path: Path):
    names = assets_of(path)
    return pytest.param(path, id=path.stem, marks=[pytest.mark.assets(*names)] if names else [])


def config_of(path: Path) -> dict:
    return OmegaConf.to_container(OmegaConf.load(path))


def class_of(path: Path) -> type:
    module, _, name = config_of(path)["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), name)


def arguments(path: Path) -> dict:
    return {key: value for key, value in config_of(path).items() if key != "_target_"}


def build(path: Path) -> Watermark:
    if "???" in arguments(path).values():
        pytest.skip(f"{path.stem} needs files of the user's own")
    try:
        return class_of(path)(**arguments(path))
    except (AssetError, MissingPackageError) as error:
        if assets_of(path) or header(path)[3] == "# needs: nothing":
            raise
        pytest.skip(f"{path.stem}: {error}")


@pytest.fixture(scope="module")
def chips() -> torch.Tensor:
    """Made-up faces at half the contrast and with grain: pale and rough, like the photos that networks know."""
    images = made_up_faces(3, 1).images
    grain = 0.02 * torch.randn(len(images), 1, *images.shape[2:], generator=generator(0, "grain"))
    return ((0.25 + 0.5 * images + grain) * 255).round() / 255


@pytest.fixture(scope="module", params=[parameter(path) for path in FILES])
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture(scope="module")
def marked(path: Path, chips: torch.Tensor):
    """One run of one YAML, shared by the claims below: the watermarker, the messages and the 3 marked chips."""
    watermark = build(path)
    messages = draw(len(chips), watermark.bits, generator(0, "contract"))
    before, world = (chips.clone(), messages.clone()), torch.get_rng_state()
    with torch.no_grad():
        result = watermark.encode(chips, messages)
        scores = watermark.decode((result * 255).round() / 255)
    untouched = torch.equal(chips, before[0]) and torch.equal(messages, before[1])
    calm = torch.equal(torch.get_rng_state(), world)
    return watermark, messages, result, scores, untouched, calm


def test_there_are_watermarkers():
    assert {"rivagan", "spread_spectrum", "dwt_dct_svd", "trustmark"} <= {path.stem for path in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.stem)
def test_header_says_what_it_is_its_licence_its_needs_and_its_source(file: Path):
    lines = header(file)
    assert lines[0] == "# @package watermark"
    assert lines[1].startswith("# ") and lines[1].endswith(".")
    assert [line.split(":")[0] for line in lines[2:5]] == ["# licence", "# needs", "# source"]


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.stem)
def test_every_key_is_an_argument_of_its_class(file: Path):
    inspect.signature(class_of(file)).bind(**arguments(file))


def test_watermarker_says_who_it_is(path: Path, marked):
    watermark, *_ = marked
    assert watermark.name == path.stem and watermark.bits >= 1 and isinstance(watermark.differentiable, bool)
    assert re.fullmatch("[0-9a-f]{64}", watermark.digest)


def test_marked_chips_keep_shape_and_range(marked, chips):
    watermark, _, result, scores, *_ = marked
    assert result.shape == chips.shape and result.dtype == torch.float32
    assert result.min() >= 0 and result.max() <= 1 and bool(torch.isfinite(scores).all())
    assert scores.shape == (len(chips), watermark.bits)


def test_bits_are_read_back_from_an_8_bit_file(marked):
    _, messages, _, scores, *_ = marked
    assert ((scores > 0) == (messages > 0)).float().mean() >= 0.95


def test_the_mark_is_hardly_seen(marked, chips):
    assert -10 * (marked[2] - chips).square().mean((1, 2, 3)).log10().max() >= 35


def test_same_input_gives_the_same_bits(path: Path, marked, chips):
    watermark, messages, result, *_ = marked
    again = build(path)
    with torch.no_grad():
        assert torch.equal(again.encode(chips, messages), result)
    assert again.digest == watermark.digest


def test_a_chip_is_marked_alike_alone_and_in_a_batch(marked, chips):
    watermark, messages, result, *_ = marked
    with torch.no_grad():
        assert torch.allclose(watermark.encode(chips[2:3], messages[2:3]), result[2:3], atol=1e-4)


def test_inputs_and_the_worlds_randomness_are_left_alone(marked):
    assert marked[4], "encode or decode changed its inputs"
    assert marked[5], "the global random generator moved"


def test_another_message_gives_another_image(marked, chips):
    watermark, messages, result, *_ = marked
    with torch.no_grad():
        other = watermark.encode(chips[:1], 1 - messages[:1])
    assert (255 * (other - result[:1])).abs().max() > 0.5


def test_gradient_reaches_the_chip_just_where_it_is_promised(marked, chips):
    watermark, messages, *_ = marked
    for make in (lambda x: watermark.encode(x, messages[:1]), watermark.decode):
        leaf = chips[:1].clone().requires_grad_(True)
        out = make(leaf)
        assert out.requires_grad == watermark.differentiable
        if watermark.differentiable:
            (out * torch.randn(out.shape, generator=generator(1, "weights"))).sum().backward()
            assert bool(torch.isfinite(leaf.grad).all()) and leaf.grad.abs().mean() > 0


def test_black_and_white_chips_stay_in_range(marked, chips):
    watermark, messages, *_ = marked
    flat = torch.stack([torch.zeros_like(chips[0]), torch.ones_like(chips[0])])
    with torch.no_grad():
        result = watermark.encode(flat, messages[:2])
        scores = watermark.decode(result)
    assert result.min() >= 0 and result.max() <= 1 and bool(torch.isfinite(scores).all())


def test_weights_are_frozen(marked):
    watermark = marked[0]
    held = watermark.parameters() if isinstance(watermark, torch.nn.Module) else ()
    assert not any(parameter.requires_grad for parameter in held)


@pytest.mark.parametrize("spoil", [lambda m: m[:, :-1], lambda m: m[:1], lambda m: m * 0.5 + 0.25, lambda m: 2 * m - 1])
def test_wrong_messages_are_refused(marked, chips, spoil):
    watermark, messages, *_ = marked
    with pytest.raises(ConfigError, match=f"{watermark.name}: found"):
        watermark.encode(chips, spoil(messages))


def test_wrong_chips_are_refused(marked, chips):
    watermark, messages, *_ = marked
    for wrong in (chips[:, :1], chips[0]):
        with pytest.raises(ConfigError, match=f"{watermark.name}: found"):
            watermark.encode(wrong, messages)
        with pytest.raises(ConfigError, match=f"{watermark.name}: found"):
            watermark.decode(wrong)
