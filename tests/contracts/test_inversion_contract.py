"""What every YAML of the group `inversion` must satisfy. A new inversion is tested by being there."""

import functools
import importlib
import inspect
import re
from pathlib import Path

import hydra
import pytest
import torch
from omegaconf import OmegaConf

from conftest import made_up_faces
from experiments.inversion_plan import level
from facesec_bench import assets
from facesec_bench.access import CLASSIFIER_LEVELS, EMBEDDING_LEVELS, ClassifierAccess, EmbeddingAccess
from facesec_bench.errors import AccessError
from facesec_bench.seeds import generator
from facesec_bench.targets.closed_set import ClosedSet, RecogniserTrunk
from facesec_bench.targets.identity import state_digest
from facesec_bench.targets.toy import ToyTarget

CONF = Path(__file__).resolve().parents[2] / "experiments/conf"
FILES = sorted((CONF / "inversion").glob("*.yaml"))
CLASSES, PUBLIC = 3, 12

SMALL = {
    "steps": 2,
    "pool": 6,
    "restarts": 2,
    "views": 1,
    "draws": 3000,
    "points": 4,
    "width": 4,
    "batch": 4,
    "top": 4,
    "components": 5,
    "start_steps": 1,
    "starts": 2,
    "proposals": 4,
    "population": 6,
    "generations": 2,
    "queries": 60,
    "most": 60,
}
"""Settings that make an attack short, wherever its YAML has them."""


@functools.cache
def composed(name: str) -> dict:
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("config", [f"inversion=[{name}]"])
    return OmegaConf.to_container(config.inversion[name], resolve=True)


def smaller(config):
    if isinstance(config, list):
        return [smaller(part) for part in config]
    if not isinstance(config, dict):
        return config
    small = {key: smaller(value) for key, value in config.items()}
    return {key: min(value, SMALL[key]) if key in SMALL and value else value for key, value in small.items()}


def build(path: Path):
    if "???" in str(composed(path.stem)):
        pytest.skip(f"{path.stem} needs files of the user's own")
    return hydra.utils.instantiate(smaller(composed(path.stem)), _convert_="all")


def public() -> torch.Tensor:
    return made_up_faces(PUBLIC, 1, seed=1).images


def accesses(attack, wanted: str | None = None, only: str = "any", people: int = CLASSES):
    """By what is asked: (access, the network inside)."""
    found = {}
    if attack.asks in ("classifier", "any") and only != "embedding":
        inside = ClosedSet("toy", RecogniserTrunk(ToyTarget()), people, scale=16.0).requires_grad_(False).eval()
        found["classifier"] = ClassifierAccess(inside, wanted or level(attack, "classifier")), inside
    if attack.asks in ("embedding", "any") and only != "classifier":
        toy = ToyTarget().requires_grad_(False).eval()
        enrolled = toy.embed(made_up_faces(people, 1, seed=2).images)
        found["embedding"] = EmbeddingAccess(toy, wanted or level(attack, "embedding"), enrolled), toy
    return found


def run(attack, access, seed: int = 0) -> torch.Tensor:
    people = torch.tensor([0, 1, 1])
    return attack(people, access, public(), generator(seed, "attack"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_header_and_keys(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# @package inversion.{path.stem}\n# ")
    for key in ("# licence:", "# needs:", "# source:"):
        assert key in text
    config = composed(path.stem)
    module, _, name = config["_target_"].rpartition(".")
    keys = set(config) - {"_target_"}
    assert keys <= set(inspect.signature(getattr(importlib.import_module(module), name)).parameters)


@pytest.mark.assets
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_recoveries_are_chips_the_seed_decides_them_and_the_victim_keeps_its_bits(path):
    attack = build(path)
    for asked, (access, inside) in accesses(attack).items():
        before = state_digest(inside)
        chips = run(attack, access)
        assert chips.shape == (3, 3, 224, 224) and chips.dtype == torch.float32
        assert float(chips.min()) >= 0 and float(chips.max()) <= 1 and not chips.requires_grad
        assert state_digest(inside) == before and not any(p.requires_grad for p in inside.parameters())
        again, _ = accesses(attack)[asked]
        assert torch.equal(run(attack, again), chips)
        assert (again.meter.queries, again.meter.gradients) == (access.meter.queries, access.meter.gradients)
        assert (access.meter.gradients > 0) == (access.level == "white"), "told white and asks gradients"


@pytest.mark.assets
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_more_is_asked_than_the_level_that_is_told(path):
    """At one level less than told, an attack that asks at all is refused: the level is not told too high."""
    attack = build(path)
    for asked in accesses(attack):
        known = CLASSIFIER_LEVELS if asked == "classifier" else EMBEDDING_LEVELS
        told = known.index(level(attack, asked))
        if told + 1 == len(known) or known[told] == "white":
            continue  # of a white box the gradients are counted above
        access, _ = accesses(attack, known[told + 1], asked)[asked]
        with pytest.raises(AccessError):
            run(attack, access)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_yaml_names_the_weights_that_it_loads(path):
    (line,) = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# needs:")]
    modules = set(re.findall(r"facesec_bench\.(?:generators|targets)\.(\w+)\.", str(composed(path.stem))))
    loaded = modules & {status.asset.name for status in assets.status()}
    assert loaded <= set(re.findall(r"[a-z0-9_]+", line)), loaded
