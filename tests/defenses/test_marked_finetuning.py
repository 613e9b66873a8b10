"""Fine-tuning on marked photos: what it learns, what it leaves alone, and that it repeats."""

import copy
import importlib
import inspect
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch._subclasses import FakeTensorMode
from torch.nn import functional

from defenses.marked_finetuning import MarkedFinetuning, prepare
from facesec_bench.errors import ConfigError, DataError, TargetError
from facesec_bench.interfaces import CHIP_SIZE
from facesec_bench.search import SignStep, minimise
from facesec_bench.seeds import generator
from facesec_bench.spaces import PixelBall
from facesec_bench.targets.identity import state_digest
from facesec_bench.targets.toy import ToyTarget

GROUPS = Path(__file__).resolve().parents[2] / "experiments/conf"
FILES = [*sorted((GROUPS / "robust").glob("*.yaml")), *sorted((GROUPS / "detector").glob("*.yaml"))]
QUICK = {"steps": 30, "batch": 8, "learning_rate": 3e-4}


@dataclass(frozen=True)
class Patterns:
    """A stand-in watermark: one smooth pattern a bit, added or subtracted."""

    bits: int = 4
    strength: float = 0.06
    name: str = "patterns"
    differentiable: bool = True
    digest: str = "0" * 64

    def _patterns(self) -> torch.Tensor:
        coarse = torch.randn(self.bits, 3, 28, 28, generator=generator(7, "patterns"))
        return functional.interpolate(coarse, CHIP_SIZE, mode="bilinear").sign()

    def encode(self, chips: torch.Tensor, messages: torch.Tensor) -> torch.Tensor:
        signs = 2 * messages - 1
        return (chips + self.strength * torch.einsum("bl,lchw->bchw", signs, self._patterns())).clamp(0, 1)

    def decode(self, chips: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bchw,lchw->bl", chips, self._patterns())


def photos(n: int, *purpose: object) -> torch.Tensor:
    coarse = torch.rand(n, 3, 10, 10, generator=generator(0, "photos", *purpose))
    return functional.interpolate(coarse, CHIP_SIZE, mode="bilinear").clamp(0, 1)


def similarity(target: ToyTarget, images: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return (target.embed(images) * anchors).sum(1)


@pytest.fixture(scope="module")
def trained():
    target = ToyTarget(name="toy").train()
    target.second.requires_grad_(False)
    before = copy.deepcopy(target)
    world = torch.get_rng_state()
    chips = photos(32)
    kept = chips.clone()
    student = MarkedFinetuning(**QUICK)(target, Patterns(), chips, generator(1, "train"))
    assert torch.equal(chips, kept), "the training photos were changed"
    assert torch.equal(torch.get_rng_state(), world), "a global random generator moved"
    return target, before, student


def held_out(target: ToyTarget) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Photos, their marked copies, and where the teacher sees the photos; none was trained on."""
    with torch.no_grad():
        pairs = prepare(target, Patterns(), photos(24, "held out"), 1, generator(2, "held out"))
    return pairs


def test_a_marked_photo_moves_towards_its_unmarked_self_on_photos_never_seen(trained):
    teacher, _, student = trained
    clean, marked, anchors = held_out(teacher)
    before = similarity(teacher, marked, anchors)
    after = similarity(student, marked, anchors)
    assert before.mean() < 0.9, "the stand-in mark must matter for the claim to mean something"
    assert 1 - after.mean() < 0.6 * (1 - before.mean())
    own = similarity(student, marked, student.embed(clean).detach())
    assert own.mean() > before.mean(), "the student must not only agree with its teacher, but with itself"


def test_the_student_stays_close_to_its_teacher_on_unmarked_photos(trained):
    teacher, _, student = trained
    clean, _, anchors = held_out(teacher)
    assert similarity(student, clean, anchors).mean() > 0.95


def test_unmarked_photos_hold_their_place_even_where_the_mark_destroys_the_photo():
    """Only the clean term keeps them there: destroyed photos teach nothing about others."""

    class Destroys(Patterns):
        def encode(self, chips: torch.Tensor, messages: torch.Tensor) -> torch.Tensor:
            return super().encode(torch.full_like(chips, 0.5), messages)

    teacher = ToyTarget()
    clean, _, anchors = held_out(teacher)
    student = MarkedFinetuning(steps=30, batch=8, learning_rate=1e-3)(
        teacher, Destroys(), photos(32), generator(1, "train")
    )
    assert similarity(student, clean, anchors).mean() > 0.945  # 0.96 with it, 0.93 without


def test_the_given_target_keeps_its_bits_and_its_state(trained):
    target, before, student = trained
    assert all(torch.equal(a, b) for a, b in zip(target.parameters(), before.parameters(), strict=True))
    assert target.name == "toy" and target.digest == before.digest and target.card == before.card
    assert target.training and target.first.requires_grad and not target.second.requires_grad
    assert all(p.grad is None for p in (*target.parameters(), *student.parameters()))


def test_the_new_target_says_who_it_is(trained):
    target, _, student = trained
    assert student.name == "toy_marked"
    assert student.digest == state_digest(student) != target.digest
    assert student.card.note.startswith(target.card.note) and "patterns" in student.card.note
    assert "plainly" in student.card.note


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not():
    def weights(seed: int, **changes: object) -> str:
        tuning = MarkedFinetuning(steps=2, batch=4, **changes)
        return tuning(ToyTarget(), Patterns(), photos(6), generator(seed, "train")).digest

    assert weights(1) == weights(1) != weights(2)
    assert weights(1, eps_255=8.0) == weights(1, eps_255=8.0) != weights(1)


def test_adversarial_training_resists_an_attack_on_marked_photos_better_than_plain_training():
    teacher = ToyTarget()
    _, marked, anchors = held_out(teacher)

    def trained_and_attacked(eps_255: float | None) -> float:
        tuning = MarkedFinetuning(steps=30, batch=8, learning_rate=1e-3, suffix="hard", eps_255=eps_255)
        student = tuning(teacher, Patterns(), photos(32), generator(1, "t"))
        assert student.name == "toy_hard"
        assert ("adversarially at 5/255" if eps_255 else "plainly") in student.card.note
        space = PixelBall(marked, 5 / 255, "linf")
        away = minimise(
            lambda images: (student.embed(images) * anchors).sum(1), space, SignStep(1.7 / 255), 8, generator(3, "a")
        )
        return similarity(student, away, anchors).mean().item()

    assert trained_and_attacked(5.0) > trained_and_attacked(None) + 0.05


def test_the_adversarial_step_stays_in_its_ball_and_lowers_the_similarity():
    target, tuning = ToyTarget(), MarkedFinetuning(eps_255=8.0)
    _, marked, anchors = held_out(target)
    worse = tuning._hardened(target, marked, anchors, generator(4, "step"))
    assert (worse - marked).abs().max() <= 8 / 255 + 1e-6 and worse.min() >= 0 and worse.max() <= 1
    assert (similarity(target, worse, anchors) < similarity(target, marked, anchors)).all()
    assert not worse.requires_grad


def test_each_copy_has_a_message_of_its_own_and_the_anchor_of_its_photo():
    target, watermark = ToyTarget(), Patterns()
    chips = photos(20)
    pairs = prepare(target, watermark, chips, 3, generator(5, "copies"))
    assert pairs.marked.shape == (60, 3, CHIP_SIZE, CHIP_SIZE) and pairs.anchors.shape == (20, 64)
    read = (watermark.decode(pairs.marked - chips.repeat(3, 1, 1, 1)) > 0).int()
    assert len(read.unique(dim=0)) > 8, "messages are drawn anew for every copy"
    assert torch.allclose(pairs.anchors, target.embed(chips), atol=1e-6)
    near = (pairs.marked[:, None] - chips[None]).square().flatten(2).mean(2).argmin(1)
    assert torch.equal(near, torch.arange(60) % 20)


class Linear(torch.nn.Module):
    """Embeds along random directions, with no check that would look at a value."""

    name = "linear"

    def __init__(self, device: str):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(4, 3 * 8 * 8, device=device))

    def embed(self, chips: torch.Tensor) -> torch.Tensor:
        return functional.normalize(chips.flatten(1) @ self.weight.T, dim=1)


class Lifter(Patterns):
    """A watermarker with weights, so that chips and messages must come to them."""

    def __init__(self, device: str):
        super().__init__()
        object.__setattr__(self, "weight", torch.ones(self.bits, device=device))

    def encode(self, chips: torch.Tensor, messages: torch.Tensor) -> torch.Tensor:
        return chips + 0.01 * (messages * self.weight).sum(1)[:, None, None, None]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_photos_stay_in_cpu_memory_and_each_batch_goes_to_the_weights(device, monkeypatch):
    """Tensors without values: torch refuses to mix their devices as it would real ones, with no card in the machine."""
    asked = {}
    monkeypatch.setattr("defenses.distillation.fit", lambda *a, **k: asked.update(batches=a[1], loss=a[2]))
    with FakeTensorMode():
        target, chips = Linear(device), torch.rand(5, 3, 8, 8)
        pairs = prepare(target, Lifter(device), chips, 2, generator(0))
        assert {part.device.type for part in pairs} == {"cpu"} and pairs.marked.shape == (10, 3, 8, 8)
        MarkedFinetuning(batch=3)._train(target, pairs, generator(1))
        batch = asked["batches"](0, generator(1))
        assert [part.device.type for part in batch] == [device] * 3
        assert asked["loss"](batch).device.type == device


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch": 0}, {"messages": 0}, {"learning_rate": 0.0}, {"eps_255": 0}])
def test_a_setting_out_of_range_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"found .* wanted"):
        MarkedFinetuning(**wrong)


def test_a_target_without_weights_of_its_own_and_an_empty_training_set_are_refused():
    class Frozen:
        name = "frozen"

        def embed(self, chips: torch.Tensor) -> torch.Tensor:
            return chips.flatten(1)[:, :8]

    with pytest.raises(TargetError, match="torch module"):
        MarkedFinetuning()(Frozen(), Patterns(), photos(2), generator(0))
    with pytest.raises(DataError, match="no training photos"):
        MarkedFinetuning()(ToyTarget(), Patterns(), photos(2)[:0], generator(0))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_each_yaml_of_a_defence_has_its_header_and_binds_to_its_class(path: Path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"# @package {path.parent.name}.{path.stem}"
    assert lines[1].startswith("# ") and lines[1].endswith(".")
    assert [line.split(":")[0] for line in lines[2:5]] == ["# licence", "# needs", "# source"]
    config = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    module, _, name = config.pop("_target_").rpartition(".")
    made = getattr(importlib.import_module(module), name)
    inspect.signature(made).bind(**config)
    made(**config)


def test_the_yamls_give_their_recognisers_different_names():
    suffixes = [OmegaConf.load(path).suffix for path in FILES if path.parent.name == "robust"]
    assert len(set(suffixes)) == len(suffixes) >= 2
