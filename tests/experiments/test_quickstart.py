"""The quickstart as a function: parts that share a run keep their methods, numbers and tables apart; toys only."""

import math
from functools import partial
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from attacks.adversarial_watermark import AdversarialWatermark
from attacks.pgd import PGD
from attacks.random_sign import RandomSign
from conftest import made_up_faces
from experiments import cloaking_plan, evasion, watermark
from experiments.cloaking import cloaking
from experiments.quickstart import quickstart, shares
from experiments.setting import Size
from facesec_bench.data import Dataset
from facesec_bench.errors import ConfigError
from facesec_bench.protocols.calibration import CalibrationStore
from facesec_bench.records import Outcome, Record, RunCard, Score
from facesec_bench.reporting import build, text_summary
from facesec_bench.runs import Run
from facesec_bench.targets.toy import ToyTarget
from facesec_bench.watermarks.dwt_dct_svd import DwtDctSvd
from facesec_bench.watermarks.spread_spectrum import SpreadSpectrum

CONF = Path(__file__).resolve().parents[2] / "experiments" / "conf"
NAN = math.nan


class Painted:
    """A cloak without a bound on pixels."""

    eps_255 = None

    def __call__(self, faces, aim, surrogates, rng):
        return 0.2 * faces.images + 0.8 * faces.images.flip(0)


EVASION = {"pgd": PGD(eps_255=8.0, steps=4), "painted": Painted(), "ifgsm": PGD(eps_255=8.0, steps=2)}
CLOAKS = ["painted", "ifgsm"]
METHODS = {"pgd": PGD, "random_sign": RandomSign, "adversarial_watermark": partial(AdversarialWatermark, steps=2)}
RATES = {"far": 0.1, "fars": (0.1,)}
SIZE = Size(identities=4, judges=2, batch_size=8)  # too few for a fifth rank
PARTS = {
    "evasion": partial(evasion.evasion, size=SIZE, design=evasion.Design(**RATES, curve=evasion.Curve(eps_255=(2,)))),
    "cloaking": partial(cloaking, size=SIZE, design=cloaking_plan.Design(**RATES, not_victims=("weak",))),
    "watermark": partial(
        watermark.watermark,
        watermark=SpreadSpectrum(),
        other_watermark=DwtDctSvd(),
        size=SIZE,
        design=watermark.Design(**RATES, targets=("a",), levels=("K1",), impersonate=False, transfer=False),
    ),
}


def make(group, name, **changes):
    return METHODS[name](**changes)


def card(known=()):
    told = {name: {"title": name, "source": "a paper", "config": {}} for name in known}
    data = {"name": "made up", "digest": "d", "n_images": 24, "n_identities": 6}
    return RunCard("run", "quickstart", "finished", 0, {}, "f", "now", methods=told, data=data)


def started(folder, parts, methods=None, side=96):
    """A run of these parts on toys and photos of `side` pixels, written down as a session does."""
    folder.mkdir(exist_ok=True)
    run = Run(folder, card((*EVASION, "random_sign", "adversarial_watermark")))
    targets = {name: ToyTarget(i, name) for i, name in enumerate(("a", "b", "weak"))}
    run.card.targets = {name: {"note": ""} for name in targets}
    offered = {
        "activation": {"adversarial_watermark": AdversarialWatermark(eps_255=4.0, steps=2, draws=2)},
        "make": make,
        "store": CalibrationStore(folder / "calibrations"),
        "lpips": lambda one, other: (one - other).abs().mean((1, 2, 3)),
    }
    data = Dataset("made up", made_up_faces(6, 5, size=side), (), "d", "none", {})
    outcome = quickstart(run, data, targets, EVASION, parts=parts, methods=methods, **offered)
    assert not run.card.failures
    outcome.write(folder)
    run.card.write(folder)
    return outcome, run.card


def tables(folder, out):
    """Every table of the report, by name."""
    return {path.stem: path.read_text(encoding="utf-8") for path in build([folder], out, "t").csv}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return *started(folder, PARTS, {"cloaking": CLOAKS}, side=224), folder


@pytest.mark.slow
@pytest.mark.parametrize("part", list(PARTS))
def test_every_part_has_the_numbers_and_the_tables_that_it_has_alone(whole, part, tmp_path):
    outcome, _, folder = whole
    names = CLOAKS if part == "cloaking" else ["pgd"]
    alone, _ = started(tmp_path / "alone", {part: PARTS[part]}, {part: names}, side=224)
    assert set(map(repr, alone.records)) <= set(map(repr, outcome.records))
    assert {key: repr(outcome.scores[key]) for key in alone.scores} == {k: repr(s) for k, s in alone.scores.items()}
    joint, own = tables(folder, tmp_path / "1"), tables(tmp_path / "alone", tmp_path / "2")
    shared = {"runs", "targets", "methods", "accuracy", "calibration"}
    assert len(own.keys() - shared) >= 5
    for name in own.keys() - shared:
        assert joint[name] == own[name], name


def test_no_table_belongs_to_two_parts(whole, tmp_path):
    text = tables(whole[2], tmp_path / "out")
    assert "painted" not in "".join(text[name] for name in ("white-box", "quality", "curves", "transfer-dodging"))
    cloaks = [content for name, content in text.items() if name.startswith("cloak-")]
    assert len(cloaks) > 5 and not any("pgd" in content or "weak" in content for content in cloaks)
    assert not any("mean," in line.lower() for line in text["accuracy"].splitlines()), "no recogniser of that name"
    summary = text_summary(whole[2])
    assert "\n  mean " not in summary and "2 in turn  painted" in summary


def test_the_page_tells_the_parts_apart_in_words_too(whole, tmp_path):
    told = whole[1].threat_model
    starts = [i for i, text in enumerate(told) if text.startswith(("Evasion. ", "Cloaking. ", "Watermark. "))]
    assert [told[i].split(".")[0].lower() for i in starts] == list(PARTS) and starts[0] == 0
    assert sum(text.startswith("A victim accepts at its own threshold") for text in told) == 2, "each its own"
    page = build([whole[2]], tmp_path / "out", "t").html.read_text(encoding="utf-8")
    assert "Cloaks in a gallery</h2>" in page and "Recognisers that adapt" not in page, "none adapted"


def test_the_control_that_two_parts_run_is_written_once(whole):
    outcome, told, _ = whole
    rows = [record[:1] + record[2:5] for record in outcome.records]
    assert len(set(rows)) == len(rows)
    score = outcome.scores["psnr/random_sign/a"]
    assert score.n == 8, "four photos, two goals"
    assert outcome.scores["dodging_psr/random_sign/a"].n == 8 and outcome.scores["dodging_success/random_sign/a"].n
    assert told.methods["random_sign"]["role"] == "control" and told.methods["random_sign"]["source"] == "a paper"


def test_other_goals_than_the_other_part_s_are_refused_where_they_give_the_control_other_numbers(tmp_path):
    design = cloaking_plan.Design(**RATES, goals=("dodge",))
    parts = {"evasion": PARTS["evasion"], "cloaking": partial(cloaking, size=SIZE, design=design)}
    with pytest.raises(ConfigError, match=r"score \w+/random_sign/\w+ written by evasion .* and by cloaking .*goals"):
        started(tmp_path, parts, {"cloaking": CLOAKS})


def test_one_method_made_on_the_judge_and_with_the_judge_held_out_is_refused(tmp_path):
    parts = {name: PARTS[name] for name in ("evasion", "cloaking")}
    with pytest.raises(ConfigError, match=r"\w+/pgd/a.* written by evasion .* and by cloaking .*study\.methods"):
        started(tmp_path, parts)


def wrote(value=0.5, n=4, cards=None, low=NAN):
    """A part that writes one row, one score and a card."""

    def part(run, dataset, targets):
        run.card.methods = {"pgd": {"title": "PGD", "about": ""}} | (cards or {})
        return Outcome([Record("k", "who", "pgd", "a", "psnr", value)], {"psnr/pgd/a": Score(value, low, NAN, n)})

    return part


def merged(**parts):
    run = Run(Path(), card())
    return quickstart(run, None, {}, parts=parts), run.card


@pytest.mark.parametrize("value", [0.5, NAN])
def test_what_two_parts_write_alike_up_to_rounding_stays_written_once(value):
    again = wrote(value * (1 + 1e-6), cards={"pgd": {"title": "PGD", "about": "a control", "role": "control"}})
    outcome, told = merged(one=wrote(value), two=again)
    assert [repr(r.value) for r in outcome.records] == [repr(value)] and list(outcome.scores) == ["psnr/pgd/a"]
    assert told.methods == {"pgd": {"title": "PGD", "about": "a control", "role": "control"}}


@pytest.mark.parametrize(
    ("second", "named"),
    [
        (wrote(0.51), "record psnr/pgd/a/k"),
        (wrote(NAN), "record psnr/pgd/a/k"),
        (wrote(n=5), "score psnr/pgd/a"),
        (wrote(low=0.4), "score psnr/pgd/a"),
        (wrote(cards={"pgd": {"title": "another"}}), "card pgd/title"),
    ],
)
def test_two_parts_that_write_one_name_with_different_contents_are_refused_by_name(second, named):
    with pytest.raises(ConfigError, match=f"the {named} written by one .* and by two "):
        merged(one=wrote(), two=second)


def test_a_part_sees_its_own_methods_or_those_that_are_nobody_s():
    seen = shares(EVASION, PARTS, {"cloaking": CLOAKS})
    assert {part: list(methods) for part, methods in seen.items()} == {
        "evasion": ["pgd"], "cloaking": CLOAKS, "watermark": ["pgd"],
    }  # fmt: skip
    assert list(shares(EVASION, PARTS, {})["cloaking"]) == list(EVASION)


@pytest.mark.parametrize(
    ("methods", "told"),
    [
        ({"cloaking": ["fawkes"]}, r"'fawkes' in study\.methods\.cloaking, wanted .*pgd.*evasion="),
        ({"clocking": ["pgd"]}, r"'clocking' in study\.methods, wanted .*cloaking"),
        ({"cloaking": ["pgd"], "evasion": ["pgd"]}, r"study\.methods\.cloaking and study\.methods\.evasion"),
    ],
)
def test_a_name_that_is_not_configured_or_claimed_twice_is_refused_before_anything_runs(methods, told, tmp_path):
    with pytest.raises(ConfigError, match=told):
        started(tmp_path, PARTS, methods)
    assert not (tmp_path / "roles.csv").exists()


def test_the_shipped_parts_name_methods_that_are_configured_and_budgets_that_do_not_meet():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", ["experiment=quickstart", "results=here"])
    parts, own = config.study.parts, config.study.methods
    assert set(own) <= set(parts) and all(name in config.evasion for names in own.values() for name in names)
    used = {config.eps_255, *parts.evasion.design.curve.eps_255}
    # The watermark part has a pgd and a random_sign of its own at its budget.
    assert not used & {method.eps_255 for method in config.activation.values()}
    assert parts.cloaking.design.goals == parts.evasion.design.goals
