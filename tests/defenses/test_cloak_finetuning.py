"""Fine-tuning on cloaked photos: what it learns, what it leaves alone, and that it repeats."""

import copy
import importlib
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch.nn import functional

from defenses.cloak_finetuning import CloakFinetuning
from defenses.distillation import departure
from facesec_bench.errors import ConfigError, DataError, TargetError
from facesec_bench.interfaces import CHIP_SIZE
from facesec_bench.seeds import generator
from facesec_bench.targets.identity import state_digest
from facesec_bench.targets.toy import ToyTarget

FILES = sorted((Path(__file__).resolve().parents[2] / "experiments/conf/retrainer").glob("*.yaml"))


def photos(n: int, *purpose: object) -> torch.Tensor:
    coarse = torch.rand(n, 3, 10, 10, generator=generator(0, "photos", *purpose))
    return functional.interpolate(coarse, CHIP_SIZE, mode="bilinear").clamp(0, 1)


def cloaked(chips: torch.Tensor) -> torch.Tensor:
    """A stand-in cloak: one smooth pattern, the same on every photo."""
    coarse = torch.randn(3, 28, 28, generator=generator(7, "cloak"))
    return (chips + 0.12 * functional.interpolate(coarse[None], CHIP_SIZE, mode="bilinear").sign()).clamp(0, 1)


def similarity(one: ToyTarget, images: torch.Tensor, other: ToyTarget, seen: torch.Tensor) -> float:
    with torch.no_grad():
        return (one.embed(images) * other.embed(seen)).sum(1).mean().item()


@pytest.fixture(scope="module")
def trained():
    target = ToyTarget(name="toy").train()
    target.second.requires_grad_(False)
    before, world, chips = copy.deepcopy(target), torch.get_rng_state(), photos(32)
    kept = chips.clone()
    tuning = CloakFinetuning(steps=30, batch=8, learning_rate=3e-4)
    student = tuning(target, chips, cloaked(chips), generator(1, "train"))
    assert torch.equal(chips, kept) and torch.equal(torch.get_rng_state(), world)
    return target, before, student


def test_a_cloaked_photo_moves_towards_its_uncloaked_self_on_photos_never_seen(trained):
    teacher, _, student = trained
    held_out = photos(24, "held out")
    before = similarity(teacher, cloaked(held_out), teacher, held_out)
    after = similarity(student, cloaked(held_out), teacher, held_out)
    assert before < 0.9, "the stand-in cloak must matter for the claim to mean something"
    assert 1 - after < 0.7 * (1 - before)
    assert similarity(student, cloaked(held_out), student, held_out) > before


def test_uncloaked_photos_stay_where_the_teacher_saw_them_even_if_the_cloaks_teach_nothing(trained):
    teacher, _, student = trained
    held_out = photos(24, "held out")
    assert similarity(student, held_out, teacher, held_out) > 0.95
    grey = torch.full((32, 3, CHIP_SIZE, CHIP_SIZE), 0.5)
    tuning = CloakFinetuning(steps=30, batch=8, learning_rate=1e-3)
    other = tuning(ToyTarget(), photos(32), grey, generator(1, "train"))
    assert similarity(other, held_out, ToyTarget(), held_out) > 0.8  # 0.87 with the clean term, 0.62 without


def test_the_given_target_keeps_its_bits_and_its_state_and_the_new_one_says_who_it_is(trained):
    target, before, student = trained
    assert all(torch.equal(a, b) for a, b in zip(target.parameters(), before.parameters(), strict=True))
    assert target.name == "toy" and target.digest == before.digest and target.card == before.card
    assert target.training and target.first.requires_grad and not target.second.requires_grad
    assert all(p.grad is None for p in (*target.parameters(), *student.parameters()))
    assert student.name == "toy_adapted" and "cloaked" in student.card.note
    assert student.digest == state_digest(student) != target.digest


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not():
    def weights(seed: int) -> str:
        chips = photos(6)
        return CloakFinetuning(steps=2, batch=4)(ToyTarget(), chips, cloaked(chips), generator(seed, "train")).digest

    assert weights(1) == weights(1) != weights(2)


def test_the_loss_is_the_centred_cosines_and_the_squared_differences_among_photos():
    generated = np.random.default_rng(0)
    seen, known = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in generated.normal(size=(2, 6, 4)))
    centre = known.mean(0) * 0.5
    a, b = ((v - centre) / np.linalg.norm(v - centre, axis=1, keepdims=True) for v in (seen, known))
    expected = np.mean([2 * (1 - a[i] @ b[i]) for i in range(6)])
    expected += 3.0 * np.mean([(a[i] @ a[j] - b[i] @ b[j]) ** 2 for i in range(6) for j in range(6)])
    found = departure(*(torch.tensor(v) for v in (seen, known, centre)), 3.0)
    assert found.item() == pytest.approx(expected)
    assert departure(torch.tensor(known), torch.tensor(known), torch.tensor(centre), 3.0).item() == pytest.approx(0)
    plain = departure(torch.tensor(seen), torch.tensor(known)).item()
    assert plain == pytest.approx(2 * (1 - (seen * known).sum(1).mean()))


def test_strangers_stay_strangers_where_the_cosines_among_photos_count():
    """The cloak is one grey picture, so anchors alone pull everybody together."""
    chips, held_out, grey = photos(32), photos(24, "held out"), torch.full((32, 3, CHIP_SIZE, CHIP_SIZE), 0.5)

    def drift(relations: float) -> float:
        tuning = CloakFinetuning(steps=30, batch=8, learning_rate=1e-3, relations=relations)
        student = tuning(ToyTarget(), chips, grey, generator(1, "train"))
        with torch.no_grad():
            after, before = (m.embed(held_out) @ m.embed(held_out).T for m in (student, ToyTarget()))
        return (after - before).abs().mean().item()

    assert drift(20.0) < 0.8 * drift(0.0)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch": 0}, {"learning_rate": 0.0}, {"relations": -1.0}])
def test_a_setting_out_of_range_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"found .* wanted"):
        CloakFinetuning(**wrong)


def test_a_target_without_weights_and_photos_without_cloaks_are_refused():
    class Frozen:
        name = "frozen"

        def embed(self, chips: torch.Tensor) -> torch.Tensor:
            return chips.flatten(1)[:, :8]

    with pytest.raises(TargetError, match="torch module"):
        CloakFinetuning()(Frozen(), photos(2), photos(2), generator(0))
    for clean, cloaks in ((photos(2)[:0], photos(2)[:0]), (photos(1), photos(1)), (photos(2), photos(1))):
        with pytest.raises(DataError, match="one cloak of each"):
            CloakFinetuning()(ToyTarget(), clean, cloaks, generator(0))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_each_yaml_has_its_header_and_binds_to_its_class(path: Path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# @package retrainer"
    assert lines[1].startswith("# ") and lines[1].endswith(".")
    assert [line.split(":")[0] for line in lines[2:5]] == ["# licence", "# needs", "# source"]
    config = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    module, _, name = config.pop("_target_").rpartition(".")
    made = getattr(importlib.import_module(module), name)
    inspect.signature(made).bind(**config)
    made(**config)
