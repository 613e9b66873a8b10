"""The recipe on toy targets, without Hydra, MLflow or weights."""

import math

import pytest

from attacks.pgd import PGD
from attacks.random_sign import RandomSign
from conftest import made_up_faces
from experiments.evasion import Curve, Design, evasion, method_cards, plan_study
from experiments.setting import Size, budget_name
from facesec_bench.data import Dataset
from facesec_bench.errors import CalibrationError, ConfigError
from facesec_bench.protocols.calibration import CalibrationStore
from facesec_bench.records import RunCard, write_scores
from facesec_bench.runs import Run
from facesec_bench.targets.toy import ToyTarget

DESIGN = Design(far=0.1, fars=(0.1,), curve=Curve(("pgd",), ("toy0",), (4,)))


def make(group, name, *, eps_255):
    assert group == "evasion"
    eps = eps_255
    return {"pgd": lambda e: PGD(eps_255=e, steps=5), "random_sign": lambda e: RandomSign(eps_255=e)}[name](eps or 8.0)


@pytest.fixture(scope="module")
def study_faces():
    return made_up_faces(identities=6, photos=5, size=64)


def study(folder, faces, design=DESIGN, seed=0, methods=None, size=None, data=None):
    folder.mkdir(exist_ok=True)
    card = RunCard(folder.name, "evasion", "running", seed, {}, "f", "now")
    targets = {f"toy{i}": ToyTarget(seed=i, name=f"toy{i}") for i in range(3)}
    return evasion(
        Run(folder, card),
        data or Dataset("made up", faces, (), "0" * 64, "none", {}),
        targets,
        methods or {"pgd": make("evasion", "pgd", eps_255=8.0)},
        make=make,
        design=design,
        size=size or Size(judges=2, sources_per_identity=1, batch_size=4),
        store=CalibrationStore(folder / "calibrations"),
    ), card


@pytest.fixture(scope="module")
def outcome(tmp_path_factory, study_faces):
    return study(tmp_path_factory.mktemp("study"), study_faces)[0]


def test_the_transfer_table_is_full(outcome):
    for goal in ("dodging", "impersonation"):
        for victim in ("toy0", "toy1", "toy2"):
            others = sorted({"toy0", "toy1", "toy2"} - {victim})
            sets = ["pgd", *(f"pgd@{o}" for o in others), f"pgd@{'+'.join(others)}", "random_sign"]
            for method in sets:
                assert f"{goal}_success/{method}/{victim}" in outcome.scores


def test_a_white_box_attack_beats_its_control_on_the_attacked_target(outcome):
    for victim in ("toy0", "toy1", "toy2"):
        attacked = outcome.scores[f"dodging_success/pgd/{victim}"]
        control = outcome.scores[f"dodging_success/random_sign/{victim}"]
        assert attacked.value > control.value + 0.5 and attacked.n == control.n > 0


def test_a_budget_other_than_the_plain_one_is_in_the_name_and_has_its_own_control(outcome):
    assert "dodging_success/pgd_eps4/toy0" in outcome.scores
    assert "dodging_success/random_sign_eps4/toy0" in outcome.scores
    assert budget_name("pgd", 8.0) == "pgd" and budget_name("pgd", 0.5) == "pgd_eps0.5"


def test_no_kept_image_exceeds_its_budget(outcome):
    for record in outcome.records:
        if record.measure == "linf_255":
            allowed = 4 if "_eps4" in record.method else 8
            assert record.value <= allowed + 1e-3


def test_success_is_recomputable_from_the_similarities_and_the_threshold(outcome):
    threshold = outcome.scores["threshold_far_1e-1/clean/toy1"].value
    similar = {
        r.key: r.value
        for r in outcome.records
        if (r.measure, r.method, r.target) == ("dodging_similarity", "pgd", "toy1")
    }
    success = {
        r.key: r.value for r in outcome.records if (r.measure, r.method, r.target) == ("dodging_success", "pgd", "toy1")
    }
    assert success and all(value == float(similar[key] < threshold) for key, value in success.items())


def test_the_same_seed_twice_gives_the_same_bytes_and_another_seed_does_not(tmp_path, study_faces, outcome):
    again, _ = study(tmp_path / "again", study_faces)
    other, _ = study(tmp_path / "other", study_faces, seed=1)
    for name, found in (("a", outcome), ("b", again), ("c", other)):
        write_scores(tmp_path / name, found.scores)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()


def test_without_a_white_box_no_victim_judges_its_own_surrogate(tmp_path, study_faces):
    found, card = study(tmp_path, study_faces, Design(far=0.1, fars=(0.1,), white_box=False))
    assert not any("/pgd/" in key for key in found.scores)
    assert not any("White box" in sentence for sentence in card.threat_model)


def test_a_rate_with_too_few_pairs_stops_the_study_before_any_attack(tmp_path, study_faces):
    with pytest.raises(CalibrationError, match=r"FAR 0\.001: found 375 impostor pairs, needed 10000"):
        study(tmp_path, study_faces, Design(far=0.001, fars=(0.001,)))
    assert not (tmp_path / "images").exists()


def test_a_method_that_fails_is_reported_and_scored_as_nothing(tmp_path, study_faces):
    class Failing:
        eps_255 = 8.0

        def __call__(self, faces, aim, surrogates, rng):
            raise ConfigError("found no luck")

    design = Design(far=0.1, fars=(0.1,), transfer=False)
    found, card = study(tmp_path, study_faces, design, methods={"failing": Failing()})
    score = found.scores["dodging_success/failing/toy0"]
    assert math.isnan(score.value) and score.n == 0
    assert any("found no luck" in note for note in card.notes) and card.failures


def test_calibration_identities_can_be_kept_apart_and_are_never_attacked(tmp_path):
    faces = made_up_faces(identities=12, photos=4, size=64)
    design = Design(far=0.1, fars=(0.1,), calibration_share=0.5, transfer=False)
    found, _ = study(tmp_path, faces, design)
    attacked = {r.identity for r in found.records if r.measure == "dodging_similarity"}
    rows = (tmp_path / "roles.csv").read_text().splitlines()
    apart = {row.split(",")[1] for row in rows if row.endswith("calibration,")}
    assert len(apart) == 6 and attacked and not attacked & apart
    assert found.scores["threshold_far_1e-1/clean/toy0"].n == 6 * 5 // 2 * 16


def test_a_stored_calibration_is_reused(tmp_path, study_faces, monkeypatch):
    study(tmp_path, study_faces)
    monkeypatch.setattr("experiments.calibrate.calibrate_target", None)  # calling it would raise
    study(tmp_path, study_faces)


def test_a_name_that_is_not_configured_is_refused():
    with pytest.raises(ConfigError, match="nobody"):
        plan_study(["a", "b"], {}, make, Design(curve=Curve(surrogates=("nobody",))))


def test_the_curve_takes_the_first_method_and_target_unless_told_otherwise():
    entries = plan_study(
        ["a", "b"], {"pgd": make("evasion", "pgd", eps_255=8.0)}, make, Design(curve=Curve(eps_255=(4,)))
    )
    assert [e.surrogates for e in entries if e.method == "pgd_eps4"] == [("a",)]


def test_a_target_kept_out_of_ensembles_is_still_attacked_alone_and_judges():
    names = ["a", "b", "c", "weak"]
    entries = plan_study(
        names, {"pgd": make("evasion", "pgd", eps_255=8.0)}, make, Design(not_in_ensembles=("weak", "absent"))
    )
    ensembles = {e.surrogates: e.victims for e in entries if len(e.surrogates) > 1}
    assert ensembles[("a", "b", "c")] == ("weak",) and ensembles[("a", "b")] == ("c",)
    assert ("weak",) in {e.surrogates for e in entries}


def test_the_control_runs_once_a_budget_even_if_it_is_chosen_as_a_method():
    methods = {"pgd": make("evasion", "pgd", eps_255=8.0), "random_sign": make("evasion", "random_sign", eps_255=8.0)}
    entries = plan_study(["a", "b"], methods, make, Design())
    assert [e.method for e in entries].count("random_sign") == 1


def test_a_repeated_budget_is_refused_because_it_would_double_the_count():
    with pytest.raises(ConfigError, match="pgd_eps4 on a twice"):
        plan_study(["a", "b"], {"pgd": make("evasion", "pgd", eps_255=8.0)}, make, Design(curve=Curve(eps_255=(4, 4))))


def test_a_budget_that_an_eight_bit_file_cannot_hold_is_refused():
    with pytest.raises(ConfigError, match=r"eps_255=2\.5, wanted whole grey levels"):
        plan_study(["a", "b"], {"pgd": make("evasion", "pgd", eps_255=2.5)}, make, Design())


def test_method_cards_name_the_norm_of_every_entry_the_control_included():
    methods = {"pgd": make("evasion", "pgd", eps_255=8.0), "pgd_l2": PGD(rms_255=8.0, steps=2)}
    entries = plan_study(["a", "b"], methods, make, Design(curve=Curve(("pgd",), ("a",), (4,))))
    cards = method_cards(entries, {"pgd": {"title": "PGD", "source": "Madry"}})
    assert cards["pgd_eps4"] == {"title": "PGD", "source": "Madry", "eps_255": 4.0, "norm": "linf"}
    assert cards["pgd_l2"]["norm"] == "rms" and cards["random_sign"]["eps_255"] == 8.0


def test_a_split_that_came_with_the_data_decides_who_calibrates_and_who_is_attacked(tmp_path):
    faces = made_up_faces(identities=12, photos=4, size=64)
    roles = {key: "calibration" if int(key[6:].split("/")[0]) < 6 else "attack" for key in faces.keys}
    data = Dataset("made up", faces, (), "0" * 64, "none", roles)
    found, _ = study(tmp_path, faces, Design(far=0.1, fars=(0.1,), transfer=False), data=data)
    attacked = {r.identity for r in found.records if r.measure == "dodging_similarity"}
    assert attacked == {f"person{i}" for i in range(6, 12)}


def test_copies_of_one_photo_in_different_roles_are_reported(tmp_path):
    faces = made_up_faces(identities=5, photos=4, size=64)
    copied = faces.images.clone()
    copied[1:4] = (copied[0] * 255 + 1).clamp(0, 255).round() / 255
    twins = type(faces)(copied, faces.identities, faces.keys, faces.names)
    _, card = study(
        tmp_path,
        twins,
        Design(far=0.1, fars=(0.1,), transfer=False),
        methods={"pgd": make("evasion", "pgd", eps_255=8.0)},
    )
    assert any("copies of one photo" in note for note in card.notes)


@pytest.mark.parametrize("eps", [0.0, -3.0, 256.0])
def test_a_budget_out_of_range_is_refused_before_anything_runs(eps):
    class Method:
        eps_255 = eps

    with pytest.raises(ConfigError, match="wanted above 0"):
        plan_study(["a", "b"], {"method": Method()}, make, Design())
