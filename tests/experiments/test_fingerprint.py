"""What a run's fingerprint takes in of its methods."""

import hydra
import pytest
import torch
from omegaconf import OmegaConf

from experiments.rooms import package_roots
from experiments.run import build_methods
from experiments.session import _held_digests


def held(*overrides: str) -> dict[str, str]:
    conf = package_roots()["experiments"] / "conf"
    with hydra.initialize_config_dir(str(conf), version_base="1.3"):
        config = hydra.compose("config", ["evasion=[clip2protect,pgd]", *overrides])
    return _held_digests(build_methods(OmegaConf.create(config)), "methods")


@pytest.mark.assets("dcgan", "lpips_alex")
def test_weights_and_files_of_a_method_count_by_what_is_in_them_and_not_by_their_name(tmp_path):
    file = tmp_path / "latents.pt"
    found = []
    for value in (0.0, 1.0):
        torch.save({"anna/1.jpg::z": torch.full((100,), value)}, file)
        found.append(held(f"+evasion.clip2protect.latents={file}"))
    assert set(found[0]) == {f"methods.evasion.clip2protect.{part}" for part in ("generator", "lpips", "latents")}
    assert {place for place in found[0] if found[0][place] != found[1][place]} == {
        "methods.evasion.clip2protect.latents"
    }


@pytest.mark.assets("dcgan", "lpips_alex")
def test_a_method_without_files_adds_nothing():
    assert all(".clip2protect." in place for place in held())
