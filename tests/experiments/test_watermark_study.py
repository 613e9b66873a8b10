"""The watermark study as a function: what is planned, what every row is, and what reaches the scores; toys only."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from attacks.adversarial_watermark import AdversarialWatermark
from attacks.pgd import PGD
from attacks.random_sign import RandomSign
from conftest import made_up_faces
from defenses.blur import Blur
from defenses.consistency import Consistency
from defenses.marked_finetuning import MarkedFinetuning
from experiments.setting import Size
from experiments.watermark import Design, cards, watermark
from experiments.watermark_judge import Judge
from experiments.watermark_plan import ABOUT, Craft, Knowledge, Row, plan
from facesec_bench.data import Dataset
from facesec_bench.errors import ConfigError, FacesecError
from facesec_bench.protocols.calibration import CalibrationStore
from facesec_bench.protocols.crafting import Entry
from facesec_bench.records import Record, RunCard, read_strips
from facesec_bench.runs import Run
from facesec_bench.targets.toy import ToyTarget
from facesec_bench.watermarks.dwt_dct_svd import DwtDctSvd
from facesec_bench.watermarks.spread_spectrum import SpreadSpectrum
from facesec_bench.watermarks.straight_through import StraightThrough

EVASION = {
    "pgd": lambda eps_255, steps: PGD(eps_255=eps_255, steps=steps),
    "random_sign": lambda eps_255: RandomSign(eps_255=eps_255),
}


def make(group, name, **changes):
    if group == "evasion":
        return EVASION[name](**changes)
    return AdversarialWatermark(**{"eps_255": 4.0, "steps": 3, "draws": 2} | changes)


def toys(*names: str) -> dict[str, ToyTarget]:
    found = {}
    for i, name in enumerate(names):
        found[name] = ToyTarget(i)
        found[name].name = name
    return found


def dataset(identities: int = 6, photos: int = 6) -> Dataset:
    faces = made_up_faces(identities, photos)
    return Dataset("made up", faces, (), f"{identities}x{photos}", "none", {})


def study(tmp_path, design=None, targets=("a", "b"), **changes):
    card = RunCard("run", "watermark", "running", 0, {}, "f", "now")
    run = Run(tmp_path, card)
    settings = {
        "activation": {"adversarial_watermark": make("activation", "adversarial_watermark")},
        "watermark": SpreadSpectrum(),
        "other_watermark": DwtDctSvd(),
        "make": make,
        "design": design or Design(far=0.1, fars=(0.1,), levels=("K1",), impersonate=False, transfer=False),
        "size": Size(identities=4, judges=2, batch_size=8),
        "store": CalibrationStore(tmp_path / "calibrations"),
    } | changes
    outcome = watermark(run, dataset(), toys(*targets), **settings)
    outcome.write(tmp_path)
    return outcome, card


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Every level, both goals, all kinds of defences, two targets and the ensemble's third."""
    folder = tmp_path_factory.mktemp("whole")
    trade_off = {"eps_255": 2, "keep": (0.5, 0.9), "steps": 2}
    design = Design(far=0.1, fars=(0.2, 0.1), eps_255=(2,), not_in_ensembles=(), trade_off=trade_off)
    activation = {
        "adversarial_watermark": make("activation", "x"),
        "universal_watermark": make("activation", "x", universal=True),
    }
    outcome, card = study(
        folder,
        design,
        ("a", "b", "c"),
        activation=activation,
        purifier={"blur": Blur(1.0)},
        detector={"consistency": Consistency(0.2)},
        robust={"marked": MarkedFinetuning(steps=1, batch=2)},
        training=lambda: dataset(2, 2),
    )
    return outcome, card, folder


def methods(outcome, measure: str, victim: str) -> set[str]:
    return {key.split("/")[1] for key in outcome.scores if key.startswith(f"{measure}/") and key.endswith(f"/{victim}")}


def test_every_level_control_and_defence_has_a_row_on_the_first_target(whole):
    outcome, _, _ = whole
    stem = "adversarial_watermark"
    expected = {
        f"{stem}_eps4",
        f"{stem}_k2_eps4",
        f"{stem}_k4_eps4",
        f"{stem}_k5_eps4",
        f"{stem}_eps4@b+c",
        f"{stem}_eps2",
    }
    expected |= {f"{stem}_eps4@b", f"{stem}_eps4@c", "universal_watermark_eps4"}
    remarked = ("other_message", "other_watermarker", "gaussian_residual", "jpeg_before_marking")
    expected |= {f"{c}_eps{e}" for c in ("random_sign", *remarked) for e in (2, 4)} | {"pgd_eps4"}
    expected |= {f"{stem}_keep{k}_eps2" for k in (0.5, 0.9)}
    defences = ("recognise_before_marking", "blur1", "consistency", "marked")
    expected |= {f"{stem}_{how}_{d}_eps4" for how in ("vs", "adaptive") for d in defences}
    assert methods(outcome, "interaction", "a") == expected
    impersonating = {f"{c}_impersonate_eps4" for c in (stem, "random_sign", *remarked)}
    assert methods(outcome, "target_interaction", "a") == impersonating


def test_others_get_the_white_box_and_what_transfers_to_them(whole):
    outcome, _, _ = whole
    found = methods(outcome, "interaction", "b")
    assert {"adversarial_watermark_eps4", "adversarial_watermark_eps4@a", "adversarial_watermark_eps4@a+c"} <= found
    assert {"gaussian_residual_eps4", "other_message_eps4", "pgd_eps4"} <= found
    assert not [name for name in found if "_vs_" in name or "@b" in name]


def test_nothing_failed_and_every_row_has_a_card_that_tells_what_it_is(whole):
    outcome, card, _ = whole
    assert not card.failures
    assert card.methods["adversarial_watermark_eps4@b"]["config"]["steps"] == 3
    assert card.methods["adversarial_watermark_keep0.5_eps2"]["setting"] == {"keep": 0.5}
    assert card.methods["adversarial_watermark_keep0.5_eps2"]["config"]["keep"] == 0.5
    assert card.methods["adversarial_watermark_keep0.5_eps2"]["config"]["steps"] == 2
    names = {key.split("/")[1] for key in outcome.scores} - {"clean"}
    assert names <= set(card.methods)
    assert {card.methods[name]["role"] for name in names} == {"attack", "control", "defence", "adaptive"}
    assert card.methods["adversarial_watermark_eps4@b+c"]["knowledge"] == "K3"
    assert card.methods["adversarial_watermark_k2_eps4"]["knowledge"] == "K2"
    assert card.methods["other_watermarker_eps4"]["watermark"] == "dwt_dct_svd"
    assert all(card.methods[name]["about"] for name in names)


def test_interaction_is_the_drop_that_neither_part_explains(whole):
    outcome, _, _ = whole
    for name in methods(outcome, "interaction", "a"):
        drop = {c: outcome.scores[f"tar_drop_{c}/{name}/a"].value for c in ("perturbed", "watermarked", "both")}
        expected = drop["both"] - drop["perturbed"] - drop["watermarked"]
        assert outcome.scores[f"interaction/{name}/a"].value == pytest.approx(expected, abs=1e-9)


def test_all_rows_rest_on_the_same_pairs(whole):
    outcome, _, _ = whole
    keys = {}
    for record in outcome.records:
        if record.measure == "tar_both" and record.target == "a":
            keys.setdefault(record.method, set()).add(record.key)
    assert len(set(map(frozenset, keys.values()))) == 1 and len(keys) > 10


def test_recognising_before_marking_makes_marking_harmless(whole):
    scores = whole[0].scores
    for how in ("vs", "adaptive"):
        name = f"adversarial_watermark_{how}_recognise_before_marking_eps4"
        assert scores[f"interaction/{name}/a"].value == 0
        assert scores[f"tar_both/{name}/a"].value == scores[f"tar_perturbed/{name}/a"].value


def test_bits_are_read_by_the_one_who_wrote_them(whole):
    scores = whole[0].scores
    assert scores["bit_accuracy/adversarial_watermark_eps4/a"].value == 1.0
    assert scores["bit_accuracy/other_watermarker_eps4/a"].value > 0.9
    assert scores["bit_accuracy/other_message_eps4/a"].value == 1.0
    assert "bit_accuracy/gaussian_residual_eps4/a" not in scores
    assert "bit_accuracy_watermarked_jpeg75/adversarial_watermark_eps4/b" in scores


def test_a_detector_says_what_it_flags_and_what_that_costs(whole):
    scores = whole[0].scores
    name = "adversarial_watermark_vs_consistency_eps4/a"
    assert {f"{measure}/{name}" for measure in ("detection", "false_alarm", "tar_cost")} <= set(scores)


def test_what_a_defence_costs_is_measured_against_the_photo_as_it_is():
    judge = object.__new__(Judge)
    judge.made = {}

    def cost(row: Row, accepted: float) -> list[float]:
        found = [Record("p>q", "p", row.name, "a", "tar_clean", accepted)]
        return [record.value for record in judge._cost(row, "a", row.name, found)]

    assert not cost(Row("attack", "attack"), 1.0)
    assert not cost(Row("control", "control", marking="jpeg_before_marking"), 0.0)
    assert cost(Row("vs", "defence", defence="blur"), 0.0) == [1.0]
    assert cost(Row("vs", "defence", defence="blur"), 1.0) == [0.0]


def test_every_picture_is_the_one_its_legend_speaks_of(whole):
    outcome, _, folder = whole
    strips = read_strips(folder / "strips.json")
    paths = [shot.path for strip in strips for shot in strip.shots]
    assert len(strips) > 5 and len(set(paths)) == len(paths)
    targets, faces = toys("a", "b", "c"), dataset().faces
    for victim in ("a", "b"):
        strip = next(s for s in strips if s.title == f"adversarial_watermark_eps4 against {victim}")
        assert [shot.column for shot in strip.shots] == ["Clean", "Perturbed", "Watermarked", "Both"]
        key = strip.detail.split(" ")[0]
        judge = next(r.key for r in outcome.records if r.key.startswith(f"{key}>")).split(">")[1]
        for shot in strip.shots:
            with Image.open(folder / shot.path) as picture:
                chip = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
            shown = torch.cat([chip, faces.images[faces.keys.index(judge)][None]])
            with torch.no_grad():
                one, other = targets[victim].embed(shown)
            assert shot.legend.startswith(f"{float(one @ other):.3f}:"), (victim, shot)


def test_same_seed_gives_the_same_scores(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    first, second = (study(tmp_path / n, targets=("a",))[0] for n in "12")
    assert first.scores.keys() == second.scores.keys() and first.records == second.records


def crafts_of(levels, watermark=None, targets=("a",), **changes):
    known = Knowledge(dict.fromkeys(targets, 0.5), watermark or SpreadSpectrum(), DwtDctSvd(), {"p": torch.ones(32)})
    settings = {"impersonate": False, "eps_255": (), "changes_at": {}, "transfer": True, "not_in_ensembles": ()}
    activation = {"w": make("activation", "w")}
    return known, plan(
        targets, activation, make, known, levels=levels, trade_off={}, **settings | changes
    )  # fmt: skip


def test_each_level_knows_what_it_says_and_no_more():
    known, crafts = crafts_of(("K1", "K2", "K3", "K4", "K5"), targets=("a", "b", "c"))
    entries = {c.entry.method: c.entry for c in crafts if c.entry.surrogates == ("a",)}
    attacks = {name: entries[name].attack for name in ("w_eps4", "w_k2_eps4", "w_k4_eps4", "w_k5_eps4")}
    assert attacks["w_eps4"].watermark is known.watermark and attacks["w_eps4"].messages is known.messages
    assert attacks["w_k2_eps4"].watermark is known.watermark and attacks["w_k2_eps4"].messages is None
    assert attacks["w_k4_eps4"].watermark is known.other and attacks["w_k4_eps4"].messages is None
    assert isinstance(attacks["w_k5_eps4"].watermark, StraightThrough)
    ensembles = [c.entry for c in crafts if len(c.entry.surrogates) == 2]
    assert len(ensembles) == 3 and all(set(e.victims).isdisjoint(e.surrogates) for e in ensembles)


def test_without_k3_nobody_unseen_judges():
    _, crafts = crafts_of(("K1", "K2"), targets=("a", "b", "c"))
    assert all(c.entry.victims == c.entry.surrogates for c in crafts if c.entry.surrogates)


def test_a_budget_between_grey_levels_is_refused():
    with pytest.raises(ConfigError, match="whole grey levels"):
        crafts_of(("K1",), eps_255=(2.5,))


def test_a_row_that_cannot_be_judged_costs_no_other(tmp_path, monkeypatch):
    def broken(*arguments):
        raise FacesecError("no such noise")

    monkeypatch.setattr("facesec_bench.protocols.bits.gaussian_residual", broken)
    outcome, card = study(tmp_path, targets=("a",))
    assert card.failures == ["gaussian_residual_eps4: no such noise"]
    lost = outcome.scores["interaction/gaussian_residual_eps4/a"]
    assert math.isnan(lost.value) and lost.n == 0
    assert not math.isnan(outcome.scores["interaction/adversarial_watermark_eps4/a"].value)


def test_another_message_is_another_message(tmp_path):
    seen = {}

    class Noting(SpreadSpectrum):
        def encode(self, chips, messages):
            seen.setdefault(len(seen), messages.clone())
            return super().encode(chips, messages)

        def decode(self, chips):
            return super().decode(chips)

    study(tmp_path, targets=("a",), watermark=Noting())
    messages = [m for m in seen.values() if len(m) == len(seen[0])]
    kinds = {tuple(m.flatten().int().tolist()) for m in messages}
    assert len(kinds) == 2  # the deployed ones and the others
    first, second = (torch.tensor(kind).view_as(messages[0]) for kind in kinds)
    assert (first != second).any(dim=1).all()


def test_a_watermarker_without_gradient_has_no_row_of_its_own_for_bpda():
    _, crafts = crafts_of(("K1", "K5"), watermark=DwtDctSvd())
    assert [c.entry.method for c in crafts if c.rows[0].role == "attack"] == ["w_eps4"]


def test_a_card_names_the_attack_that_ran():
    known, crafts = crafts_of(("K1",))
    cards_of = {"w": {"title": "the attack"}, "pgd": {"title": "plain dodging"}}
    armed = crafts[0].entry.attack
    for attack, title in ((armed, "the attack"), (PGD(eps_255=4), "plain dodging")):
        row = Row("w_adaptive_d_eps4", "adaptive", defence="d")
        craft = Craft(Entry(row.name, attack, ("a",), ("a",), 4.0), "dodge", (row,))
        assert cards([craft], cards_of, known)[row.name]["title"] == title


def test_settings_change_with_the_budget_wherever_it_was_named(tmp_path):
    asked = []

    def noting(group, name, **changes):
        asked.append((name, changes))
        return make(group, name, **changes)

    design = Design(
        far=0.1, fars=(0.1,), levels=("K1",), impersonate=False, transfer=False, eps_255=(2,),
        changes_at={4: {"steps": 1}, 2: {"steps": 2}},
    )  # fmt: skip
    _, card = study(tmp_path, design, ("a",), make=noting)
    assert ("adversarial_watermark", {"eps_255": 4.0, "steps": 1}) in asked
    assert ("adversarial_watermark", {"eps_255": 2.0, "steps": 2}) in asked
    assert "steps = 2" in card.methods["adversarial_watermark_eps2"]["about"]


def test_payload_may_be_shorter_than_the_carrier(tmp_path):
    design = Design(far=0.1, fars=(0.1,), levels=("K1",), impersonate=False, transfer=False, message_length=8)
    outcome, card = study(tmp_path, design, ("a",))
    assert card.methods["adversarial_watermark_eps4"]["watermark"] == "spread_spectrum_8bit"
    assert outcome.scores["exact_message/adversarial_watermark_eps4/a"].value == 1.0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"other_watermark": SpreadSpectrum()}, "other_watermark"),
        ({"activation": {}}, "activation"),
        ({"robust": {"marked": MarkedFinetuning()}}, "training"),
        ({"design": Design(targets=("nobody",))}, "nobody"),
        ({"design": Design(eps_255=(2.5,))}, "2.5"),
        ({"design": Design(trade_off={"eps_255": 300, "keep": [0.6, 0.9]})}, "300"),
        ({"design": Design(message_length=33)}, "study.design.message_length=33"),
    ],
)
def test_a_design_that_cannot_be_is_refused_in_words(tmp_path, changes, told):
    with pytest.raises(ConfigError, match=told):
        study(tmp_path, **changes)
    # Said before the first minutes are spent; what trains is only looked at with the photos in hand.
    assert not (tmp_path / "calibrations").exists() or told == "training"


def test_levels_are_checked():
    with pytest.raises(ConfigError, match="K1"):
        Design(levels=("K2",))
    with pytest.raises(ConfigError, match="K9"):
        Design(levels=("K1", "K9"))


def test_too_few_photos_for_a_detector_cost_only_the_detector(tmp_path):
    outcome, card = study(tmp_path, targets=("a",), detector={"consistency": Consistency(0.001)})
    assert "consistency was left out" in card.failures[0]
    assert not math.isnan(outcome.scores["interaction/adversarial_watermark_eps4/a"].value)


def test_every_level_is_explained():
    assert {"K1", "K2", "K3", "K4", "K5"} <= set(ABOUT)


def test_the_message_of_a_photo_does_not_depend_on_who_else_is_attacked(tmp_path):
    from experiments.watermark import _knowledge

    def messages(*sources: int) -> dict[str, torch.Tensor]:
        setting = SimpleNamespace(dataset=dataset(), roles=SimpleNamespace(sources=sources), calibrations={})
        return _knowledge(setting, {}, SpreadSpectrum(), DwtDctSvd(), Design(), 0).messages

    key = dataset().faces.keys[1]
    assert torch.equal(messages(3, 1)[key], messages(1)[key])
