"""What every YAML of the group `evasion` must satisfy. A new method is tested by being there."""

import copy
import functools
import importlib
import importlib.util
import inspect
import random
import re
from pathlib import Path

import hydra
import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch.nn import functional

from facesec_bench import assets
from facesec_bench.goals import Aim
from facesec_bench.interfaces import CHIP_SIZE, Evasion, Faces
from facesec_bench.seeds import generator
from facesec_bench.targets.toy import ToyTarget

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "experiments/conf/evasion").glob("*.yaml"))
EPS_255 = 8.0
CONTROLS = {"random_sign"}


@functools.cache
def composed(name: str, eps_255: float) -> DictConfig:
    """The method's configuration with its parts, as `facesec run evasion=[name]` composes it."""
    with hydra.initialize_config_dir(str(ROOT / "experiments/conf"), version_base="1.3"):
        return hydra.compose("config", [f"evasion=[{name}]", f"eps_255={eps_255}"])


def config_of(path: Path, eps_255: float = EPS_255) -> dict:
    return OmegaConf.to_container(composed(path.stem, eps_255).evasion[path.stem], resolve=True)


def needed(path: Path) -> set[str]:
    """The weights that the header says the method needs."""
    (line,) = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# needs:")]
    return {s.asset.name for s in assets.status()} & set(re.findall(r"[a-z0-9_]+", line))


def class_of(config: dict) -> type:
    module, _, name = config["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), name)


def build(path: Path, **changes: object) -> Evasion:
    config = config_of(path) | changes
    if "???" in str(config):
        pytest.skip(f"{path.stem} needs files of the user's own")
    if config["_target_"].startswith("attacks.via_torchattacks") and not importlib.util.find_spec("torchattacks"):
        pytest.skip("torchattacks is an extra: pip install --no-deps torchattacks==3.5.1")
    return hydra.utils.instantiate(config, _convert_="all")


def photos(people: int = 3) -> tuple[Faces, torch.Tensor]:
    """One smooth random photo of each person, and another photo of each."""
    rng = generator(0, "contract photos")
    coarse = torch.rand(people, 3, 12, 12, generator=rng)
    images = functional.interpolate(coarse, CHIP_SIZE, mode="bicubic").clamp(0, 1)
    noise = 0.02 * torch.randn(images.shape, generator=rng)
    others = (0.9 * torch.roll(images, 2, -1) + 0.03 + noise).clamp(0, 1)
    keys = tuple(f"p{i}" for i in range(people))
    return Faces(images, torch.arange(people), keys, keys), others


def aim_of(kind: str, people: int = 3) -> tuple[Faces, Aim]:
    faces, others = photos(people)
    labels = faces.identities if kind == "dodge" else faces.identities.roll(1)
    gallery = Faces(others, faces.identities, tuple(f"g{i}" for i in range(len(faces))), faces.names)
    return faces, Aim(kind=kind, references=others[labels], labels=labels, gallery=gallery)


METHODS = [pytest.param(p, marks=[pytest.mark.assets(*needed(p))] if needed(p) else [], id=p.stem) for p in FILES]


@pytest.fixture(scope="module", params=METHODS)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture(scope="module", params=["dodge", "impersonate"])
def outcome(request: pytest.FixtureRequest, path: Path):
    """One run of one YAML on the toy target, shared by the claims below."""
    # These photos hold no face: what fits itself to a face's colours would find none, and change next to nothing.
    attack = build(path, **({"fit": False} if "fit" in config_of(path) else {}))
    faces, aim = aim_of(request.param)
    before = faces.images.clone(), aim.references.clone(), aim.gallery.images.clone()
    toy = ToyTarget().train()
    toy.second.requires_grad_(False)
    state = copy.deepcopy(toy.state_dict())
    world = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    result = attack(faces, aim, [toy], generator(1, "contract"))
    calm = torch.equal(torch.get_rng_state(), world[0]) and random.getstate() == world[1]
    calm = calm and bool((np.random.get_state()[1] == world[2]).all())
    return attack, faces, aim, toy, state, before, calm, result


def test_there_are_evasion_methods():
    assert len(FILES) >= 15


def test_header_says_what_it_is_its_licence_its_needs_and_its_source(path: Path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"# @package evasion.{path.stem}"
    assert lines[1].startswith("# ") and lines[1].endswith(".")
    assert [line.split(":")[0] for line in lines[2:5]] == ["# licence", "# needs", "# source"]


def test_every_key_is_an_argument_of_its_class(path: Path):
    config = config_of(path)
    inspect.signature(class_of(config)).bind(**{k: v for k, v in config.items() if k != "_target_"})


def test_the_budget_follows_the_top_level_eps(path: Path):
    budget = config_of(path, 3.5)
    stated = [v for k, v in budget.items() if k in ("eps_255", "rms_255") and v is not None]
    names = {"eps_255", "rms_255"}
    can = names & set(inspect.signature(class_of(budget)).parameters)  # makeup alone has no budget to state
    assert stated in ([3.5], []) and (names & set(budget) or not can)


def test_method_keeps_shape_range_and_budget(path: Path, outcome):
    _, faces, *_, result = outcome
    assert result.shape == faces.images.shape and result.dtype == torch.float32 and not result.requires_grad
    assert result.min() >= 0 and result.max() <= 1
    config = config_of(path)
    change = 255 * (result - faces.images)
    if config.get("eps_255") is not None:
        assert change.abs().max() <= EPS_255 * (1 + 1e-5)
    if config.get("rms_255") is not None:
        assert change.square().mean((1, 2, 3)).sqrt().max() <= EPS_255 * (1 + 1e-4)
    assert change.abs().amax((1, 2, 3)).min() > 0, "an image came back untouched"


def test_same_seed_gives_the_same_bits(outcome):
    attack, faces, aim, *_, result = outcome
    torch.rand(3)  # the world's generator moves on; a method must not read it
    assert torch.equal(attack(faces, aim, [ToyTarget()], generator(1, "contract")), result)


def test_method_leaves_the_worlds_randomness_alone(outcome):
    assert outcome[-2], "a global random generator moved"


def test_goal_improves_on_the_toy_target(path: Path, outcome):
    _, faces, aim, *_, result = outcome
    if path.stem in CONTROLS:
        pytest.skip("a control is not meant to work")
    toy = ToyTarget()
    goal = aim.on(toy)
    with torch.no_grad():
        gain = goal.loss(toy.embed(faces.images)) - goal.loss(toy.embed(result))
    budget = {config_of(path).get(name) for name in ("eps_255", "rms_255")} - {None}
    # Without a pixel budget a cloak is bound otherwise (the face alone, makeup alone): these photos hold no face.
    assert gain.min() > (0.1 if budget or ".via_" in config_of(path)["_target_"] else 0.01), gain.tolist()


def test_target_is_left_as_found(outcome):
    _, _, _, toy, state, *_ = outcome
    assert toy.training and toy.first.requires_grad and not toy.second.requires_grad
    assert all(torch.equal(value, state[key]) for key, value in toy.state_dict().items())
    assert all(parameter.grad is None for parameter in toy.parameters())


def test_input_photos_are_not_modified(outcome):
    _, faces, aim, _, _, before, *_ = outcome
    assert all(
        torch.equal(a, b) for a, b in zip(before, (faces.images, aim.references, aim.gallery.images), strict=True)
    )


def with_saturated_patches(faces: Faces) -> Faces:
    """Blown-out highlights and black shadows: there a step that looks ahead leaves [0, 1]."""
    images = faces.images.clone()
    images[:, :, 40:120, 30:110] = 1
    images[:, :, 110:200, 120:210] = 0
    return Faces(images, faces.identities, faces.keys, faces.names)


def stays_in_range(path: Path, result: torch.Tensor, images: torch.Tensor) -> bool:
    if not bool(torch.isfinite(result).all()) or result.min() < 0 or result.max() > 1:
        return False
    budget = config_of(path).get("eps_255")
    return budget is None or bool((255 * (result - images)).abs().max() <= budget * (1 + 1e-5))


def test_saturated_patches_are_attacked_like_any_other_pixels(path: Path):
    plain, aim = aim_of("dodge", people=2)
    faces = with_saturated_patches(plain)
    result = build(path)(faces, aim, [ToyTarget()], generator(1, "contract"))
    assert stays_in_range(path, result, faces.images) and not torch.equal(result, faces.images)


@pytest.mark.assets("sface")
def test_every_own_method_runs_on_a_real_recogniser(path: Path):
    from facesec_bench.targets.sface import SFace

    if ".via_" in config_of(path)["_target_"]:
        pytest.skip("a library's method")
    plain, aim = aim_of("dodge", people=2)
    faces = with_saturated_patches(plain)
    attack = build(path, steps=2) if "steps" in config_of(path) else build(path)
    result = attack(faces, aim, [SFace()], generator(1, "contract"))
    assert stays_in_range(path, result, faces.images) and not torch.equal(result, faces.images)


def test_an_ensemble_is_accepted(path: Path):
    faces, aim = aim_of("dodge")
    one = Aim("dodge", aim.references[:1], aim.labels[:1], aim.gallery)
    result = build(path)(faces.select([0]), one, [ToyTarget(0), ToyTarget(1)], generator(1, "contract"))
    assert result.shape == (1, 3, 224, 224)
