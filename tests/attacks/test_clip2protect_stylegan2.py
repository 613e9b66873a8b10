"""The latent cloak on StyleGAN2 from weights on disk to chip: 64 pixels, weights random, so it paints no faces."""

from pathlib import Path

import hydra
import pytest
import torch
from omegaconf import OmegaConf
from tiny_generator import squared
from torch.nn import functional

from attacks.clip2protect import Clip2Protect
from experiments.run import execute
from facesec_bench.errors import ConfigError
from facesec_bench.generators.stylegan2 import StyleGAN2
from facesec_bench.goals import Aim
from facesec_bench.interfaces import CHIP_SIZE, Faces
from facesec_bench.makeup.regions import face_mask
from facesec_bench.seeds import generator
from facesec_bench.targets.toy import ToyTarget

CONF = Path(__file__).resolve().parents[2] / "experiments/conf"
ROWS = [f"w{i}" for i in range(10)]
FREE = ["w8", "w9", *(f"noise{i}" for i in range(9))]
"""As released at 1024 pixels: the rows from the second convolution of 64 pixels on, and the noise maps below 512."""
PAPER = {"w": [f"w{i}" for i in range(8, 18)], "noise": [f"noise{i}" for i in range(13)]}


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A state dict as rosinality's port saves it."""
    path = tmp_path_factory.mktemp("weights") / "stylegan2.pt"
    StyleGAN2.random(64, widest=16).save(path)
    return path


def composed(name: str, *overrides: str) -> dict:
    """The cloak's configuration as `facesec run` composes it."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("config", [f"evasion=[{name}]", *overrides])
    return OmegaConf.to_container(config.evasion[name], resolve=True)


def cloak(weights: Path, **changes: object) -> Clip2Protect:
    config = composed(
        "clip2protect",
        "generator@evasion.clip2protect.generator=stylegan2",
        f"evasion.clip2protect.generator.weights={weights}",
        f"evasion.clip2protect.free=[{','.join(FREE)}]",
        f"evasion.clip2protect.pivoting.layers=[{','.join(ROWS)}]",
        "guidance@evasion.clip2protect.guidance=none",
    )
    config["pivoting"] |= {"steps": 15, "tuning_steps": 15, "learning_rate": 5e-3, "stop": 0.0}
    config |= {"steps": 15, "reach": None, "jitter": None, "rendering": "generator"}
    return hydra.utils.instantiate(config | changes, lpips=squared, _convert_="all")


def photos(people: int = 2) -> Faces:
    coarse = torch.rand(people, 3, 9, 9, generator=generator(0, "photos"))
    images = functional.interpolate(coarse, CHIP_SIZE, mode="bicubic").clamp(0, 1)
    names = tuple(f"p{i}" for i in range(people))
    return Faces(images, torch.arange(people), names, names)


def aim_of(kind: str, faces: Faces) -> Aim:
    labels = faces.identities if kind == "dodge" else faces.identities.roll(1)
    # Another photo of the person: at the very photo that is cloaked a cosine of 1 has no slope to follow.
    others = (faces.images + 0.1 * torch.rand(faces.images.shape, generator=generator(0, "others"))).clamp(0, 1)
    return Aim(kind, others[labels], labels, faces)


def similarity(chips: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return (ToyTarget().embed(chips) * ToyTarget().embed(others)).sum(1)


@pytest.fixture(scope="module")
def method(weights) -> Clip2Protect:
    return cloak(weights)


@pytest.mark.slow
def test_stage_1_inverts_and_each_photos_own_generator_paints_it_better(method):
    faces = photos()
    wanted = method.frame.to_picture(faces.images)
    latent, tuned = method.pivots(faces)
    with torch.no_grad():
        mean = method.generator.mean(1, generator(0))
        began = squared(method.generator.synthesise(mean).expand_as(wanted), wanted)
        inverted = squared(method.generator.synthesise(latent), wanted)
        painted = squared(tuned.synthesise(latent), wanted)
    assert (inverted < 0.95 * began).all() and (painted < 0.9 * inverted).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dodge", "impersonate"])
@pytest.mark.parametrize("rendering", ["generator", "residual"])
def test_stage_2_comes_nearer_to_its_goal_inside_the_face_and_repeatably(method, weights, kind, rendering):
    faces = photos()
    aim, fresh = aim_of(kind, faces), cloak(weights, rendering=rendering)
    fresh._pivots, fresh.generator = method._pivots, method.generator
    still = cloak(weights, rendering=rendering, steps=0)
    still._pivots, still.generator = method._pivots, method.generator
    method.pivots(faces)
    chips = fresh(faces, aim, [ToyTarget()], generator(1, "c"))
    before = still(faces, aim, [ToyTarget()], generator(1, "c"))
    gain = similarity(chips, aim.references) - similarity(before, aim.references)
    assert (gain * (1 if kind == "impersonate" else -1) > 0.01).all()
    outside = (face_mask(CHIP_SIZE) == 0).expand_as(chips)
    assert torch.equal(chips[outside], faces.images[outside])
    assert torch.equal(chips, fresh(faces, aim, [ToyTarget()], generator(1, "c")))


@pytest.mark.slow
def test_two_builds_agree_to_the_bit_and_the_weights_on_disk_decide(weights, tmp_path):
    faces = photos(1)
    short = {"steps": 3}
    chips = [cloak(weights, **short)(faces, aim_of("dodge", faces), [ToyTarget()], generator(1)) for _ in range(2)]
    assert torch.equal(*chips)
    StyleGAN2.random(64, widest=16, seed=5).save(tmp_path / "other.safetensors")
    other = cloak(tmp_path / "other.safetensors", **short)(faces, aim_of("dodge", faces), [ToyTarget()], generator(1))
    assert not torch.equal(chips[0], other)


def test_the_released_row_moves_the_layers_it_says_at_1024_pixels():
    config = composed("clip2protect_stylegan2")
    assert config["generator"]["weights"] == "???" and config["generator"]["_target_"].endswith("StyleGAN2")
    sides = [4] + [side for power in range(3, 11) for side in (2**power, 2**power)]
    noise = [f"noise{i}" for i, side in enumerate(sides) if side < 512]
    assert config["free"] == [*PAPER["w"], *noise] and noise == PAPER["noise"]
    assert config["pivoting"]["layers"] == [f"w{i}" for i in range(18)]
    assert config["regularised"] == PAPER["w"]


def test_the_released_row_names_the_weights_it_misses():
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("config", ["experiment=evasion", "evasion=[clip2protect_stylegan2]"])
    with pytest.raises(ConfigError, match=r"no value for evasion\.clip2protect_stylegan2\.generator\.weights"):
        execute(config)


def test_the_released_row_says_at_another_resolution_which_layers_there_are(weights):
    config = composed("clip2protect_stylegan2", f"evasion.clip2protect_stylegan2.generator.weights={weights}")
    with pytest.raises(hydra.errors.InstantiationException) as caught:
        hydra.utils.instantiate(config, lpips=squared, _convert_="all")
    assert "found w10, w11" in str(caught.value.__cause__) and "stylegan2: w0, w1, " in str(caught.value.__cause__)
    changed = config | {"free": FREE, "regularised": ["w8", "w9"], "latents": None}
    changed["pivoting"] |= {"layers": ROWS}
    assert hydra.utils.instantiate(changed, lpips=squared, _convert_="all").units["w8"] == 1.0
