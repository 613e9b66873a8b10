"""The cloaking study as a function: who judges what, what is owed, and what adapting does; toys only."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from attacks.adv_makeup import AdvMakeup
from attacks.pgd import PGD
from attacks.random_sign import RandomSign
from conftest import made_up_faces
from defenses.cloak_finetuning import CloakFinetuning
from experiments.cloaking import cloaking
from experiments.cloaking_plan import Design, cards, held_out, plan
from experiments.cloaking_training import other_people
from experiments.cloaking_words import adaptive, note_insiders, note_unasked
from experiments.setting import Size
from facesec_bench.data import Dataset, Drawn
from facesec_bench.errors import ConfigError, DataError, FacesecError
from facesec_bench.protocols.calibration import CalibrationStore
from facesec_bench.protocols.cloaking import DISTORTIONS
from facesec_bench.records import RunCard, read_strips, write_scores
from facesec_bench.runs import Run
from facesec_bench.targets.toy import ToyTarget

NAMES = ("a", "b", "c", "weak")


class Painted:
    """A cloak without a bound on pixels: the photo mostly replaced, asked for by a prompt."""

    eps_255 = None

    guidance = SimpleNamespace(prompt="red lips")

    def __call__(self, faces, aim, surrogates, rng):
        assert surrogates
        return 0.2 * faces.images + 0.8 * faces.images.flip(0)


class Failing:
    eps_255 = 8.0

    def __call__(self, faces, aim, surrogates, rng):
        raise FacesecError("found no luck")


class Smear:
    """LPIPS's stand-in."""

    def __call__(self, one, other):
        return (one - other).abs().mean((1, 2, 3))


def make(group, name, *, eps_255):
    assert (group, name) == ("evasion", "random_sign")
    return RandomSign(eps_255=eps_255)


def toys(*names: str) -> dict[str, ToyTarget]:
    return {name: ToyTarget(i, name) for i, name in enumerate(names)}


def dataset(people: int = 8, photos: int = 5, seed: int = 0) -> Dataset:
    faces = made_up_faces(people, photos, seed, size=96)
    return Dataset("made up", faces, (), f"{people}x{photos} {seed}", "none", {})


def others(people: int = 3, photos: int = 4) -> Dataset:
    """Nobody of `dataset`: the tracker's."""
    found = dataset(people, photos, seed=7)
    faces = replace(found.faces, names=tuple(f"other {i}" for i in range(people)))
    return replace(found, name="others", faces=faces)


def study(folder, design=None, names=("a", "b"), **changes):
    folder.mkdir(exist_ok=True)
    card = RunCard("run", "cloaking", "running", 0, {}, "f", "now")
    settings = {
        "evasion": {"pgd": PGD(eps_255=8.0, steps=4)},
        "make": make,
        "design": design or Design(far=0.1, fars=(0.1,)),
        "size": Size(identities=6, judges=2, batch_size=8),
        "store": CalibrationStore(folder / "calibrations"),
    } | changes
    outcome = cloaking(Run(folder, card), dataset(), toys(*names), **settings)
    outcome.write(folder)
    return outcome, card


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Both goals, a weak target, a cloak without a budget, one that fails, and a tracker that adapts to two."""
    folder = tmp_path_factory.mktemp("whole")
    design = Design(
        far=0.1, fars=(0.1,), not_victims=("weak",), adaptive=("pgd", "failing"), training_people=5, training_photos=2
    )
    methods = {"pgd": PGD(eps_255=8.0, steps=4), "pgd_strong": PGD(eps_255=16.0, steps=4), "painted": Painted()}
    outcome, card = study(
        folder,
        design,
        NAMES,
        evasion={**methods, "failing": Failing()},
        retrainer=CloakFinetuning(steps=8, batch=4, learning_rate=1e-3),
        training=lambda: others(6),
        lpips=Smear(),
    )
    return outcome, card, folder


METHODS = ("clean", "random_sign", "pgd", "pgd_strong_eps16", "painted", "failing")


def test_every_cloak_meets_every_recogniser_that_it_never_saw_and_no_weak_one(whole):
    scores = whole[0].scores
    for goal in ("dodging", "impersonation"):
        for method in METHODS:
            found = {key.split("/")[2] for key in scores if key.startswith(f"{goal}_psr/{method}/")}
            assert found == {"a", "b", "c", "mean"}, method
            for suffix in DISTORTIONS:
                assert f"{goal}_psr{suffix}/{method}/mean" in scores


def test_nobody_judges_what_was_crafted_on_them():
    targets = toys(*NAMES)
    design = Design(not_victims=("weak",), not_surrogates=("b",))
    victims = held_out(targets, design)
    entries = plan(targets, victims, {"pgd": PGD()}, make, design)
    made = {e.surrogates: e.victims for e in entries if e.method == "pgd"}
    assert made == {("c", "weak"): ("a",), ("a", "c", "weak"): ("b",), ("a", "weak"): ("c",)}
    shared = plan(targets, ["a", "b"], {"pgd": PGD()}, make, Design(not_surrogates=("a", "b")))
    assert [(e.surrogates, e.victims) for e in shared if e.method == "pgd"] == [(("c", "weak"), ("a", "b"))]


def test_the_rate_of_the_untouched_photo_is_what_the_recogniser_gets_wrong_anyway(whole):
    outcome = whole[0]
    for victim in "abc":
        threshold = outcome.scores[f"threshold_far_1e-1/clean/{victim}"].value
        pairs = [
            (r.measure.split("_")[0], r.value)
            for r in outcome.records
            if r.method == "clean" and r.target == victim and r.measure.endswith("_similarity") and ">" in r.key
        ]
        for goal in ("dodging", "impersonation"):
            own = [(value < threshold) == (goal == "dodging") for name, value in pairs if name == goal]
            score = outcome.scores[f"{goal}_psr/clean/{victim}"]
            assert score.n == len(own) == 12 and score.value == pytest.approx(np.mean(own))
        for goal, name in (("dodging", "Rank-N-U"), ("impersonation", "Rank-N-T")):
            assert outcome.scores[f"{goal}_psr_rank1/clean/{victim}"].n == 6, f"{name} counts every probe"
        accuracy = outcome.scores[f"rank1_accuracy/clean/{victim}"].value
        assert outcome.scores[f"dodging_psr_rank1/clean/{victim}"].value == pytest.approx(1 - accuracy)
        found = outcome.scores[f"rank1_untargeted/clean/{victim}"]  # as the evasion study counts: found when clean
        assert found.value == 0 and found.n == round(6 * accuracy)
    assert outcome.scores["lpips/clean/a"].value == 0 and outcome.scores["psnr/clean/a"].n == 0


def test_the_mean_pools_the_pairs_of_all_victims(whole):
    scores = whole[0].scores
    for measure in ("dodging_psr", "impersonation_psr_blur", "lpips", "adaptive_dodging_psr", "protection_oblivious"):
        own = [scores[f"{measure}/pgd/{victim}"] for victim in "abc"]
        mean = scores[f"{measure}/pgd/mean"]
        assert mean.n == sum(s.n for s in own) > 0
        assert mean.value == pytest.approx(sum(s.value * s.n for s in own) / mean.n)


def test_quality_counts_both_goals_and_lpips_each_alone(whole):
    scores = whole[0].scores
    assert scores["lpips/painted/a"].n == 12 and scores["lpips_dodging/painted/a"].n == 6
    assert scores["linf_255/pgd/a"].value <= 8.001 and scores["linf_255/painted/a"].value > 16
    assert scores["identity_similarity/painted/a"].value < scores["identity_similarity/random_sign/a"].value
    assert scores["frechet_fr_dodging/clean/a"].value == pytest.approx(0, abs=1e-4)
    assert scores["frechet_fr_dodging/painted/a"].n == 6


def test_a_method_that_fails_owes_its_scores_and_costs_no_other(whole):
    outcome, card, _ = whole
    assert len([x for x in card.failures if x.startswith("failing on ")]) == 6
    assert all(x.startswith(("failing on ", "failing: ")) for x in card.failures)
    assert not [r for r in outcome.records if r.method == "failing"]
    owed = {key.split("/")[0] for key in outcome.scores if "/pgd/" in key} - {
        m for m in (key.split("/")[0] for key in outcome.scores) if m.startswith("adapted_")
    }
    for measure in owed:
        for victim in "abc":
            score = outcome.scores[f"{measure}/failing/{victim}"]
            assert math.isnan(score.value) and score.n == 0
    assert outcome.scores["adaptive_dodging_psr/failing/mean"].n == 0


def test_a_rank_that_a_small_gallery_cannot_have_is_nan_and_not_left_out(tmp_path):
    outcome, _ = study(tmp_path, size=Size(identities=4, judges=1, batch_size=8))
    assert outcome.scores["dodging_psr_rank5/pgd/a"].n == 0 and outcome.scores["dodging_psr_rank1/pgd/a"].n > 0
    assert outcome.scores["rank5_untargeted/pgd/a"].n == 0 and outcome.scores["rank1_untargeted/pgd/a"].n > 0
    assert not [key for key in outcome.scores if key.startswith(("adaptive_", "protection_adaptive"))]


def test_adapting_is_judged_on_the_same_photos_at_thresholds_of_its_own(whole):
    outcome = whole[0]
    scores = outcome.scores
    for victim in "abc":
        pairs = {
            measure: {r.key for r in outcome.records if (r.measure, r.method, r.target) == (measure, "pgd", victim)}
            for measure in ("dodging_psr", "adaptive_dodging_psr", "adaptive_tar_cost")
        }
        assert len(set(map(frozenset, pairs.values()))) == 1
        own, adapted = (scores[f"{x}/{y}/{victim}"] for x, y in (
            ("threshold_far_1e-1", "clean"), ("adapted_threshold_far_1e-1", "pgd"),
        ))  # fmt: skip
        assert own.value != adapted.value
        seen = [r.value for r in outcome.records if r[2:5] == ("pgd", victim, "adaptive_dodging_similarity")]
        assert scores[f"adaptive_dodging_psr/pgd/{victim}"].value == np.mean([x < adapted.value for x in seen])
    assert scores["protection_adaptive/pgd/mean"].n == scores["protection_oblivious/pgd/mean"].n > 0


def test_what_adapting_costs_is_the_clean_rate_before_less_the_one_after(tmp_path):
    class Blind(ToyTarget):
        """Sees everybody alike but for the least trace, so that no genuine pair stands out."""

        def embed(self, chips):
            noise = torch.randn(len(chips), 64, generator=torch.Generator().manual_seed(int(1e4 * chips.sum()) % 2**31))
            return torch.nn.functional.normalize(noise, dim=1)

    design = Design(far=0.1, fars=(0.1,), goals=("dodge",), adaptive=("pgd",), training_people=2, training_photos=1)
    told = {"retrainer": lambda target, clean, cloaked, rng: Blind(name="blind"), "training": others}
    outcome, card = study(tmp_path, design, **told)
    assert not card.failures
    for victim in "ab":
        before = 1 - outcome.scores[f"dodging_psr/clean/{victim}"].value
        cost = outcome.scores[f"adaptive_tar_cost/pgd/{victim}"].value
        assert before > 0.8 and before - 0.5 < cost <= before
        assert outcome.scores[f"adaptive_dodging_psr/pgd/{victim}"].value > 0.5


def test_an_adapted_recogniser_has_a_threshold_of_its_own(tmp_path):
    class Squeezed(ToyTarget):
        """Sees whom the toy sees, with every cosine close to 1: at the toy's threshold it would accept everybody."""

        def embed(self, chips):
            return torch.nn.functional.normalize(super().embed(chips) + 10 * torch.eye(64)[0], dim=1)

    def retrainer(target, clean, cloaked, rng):
        return Squeezed(0 if target.name == "a" else 1, "squeezed")

    design = Design(far=0.1, fars=(0.1,), goals=("dodge",), adaptive=("painted",), training_people=2)
    told = {"evasion": {"painted": Painted()}, "retrainer": retrainer, "training": others}
    scores = study(tmp_path, design, **told)[0].scores
    for victim in "ab":
        own = scores[f"adapted_threshold_far_1e-1/painted/{victim}"].value
        assert scores[f"threshold_far_1e-1/clean/{victim}"].value < 0.9 and own > 0.97
    assert scores["adaptive_dodging_psr/painted/mean"].value > 0.2  # 0 at the toy's


def test_the_tracker_trains_on_other_people_cloaked_by_the_same_method_on_all_its_recognisers(tmp_path):
    seen, crafted = [], []

    class Noting(PGD):
        def __call__(self, faces, aim, surrogates, rng):
            crafted.append((tuple(s.name for s in surrogates), aim.kind, len(faces)))
            return super().__call__(faces, aim, surrogates, rng)

    def retrainer(target, clean, cloaked, rng):
        seen.append((target.name, clean, cloaked))
        return CloakFinetuning(steps=1, batch=2)(target, clean, cloaked, rng)

    design = Design(
        far=0.1, fars=(0.1,), not_victims=("weak",), adaptive=("pgd",), training_people=4, training_photos=2
    )
    photos = others(6)
    _, card = study(
        tmp_path, design, ("a", "b", "weak"), evasion={"pgd": Noting(eps_255=8.0, steps=1)}, retrainer=retrainer,
        training=lambda: photos,
    )  # fmt: skip
    assert not card.failures
    assert [c for c in crafted if c[0] == ("a", "b")] == [(("a", "b"), "dodge", 8)], "once, shared by the victims"
    assert [name for name, _, _ in seen] == ["a", "b"] and torch.equal(seen[0][2], seen[1][2])
    _, clean, cloaked = seen[0]
    assert clean.shape == cloaked.shape == (8, 3, 96, 96) and 0 < (clean - cloaked).abs().max() <= 8.01 / 255
    assert all(any(torch.equal(photo, other) for other in photos.faces.images) for photo in clean)


def test_a_recogniser_that_cannot_adapt_costs_no_other(tmp_path):
    def retrainer(target, clean, cloaked, rng):
        if target.name == "a":
            raise FacesecError("found no weights")
        return CloakFinetuning(steps=1, batch=2)(target, clean, cloaked, rng)

    design = Design(far=0.1, fars=(0.1,), adaptive=("pgd",), training_people=2, training_photos=1)
    outcome, card = study(tmp_path, design, retrainer=retrainer, training=others)
    assert card.failures == ["pgd: a could not adapt to it: found no weights"]
    counts = [outcome.scores[f"adaptive_dodging_psr/pgd/{victim}"].n for victim in ("a", "b", "mean")]
    assert counts[0] == counts[2] == 0 < counts[1]


def test_the_gallery_s_base_line_is_that_of_the_photo_as_it_is_whatever_the_cloak(whole):
    scores = whole[0].scores
    for victim in (*"abc", "mean"):
        plain = scores[f"protection_oblivious/clean/{victim}"]
        assert all(scores[f"protection_baseline/{method}/{victim}"].value == plain.value for method in METHODS[:5])
    assert scores["protection_oblivious/painted/mean"].value > scores["protection_oblivious/clean/mean"].value


def test_after_a_distortion_the_distorted_photo_is_judged(tmp_path, monkeypatch):
    """Here the distortion hands everybody the photo of somebody else."""
    given = []

    def swapped(kept, seed):
        given.append(len(kept))
        return kept.roll(1, 0)

    monkeypatch.setitem(DISTORTIONS, "_blur", swapped)
    size = Size(identities=6, judges=2, batch_size=3)
    scores = study(tmp_path, Design(far=0.1, fars=(0.1,), goals=("dodge",)), size=size)[0].scores
    assert given == [3] * 8, "four craftings, once whoever judges, a batch at a time"
    assert scores["dodging_psr/clean/mean"].value < 0.2 and scores["dodging_psr_blur/clean/mean"].value > 0.6
    assert scores["dodging_psr_jpeg90/clean/mean"].value < 0.2


def test_cards_say_what_a_method_is(whole):
    cards = whole[1].methods
    assert set(cards) == set(METHODS)
    assert {name: card["role"] for name, card in cards.items()} == {
        "clean": "control", "random_sign": "control", "pgd": "attack", "pgd_strong_eps16": "attack",
        "painted": "cloak", "failing": "attack",
    }  # fmt: skip
    assert cards["painted"]["prompt"] == "red lips" and "prompt" not in cards["pgd"]
    assert (cards["painted"]["norm"], cards["pgd"]["norm"], cards["pgd"]["eps_255"]) == ("none", "linf", 8.0)
    told = " ".join(whole[1].threat_model)
    assert "a or b or c" in told and "Adaptive" in told and "FAR 0.1" in told


def test_a_target_of_this_project_may_be_left_out_where_it_is_not():
    assert held_out(toys("a", "b"), Design(not_victims=("effnet_arcface",))) == ["a", "b"]


def test_a_card_says_what_makeup_was_asked_for_and_how_deep_a_shade_may_be():
    methods = {"makeup": AdvMakeup(prompt="red lips"), "any": AdvMakeup(), "shaded": Painted(), "deep": Painted()}
    methods["shaded"].shade_255, methods["deep"].shade_255 = 32.0, None
    found = cards(plan(toys("a", "b"), ["a", "b"], methods, make, Design()), {})
    assert found["makeup"]["prompt"] == "red lips" and "prompt" not in found["any"]
    assert found["shaded"]["shade_255"] == 32 and "shade_255" not in found["deep"]
    assert (found["shaded"]["role"], found["shaded"]["eps_255"]) == ("cloak", None)


def test_a_cloak_that_paints_with_the_generator_of_the_faces_is_told():
    methods = {name: Painted() for name in ("same", "other", "none")}
    methods["same"].generator, methods["other"].generator = SimpleNamespace(digest="x"), SimpleNamespace(digest="y")
    card = RunCard("run", "cloaking", "running", 0, {}, "f", "now")
    note_insiders(Run(None, card), methods, None)
    assert not card.notes
    note_insiders(Run(None, card), methods, Drawn("x", 3))
    assert len(card.notes) == 1 and "drew the faces of this data set: same. It" in card.notes[0]


def test_a_recogniser_that_a_method_leaves_out_is_told():
    methods, card = {"picky": Painted(), "plain": Painted()}, RunCard("run", "cloaking", "running", 0, {}, "f", "now")
    methods["picky"].surrogate_weights = {"weak": 0, "a": 0.5, "absent": 0}
    note_unasked(Run(None, card), methods, toys("a", "b", "weak"))
    assert [note.split(" where")[0] for note in card.notes] == ["picky does not ask weak"]


def test_every_picture_is_the_one_its_legend_speaks_of(whole):
    outcome, _, folder = whole
    strips = read_strips(folder / "strips.json")
    expected = {f"{m} against a, {g}" for m in METHODS[2:5] for g in ("dodging", "impersonation")}
    assert {strip.title for strip in strips} == expected
    victim, faces = ToyTarget(0), dataset().faces
    for strip in strips:
        goal = strip.title.rpartition(" ")[2]
        key = strip.detail.split(" ")[0]
        judge = next(r.key for r in outcome.records if r.measure == f"{goal}_psr" and r.key.startswith(f"{key}>"))
        enrolled = faces.images[faces.keys.index(judge.split(">")[1])]
        assert strip.grid == "cloak" and [shot.column for shot in strip.shots] == ["Source", "Cloak"]
        for shot in strip.shots:
            with Image.open(folder / shot.path) as picture:
                chip = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
            one, other = victim.embed(torch.stack([chip, enrolled])).detach()
            assert shot.legend.startswith(f"{float(one @ other):.3f}:"), shot


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    for name in "12":
        write_scores(tmp_path / f"{name}.json", study(tmp_path / name)[0].scores)
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"names": ("a",)}, "no surrogate for a"),
        ({"design": Design(not_victims=("c",))}, r"\['c'\] in study.design.not_victims, .* targets: \['a', 'b'\]"),
        ({"design": Design(not_surrogates=("efnet",))}, r"\['efnet'\] in study.design.not_surrogates"),
        ({"names": ("a", "mean")}, "called 'mean'"),
        ({"design": Design(not_victims=("a", "b"))}, "as victims"),
        ({"evasion": {}}, "wanted one or more"),
        ({"evasion": {"clean": PGD()}}, "none called 'clean'"),
        ({"evasion": {"pgd": PGD(eps_255=2.5)}}, "2.5"),
        ({"design": Design(adaptive=("nobody",))}, "nobody"),
        ({"design": Design(adaptive=("pgd",))}, "no retrainer"),
        ({"design": Design(adaptive=("pgd",), training_people=1), "retrainer": 1, "training": 1}, "2 people"),
    ],
)
def test_a_design_that_cannot_be_is_refused_in_words_before_anything_is_calibrated(tmp_path, changes, told):
    with pytest.raises(ConfigError, match=told):
        study(tmp_path, **changes)
    assert not (tmp_path / "calibrations").exists()


ADAPTIVE = Design(far=0.1, fars=(0.1,), goals=("dodge",), adaptive=("pgd",), training_people=3, training_photos=2)


def test_a_tracker_does_not_train_on_the_people_it_is_tested_on(tmp_path):
    with pytest.raises(DataError, match="other people"):
        study(tmp_path, ADAPTIVE, retrainer=CloakFinetuning(steps=1), training=dataset)
    assert not (tmp_path / "calibrations").exists(), "said before an hour is spent"


def test_one_photo_one_name_or_one_seed_in_both_sets_is_refused_whatever_their_digests():
    attacked, clean = dataset(), others()
    assert other_people(clean, attacked) is clean
    images = clean.faces.images.clone()
    images[5] = attacked.faces.images[17]
    with pytest.raises(DataError, match=r"Found 1 photos of made up among the training photos \(others\)"):
        other_people(replace(clean, faces=replace(clean.faces, images=images)), attacked)
    named = replace(clean.faces, names=("other 0", "PERSON3", "other 2"))
    with pytest.raises(DataError, match=r"Found 1 people by name .* such as 'person3'"):
        other_people(replace(clean, faces=named), attacked)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Tom_Hanks", "Tom Hanks"),
        ("Penélope Cruz", "penelope-cruz"),
        ("Z\u00fcrich", "Zu\u0308rich"),  # composed, and as macOS writes file names
        ("STRASSE", "Straße"),
        ("王 菲", "王菲"),
    ],
)
def test_a_name_is_the_same_however_it_is_spelt(one, other):
    def called(data, name):
        return replace(data, faces=replace(data.faces, names=(name, *data.faces.names[1:])))

    with pytest.raises(DataError, match=r"Found 1 people by name both in made up and in the training photos"):
        other_people(called(others(), other), called(dataset(), one))


@pytest.mark.parametrize(
    ("one", "other"), [("Tom Hanks", "Tim Hanks"), ("Al 1", "Al 2"), ("राम", "रमा"), ("???", "!!!")]
)
def test_other_names_are_other_people(one, other):
    def called(data, name):
        return replace(data, faces=replace(data.faces, names=(name, *data.faces.names[1:])))

    assert other_people(called(others(), other), called(dataset(), one))


def test_an_error_names_the_setting_that_can_mend_it():
    attacked = replace(dataset(), drawn=Drawn("dcgan", 0))
    for setting, kind in (("study.training", "training"), ("study.public", "public")):
        with pytest.raises(DataError, match=rf"the {kind} faces .* set {setting}\.seed to another"):
            other_people(replace(others(), drawn=attacked.drawn), attacked, setting=setting)
        with pytest.raises(DataError, match=rf"among the {kind} photos \(made up\) too.* set {setting} to photos"):
            other_people(dataset(), dataset(), setting=setting)
        named = replace(others(), faces=replace(others().faces, names=("other 0", "Person 3", "other 2")))
        with pytest.raises(DataError, match=rf"such as 'person3' \('Person 3' there\).* out of {setting},"):
            other_people(named, dataset(), setting=setting)


def test_numbers_of_celeba_are_not_compared_with_labels_of_a_protocol():
    def celeba(data, part, *names):
        return replace(
            data, name=f"celeba {part}", faces=replace(data.faces, names=names + data.faces.names[len(names) :])
        )

    labels, numbers = ("class00000", "class00001", "class00002"), ("id00003", "id00007", "id00020")
    for one, two in ((labels, numbers), (numbers, labels), (numbers, ("photo 000001",) * 3)):
        private, public = celeba(dataset(3), "private", *one), celeba(others(), "public", *two)
        with pytest.raises(DataError, match=r"people of CelebA by number.*by label.*identity_CelebA\.txt"):
            other_people(public, private)
    private = celeba(dataset(3), "private", *labels)
    assert other_people(celeba(others(), "public", "photo 000001", "class00007", "photo 000002"), private)


def test_generated_people_are_told_apart_by_their_seed_and_not_by_their_number():
    numbered = dataset(3, 4, seed=7)  # other faces under the same names
    drawn = replace(dataset(), drawn=Drawn("dcgan", 0))
    assert other_people(replace(numbered, drawn=Drawn("dcgan", 1)), drawn).drawn == Drawn("dcgan", 1)
    assert other_people(replace(numbered, drawn=Drawn("stylegan", 0)), drawn).drawn
    with pytest.raises(DataError, match="seed 0, as the attacked ones are"):
        other_people(replace(numbered, drawn=Drawn("dcgan", 0)), drawn)
    with pytest.raises(DataError, match="by name"):  # a folder that somebody filled with such faces
        other_people(numbered, drawn)


def test_the_card_says_whom_a_tracker_learned_from_and_how(tmp_path):
    retrainer = CloakFinetuning(steps=1, batch=2)
    _, card = study(tmp_path, ADAPTIVE, retrainer=retrainer, training=lambda: others(6))
    assert card.data["tracker"] == {
        "name": "others", "digest": "6x4 7", "licence": "none", "generated": False, "attacked_generated": False,
        "people": 3, "cloaks": 6, "retrainer": "CloakFinetuning",
        "settings": {"suffix": "adapted", "steps": 1, "batch": 2, "learning_rate": 2e-5, "relations": 5.0},
    }  # fmt: skip
    told = card.threat_model[-1]
    assert "6 cloaks of 3 other people (others, digest 6x4 7)" in told and "steps 1, batch 2" in told
    assert not [note for note in card.notes if "The tracker learned" in note]


def test_what_a_tracker_lacks_is_told(tmp_path):
    few = replace(others(2), drawn=Drawn("dcgan", 1))
    _, card = study(tmp_path, ADAPTIVE, retrainer=CloakFinetuning(steps=1, batch=2), training=lambda: few)
    assert [n for n in card.notes if "from 2 people instead of the 3 of study.design.training_people" in n]
    assert "lower bound on what a tracker can do" in card.threat_model[-1]
    with pytest.raises(DataError, match="wanted two or more"):
        study(tmp_path / "1", ADAPTIVE, retrainer=CloakFinetuning(steps=1), training=lambda: others(1))


def test_a_tracker_with_generated_faces_is_no_weaker_where_generated_faces_are_attacked():
    told = {"settings": {}, "retrainer": "R", "cloaks": 1, "people": 1, "name": "x", "digest": "0", "generated": True}
    assert len(adaptive(told | {"attacked_generated": False})) == 2
    assert len(adaptive(told | {"attacked_generated": True})) == 1
