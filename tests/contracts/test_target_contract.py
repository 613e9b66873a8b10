"""What every YAML of the group `target` must satisfy, without loading any weights."""

import importlib
import inspect
from pathlib import Path

import pytest
from omegaconf import OmegaConf

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "experiments/conf/target").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_header_says_what_it_is_its_licence_its_needs_and_its_source(path: Path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"# @package targets.{path.stem}"
    assert lines[1].startswith("# ") and len(lines[1]) > 10
    assert [line.split(":")[0] for line in lines[2:5]] == ["# licence", "# needs", "# source"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_key_is_an_argument_of_its_class(path: Path):
    config = dict(OmegaConf.load(path).items()) if not path.read_text().count("???") else _raw(path)
    module, _, name = str(config.pop("_target_")).rpartition(".")
    target = getattr(importlib.import_module(module), name)
    inspect.signature(target).bind(**config)
    assert callable(getattr(target, "embed", None)), f"{name} has no embed()"


def _raw(path: Path) -> dict:
    """Keys of a YAML whose values a user must fill in (???)."""
    return dict(OmegaConf.to_container(OmegaConf.load(path), resolve=False, throw_on_missing=False))


def test_the_toy_target_says_that_it_is_a_toy():
    from facesec_bench.targets.toy import ToyTarget

    assert "toy" in ToyTarget().card.note.lower()
