"""The training recipe on made-up chips: who is taught, who judges, what is kept."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file

from conftest import made_up_faces
from experiments.hidden_batches import Practice, distortion, fractal, nothing, varied
from experiments.train_hidden import Design, split, train_hidden, trained_networks
from facesec_bench.data import Dataset
from facesec_bench.errors import ConfigError
from facesec_bench.records import RunCard
from facesec_bench.reporting import build
from facesec_bench.runs import Run
from facesec_bench.seeds import generator
from facesec_bench.targets.toy import ToyTarget
from facesec_bench.watermarks.hidden import Hidden

DESIGN = Design(bits=4, steps=8, batch_size=3, every=4, held_out=0.5)


def study(folder, seed=0, design=DESIGN):
    card = RunCard(folder.name, "train_hidden", "running", seed, {}, "f", "now")
    dataset = Dataset("made up", made_up_faces(identities=4, photos=3), (), "0" * 64, "none", {})
    return train_hidden(Run(folder, card), dataset, {"toy": ToyTarget()}, design=design), card


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACESEC_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def first(cache, tmp_path_factory):
    return study(tmp_path_factory.mktemp("first"))


def test_the_curve_and_the_final_figures_are_among_the_scores(first):
    scores = first[0].scores
    for step in (4, 8):
        for measure in ("loss", "bit_accuracy", "bit_accuracy_jpeg75", "psnr"):
            assert math.isfinite(scores[f"training_{measure}_step{step}/hidden/hidden"].value)
    last = scores["bit_accuracy_watermarked/hidden/hidden"]
    assert last.n == 6 and last.low <= last.value <= last.high
    assert scores["psnr_watermarked/hidden/hidden"].value >= 42
    assert -1 <= scores["similarity_to_unmarked/hidden/toy"].value <= 1


def test_eight_steps_already_teach_four_bits(first):
    scores = first[0].scores
    assert scores["training_loss_step8/hidden/hidden"].value < scores["training_loss_step4/hidden/hidden"].value
    assert scores["bit_accuracy_watermarked/hidden/hidden"].value > 0.8


def test_what_is_judged_is_what_is_stored_at_half_precision(first, cache):
    (file,) = (cache / "trained").glob("hidden-*.safetensors")
    assert all(t.dtype == torch.float16 for t in load_file(file).values())
    assert Hidden(str(file)).bits == 4 and any(file.name in note for note in first[1].notes)


def test_a_second_run_of_the_same_recipe_trains_nothing_and_says_so(first, tmp_path, monkeypatch):
    monkeypatch.setattr("facesec_bench.training.fit", None)
    outcome, card = study(tmp_path)
    assert outcome.scores.keys() == first[0].scores.keys()
    key = "bit_accuracy_watermarked/hidden/hidden"
    assert outcome.scores[key] == first[0].scores[key] and any("trained before" in note for note in card.notes)


def test_the_same_seed_gives_the_same_weights_and_another_does_not():
    taught, unseen = split(made_up_faces(identities=4, photos=1), 0.5, seed=0)
    design = Design(bits=4, steps=2, batch_size=2, every=2, held_out=0.5)
    a, b, c = (trained_networks(design, taught, unseen, seed, "cpu") for seed in (0, 0, 1))
    assert all(torch.equal(v, b[0].state_dict()[k]) for k, v in a[0].state_dict().items()) and a[1] == b[1]
    assert a[1] != c[1]


def test_nobody_is_both_taught_and_judged():
    faces = made_up_faces(identities=6, photos=2, size=32)
    taught, unseen = split(faces, 0.34, seed=3)
    people = [{part.names[i] for i in part.identities.tolist()} for part in (taught, unseen)]
    assert len(people[0]) == 4 and len(people[1]) == 2 and not people[0] & people[1]
    assert sorted(taught.keys + unseen.keys) == sorted(faces.keys)


def test_the_curriculum_begins_loud_and_quiet_and_ends_at_the_task():
    practice = Practice(made_up_faces(size=32).images, bits=5, batch_size=3, steps=100)
    start, middle, late = (practice(step, generator(0, step)) for step in (0, 30, 99))
    assert start.louder == 2 and start.distortion is nothing
    assert middle.louder == late.louder == 1 and late.distortion is not nothing
    assert start.chips.shape == (3, 3, 32, 32) and start.messages.shape == (3, 5)


def test_every_distortion_keeps_shape_range_and_a_gradient():
    images = made_up_faces(identities=1, photos=2, size=32).images.requires_grad_(True)
    changed = 0
    for seed in range(40):
        out = distortion(generator(seed, "noise layer"))(images)
        assert out.shape == images.shape and out.min() >= 0 and out.max() <= 1
        (gradient,) = torch.autograd.grad(out.sum(), images)
        assert gradient.isfinite().all() and gradient.abs().sum() > 0
        changed += not torch.allclose(out, images)
    assert 20 < changed < 40


def test_varied_chips_are_eight_bit_and_differ_from_draw_to_draw():
    chips = made_up_faces(identities=1, photos=2, size=32).images
    a, b = (varied(chips, generator(seed, "vary")) for seed in (0, 1))
    assert torch.equal((a * 255).round() / 255, a) and not torch.equal(a, b)
    assert torch.equal(a, varied(chips, generator(0, "vary")))


def test_fractal_noise_has_less_of_the_fine_than_of_the_coarse():
    noise = fractal(torch.Size((16, 3, 64, 64)), generator(0, "fractal"))
    power = torch.fft.rfft2(noise).abs().square().mean(dim=(0, 1))
    assert power[1:4, 1:4].mean() > 10 * power[8:16, 8:16].mean() > 10 * power[24:32, 24:32].mean()


def test_the_report_shows_the_curve_and_the_end_and_counts_no_attack(first, tmp_path):
    outcome, card = first
    folder = tmp_path / "run"
    folder.mkdir()
    card.status, card.data = "finished", {"name": "made up", "n_images": 12, "n_identities": 4, "digest": "0"}
    card.write(folder)
    outcome.write(folder)
    page = build([folder], tmp_path / "report", "Training").markdown.read_text(encoding="utf-8")
    assert "The training of hidden." in page and "attacks against" not in page
    rows = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")]
    steps = rows[rows.index("Step") + 2 :][:2]
    assert (
        steps == ["4", "8"] and "Bits right, JPEG 75" in rows and "Cosine of a photo and its marked self (toy)" in rows
    )


def test_a_design_without_sense_is_refused():
    with pytest.raises(ConfigError, match="steps = 0"):
        Design(steps=0)
