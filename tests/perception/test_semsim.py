"""SemSim: no number without people's answers, and with them what was recognised lies nearer.

The pictures are shapes: a recovery of the same shape in negative is recognised, one of another shape in the same light
is not. So pixels say the opposite of people.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional
from typer.testing import CliRunner

from experiments import semsim as lessons
from experiments.cli import app
from experiments.semsim import Course, Lesson, train, triplets
from experiments.semsim_agreement import compare, measured
from experiments.semsim_answers import Pictures, identify, read_answers
from facesec_bench.errors import AssetError, ConfigError, DataError
from facesec_bench.perception.semsim import SemSim, SemSimNet, read_record, save_semsim, triplet_loss

SIDE = 32
COURSE = Course(side=SIDE, steps=2, batch=2, saved_every=2, held_out=0.25)


def shape(kind: int, light: float, rng: np.random.Generator) -> np.ndarray:
    """A disc, a frame, a cross or stripes, somewhat shifted, in a light."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2 + rng.uniform(-2, 2, (2, 1, 1))
    far = np.maximum(abs(x), abs(y))
    mask = (x**2 + y**2 < 81, (far > 7) & (far < 12), (abs(x) < 3) | (abs(y) < 3), np.sin(y) > 0)[kind % 4]
    grey = np.where(mask, light, 0.3 * light) + rng.normal(0, 0.02, (SIDE, SIDE))
    return np.repeat((grey.clip(0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)


def write_set(folder: Path, originals: int = 16) -> Path:
    """Originals with two recognised and two other recoveries each, in two groups; group b leaks more."""
    rows = []
    for number in range(originals):
        rng = np.random.default_rng(number)
        light = rng.uniform(0.5, 1)
        pictures = {"original": shape(number, light, rng)}
        pictures |= {f"known{i}": 255 - shape(number, light, rng) for i in range(2)}
        pictures |= {f"other{i}": shape(number + 1 + i, light, rng) for i in range(2)}
        for name, pixels in pictures.items():
            Image.fromarray(pixels).save(folder / f"{number}_{name}.png")
        for name, recognised in (("known0", 1), ("known1", 1), ("other0", 0), ("other1", 0)):
            group = "b" if recognised and number % 3 else "a"
            rows.append((f"{number}_original.png", f"{number}_{name}.png", recognised, group))
    with (folder / "answers.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("original", "reconstruction", "recognised", "group"), *rows])
    return folder / "answers.csv"


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    return identify(read_answers(write_set(tmp_path_factory.mktemp("answers"))))


@pytest.fixture(scope="module")
def weights(answers: Pictures, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("weights") / "semsim.safetensors"
    train(answers, out, COURSE, seed=0)
    return out


def test_the_loss_is_the_triplet_formula() -> None:
    a, p, n = functional.normalize(torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(0)), dim=2)
    by_hand = ((a - p).norm(dim=1) - (a - n).norm(dim=1) + 1).clamp_min(0).mean()
    assert torch.allclose(triplet_loss(a, p, n), by_hand, atol=1e-4)  # torch adds 1e-6 to every difference


def test_without_trained_weights_there_is_no_number_and_the_error_says_how_to_train(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="facesec semsim train"):
        SemSim()
    with pytest.raises(AssetError, match=r"no such file.*facesec semsim train"):
        SemSim(str(tmp_path / "none.safetensors"))
    save_file(SemSimNet(SIDE).state_dict(), tmp_path / "bare.safetensors")
    with pytest.raises(AssetError, match=r"no record of a SemSim training.*facesec semsim train"):
        SemSim(str(tmp_path / "bare.safetensors"))
    (tmp_path / "broken.safetensors").write_bytes(b"x" * 20)
    with pytest.raises(AssetError, match="not a safetensors file"):
        SemSim(str(tmp_path / "broken.safetensors"))
    with pytest.raises(ConfigError, match="steps=0"):
        save_semsim(tmp_path / "fresh.safetensors", SemSimNet(SIDE), {"steps": 0})


def test_the_score_is_the_distance_of_unit_embeddings(weights: Path) -> None:
    measure = SemSim(str(weights))
    a, b = torch.rand(2, 4, 3, 48, 40, generator=torch.Generator().manual_seed(0))
    ours, theirs = measure.network(a), measure.network(b)
    assert torch.allclose(ours.norm(dim=1), torch.ones(4))
    assert torch.allclose(measure(a, b) ** 2, 2 - 2 * (ours * theirs).sum(1), atol=1e-5)
    assert torch.equal(measure(a, a), torch.zeros(4))
    b.requires_grad_(True)
    measure(a, b).sum().backward()
    assert b.grad is not None and b.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in measure.parameters()) and not measure.training
    with pytest.raises(ValueError, match="pairs; found 4"):
        measure(a, b[:3])


@pytest.mark.slow
def test_recognised_recoveries_of_unseen_originals_lie_nearer_though_pixels_say_the_opposite(
    answers: Pictures, tmp_path: Path
) -> None:
    out = tmp_path / "semsim.safetensors"
    train(answers, out, Course(side=SIDE, steps=90, batch=8, learning_rate=1e-3, held_out=0.25), seed=0)
    found = compare(answers, SemSim(str(out)), resamples=50).agreements["reconstruction"]
    assert found["semsim"].spearman.value > 0.7  # against answers of 0 and 1, the most that ties allow is 0.87
    assert max(found[name].spearman.value for name in ("mse", "ssim")) < -0.7


def test_measures_are_compared_on_originals_that_nobody_learned_from(answers: Pictures, weights: Path) -> None:
    measure = SemSim(str(weights))
    found = compare(answers, measure, resamples=20)
    assert found.recoveries == 16 and found.left_out == 48 and found.weights == measure.digest
    by_photo = found.agreements["reconstruction"]
    assert set(by_photo) == {"semsim", "psnr", "ssim", "mse"} and by_photo["semsim"].spearman.n == 16
    assert by_photo["mse"].spearman.value == pytest.approx(by_photo["psnr"].spearman.value)  # one turned, one not
    assert np.isnan(found.agreements["group"]["semsim"].spearman.value)  # two groups have no order to speak of


def test_groups_are_compared_by_their_means(answers: Pictures, weights: Path) -> None:
    given = tuple(a._replace(group="uvw"[i % 4 % 3]) for i, a in enumerate(answers.answers))
    measure = SemSim(str(weights))
    found = compare(Pictures(given, answers.originals, ""), measure, resamples=20).agreements["group"]
    taught = set(measure.record["taught"])
    rows = [a for a, original in zip(given, answers.originals, strict=True) if original not in taught]
    mse = measured(rows, measure, None)["mse"]
    means = [[-np.mean([m for m, a in zip(mse, rows, strict=True) if a.group == g]) for g in "uvw"]]
    means += [[np.mean([a.share for a in rows if a.group == g]) for g in "uvw"]]
    assert found["mse"].pearson.value == pytest.approx(np.corrcoef(means)[0, 1]) and found["mse"].pearson.n == 3


def test_the_record_tells_what_the_weights_learned_from(answers: Pictures, weights: Path) -> None:
    record = read_record(weights)
    assert record["recipe"]["answers"] == answers.digest and record["recipe"]["seed"] == 0
    assert (record["recognised"], record["unrecognised"], len(record["taught"])) == (24, 24, 12)
    assert set(record["taught"]) < set(answers.originals) and record["anchor"] == "original"


def test_an_interrupted_training_ends_in_the_same_bits(answers: Pictures, tmp_path: Path) -> None:
    course, done = Course(side=SIDE, steps=5, batch=2, saved_every=2), []
    train(answers, tmp_path / "at_once.safetensors", course, seed=0)
    out = tmp_path / "semsim.safetensors"

    def stop(step: int, steps: int) -> None:
        done.append(step)
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(answers, out, course, seed=0, progress=stop)
    kept = load_file(tmp_path / "semsim.partial.safetensors")
    assert not out.exists() and kept["adam.0.step"] == 4  # Adam's memory goes on too, from stretch to stretch
    train(answers, out, course, seed=0, progress=lambda step, steps: done.append(step))
    assert done == [1, 2, 3, 4, 5, 5] and not (tmp_path / "semsim.partial.safetensors").exists()
    first, second = (load_file(tmp_path / f"{name}.safetensors") for name in ("at_once", "semsim"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_finished_weights_are_kept_and_others_are_not_overwritten(answers: Pictures, weights: Path) -> None:
    before = weights.read_bytes()
    told: list[int] = []
    train(answers, weights, COURSE, seed=0, progress=lambda step, steps: told.append(step))
    assert weights.read_bytes() == before and not told
    with pytest.raises(ConfigError, match=r"another training.*--force"):
        train(answers, weights, COURSE, seed=1)
    assert weights.read_bytes() == before


def test_another_seed_starts_elsewhere_and_the_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    one, same, other = (SemSimNet(SIDE, seed).state_dict()["backbone.conv1.weight"] for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_triplet_is_an_original_its_recognised_recovery_and_one_that_was_not() -> None:
    images = torch.zeros(9, 3, 1, 1, dtype=torch.uint8)
    lesson = Lesson(images, anchors=(0, 3, 6), positives=((1,), (4, 5), ()), negatives=((2,), (), (7, 8)))
    rows = triplets(lesson, 200, torch.Generator().manual_seed(0))
    assert set(rows[:, 0].tolist()) == {0, 3}  # of the third nothing was recognised
    assert set(map(tuple, rows[rows[:, 0] == 0].tolist())) == {(0, 1, 2)}  # its own unrecognised one
    other = rows[rows[:, 0] == 3]
    assert set(other[:, 1].tolist()) == {4, 5} and set(other[:, 2].tolist()) == {2, 7, 8}


def test_several_answers_make_a_share_and_a_tie_teaches_nothing(tmp_path: Path) -> None:
    write_set(tmp_path, originals=1)
    lines = ["original,reconstruction,recognised"]
    for name, votes in (("known0", "110"), ("known1", "10"), ("other0", "0")):
        lines += [f"0_original.png,0_{name}.png,{vote}" for vote in votes]
    (tmp_path / "votes.csv").write_text("\n".join(lines))
    found = read_answers(tmp_path / "votes.csv")
    assert [(answer.share, answer.asked) for answer in found] == [(pytest.approx(2 / 3), 3), (0.5, 2), (0.0, 1)]
    lesson = lessons.lesson_of(found, SemSimNet(SIDE))
    assert lesson.positives == ((1,),) and lesson.negatives == ((2,),) and len(lesson.images) == 3


def test_answers_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    file = write_set(tmp_path, originals=4)
    whole = file.read_text()
    for text, wanted in (
        ("original,reconstruction\na,b\n", "no column recognised"),
        ("original,reconstruction,recognised\na,b,yes\n", "line 2: found recognised='yes'"),
        ("original,reconstruction,recognised\na,,1\n", "line 2: found nothing under reconstruction"),
        ("original,reconstruction,recognised\n", "holds no line"),
        ("original,reconstruction,recognised,group\na,b,1,x\na,b,1,y\n", "in group 'x' before"),
    ):
        file.write_text(text)
        with pytest.raises(DataError, match=wanted):
            read_answers(file)
    file.write_text(whole)
    (tmp_path / "2_known0.png").unlink()
    with pytest.raises(DataError, match=r"2_known0\.png: missing"):
        identify(read_answers(file))
    file.write_text("\n".join(line for line in whole.splitlines() if "other" not in line))
    (tmp_path / "2_known0.png").write_bytes((tmp_path / "2_known1.png").read_bytes())
    with pytest.raises(DataError, match="8 recognised and 0 other"):
        train(identify(read_answers(file)), tmp_path / "out.safetensors", Course(side=SIDE, held_out=0), seed=0)


def test_weights_are_not_judged_on_their_own_lesson(answers: Pictures, weights: Path) -> None:
    taught = set(read_record(weights)["taught"])
    rows = [i for i, original in enumerate(answers.originals) if original in taught]
    own = Pictures(tuple(answers.answers[i] for i in rows), tuple(answers.originals[i] for i in rows), "")
    with pytest.raises(DataError, match=r"learned from the originals of all 48 .* --held-out"):
        compare(own, SemSim(str(weights)))


def test_a_recovery_of_another_size_is_an_error(answers: Pictures, weights: Path, tmp_path: Path) -> None:
    taught = set(read_record(weights)["taught"])
    row = next(i for i, original in enumerate(answers.originals) if original not in taught)
    Image.new("RGB", (40, 32)).save(tmp_path / "wide.png")
    wide = answers.answers[row]._replace(reconstruction=tmp_path / "wide.png")
    with pytest.raises(DataError, match="is 40x32 pixels, its original 32x32"):
        compare(Pictures((wide,), (answers.originals[row],), ""), SemSim(str(weights)))


def test_the_command_trains_scores_and_judges(tmp_path: Path) -> None:
    file, out = write_set(tmp_path, originals=8), tmp_path / "semsim.safetensors"
    run = CliRunner().invoke
    refused = run(app, ["semsim", "score", str(file)])
    assert refused.exit_code == 1 and "facesec semsim train" in refused.output
    trained = run(app, ["semsim", "train", str(file), "--out", str(out), "--steps", "3", "--side", "32"])
    assert trained.exit_code == 0 and "12 recognised and 12 other recoveries of 6 originals" in trained.output
    scored = run(app, ["semsim", "score", str(file), "--weights", str(out)])
    assert scored.exit_code == 0 and "mean of 32 pairs" in scored.output
    report = tmp_path / "judged.json"
    judged = run(app, ["semsim", "judge", str(file), "--weights", str(out), "--no-lpips", "--out", str(report)])
    assert judged.exit_code == 0, judged.output
    assert "8 recoveries; 24 more left out" in judged.output and "Spearman" in judged.output
    told = json.loads(report.read_text())
    assert told["agreement"]["reconstruction"]["semsim"]["kendall"]["n"] == 8 and told["left_out"] == 24
    assert told["agreement"]["group"]["semsim"]["kendall"]["value"] is None
