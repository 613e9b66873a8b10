"""The inversion study as a function: who judges, what is asked, what is refused; toys only."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from attacks.inversion_baselines import BestOfRandom, MeanFace, RandomLatent
from attacks.inversion_priors import PixelPrior
from conftest import made_up_faces
from experiments.inversion import inversion
from experiments.inversion_plan import Design, Plan
from experiments.inversion_victims import HeadPlan, SmallPlan
from facesec_bench.closed_set_training import Schooling, teach
from facesec_bench.data import Dataset, Drawn
from facesec_bench.errors import ConfigError, DataError, FacesecError
from facesec_bench.protocols.calibration import CalibrationStore
from facesec_bench.records import RunCard, write_scores
from facesec_bench.runs import Run
from facesec_bench.targets.toy import ToyTarget

PEOPLE, SAMPLES = 8, 2


class NoFaces:
    """The detector's stand-in: sees a face in every other picture."""

    def __init__(self):
        self.looks = 0

    def find(self, pixels):
        from types import SimpleNamespace

        self.looks += 1
        return [SimpleNamespace(score=0.9)] if self.looks % 2 else []


@dataclass
class Thief:
    """Has the private photos; what it needs of the victim it asks for."""

    photos: torch.Tensor
    level: str = "white"
    asks: ClassVar[str] = "classifier"

    def __call__(self, people, victim, public, rng):
        chips = self.photos[people]
        if self.asks == "embedding":
            victim.similarity(chips, people)
        elif self.level == "white":
            victim.logits(chips)
        else:
            victim.labels(chips)
        return chips


class EmbeddingThief(Thief):
    asks: ClassVar[str] = "embedding"


class Failing(Thief):
    def __call__(self, people, victim, public, rng):
        raise FacesecError("found no luck")


@dataclass
class Blunt:
    """A hardening that teaches as ever."""

    def __call__(self, network, faces, how, rng):
        teach(network, faces, how, rng)
        network.epsilon, network.delta = 3.0, 1e-5
        return network


def blunted(target, public, rng):
    return target


def dataset(seed: int = 0, **changes) -> Dataset:
    faces = made_up_faces(PEOPLE, 5, seed, size=224)
    return Dataset("made up", faces, (), f"{seed}", "none", {}, **changes)


def others() -> Dataset:
    found = dataset(seed=7)
    return replace(found, name="others", faces=replace(found.faces, names=tuple(f"other {i}" for i in range(PEOPLE))))


def photo_of_each(data: Dataset) -> torch.Tensor:
    return torch.stack([data.faces.images[(data.faces.identities == i).nonzero()[0, 0]] for i in range(PEOPLE)])


HEAD = HeadPlan("a", schooling=Schooling(steps=60, batch=16, learning_rate=0.05))


def study(folder, design=None, *, attacks=None, victims=None, data=None, public=others, fingerprint="", **changes):
    data = data or dataset()
    targets = {name: ToyTarget(i, name) for i, name in enumerate(("a", "b"))}
    card = RunCard(
        "run", "inversion", "running", 0, {}, fingerprint, "", methods={"pgd": {}}, threat_model=["Another part's."]
    )
    run = Run(folder, card)
    thief = Thief(photo_of_each(data))
    chosen = Design(
        **(
            {"evaluators": ["b", "a"], "samples": SAMPLES, "least_victim": 0.0, "fars": [0.1], "far": 0.1}
            | (design or {})
        )
    )
    outcome = inversion(
        run,
        data,
        targets,
        inversion={"thief": thief, "mean_face": MeanFace()} if attacks is None else attacks,
        victim={"head": HEAD} if victims is None else victims,
        public=public,
        detector=NoFaces(),
        design=chosen,
        store=CalibrationStore(folder / "calibrations"),
        batch_size=8,
        **changes,
    )
    return outcome, run


def test_who_has_the_photos_is_right_and_the_mean_face_by_chance(tmp_path):
    outcome, run = study(tmp_path)
    scores = outcome.scores
    assert scores["top1/thief/head"].value == 1.0 and scores["top1/thief/head"].n == PEOPLE * SAMPLES
    assert scores["top1/mean_face/head"].value == 1 / PEOPLE
    assert scores["top5/thief/head"].value == 1.0
    assert scores["queries/thief/head"].value == 1.0 and scores["gradients/thief/head"].value == 0.0
    assert scores["queries/mean_face/head"].value == 0.0
    assert scores["plausibility/thief/head"].value == pytest.approx(0.45)
    assert scores["top1_plausible/thief/head"].value == 0.5
    assert scores["cosine/thief@head/b"].value > scores["cosine/mean_face@head/b"].value
    assert scores["sar_type1_far_1e-1/thief@head/b"].value > 0.9
    assert scores["victim_accuracy/clean/head"].n == scores["evaluator_accuracy/clean/b"].n == 16
    assert 0 < scores["confidence/thief/head"].value <= 1
    assert run.card.data["inversion"]["evaluators"] == {"head": "b"}  # the head sits on a
    assert not run.card.failures and not run.card.data["inversion"]["one_generator"]
    told = run.card.threat_model
    assert told[0] == "Another part's." and "no photo of theirs" in told[1], "other parts of a quickstart keep theirs"


class Stopped(Thief):
    def __call__(self, people, victim, public, rng):
        raise KeyboardInterrupt


class Never(Thief):
    def __call__(self, people, victim, public, rng):
        raise AssertionError("it was run again")


def test_a_study_that_was_stopped_is_taken_up_and_gives_the_same_scores(tmp_path):
    photos = photo_of_each(dataset())
    whole = study(tmp_path / "whole", attacks={"thief": Thief(photos), "mean_face": MeanFace()})[0].scores
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path / "first", attacks={"thief": Thief(photos), "mean_face": Stopped(photos)}, fingerprint="same")
    RunCard("first", "inversion", "failed", 0, {}, "same", "").write(tmp_path / "first")
    outcome, run = study(
        tmp_path / "second", attacks={"thief": Never(photos), "mean_face": MeanFace()}, fingerprint="same"
    )
    assert not run.card.failures and any("taken up" in note for note in run.card.notes)
    timeless = [key for key in whole if not key.startswith("seconds/")]
    assert timeless and all(outcome.scores[key] == pytest.approx(whole[key], nan_ok=True) for key in timeless)
    assert not list(tmp_path.rglob("recovered"))


def test_the_same_seed_gives_the_same_scores(tmp_path):
    attacks = {
        "random_latent": RandomLatent(PixelPrior(side=8)),
        "best_of_random": BestOfRandom(PixelPrior(side=8), 20),
    }
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        outcome, _ = study(tmp_path / name, attacks=attacks)
        scores = {k: s for k, s in outcome.scores.items() if not k.startswith("seconds/")}
        assert scores["queries/best_of_random/head"].value == 20 / (PEOPLE * SAMPLES)
        write_scores(tmp_path / f"{name}.json", scores)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_embeddings_are_recovered_and_the_attacked_one_does_not_judge(tmp_path):
    thief = EmbeddingThief(photo_of_each(dataset()), level="similarity")
    best = BestOfRandom(PixelPrior(side=8), 5)
    outcome, run = study(tmp_path, {"recover": ["a", "b"]}, attacks={"thief": thief, "best": best}, victims={})
    assert outcome.scores["top1/thief/a"].value == 1.0
    assert outcome.scores["cosine/thief/a"].value > 0.5 and "cosine/thief@a/b" in outcome.scores
    assert outcome.scores["queries/best/a"].value == 5 * PEOPLE / (PEOPLE * SAMPLES)
    assert run.card.data["inversion"]["evaluators"] == {"a": "b", "b": "a"}
    assert "confidence/thief/a" not in outcome.scores


def test_defences_are_met_under_their_own_names(tmp_path):
    labels = Thief(photo_of_each(dataset()), level="hard_label")
    outcome, run = study(
        tmp_path,
        {"harden": ["head"], "hardened_by": ["thief"], "filter": ["head"], "recover": ["a"]},
        attacks={
            "thief": Thief(photo_of_each(dataset())),
            "labels": labels,
            "eye": EmbeddingThief(photo_of_each(dataset())),
        },
        hardening={"blunt": Blunt()},
        answer={"rounded": lambda logits: logits.round()},
        embedding_defence={"blunted": blunted},
    )
    keys = outcome.scores
    assert "top1/thief/head_blunt" in keys and "top1/labels/head_blunt" not in keys
    assert "top1/labels/head_rounded" in keys and "top1/thief/head_rounded" not in keys  # white boxes pass by
    assert "cosine/eye/a_blunted" in keys and "auc/clean/a_blunted" in keys
    assert "victim_accuracy/clean/head_blunt" in keys
    assert run.card.data["defended"]["head_blunt"]["epsilon"] == 3.0
    assert keys["victim_accuracy/clean/head_rounded"].n == 16
    assert run.card.methods["labels"]["access"] == "hard_label" and "pgd" not in run.card.methods
    assert not run.card.failures


def test_one_attack_that_cannot_run_does_not_cost_the_others(tmp_path):
    photos = photo_of_each(dataset())
    outcome, run = study(tmp_path, attacks={"failing": Failing(photos), "thief": Thief(photos)})
    assert outcome.scores["top1/thief/head"].value == 1.0 and "top1/failing/head" not in outcome.scores
    assert ["no luck" in failure for failure in run.card.failures] == [True]
    _, run = study(tmp_path, {"most": 3}, attacks={"thief": Thief(photos)})
    assert "budget is 3" in run.card.failures[0]


def test_a_victim_that_knows_nobody_is_refused_before_any_attack(tmp_path):
    plan = SmallPlan(width=4, pretraining=None, schooling=Schooling(steps=1, batch=2))
    with pytest.raises(DataError, match="the victim small right on"):
        study(tmp_path, {"least_victim": 0.99}, victims={"small": plan})
    with pytest.raises(DataError, match="the evaluator"):
        noise = dataset()
        faces = replace(noise.faces, images=torch.rand(noise.faces.images.shape))
        study(tmp_path, {"least_evaluator": 0.9}, data=replace(noise, faces=faces, digest="noise"))


def test_a_victim_that_fails_does_not_cost_the_others(tmp_path):
    weak = SmallPlan(width=4, pretraining=None, schooling=Schooling(steps=1, batch=2))
    outcome, run = study(tmp_path, {"least_victim": 0.5}, victims={"weak": weak, "head": HEAD})
    assert "top1/thief/head" in outcome.scores and "top1/thief/weak" not in outcome.scores
    assert any("the victim weak right on" in failure for failure in run.card.failures)


class Nothing(Thief):
    def __call__(self, people, victim, public, rng):
        return super().__call__(people, victim, public, rng) * float("nan")


def test_pictures_that_are_none_are_not_scored(tmp_path):
    photos = photo_of_each(dataset())
    outcome, run = study(tmp_path, attacks={"nan": Nothing(photos), "thief": Thief(photos)})
    assert "top1/nan/head" not in outcome.scores and "top1/thief/head" in outcome.scores
    assert "nothing was scored" in run.card.failures[0]


class Fitted(Thief):
    """Its students are made of b."""

    uses = ("b",)


def test_who_pictures_were_fitted_to_is_no_judge(tmp_path):
    photos = photo_of_each(dataset())
    with pytest.raises(ConfigError, match="students are made of"):
        study(tmp_path, attacks={"fitted": Fitted(photos)})
    plan = Plan(Design(evaluators=("b", "c")), {"fitted": Fitted(photos)}, {"head": HEAD})
    assert [plan.evaluator("a", name, "classifier") for name in ("head", "head_bido")] == ["c", "c"]
    assert plan.evaluator("a", "a", "embedding") == "b", "it was not fitted to in an attack on embeddings"
    _, run = study(tmp_path, {"evaluators": ["b"]}, victims={"head": HEAD})
    assert run.card.data["inversion"]["evaluators"] == {"head": "b"} and run.card.methods["thief"]["uses"] == []


def test_what_would_silently_do_nothing_is_refused(tmp_path):
    photos = photo_of_each(dataset())
    for changes, words in (
        ({"hardening": {"blunt": Blunt()}}, "study.design.harden"),
        ({"answer": {"rounded": lambda logits: logits}}, "study.design.filter"),
        ({"embedding_defence": {"blunted": blunted}}, "study.design.recover"),
        ({"design": {"harden": ["head"]}}, "no hardening"),
        ({"design": {"recover": ["a"]}, "attacks": {"thief": Thief(photos)}}, "no attack that asks embeddings"),
        ({"attacks": {"eye": EmbeddingThief(photos)}}, "no attack that asks classifiers"),
        ({"design": {"most": -1}}, "study.design.most"),
        ({"design": {"people": "abc"}}, "people 'abc', wanted 2 or more"),
        ({"design": {"people": 1}}, "people 1, wanted 2 or more"),
        ({"design": {"held": 1.5}}, "held 1.5"),
        (
            {
                "design": {"filter": ["head"]},
                "answer": {"rounded": lambda logits: logits},
                "attacks": {"thief": Thief(photos), "random_latent": RandomLatent(PixelPrior(8))},
            },
            "stands before: \\['thief'\\] have the weights",
        ),
    ):
        with pytest.raises(ConfigError, match=words):
            study(tmp_path, changes.pop("design", None), **changes)


def test_wrong_designs_are_refused(tmp_path):
    for design, words in (
        ({"evaluators": ["a"]}, "no evaluator for head"),
        ({"recover": ["nobody"]}, "nobody"),
        ({"harden": ["nobody"]}, "study.design.harden"),
        ({"hardened_by": ["nobody"]}, "study.design.hardened_by"),
    ):
        with pytest.raises(ConfigError, match=words):
            study(tmp_path, design)
    with pytest.raises(ConfigError, match="no attack or nothing"):
        study(tmp_path, attacks={})
    with pytest.raises(ConfigError, match="both as a victim"):
        study(tmp_path, victims={"a": HEAD})


def test_public_photos_of_private_people_are_refused_and_one_generator_is_told(tmp_path):
    with pytest.raises(DataError, match="other people"):
        study(tmp_path, public=dataset)
    one = replace(others(), drawn=Drawn("g", 1))
    _, run = study(tmp_path, data=dataset(drawn=Drawn("g", 0)), public=lambda: one)
    assert run.card.data["inversion"]["one_generator"] and "upper bound" in run.card.notes[-1]


def test_photos_that_the_data_set_keeps_back_are_held_and_who_has_none_is_told(tmp_path):
    data = dataset()
    last = [key for key, i in zip(data.faces.keys, data.faces.identities.tolist(), strict=True) if i == 0][-1]
    others_held = [data.faces.keys[int((data.faces.identities == i).nonzero()[1, 0])] for i in range(1, PEOPLE - 1)]
    outcome, run = study(tmp_path, data=replace(data, held=frozenset([last, *others_held])))
    assert {r.key for r in outcome.records if r.measure == "victim_accuracy"} == {last, *others_held}
    assert run.card.data["inversion"]["held"] == PEOPLE - 1 and "1 person was left out" in run.card.notes[0]


def test_strips_show_what_was_recovered_beside_a_private_photo(tmp_path):
    outcome, _ = study(tmp_path, {"examples": 2})
    assert [strip.grid for strip in outcome.strips] == ["inversion:head"] * 2
    assert [shot.column for shot in outcome.strips[0].shots] == ["Private photo", "thief", "mean_face"]
    assert all((tmp_path / shot.path).is_file() for strip in outcome.strips for shot in strip.shots)


def test_fid_is_given_where_the_user_brings_the_features_and_is_zero_of_the_private_photos(tmp_path):
    def features(images):
        return images.mean((2, 3))

    data = dataset()
    everyone = data.faces.images

    class All(Thief):
        def __call__(self, people, victim, public, rng):
            return everyone[torch.arange(len(people)) * len(everyone) // len(people)]

    whole = {"samples": len(everyone) // PEOPLE}
    attacks = {"all": All(everyone), "mean_face": MeanFace()}
    scores = study(tmp_path, whole, attacks=attacks, data=data, inception=features)[0].scores
    assert scores["fid/all/head"].value == pytest.approx(0, abs=1e-5) and scores["fid/all/head"].n == len(everyone)
    assert scores["fid/mean_face/head"].value > 1e-4
    assert "fid/thief/head" not in study(tmp_path / "without")[0].scores


def test_what_an_attack_says_of_its_pictures_stands_on_the_card(tmp_path):
    class Telling(Thief):
        def __call__(self, people, victim, public, rng):
            victim.meter.notes.append("two were not reached.")
            return super().__call__(people, victim, public, rng)

    _, run = study(tmp_path, attacks={"telling": Telling(photo_of_each(dataset()))})
    assert "telling on head: two were not reached." in run.card.notes


class Idle(Thief):
    def __call__(self, people, victim, public, rng):
        return self.photos[people]


def test_an_attack_that_asked_nothing_is_told_and_a_control_that_did_is_not(tmp_path, capsys):
    attacks = {"idle": Idle(photo_of_each(dataset())), "random_latent": RandomLatent(PixelPrior(8))}
    _, run = study(tmp_path, {"people": PEOPLE + 5}, attacks=attacks)
    told = [note for note in run.card.notes if "asked nothing" in note]
    assert len(told) == 1 and told[0].startswith("idle on head")
    assert f"{PEOPLE} people are attacked, {PEOPLE + 5} were wanted" in capsys.readouterr().err
