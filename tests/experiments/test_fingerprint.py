"""What a run's fingerprint takes in of its methods."""

import functools

import hydra
import pytest
import torch
from hydra.errors import InstantiationException
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torchvision.utils import save_image

from attacks.lowkey import LowKey
from conftest import made_up_faces
from experiments.rooms import package_roots
from experiments.run import build_methods
from experiments.session import _held_digests
from facesec_bench.asset_cache import install_converted
from facesec_bench.asset_download import sha256
from facesec_bench.assets import lookup
from facesec_bench.data import Dataset
from facesec_bench.errors import DataError
from facesec_bench.generators.dcgan import DCGAN
from facesec_bench.seeds import generator


def held(*overrides: str, methods: str = "clip2protect,pgd") -> dict[str, str]:
    conf = package_roots()["experiments"] / "conf"
    with hydra.initialize_config_dir(str(conf), version_base="1.3"):
        config = hydra.compose("config", [f"evasion=[{methods}]", *overrides])
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


@pytest.mark.assets("dcgan", "lpips_alex", "yunet")
def test_another_photo_under_the_same_name_is_another_makeup_by_example(tmp_path):
    file, place = tmp_path / "makeup.png", "methods.evasion.clip2protect.guidance"
    chosen = ("guidance@evasion.clip2protect.guidance=reference", f"evasion.clip2protect.guidance.photo={file}")
    found = []
    for seed in range(40):  # of the generated faces, the first two that the detector finds
        try:
            save_image(generated(seed), file)
            found.append(held(*chosen)[place])
        except InstantiationException as nobody:
            assert isinstance(nobody.__cause__, DataError)
        if len(found) == 2:
            break
    assert len(set(found)) == 2 and held(*chosen)[place] == found[1]


def generated(seed: int) -> torch.Tensor:
    latent = torch.randn(1, 100, generator=generator(seed, "face"))
    with torch.no_grad():
        face = DCGAN().eval().generate(latent)
    return torch.nn.functional.interpolate(face, size=(192, 192), mode="bicubic").clamp(0, 1)


def test_lowkeys_lpips_counts_by_its_net_and_by_the_users_own_file_and_is_not_loaded(tmp_path, monkeypatch):
    monkeypatch.setenv("FACESEC_CACHE", str(tmp_path))
    monkeypatch.setenv("FACESEC_OFFLINE", "1")
    alex, vgg = (held(f"evasion.lowkey.net={net}", methods="lowkey") for net in ("alex", "vgg"))
    assert set(alex) == set(vgg) == {"methods.evasion.lowkey"} and alex != vgg
    own = tmp_path / "own.safetensors"
    save_file({"a": torch.zeros(1)}, own)
    install_converted(lookup("lpips_alex"), own, sha256(own))
    assert held("evasion.lowkey.net=alex", methods="lowkey") not in (alex, vgg)


@pytest.mark.assets("lpips_alex")
def test_lowkeys_digest_is_the_same_whether_or_not_the_weights_were_there(tmp_path, monkeypatch):
    there = LowKey().digest
    monkeypatch.setenv("FACESEC_CACHE", str(tmp_path))
    assert LowKey().digest == there


def test_a_study_counts_the_photos_of_other_people_by_what_they_are():
    class Loader:
        def __init__(self, digest):
            self.digest = digest

        def __call__(self):
            return Dataset("others", made_up_faces(2, 2, 0), (), self.digest, "none", {})

    def digests(digest):
        return _held_digests(functools.partial(print, public=functools.partial(Loader(digest))), "study")

    assert digests("one") == {"study.public": "one"} and digests("two") == {"study.public": "two"}


def test_what_a_list_deep_inside_a_method_holds_counts_too():
    class Weights:
        digest = "weights"

    methods = {
        "inversion": {
            "lomma": functools.partial(print, students=functools.partial(print, trunks=[{"target": Weights()}]))
        }
    }
    assert _held_digests(methods, "methods") == {"methods.inversion.lomma.students.trunks.0.target": "weights"}
