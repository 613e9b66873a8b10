"""The report of a cloaking study, on made-up scores: rates, price, photos, distortions, recognisers that adapt."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from fake_run import CLOAKS, add_cloaks, write_run
from hypothesis import given
from hypothesis import strategies as st

from facesec_bench.records import RunCard, Score, read_scores, write_scores
from facesec_bench.reporting import ReportFiles, build, figures, text_summary
from facesec_bench.reporting.document import Prose
from facesec_bench.reporting.grouping import read_study
from facesec_bench.reporting.sections import cloaking_adaptive, cloaking_headline, cloaking_photos
from facesec_bench.reporting.sections.cloaking_adaptive import RULE, UNRECORDED, verdict
from facesec_bench.reporting.sections.cloaking_headline import compared
from facesec_bench.reporting.sections.cloaking_quality import frontier
from facesec_bench.reporting.sections.cloaking_rows import protectors

SECTIONS = ["Cloaks", "Cloaks: the photo's price", "Cloaked photos", "Cloaks after distortion",
            "Recognisers that adapt to cloaks"]  # fmt: skip
EVASION = {"White-box attacks", "Transfer between models", "Success against budget", "Image quality"}
NOTHING = Score(math.nan, math.nan, math.nan, 0)


def _cloaked(root: Path, name: str = "run", scores: Mapping[str, Score] | None = None, **options: object) -> Path:
    run = add_cloaks(write_run(root, name, examples=0), **options)  # type: ignore[arg-type]
    write_scores(run / "scores.json", read_scores(run / "scores.json") | dict(scores or {}))
    return run


def _rows(files: ReportFiles, slug: str) -> list[dict[str, str]]:
    (path,) = [p for p in files.csv if p.stem == slug]
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _titles(page: str) -> list[str]:
    found = re.findall(r'<h2><span class="no">\d+</span>(.*?)</h2>', page)
    return [title.replace("&#39;", "'") for title in found]


def _sentences(run: Path) -> str:
    return " ".join(cell.text for cell in cloaking_headline.sentences(read_study([run], "")))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _cloaked(tmp_path_factory.mktemp("run"), failed=("ti_dim",))


@pytest.fixture(scope="module")
def files(run: Path, tmp_path_factory: pytest.TempPathFactory) -> ReportFiles:
    return build([run], tmp_path_factory.mktemp("report"), "A fixture")


@pytest.fixture(scope="module")
def page(files: ReportFiles) -> str:
    return files.html.read_text(encoding="utf-8")


def test_a_run_of_cloaks_shows_their_sections_in_order_and_none_of_evasion(page: str) -> None:
    titles = _titles(page)
    assert [t for t in titles if t in SECTIONS] == SECTIONS
    assert not EVASION & set(titles) and "Photos side by side" not in titles


def test_a_run_without_cloaks_shows_none_of_their_sections(tmp_path: Path) -> None:
    run = write_run(tmp_path, target_names=("sface",), method_names=("pgd",), examples=0)
    assert not set(SECTIONS) & set(_titles(build([run], tmp_path / "out", "t").html.read_text(encoding="utf-8")))
    assert cloaking_headline.sentences(read_study([run], "")) == [] and "held out" not in text_summary(run)


def test_a_run_of_both_studies_keeps_each_in_its_own_tables(tmp_path: Path) -> None:
    both = write_run(tmp_path, "both", target_names=("sface",), method_names=("pgd", "fgsm"), examples=0)
    before = build([both], tmp_path / "out1", "t")
    add_cloaks(both, methods=("clean", "clip2protect", "tip_im"), victims=("sface",), evasion=True)
    after = build([both], tmp_path / "out2", "t")
    assert set(_titles(after.html.read_text(encoding="utf-8"))) >= {"White-box attacks", "Image quality", *SECTIONS}
    for slug in ("white-box", "quality", "accuracy"):
        assert _rows(before, slug) == _rows(after, slug)
    assert [r["Method"] for r in _rows(after, "cloak-dodging-psr")] == ["No cloak", "tip_im", "clip2protect"]


def test_a_control_that_both_studies_share_brings_neither_the_other_s_columns(tmp_path: Path) -> None:
    both = write_run(tmp_path, "both", target_names=("sface", "dlib_resnet"), method_names=("pgd",), examples=0)
    scores = read_scores(both / "scores.json")
    before = build([both], tmp_path / "out1", "t")
    add_cloaks(both, methods=("clean", "random_sign", "clip2protect"), victims=("sface",), mean=False, evasion=True)
    write_scores(both / "scores.json", read_scores(both / "scores.json") | scores)
    after = build([both], tmp_path / "out2", "t")
    for slug in ("white-box", "quality"):
        assert _rows(before, slug) == _rows(after, slug)  # no rank 5, which the cloaks were asked for
    for slug in ("cloak-dodging-psr", "cloak-rank-untargeted", "cloak-quality-by-victim"):
        rows = _rows(after, slug)
        assert [row["Method"] for row in rows] == ["No cloak", "Random sign (control)", "clip2protect"]
        assert "dlib_resnet" not in str(rows)  # it judged evasion only


def test_the_table_of_rates_holds_the_scores_of_the_run_to_the_last_bit(files: ReportFiles, run: Path) -> None:
    scores = read_scores(run / "scores.json")
    for goal in ("dodging", "impersonation"):
        row = next(r for r in _rows(files, f"cloak-{goal}-psr") if r["Method"] == "clip2protect")
        for victim, column in (("sface", "sface"), ("mobilefacenet", "mobilefacenet"), ("mean", "Mean")):
            found = [float(row[f"{column}{x}"]) for x in ("", " low", " high", " n")]
            assert found == list(scores[f"{goal}_psr/clip2protect/{victim}"])
        assert row["runs"] == "a"


def test_rows_stand_under_controls_pixel_attacks_and_cloaks_in_the_order_of_the_card(files: ReportFiles) -> None:
    rows = [(r["group"], r["Method"], r["ε"]) for r in _rows(files, "cloak-dodging-psr")]
    assert rows == [
        ("Controls", "No cloak", "–"), ("Controls", "Random sign (control)", "8/255"),
        ("Pixel attacks", "pgd", "8/255"), ("Pixel attacks", "mi_di_ti", "4/255"),
        ("Pixel attacks", "mi_di_ti", "8/255"), ("Pixel attacks", "tip_im", "8/255"),
        ("Pixel attacks", "low_frequency_pgd", "8/255"),
        ("Pixel attacks", "ti_dim ti_dim on dlib_resnet: FIXTURE: it asked for weights that are not here.", "8/255"),
        ("Cloaks", "lowkey", "none"), ("Cloaks", "fawkes", "none"), ("Cloaks", "adv_makeup", "none"),
        ("Cloaks", "clip2protect", "none"), ("Cloaks", "clip2protect_generator", "none"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("told", "kind"),
    [({"eps_255": 8.0, "norm": "linf"}, "pixel"), ({"eps_255": 8.0, "norm": "linf", "role": "cloak"}, "cloak"),
     ({"eps_255": 8.0, "norm": "linf", "prompt": "tan"}, "cloak"), ({"eps_255": None, "norm": "none"}, "cloak"),
     ({"eps_255": 8.0, "norm": "linf", "role": "control"}, "none")],
)  # fmt: skip
def test_what_is_a_cloak_is_told_by_its_card(tmp_path: Path, told: dict[str, object], kind: str) -> None:
    run = _cloaked(tmp_path, methods=("clean", "pgd"), strips=False)
    card = RunCard.read(run)
    card.methods["pgd"] = told
    card.write(run)
    assert {row.name: row.kind for row in protectors(read_study([run], ""))} == {"clean": "none", "pgd": kind}


def test_what_failed_and_what_is_missing_show_as_such_with_n_0(files: ReportFiles, page: str, tmp_path: Path) -> None:
    row = next(r for r in _rows(files, "cloak-dodging-psr") if r["Method"].startswith("ti_dim"))
    assert row["Mean"] == "" and row["Mean n"] == "0"
    assert re.search(r'failed<sup.*?</span><span class="detail">n=0', page)
    run = _cloaked(tmp_path, methods=("clean", "pgd"), strips=False)
    card = RunCard.read(run)
    card.methods["lost"] = {"eps_255": None, "norm": "none", "role": "cloak"}
    card.write(run)
    (lost,) = [r for r in _rows(build([run], tmp_path / "out", "t"), "cloak-dodging-psr") if r["Method"] == "lost"]
    assert (lost["Mean"], lost["Mean n"]) == ("", "0")


def test_one_victim_and_no_adaptive_part_still_make_a_report(tmp_path: Path) -> None:
    run = _cloaked(tmp_path, victims=("sface",), mean=False, adaptive=(), strips=False)
    card = RunCard.read(run)
    for told in card.methods.values():
        told.pop("prompt", None)
    card.write(run)
    files = build([run], tmp_path / "out", "t")
    titles = _titles(files.html.read_text(encoding="utf-8"))
    assert "Cloaks" in titles and "Cloaked photos" not in titles
    assert not any(p.stem.startswith("cloak-adaptive") for p in files.csv)
    assert "clip2protect, the best of 5 cloaks, judged by sface, held out:" in _sentences(run)
    assert "Mean" not in _rows(files, "cloak-dodging-psr")[0]
    assert {p.stem for p in files.csv} >= {"cloak-quality-by-victim", "cloak-trade-off-dodging", "cloak-gallery"}


def _against(cloak: Score, pixel: Score, price: float) -> dict[str, Score]:
    lpips = {"clip2protect": 0.1, "pgd": price}
    return {
        "dodging_psr/clip2protect/mean": cloak,
        "dodging_psr/pgd/mean": pixel,
        **{f"lpips/{name}/mean": Score(x, x, x, 9) for name, x in lpips.items()},
    }


@pytest.mark.parametrize(
    ("cloak", "pixel", "price", "said"),
    [
        (Score(0.8, 0.75, 0.85, 99), Score(0.5, 0.4, 0.6, 99), 0.1, "30.0 points above it, and the intervals do not"),
        (Score(0.5, 0.4, 0.6, 99), Score(0.8, 0.75, 0.85, 99), 0.1, "30.0 points below it, and the intervals do not"),
        (Score(0.6, 0.5, 0.7, 99), Score(0.5, 0.4, 0.55, 99), 0.1, "but the intervals overlap: no difference is shown"),
        (Score(0.8, 0.75, 0.85, 99), Score(0.9, 0.8, 1.0, 99), 0.11, "No pixel attack of this run was measured at"),
    ],
)
def test_the_headline_says_above_or_below_and_claims_no_more_than_the_intervals(
    tmp_path: Path, cloak: Score, pixel: Score, price: float, said: str
) -> None:
    names = ("clean", "pgd", "clip2protect")
    run = _cloaked(tmp_path, scores=_against(cloak, pixel, price), methods=names, strips=False)
    told = _sentences(run)
    assert said in told and "n=99" in told
    assert f"the one cloak, mean over 3 held-out recognisers: {100 * cloak.value:#.3g}% ([" in told


def test_the_headline_takes_the_price_of_its_own_goal_where_it_was_told_apart(tmp_path: Path) -> None:
    scores = _against(Score(0.8, 0.75, 0.85, 99), Score(0.5, 0.4, 0.6, 99), 0.1)
    scores |= {"lpips_dodging/pgd/mean": Score(0.3, 0.3, 0.3, 9)}
    run = _cloaked(tmp_path, scores=scores, methods=("clean", "pgd", "clip2protect"), strips=False)
    assert "No pixel attack of this run was measured at an LPIPS as low as its 0.100." in _sentences(run)


def test_without_a_cloak_the_best_pixel_attack_is_told_and_without_numbers_nothing_is_claimed(tmp_path: Path) -> None:
    pixels = _cloaked(tmp_path, "pixels", methods=("clean", "pgd", "tip_im"), strips=False)
    assert "Dodging PSR of tip_im at 8/255, the best of 2 pixel attacks" in _sentences(pixels)
    failed = _cloaked(tmp_path, "failed", methods=("clean", "pgd"), failed=("lowkey",), strips=False)
    assert "no cloak gave a number" in _sentences(failed) and "best" not in _sentences(failed)


def test_differences_without_intervals_are_not_judged() -> None:
    assert "without intervals" in compared(Score(0.9, math.nan, math.nan, 5), Score(0.1, 0.0, 0.2, 5))
    assert compared(Score(0.5, 0.4, 0.6, 5), Score(0.5, 0.4, 0.6, 5)) == "the cloak is level with it"


BEFORE, CLEAN = Score(0.8, 0.7, 0.9, 50), Score(0.05, 0.0, 0.1, 50)


@pytest.mark.parametrize(
    ("after", "clean", "called"),
    [
        (Score(0.3, 0.2, 0.39, 50), CLEAN, "fallen"),
        (Score(0.3, 0.2, 0.41, 50), CLEAN, "undecided"),
        (Score(0.5, 0.41, 0.6, 50), CLEAN, "not fallen"),
        (Score(0.06, 0.02, 0.12, 50), CLEAN, "fallen, as without a cloak"),
        (Score(0.40, 0.10, 0.70, 50), CLEAN, "undecided"),
        (Score(0.06, 0.02, 0.12, 50), None, "fallen"),
        (Score(0.06, 0.02, 0.12, 50), Score(0.65, 0.6, 0.71, 50), "nothing to lose"),
        (NOTHING, CLEAN, "–"),
        (None, CLEAN, "–"),
    ],
)
def test_a_cloak_is_called_by_the_rule_on_the_page(
    page: str, after: Score | None, clean: Score | None, called: str
) -> None:
    assert verdict(BEFORE, after, clean) == called
    assert RULE in page and called.split(",")[0].strip("–") in page


def test_the_adaptive_table_puts_before_after_and_cost_side_by_side(files: ReportFiles, run: Path) -> None:
    scores = read_scores(run / "scores.json")
    rows = {(r["Method"], r["Judged by"]): r for r in _rows(files, "cloak-adaptive-dodging")}
    assert {name for name, _ in rows} == {"clip2protect", "mi_di_ti"}
    row = rows["clip2protect", "sface"]
    columns = {"PSR before": "dodging_psr", "PSR adapted": "adaptive_dodging_psr",
               "Cost in TAR (points)": "adaptive_tar_cost", "1-NN, no cloak": "protection_baseline",
               "1-NN, cloaked": "protection_oblivious", "1-NN, cloaked, adapted": "protection_adaptive"}  # fmt: skip
    for column, measure in columns.items():
        assert float(row[column]) == scores[f"{measure}/clip2protect/sface"].value, column
    assert float(row["PSR, no cloak"]) == scores["dodging_psr/clean/sface"].value
    assert rows["clip2protect", "Mean"]["Called"].startswith("fallen")
    assert {r["Method"] for r in _rows(files, "cloak-gallery")} > {"lowkey", "pgd"}


def _tell(run: Path, tracker: dict[str, object] | None) -> None:
    card = RunCard.read(run)
    card.data.pop("tracker", None)
    card.data |= {"tracker": tracker} if tracker else {}
    card.write(run)


TRACKER = {
    "name": "synthetic", "digest": "5e7" * 20, "licence": "MIT", "generated": True, "attacked_generated": False,
    "people": 20, "cloaks": 40, "retrainer": "CloakFinetuning", "settings": {"steps": 60, "batch": 16},
}  # fmt: skip


@pytest.mark.parametrize(
    ("tracker", "said", "weak"),
    [
        (TRACKER, "40 cloaks of 20 people (synthetic, digest 5e75e75e75e7) by CloakFinetuning (steps 60, batch", True),
        (TRACKER | {"attacked_generated": True}, "Trained on 40 cloaks", False),
        (TRACKER | {"generated": False, "settings": {}}, "5e75e75e75e7) by CloakFinetuning.", False),
        (None, UNRECORDED, False),
    ],
)
def test_the_page_says_what_a_tracker_learned_from_and_what_that_is_worth(
    tmp_path: Path, tracker: dict[str, object] | None, said: str, weak: bool
) -> None:
    run = _cloaked(tmp_path, methods=("clean", "clip2protect"), adaptive=("clip2protect",), strips=False)
    _tell(run, tracker)
    section = cloaking_adaptive.section(read_study([run], ""))
    assert section is not None
    told = [cell for block in section.blocks if isinstance(block, Prose) for cell in block.sentences]
    (learned,) = [cell for cell in told if said in cell.text]
    assert learned.refs == ("a",)
    assert ("lower bound on what a tracker can do" in str(told)) == weak
    assert ("trained on its cloaks of generated faces" in _sentences(run)) == weak


def test_nothing_is_said_of_a_tracker_where_there_was_none(tmp_path: Path) -> None:
    run = _cloaked(tmp_path, methods=("clean", "clip2protect"), adaptive=(), strips=False)
    assert UNRECORDED not in build([run], tmp_path / "out", "t").html.read_text(encoding="utf-8")


def test_ranks_have_a_base_line_and_say_who_counts(files: ReportFiles, run: Path, page: str) -> None:
    scores = read_scores(run / "scores.json")
    for slug, goal in (("untargeted", "dodging"), ("targeted", "impersonation")):
        rows = {r["Method"]: r for r in _rows(files, f"cloak-rank-{slug}")}
        for title, name in (("No cloak", "clean"), ("clip2protect", "clip2protect")):
            assert float(rows[title]["Rank-1, sface"]) == scores[f"{goal}_psr_rank1/{name}/sface"].value
    assert page.count("the row without one is the base line") == 2


def test_a_bound_on_a_cloak_s_pixels_stands_where_budgets_stand(tmp_path: Path) -> None:
    run = _cloaked(tmp_path, methods=("clean", "clip2protect", "lowkey"), strips=False)
    card = RunCard.read(run)
    card.methods["clip2protect"]["shade_255"] = 32.0
    card.write(run)
    files = build([run], tmp_path / "out", "t")
    rows = {r["Method"]: (r["group"], r["ε"]) for r in _rows(files, "cloak-dodging-psr")}
    assert rows["clip2protect"] == ("Cloaks", "32/255 shade") and rows["lowkey"] == ("Cloaks", "none")


def test_distortions_are_told_for_both_goals_over_all_victims_and_by_victim(files: ReportFiles, run: Path) -> None:
    scores = read_scores(run / "scores.json")
    for goal in ("dodging", "impersonation"):
        rows = {r["Method"]: r for r in _rows(files, f"cloak-distorted-{goal}")}
        columns = {"As saved": "", "JPEG 90": "_jpeg90", "JPEG 75": "_jpeg75", "Resized": "_resize",
                   "Blurred": "_blur", "Screenshot": "_screenshot"}  # fmt: skip
        for column, suffix in columns.items():
            assert float(rows["lowkey"][column]) == scores[f"{goal}_psr{suffix}/lowkey/mean"].value
        assert "No cloak" in rows
        groups = {r["group"] for r in _rows(files, f"cloak-distorted-{goal}-by-victim")}
        assert "Cloaks, judged by dlib_resnet" in groups


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=12))
def test_nothing_beats_a_point_of_the_frontier_and_something_beats_every_other(
    points: list[tuple[float, float]],
) -> None:
    best = frontier(points)

    def beaten(i: int) -> bool:
        x, y = points[i]
        return any((a <= x and b >= y) and (a, b) != (x, y) for a, b in points)

    assert not any(beaten(i) for i in best)
    assert {points[i] for i in range(len(points)) if not beaten(i)} == {points[i] for i in best}
    assert [points[i][0] for i in best] == sorted(points[i][0] for i in best)


def test_the_trade_off_draws_cloaks_and_pixel_attacks_above_the_line_of_no_cloak(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, figures.Scatter] = {}
    monkeypatch.setattr(figures, "trade_off", lambda slug, panels, *labels: drawn.update({slug: panels[0]}) or "")
    files = build([run], tmp_path / "out", "t")
    scores = read_scores(run / "scores.json")
    for goal in ("dodging", "impersonation"):
        panel = drawn[f"cloak-trade-off-{goal}"]
        dots = {dot.label: dot for dot in panel.dots}
        names = set(CLOAKS) - {"clean", "random_sign", "mi_di_ti", "mi_di_ti_eps4"}
        assert set(dots) == names | {"mi_di_ti 4/255", "mi_di_ti 8/255"}
        assert dots["clip2protect"].filled and not dots["pgd"].filled
        assert dots["clip2protect"].rate == scores[f"{goal}_psr/clip2protect/mean"]
        assert panel.base == scores[f"{goal}_psr/clean/mean"].value
        joined = {panel.dots[i].label for i in panel.best}
        listed = {(r["Method"], r["On the line"]) for r in _rows(files, f"cloak-trade-off-{goal}")}
        assert "clip2protect" in joined and ("clip2protect", "yes") in listed and ("lowkey", "no") in listed


def test_names_in_a_crowd_do_not_cover_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = []
    place = figures._name_dots
    monkeypatch.setattr(figures, "_name_dots", lambda *given: boxes.extend(place(*given)))
    far = Score(0.4, 0.4, 0.4, 9)
    crowd = [Score(0.1 + i / 500, 0, 1, 9) for i in range(6)]
    dots = [figures.Dot(f"method_{i}", x, Score(0.5, 0, 1, 9), i % 2 == 0) for i, x in enumerate((*crowd, far))]
    drawn = {figures.trade_off("crowd", [figures.Scatter("", dots, [0], 0.1)], "LPIPS", "PSR") for _ in range(2)}
    assert len(drawn) == 1 and len(boxes) == 14
    assert not any(boxes[i].overlaps(boxes[k]) for i in range(7) for k in range(i))


def test_photos_are_shown_cloaks_first_with_their_prompt_and_the_change(run: Path, files: ReportFiles) -> None:
    section = cloaking_photos.section(read_study([run], ""))
    assert section is not None
    photos = section.blocks[-1]
    titles = [cell.text for cell, _ in photos.rows]  # type: ignore[union-attr]
    assert titles[:5] == [f"{name} against sface, dodging" for name in list(CLOAKS)[7:]]
    assert titles[10:] == ["lowkey against sface, impersonation", "fawkes against sface, impersonation"]
    told = {cell.text: cell.detail for cell, _ in photos.rows}  # type: ignore[union-attr]
    assert told["clip2protect against sface, dodging"].endswith("asked for: red lipstick with purple eyeshadow")
    assert "tanned" in told["clip2protect_generator against sface, dodging"]
    assert photos.columns == ("Source", "Cloak", "Difference ×10")  # type: ignore[union-attr]
    assert {r["Prompt"] for r in _rows(files, "cloak-prompts")} == {"red lipstick with purple eyeshadow",
                                                                    "tanned makeup"}  # fmt: skip


def test_the_terminal_shows_each_method_over_all_victims(run: Path) -> None:
    lines = {line.split()[3]: line for line in text_summary(run).splitlines() if " in turn " in line}
    assert set(lines) == {*CLOAKS, "ti_dim"}
    assert "n=0" in lines["ti_dim"] and re.search(r"3 in turn +clip2protect +\d+\.\d% \[", lines["clip2protect"])


def test_markdown_and_latex_hold_the_same_tables(files: ReportFiles) -> None:
    markdown = files.markdown.read_text(encoding="utf-8")
    slugs = {p.stem for p in files.latex}
    assert slugs == {p.stem for p in files.csv} >= {"cloak-dodging-psr", "cloak-quality", "cloak-adaptive-dodging"}
    assert "Impersonation PSR on held-out recognisers" in markdown and "Dodging before and after" in markdown
