"""The report of a watermark study: the 2x2 table and its controls, bits, defences, pictures."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from fake_run import add_watermark, write_run

from facesec_bench.records import RunCard, Score, Shot, Strip, read_scores, read_strips, write_scores, write_strips
from facesec_bench.reporting import ReportFiles, build, figures, text_summary
from facesec_bench.reporting.grouping import read_study
from facesec_bench.reporting.sections import activation, bits, strips
from facesec_bench.reporting.sections.activation_defences import attacked
from facesec_bench.reporting.sections.methods import methods

EVASION = {"White-box attacks", "Transfer between models", "Success against budget", "Image quality"}
MARKING = {"Activation by the watermark", "The owner's bits and the image", "Defences against activation"}
ATTACK = "adversarial_watermark"


def _marked(root: Path, name: str = "run", **options: object) -> Path:
    run = write_run(root, name, target_names=("sface",), method_names=("pgd", "pgd_eps4"), transfer=False, examples=0)
    return add_watermark(run, **{"evasion": False, **options})  # type: ignore[arg-type]


def _rows(files: ReportFiles, slug: str) -> list[dict[str, str]]:
    (path,) = [p for p in files.csv if p.stem == slug]
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _titles(page: str) -> list[str]:
    found = re.findall(r'<h2><span class="no">\d+</span>(.*?)</h2>', page)
    return [title.replace("&#39;", "'") for title in found]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _marked(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def files(run: Path, tmp_path_factory: pytest.TempPathFactory) -> ReportFiles:
    return build([run], tmp_path_factory.mktemp("report"), "A fixture")


@pytest.fixture(scope="module")
def page(files: ReportFiles) -> str:
    return files.html.read_text(encoding="utf-8")


def test_a_run_of_watermark_scores_alone_shows_no_section_of_evasion(page: str) -> None:
    assert set(_titles(page)) >= MARKING | {"Photos side by side"} and not EVASION & set(_titles(page))


def test_a_run_of_both_studies_keeps_each_in_its_own_tables(tmp_path: Path) -> None:
    plain = write_run(tmp_path, "plain", target_names=("sface",), method_names=("pgd", "fgsm"))
    both = write_run(tmp_path, "mixed", target_names=("sface",), method_names=("pgd", "fgsm"))
    assert not read_study([plain], "").groups[0].runs[0].strips
    add_watermark(both)
    scores = read_scores(plain / "scores.json") | {
        key: s for key, s in read_scores(both / "scores.json").items() if key not in read_scores(plain / "scores.json")
    }
    write_scores(both / "scores.json", scores)
    before, after = build([plain], tmp_path / "out1", "t"), build([both], tmp_path / "out2", "t")
    assert set(_titles(after.html.read_text())) >= MARKING
    for slug in ("white-box", "quality", "accuracy"):
        assert _rows(before, slug) == _rows(after, slug)
    assert not any("tar_" in name or "watermark" in name for name in _rows(after, "white-box")[0])


def test_the_activation_table_holds_the_scores_of_the_run_to_the_last_bit(files: ReportFiles, run: Path) -> None:
    scores = read_scores(run / "scores.json")
    row = next(r for r in _rows(files, "activation") if (r["Method"], r["ε"]) == (ATTACK, "4/255"))
    columns = {"TAR clean": "tar_clean", "TAR perturbed only": "tar_perturbed", "TAR marked only": "tar_watermarked",
               "TAR both": "tar_both", "Interaction (points)": "interaction",
               "Activated, if accepted before": "activation_success",
               "Rank-1 interaction (points)": "rank1_interaction"}  # fmt: skip
    for column, measure in columns.items():
        found = [float(row[f"{column}{x}"]) for x in ("", " low", " high", " n")]
        assert found == list(scores[f"{measure}/{ATTACK}_eps4/sface"]), column
    assert row["group"] == "sface, marked by rivagan" and row["runs"] == "a"


def test_attacks_stand_by_knowledge_then_universal_then_controls_within_a_budget(files: ReportFiles) -> None:
    rows = [(r["Method"], r["Knows"]) for r in _rows(files, "activation") if r["ε"] == "4/255"]
    assert rows == [
        (ATTACK, "K1"), (f"{ATTACK}_k2", "K2"), (f"{ATTACK}_transfer made on dlib_resnet + mobilefacenet", "K3"),
        (f"{ATTACK}_k5", "K5"), (f"{ATTACK}_universal", "K1"), ("Random sign (control)", "–"),
        ("gaussian_residual (control)", "–"), ("jpeg_before_marking (control)", "–"), ("other_message (control)", "–"),
        ("other_watermarker (control) marked by hidden", "–"), ("pgd (control)", "–"),
    ]  # fmt: skip
    assert [r["ε"] for r in _rows(files, "activation")] == ["2/255"] * 11 + ["4/255"] * 11


def test_impersonation_and_other_rates_have_tables_of_their_own(files: ReportFiles, page: str) -> None:
    assert {r["Method"] for r in _rows(files, "activation-as-target")} == {f"{ATTACK}_impersonate"}
    assert "Taken for the target, both" in _rows(files, "activation-as-target")[0]
    assert not any("impersonate" in r["Method"] for r in _rows(files, "activation"))
    assert "Activation by the watermark at FAR 0.1%." in page and len(_rows(files, "activation-far-1e-3")) == 22


def _interactions(run: Path, values: dict[str, float]) -> None:
    scores = read_scores(run / "scores.json")
    for method, x in values.items():
        scores[f"interaction/{method}/sface"] = Score(x, x - 0.05, x + 0.05, 80)
    write_scores(run / "scores.json", scores)


@pytest.mark.parametrize(("second", "control", "bold"), [(0.5, 0.99, True), (0.82, 0.1, False)])
def test_only_an_interaction_clear_of_the_second_attack_is_bold(
    tmp_path: Path, second: float, control: float, bold: bool
) -> None:
    run = _marked(tmp_path, budgets=(4,), strips=0)
    others = {f"{ATTACK}_{x}_eps4": 0.1 for x in ("k5", "universal", "transfer@dlib_resnet+mobilefacenet")}
    _interactions(run, {f"{ATTACK}_eps4": 0.9, f"{ATTACK}_k2_eps4": second, "other_message_eps4": control, **others})
    section = activation.section(read_study([run], ""))
    assert section is not None
    table = next(b for b in section.blocks if getattr(b, "slug", "") == "activation")
    found = [(row.cells[0].text, i) for row in table.rows for i, c in enumerate(row.cells) if c.bold]  # type: ignore[union-attr]
    assert ((ATTACK, 7) in found) is bold and all(i in (7, 9) for _, i in found)


def test_differences_are_signed_points_and_rounding_noise_is_zero(tmp_path: Path) -> None:
    run = _marked(tmp_path, budgets=(4,), strips=0)
    scores = read_scores(run / "scores.json")
    values = {"random_sign_eps4": 4e-17, "pgd_eps4": -0.025, f"{ATTACK}_eps4": 0.9625}
    for method, x in values.items():
        scores[f"interaction/{method}/sface"] = Score(x, -0.05, 1.0, 80)
    write_scores(run / "scores.json", scores)
    section = activation.section(read_study([run], ""))
    assert section is not None
    table = next(b for b in section.blocks if getattr(b, "slug", "") == "activation")
    text = {row.cells[0].text: row.cells[7].text for row in table.rows if len(row.cells) > 7}  # type: ignore[union-attr]
    assert (text[ATTACK], text["Random sign (control)"], text["pgd (control)"]) == ("+96.2", "0", "−2.50")


def test_drops_are_printed_in_points_and_as_a_share_of_the_clean_rate(tmp_path: Path) -> None:
    run = _marked(tmp_path, budgets=(4,), strips=0)
    scores = read_scores(run / "scores.json")
    scores[f"tar_clean/{ATTACK}_eps4/sface"] = Score(0.8, 0.7, 0.9, 80)
    scores[f"tar_drop_both/{ATTACK}_eps4/sface"] = Score(0.6, 0.5, 0.7, 80)
    write_scores(run / "scores.json", scores)
    rows = _rows(build([run], tmp_path / "out", "t"), "activation-drops")
    (row,) = [r for r in rows if r["Attack"] == ATTACK]
    assert row["Drop, both (points)"] == "0.6" and row["Drop / clean TAR, both"] == "75.0%"
    assert not any("control" in r["Attack"] or "impersonate" in r["Attack"] for r in rows)


def test_the_paper_is_named_as_not_comparable_and_controls_say_what_they_answer(files: ReportFiles, page: str) -> None:
    assert "Not comparable with the paper" in page and "67.2%" in page and "95.9%" in page
    told = {r["Method"]: r["What the row answers"] for r in _rows(files, "activation-questions")}
    assert told["pgd (control)"] == "What plain dodging does without a mark."


def test_the_curve_joins_budgets_and_draws_the_cost_dashed(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, list[list[figures.Panel]]] = {}
    monkeypatch.setattr(figures, "curves", lambda slug, grid: drawn.update({slug: grid}) or "")
    build([run], tmp_path / "out", "t")
    (panel,) = drawn["activation-curves"][0]
    lines = {(line.label, line.dashed): line for line in panel.lines}
    scores = read_scores(run / "scores.json")
    for dashed, measure in ((False, "interaction"), (True, "tar_drop_perturbed")):
        line = lines[ATTACK, dashed]
        assert line.x == [2.0, 4.0]
        assert line.y == [scores[f"{measure}/{ATTACK}_eps{eps}/sface"].value for eps in (2, 4)]
    controls = [line for line in panel.lines if line.control]
    assert [(line.label, line.dashed) for line in controls] == [("random sign (control)", False)]
    assert not any("pgd" in line.label or "impersonate" in line.label for line in panel.lines)


def test_the_curve_says_where_its_points_were_set_otherwise(tmp_path: Path) -> None:
    plain = _marked(tmp_path, "plain", strips=0)
    assert "Settings differ" not in build([plain], tmp_path / "out1", "t").markdown.read_text(encoding="utf-8")
    tuned = _marked(tmp_path, "tuned", strips=0, settings={2: {"steps": 240, "keep": 0.78}})
    markdown = build([tuned], tmp_path / "out2", "t").markdown.read_text(encoding="utf-8").replace("\\", "")
    assert f"Settings differ by budget: 2/255: steps 240, keep 0.78 ({ATTACK}, " in markdown
    alone = _only(_marked(tmp_path, "alone", strips=0, settings={2: {"steps": 240}}), (ATTACK, "random_sign"))
    page = build([alone], tmp_path / "out3", "t").html.read_text(encoding="utf-8")
    assert "Settings differ by budget: 2/255: steps 240. Runs:" in page


def _only(run: Path, stems: tuple[str, ...]) -> Path:
    """The run with the scores of these methods alone, and the clean ones."""
    scores = read_scores(run / "scores.json")
    kept = {f"{stem}_eps{eps}" for stem in stems for eps in (2, 4)} | {"clean"}
    write_scores(run / "scores.json", {key: s for key, s in scores.items() if key.split("/")[1] in kept})
    return run


def test_one_budget_makes_no_curve_and_unvaried_attacks_no_trade_off(tmp_path: Path) -> None:
    files = build([_marked(tmp_path, budgets=(4,), strips=0)], tmp_path / "out", "t")
    assert not {"activation-curves", "trade-off"} & {p.stem for p in files.csv}


def test_a_trade_off_joins_one_attack_in_the_order_of_its_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, list[list[figures.PathPanel]]] = {}
    monkeypatch.setattr(figures, "paths", lambda slug, grid, *labels: drawn.update({slug: grid}) or "")
    run = _marked(tmp_path, strips=0, keeps=(0.9, 0.7, 0.8, 1))
    scores = read_scores(run / "scores.json")
    files = build([run], tmp_path / "out", "t")
    ((panel,),) = drawn["trade-off"]
    (path,) = panel.paths
    names = [f"{ATTACK}_keep{keep}_eps2/sface" for keep in (0.7, 0.8, 0.9, 1)]
    assert panel.title == "sface, marked by rivagan, 2/255" and path.label == f"{ATTACK} (K1) by keep"
    assert list(path.words) == ["0.7", "0.8", "0.9", "1"]
    assert list(path.x) == [scores[f"tar_drop_perturbed/{name}"].value for name in names]
    assert list(path.y) == [scores[f"tar_drop_both/{name}"].value for name in names]
    rows = _rows(files, "trade-off")
    assert [(r["Attack"], r["Setting"], r["Knows"]) for r in rows] == [
        (ATTACK, f"keep {keep}", "K1") for keep in (0.7, 0.8, 0.9, 1)
    ]
    for column, measure in (("Cosine perturbed only", "similarity_perturbed"), ("Cosine both", "similarity_both"),
                            ("Interaction (points)", "interaction"), ("Bit accuracy", "bit_accuracy")):  # fmt: skip
        assert [float(r[column]) for r in rows] == [scores[f"{measure}/{name}"].value for name in names]


def test_points_of_a_trade_off_stand_in_its_table_only_and_are_no_attacks_of_their_own(tmp_path: Path) -> None:
    run = _marked(tmp_path, strips=0, keeps=(0.7, 0.8))
    files = build([run], tmp_path / "out", "t")
    holding = {p.stem for p in files.csv if "_keep" in p.read_text(encoding="utf-8")}
    assert holding == {"methods"} and "trade-off" in {p.stem for p in files.csv}
    assert "7 attacks against 1 face recogniser" in files.markdown.read_text(encoding="utf-8")
    assert "_keep" not in text_summary(run)


def test_trade_offs_of_two_runs_are_not_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, list[list[figures.PathPanel]]] = {}
    monkeypatch.setattr(figures, "paths", lambda slug, grid, *labels: drawn.update({slug: grid}) or "")
    a, b = (_marked(tmp_path, name, strips=0, keeps=(0.7, 0.8)) for name in ("a", "bb"))
    card = RunCard.read(b)
    card.fingerprint = "b" * 64
    card.write(b)
    build([a, b], tmp_path / "out", "t")
    ((panel,),) = drawn["trade-off"]
    assert [path.label for path in panel.paths] == [f"{ATTACK} (K1) by keep [a]", f"{ATTACK} (K1) by keep [b]"]


def test_a_white_box_row_is_told_by_its_own_name_and_a_transfer_by_its_surrogates(tmp_path: Path) -> None:
    run = write_run(tmp_path, target_names=("sface", "dlib_resnet"), transfer=False, examples=0)
    add_watermark(run, victims=("sface", "dlib_resnet"), budgets=(4,), strips=0)
    card, scores = RunCard.read(run), read_scores(run / "scores.json")
    name = f"{ATTACK}_eps4"
    card.methods[f"{name}@sface"] = {**card.methods[name], "knowledge": "K3"}
    card.write(run)
    scores[f"interaction/{name}@sface/dlib_resnet"] = Score(0.1, 0.0, 0.2, 80)
    write_scores(run / "scores.json", scores)
    found = methods(read_study([run], ""), ("interaction",), ("attack",))
    told = {(m.key.surrogates, m.key.victim): m.knowledge for m in found if m.key.method == name}
    assert told == {
        (("sface",), "sface"): "K1", (("dlib_resnet",), "dlib_resnet"): "K1", (("sface",), "dlib_resnet"): "K3"
    }  # fmt: skip


def test_bits_are_read_after_every_distortion_beside_the_mark_alone(files: ReportFiles, run: Path) -> None:
    rows = _rows(files, "bit-accuracy")
    row = next(r for r in rows if (r["Method"], r["ε"]) == (ATTACK, "4/255"))
    scores = read_scores(run / "scores.json")
    for column, end in (("Unattacked", ""), ("JPEG 90", "_jpeg90"), ("JPEG 75", "_jpeg75"), ("Noise", "_noise")):
        assert float(row[column]) == scores[f"bit_accuracy{end}/{ATTACK}_eps4/sface"].value
    alone = [r for r in rows if r["Method"].startswith("Mark alone")]
    assert [r["Method"] for r in alone] == ["Mark alone (no perturbation)"]
    assert float(alone[0]["JPEG 75"]) == scores[f"bit_accuracy_watermarked_jpeg75/{ATTACK}_eps4/sface"].value


def test_a_distortion_that_was_not_measured_is_no_column(tmp_path: Path) -> None:
    run = _marked(tmp_path, budgets=(4,), strips=0)
    scores = {k: s for k, s in read_scores(run / "scores.json").items() if not k.split("/")[0].endswith("_noise")}
    write_scores(run / "scores.json", scores)
    section = bits.section(read_study([run], ""))
    assert section is not None
    table = next(b for b in section.blocks if getattr(b, "slug", "") == "bit-accuracy")
    assert "Noise" not in table.columns and "JPEG 75" in table.columns  # type: ignore[union-attr]


def test_the_mark_alone_is_never_read_behind_a_defence_or_jpeg(tmp_path: Path) -> None:
    run = _marked(tmp_path, budgets=(4,), strips=0)
    scores = read_scores(run / "scores.json")
    for name in ("jpeg_before_marking", f"{ATTACK}_adaptive_jpeg75", "other_watermarker"):
        for measure in ("bit_accuracy_watermarked", "psnr_watermarked"):
            scores[f"{measure}/{name}_eps4/sface"] = Score(0.5, 0.4, 0.6, 20)
    write_scores(run / "scores.json", scores)
    files = build([run], tmp_path / "out", "t")
    for slug in ("bit-accuracy", "exact-message", "activation-quality"):
        assert [r["Method"].startswith("Mark alone") for r in _rows(files, slug)].count(True) == 1
    pictured = {r["Method"] for r in _rows(files, "activation-quality")}
    assert not any("jpeg" in name for name in pictured) and "pgd (control)" in pictured


def test_quality_of_the_marked_photo_is_told_for_each_cell(files: ReportFiles) -> None:
    rows = [r for r in _rows(files, "activation-quality") if (r["Method"], r["ε"]) == (ATTACK, "4/255")]
    assert [(r["Photo"], r["PSNR (dB) ↑"]) for r in rows] == [("perturbed only", "40.1"), ("both", "38.0")]


def test_a_defence_shows_the_unaware_and_the_adaptive_attack_in_one_row(files: ReportFiles, run: Path) -> None:
    scores = read_scores(run / "scores.json")
    rows = {(r["Defence"], r["ε"]): r for r in _rows(files, "activation-defences")}
    jpeg, none, detector = rows["jpeg75", "4/255"], rows["None", "4/255"], rows["consistency", "4/255"]
    assert jpeg["Attack"] == ATTACK
    for column, measure, method in (
        ("Interaction, unaware (points)", "interaction", "vs_jpeg75"),
        ("Interaction, adaptive (points)", "interaction", "adaptive_jpeg75"),
        ("Cost (points)", "tar_cost", "vs_jpeg75"),
    ):
        assert float(jpeg[column]) == scores[f"{measure}/{ATTACK}_{method}_eps4/sface"].value
    assert float(none["Interaction, unaware (points)"]) == scores[f"interaction/{ATTACK}_eps4/sface"].value
    assert (detector["Detection"], detector["False alarm"], detector["Interaction, adaptive (points)"]) == (
        "0.93", "0.05", ""
    )  # fmt: skip


def test_the_attack_and_the_defence_are_read_from_a_methods_name(run: Path) -> None:
    found = methods(read_study([run], ""), ("tar_cost",), ("defence", "adaptive"))
    assert {attacked(m) for m in found} == {(ATTACK, "jpeg75"), (ATTACK, "consistency")}


def test_the_headline_is_the_white_box_at_4_255_whatever_else_reached_more(tmp_path: Path) -> None:
    run = _marked(tmp_path, strips=0, keeps=(0.7,))
    more = {f"{ATTACK}_k2_eps4": 0.99, f"{ATTACK}_eps2": 0.99, "pgd_eps4": 1.0, f"{ATTACK}_keep0.7_eps2": 1.0}
    _interactions(run, {f"{ATTACK}_eps4": 0.3, "random_sign_eps4": 0.01, **more})
    plain = build([run], tmp_path / "out", "t").markdown.read_text(encoding="utf-8").replace("\\", "")
    told = f"At 4/255, white box (K1), {ATTACK} has an interaction of +30.0 points ([25.0, 35.0], n=80) on sface"
    assert told in plain and plain.count("has an interaction of") == 1
    assert "random-sign control of the same budget: +1.00 points ([−4.00, 6.00], n=80)" in plain
    assert "7 attacks against 1 face recogniser" in plain


def test_the_headline_is_on_the_first_target_of_the_card_and_at_its_smallest_budget(tmp_path: Path) -> None:
    run = write_run(tmp_path, target_names=("dlib_resnet", "sface"), transfer=False, examples=0)
    add_watermark(run, victims=("dlib_resnet", "sface"), budgets=(8.5, 6), strips=0, evasion=False)
    _interactions(run, {f"{ATTACK}_eps6": 1.0})
    plain = build([run], tmp_path / "out", "t").markdown.read_text(encoding="utf-8").replace("\\", "")
    (sentence,) = re.findall(r"At \S+, white box \(K1\).*?marked by rivagan", plain)
    assert sentence.startswith("At 6/255") and " on dlib_resnet " in sentence


def test_a_run_without_the_headlines_row_has_no_headline(tmp_path: Path) -> None:
    run = _marked(tmp_path, strips=0)
    scores = read_scores(run / "scores.json")
    write_scores(run / "scores.json", {k: s for k, s in scores.items() if k != f"interaction/{ATTACK}_eps4/sface"})
    other = _marked(tmp_path, "other", strips=0)
    card = RunCard.read(other)
    card.fingerprint = "b" * 64
    card.write(other)
    plain = build([run, other], tmp_path / "out", "t").markdown.read_text(encoding="utf-8")
    assert plain.count("has an interaction of") == 1
    assert "has an interaction of" not in build([run], tmp_path / "o", "t").markdown.read_text(encoding="utf-8")


def test_the_terminal_summary_holds_the_four_cells_and_the_bits(run: Path) -> None:
    lines = text_summary(run).splitlines()
    (line,) = [x for x in lines if f" {ATTACK}_eps4 " in x]
    scores = read_scores(run / "scores.json")
    assert "99.0%" in line and f"n={scores[f'interaction/{ATTACK}_eps4/sface'].n}" in line
    names = [x.split()[2] for x in lines if "rivagan" in x and "eps4" in x]
    assert names.index(f"{ATTACK}_k2_eps4") < names.index("random_sign_eps4")


def test_several_watermarkers_and_data_sets_are_not_compared_with_one_another(tmp_path: Path) -> None:
    a = _marked(tmp_path, "a", budgets=(4,), strips=0)
    b = _marked(tmp_path, "bb", budgets=(4,), strips=0, watermark="spread_spectrum")
    card = RunCard.read(b)
    card.fingerprint, card.data = "b" * 64, {**card.data, "name": "others", "digest": "e" * 64}
    card.write(b)
    rows = _rows(build([a, b], tmp_path / "out", "t"), "activation")
    assert {r["group"] for r in rows} == {
        "sface, marked by rivagan, fixture faces", "sface, marked by spread_spectrum, others"
    }  # fmt: skip


def test_strips_show_every_column_and_say_what_is_missing(tmp_path: Path) -> None:
    run = _marked(tmp_path, budgets=(4,), strips=strips.LIMIT + 1)
    found = read_strips(run / "strips.json")
    write_strips(run / "strips.json", [found[0]._replace(shots=found[0].shots[:3]), *found[1:]])
    section = strips.section(read_study([run], ""))
    assert section is not None
    grid = section.blocks[1]
    assert grid.columns == ("Clean", "Perturbed", "Watermarked", "Both") and len(grid.rows) == strips.LIMIT  # type: ignore[union-attr]
    assert grid.rows[0][1][3].missing == "not kept" and grid.rows[1][1][3].legend == "0.043: rejected"  # type: ignore[union-attr]


def test_a_grids_name_and_pictures_cannot_leave_their_folders(tmp_path: Path) -> None:
    run = _marked(tmp_path, budgets=(4,), strips=1)
    (tmp_path / "secret.png").write_bytes((run / "strips" / "0_0.png").read_bytes())
    write_strips(run / "strips.json", [Strip("../../evil", "t", "", (Shot("Clean", "../secret.png", "x"),))])
    files = build([run], tmp_path / "out", "t")
    page = files.html.read_text(encoding="utf-8")
    assert "outside the run&#39;s folder" in page and "data:image/png" not in page
    assert all(path.parent == tmp_path / "out" / "tables" for path in (*files.csv, *files.latex))


def test_broken_strips_are_told_as_the_runs_problem(tmp_path: Path) -> None:
    run = _marked(tmp_path, budgets=(4,))
    (run / "strips.json").write_text(json.dumps([{"grid": "activation"}]))
    assert read_study([run], "").unusable


def test_the_same_run_gives_the_same_bytes_of_figures(tmp_path: Path) -> None:
    varied = _marked(tmp_path, strips=1, keeps=(0.7, 0.8))
    first, second = (build([varied], tmp_path / x, "t").html.read_bytes() for x in "ab")
    assert first == second and b"activation-curves" in first and b"trade-off" in first
