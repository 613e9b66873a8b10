"""What every YAML of the group `activation` must satisfy. A new method is tested by being there."""

import copy
import importlib
import inspect
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch.nn import functional

from defenses.blur import Blur
from facesec_bench.goals import Aim
from facesec_bench.interfaces import CHIP_SIZE, Faces
from facesec_bench.seeds import generator
from facesec_bench.targets.toy import ToyTarget
from facesec_bench.watermarks.dwt_dct_svd import DwtDctSvd
from facesec_bench.watermarks.messages import draw
from facesec_bench.watermarks.spread_spectrum import SpreadSpectrum

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "experiments/conf/activation").glob("*.yaml"))
EPS_255 = 4.0
TAU = 0.5


def config_of(path: Path, eps_255: float = EPS_255) -> dict:
    plain = OmegaConf.merge({"eps_255": eps_255}, {"method": OmegaConf.load(path)})
    return OmegaConf.to_container(plain, resolve=True)["method"]


def build(path: Path, **changes: object):
    config = config_of(path) | changes
    module, _, name = config.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), name)(**config)


def photos(people: int = 4) -> tuple[Faces, Aim]:
    rng = generator(0, "activation contract")
    coarse = torch.rand(people, 3, 12, 12, generator=rng)
    images = functional.interpolate(coarse, CHIP_SIZE, mode="bicubic").clamp(0.1, 0.9)
    others = (0.95 * images + 0.02 * torch.randn(images.shape, generator=rng)).clamp(0, 1)
    keys = tuple(f"p{i}" for i in range(people))
    faces = Faces(images, torch.arange(people), keys, keys)
    return faces, Aim(
        "dodge", others, faces.identities, Faces(others, faces.identities, tuple(f"g{k}" for k in keys), keys)
    )


def run(path: Path, *, known: bool = True, watermark=None, purifier=None, toy=None, seed: int = 1, **changes):
    faces, aim = photos()
    watermark = watermark or SpreadSpectrum()
    messages = draw(len(faces), watermark.bits, generator(2, "messages")) if known else None
    attack = build(path, **{"steps": 6, "draws": 2} | changes)
    rng = generator(seed, "contract")
    return faces, attack(faces, aim, [toy or ToyTarget()], [TAU], watermark, messages, rng, purifier=purifier)


@pytest.fixture(params=FILES, ids=lambda p: p.stem)
def path(request) -> Path:
    return request.param


def test_there_are_activations():
    assert len(FILES) >= 2


def test_header_says_what_it_is_its_licence_its_needs_and_its_source(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"# @package activation.{path.stem}"
    assert lines[1].startswith("# ") and lines[1].endswith(".")
    assert [line.split(":")[0] for line in lines[2:5]] == ["# licence", "# needs", "# source"]


def test_every_key_is_an_argument_of_its_class(path):
    config = config_of(path)
    module, _, name = config.pop("_target_").rpartition(".")
    inspect.signature(getattr(importlib.import_module(module), name)).bind(**config)


def test_the_budget_follows_the_top_level_eps(path):
    assert config_of(path, 3.0)["eps_255"] == 3.0


@pytest.mark.parametrize("known", [True, False])
def test_method_keeps_shape_range_and_budget_whether_or_not_it_knows_the_message(path, known):
    faces, result = run(path, known=known)
    assert result.shape == faces.images.shape and not result.requires_grad
    assert result.min() >= 0 and result.max() <= 1
    change = 255 * (result - faces.images).abs().amax((1, 2, 3))
    assert change.max() <= EPS_255 * (1 + 1e-5) and change.min() > 0


def test_same_seed_gives_the_same_bits_and_messages_come_from_it(path):
    first, again, other = (run(path, known=False, seed=seed)[1] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_watermarker_without_a_gradient_is_attacked_all_the_same(path):
    faces, result = run(path, watermark=DwtDctSvd())
    assert (result - faces.images).abs().amax((1, 2, 3)).min() > 0


def behind(purifier, path: Path, faces: Faces, aim: Aim, result: torch.Tensor) -> torch.Tensor:
    """(B,) activation and stealth hinges of the formula when dodging, as the system sees them behind the purifier."""
    toy, watermark, wanted = ToyTarget(), SpreadSpectrum(), config_of(path)
    messages = draw(len(faces), watermark.bits, generator(2, "messages"))
    shown = purifier(result)
    own, unmarked, marked = (toy.embed(x) for x in (purifier(faces.images), shown, watermark.encode(shown, messages)))
    reference = toy.embed(aim.references)

    def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a * b).sum(1)

    low, high = TAU - wanted["activation_margin"], TAU + wanted["stealth_margin"]
    activation = (torch.relu(cosine(marked, reference) - low) + torch.relu(cosine(marked, own) - low)) / 2
    kept = torch.relu(wanted["keep"] - cosine(unmarked, own))
    accepted = torch.relu(cosine(own, reference).clamp_max(high) - cosine(unmarked, reference))
    return activation + wanted["stealth_weight"] * (kept + accepted)


def test_an_attack_that_knows_the_purifier_does_better_behind_it(path):
    purifier, aim, told = Blur(2.0), photos()[1], {"steps": 20, "bit_weight": 0.0}
    with torch.no_grad():
        faces, unaware = run(path, **told)
        aware = run(path, purifier=purifier, **told)[1]
        clean, blind, informed = (behind(purifier, path, faces, aim, x) for x in (faces.images, unaware, aware))
    assert (informed < blind - 0.02).all() and (blind < clean).all()


def test_target_is_left_as_found(path):
    toy = ToyTarget().train()
    toy.second.requires_grad_(False)
    state = copy.deepcopy(toy.state_dict())
    run(path, toy=toy)
    assert toy.training and toy.first.requires_grad and not toy.second.requires_grad
    assert all(torch.equal(value, state[key]) for key, value in toy.state_dict().items())
    assert all(parameter.grad is None for parameter in toy.parameters())


def test_world_randomness_is_left_alone(path):
    before = torch.get_rng_state()
    run(path, known=False)
    assert torch.equal(before, torch.get_rng_state())
