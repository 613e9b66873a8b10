"""The embedded default data set, and what its photos differ by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from facesec_bench.asset_cache import cache_folder
from facesec_bench.data.detection import YuNet
from facesec_bench.data.nuisance import rephotograph
from facesec_bench.data.synthetic import Synthetic
from facesec_bench.errors import ConfigError


def small(seed: int = 0) -> Synthetic:
    return Synthetic(YuNet(score_threshold=0.85, min_side=192), identities=4, per_identity=2, seed=seed)


def test_rephotographing_is_mild_and_decided_by_the_generator() -> None:
    x = np.arange(256)
    picture = np.repeat((127 + 90 * np.sin(x / 20))[:, None, None], 256, 1).repeat(3, 2).astype(np.uint8)
    once, again, other = (rephotograph(picture, np.random.default_rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(once, again)
    assert (once != other).any() and once.shape == picture.shape
    assert np.corrcoef(once.ravel(), picture.ravel())[0, 1] > 0.5


def test_without_strength_the_picture_stays_but_for_jpeg() -> None:
    picture = np.full((192, 192, 3), (200, 120, 60), np.uint8)
    difference = rephotograph(picture, np.random.default_rng(0), strength=0.0).astype(int) - picture
    assert np.abs(difference).max() <= 3


@pytest.mark.assets("dcgan", "sface", "yunet")
def test_the_same_seed_gives_the_same_bits_and_sface_tells_the_people_apart() -> None:
    from facesec_bench.targets.sface import SFace

    first = small()()
    entry = cache_folder() / "synthetic" / f"{small()._fingerprint()}.npz"
    assert entry.is_file()
    entry.write_bytes(entry.read_bytes()[:1000])
    assert small()().digest == first.digest  # drawn anew, as the cached set is damaged
    assert small()().digest == first.digest  # read from the cache
    with torch.no_grad():
        embeddings = SFace().eval().embed(first.faces.images)
    means = torch.stack([embeddings[first.faces.identities == i].mean(0) for i in range(4)])
    assert ((embeddings @ means.T).argmax(1) == first.faces.identities).all()
    assert first.faces.keys[:3] == ("syn0000/00", "syn0000/01", "syn0001/00")
    assert "SFace's clean figures on them are optimistic" in first.note
    assert "thresholds and rates of SFace on them are biased too" in first.note


@pytest.mark.assets("dcgan", "sface", "yunet")
def test_another_seed_gives_other_people() -> None:
    one, other = small(0)(), small(1)()
    assert one.digest != other.digest and one.drawn != other.drawn


@pytest.mark.assets("dcgan", "sface", "yunet")
def test_a_larger_set_of_one_seed_begins_with_the_same_people_and_says_so() -> None:
    from facesec_bench.generators.dcgan import DCGAN

    few, more = small()(), Synthetic(YuNet(score_threshold=0.85, min_side=192), identities=5, per_identity=3)()
    assert few.drawn == more.drawn and few.digest != more.digest
    assert few.drawn is not None and (few.drawn.generator, few.drawn.seed) == (DCGAN().digest, 0)
    assert torch.equal(few.faces.images[0], more.faces.images[0])  # yet most of their photos differ
    assert not torch.equal(few.faces.images[2], more.faces.images[3])


def test_contradictory_thresholds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="separation"):
        Synthetic(YuNet(), separation=0.6, match=0.5)
